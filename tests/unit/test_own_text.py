"""A text of one's own becomes windows of ids."""

import pytest
import torch

from manticore_kit import zoo
from manticore_kit.components import load_tokenizer
from manticore_kit.errors import ManticoreError
from manticore_kit.tasks.language import windows_of

TEXT = "A sentence that is long enough to fill some windows of a few tokens. " * 5


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(zoo.names()[0])


def test_windows_follow_one_another(tokenizer):
    windows = windows_of(TEXT, tokenizer, length=8)
    ids = tokenizer(TEXT)["input_ids"]
    assert windows.dtype == torch.int64
    assert windows.shape == (len(ids) // 8, 8)
    assert windows.flatten().tolist() == ids[: windows.numel()]


@pytest.mark.parametrize(
    ("text", "length", "says"), [("short", 8, "tokens and length is 8"), (TEXT, 1, "at least 2"), (["a"], 8, "list")]
)
def test_what_makes_no_window_is_refused(tokenizer, text, length, says):
    with pytest.raises(ManticoreError, match=says):
        windows_of(text, tokenizer, length=length)
