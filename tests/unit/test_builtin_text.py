"""The built-in text: its split holds on every Python, leaks nothing, and is cut into windows the same way each time."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from manticore_kit.errors import ManticoreError
from manticore_kit.tasks.language import builtin_text
from manticore_kit.tasks.language.builtin_text import documents, fingerprint, held_out, token_windows

KINDS = ("prose", "code")
SPLITS = ("train", "held-out")


@pytest.fixture(scope="module")
def tokenizer():
    """One token per byte and an end-of-text token: enough to see where windows come from."""
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE(vocab={byte: i for i, byte in enumerate(bytes_)}, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=plain, eos_token="<|endoftext|>", clean_up_tokenization_spaces=False
    )


def names(kind, split):
    return {document.name for document in documents(kind, split)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_document_is_on_one_side_and_some_are_held_out(kind):
    assert not names(kind, "train") & names(kind, "held-out")
    share = len(names(kind, "held-out")) / len(names(kind, "train") | names(kind, "held-out"))
    assert 0.05 < share < 0.11


def test_a_module_and_its_docstrings_fall_on_the_same_side():
    assert not names("prose", "held-out") & names("code", "train")
    assert not names("prose", "train") & names("code", "held-out")


def test_the_split_depends_on_nothing_but_the_name():
    """These modules exist in every Python from 3.11 on; the side of each was written down once."""
    assert {"enum.py", "bz2.py", "html/parser.py", "concurrent/futures/process.py"} <= names("code", "held-out")
    assert {"argparse.py", "asyncio/base_events.py", "json/decoder.py", "typing.py"} <= names("code", "train")
    assert {"pydoc_data.topics/function", "pydoc_data.topics/async"} <= names("prose", "held-out")
    assert {"pydoc_data.topics/class", "pydoc_data.topics/with"} <= names("prose", "train")


def test_no_held_out_paragraph_is_trained_on():
    def paragraphs(text):
        lines = "\n".join(line.strip() for line in text.splitlines())
        return {" ".join(paragraph.split()) for paragraph in lines.split("\n\n")}

    held = {p for kind in KINDS for _, text in documents(kind, "held-out") for p in paragraphs(text) if len(p) >= 80}
    trained = {p for kind in KINDS for _, text in documents(kind, "train") for p in paragraphs(text)}
    assert len(held) > 500
    assert not held & trained


def test_striking_removes_the_shared_paragraph_and_nothing_else():
    shared = "a paragraph that a held-out document also has, long enough to be no coincidence " * 2
    text = f"first\n\n    {shared}\n\nlast\n"
    seen = frozenset({" ".join(shared.split())})
    assert builtin_text._without(text, seen) == "first\n\nlast\n"
    assert builtin_text._without(text, frozenset()) == text


@pytest.mark.parametrize("split", SPLITS)
def test_code_is_what_people_wrote(split):
    for name, text in documents("code", split):
        assert not {"test", "tests", "idle_test", "site-packages", "encodings"} & set(name.split("/"))
        compile(text, name, "exec", dont_inherit=True) if split == "held-out" else None


def test_prose_is_docstrings_without_indentation_and_topics():
    text = dict(documents("prose", "held-out"))
    assert text["bz2.py"].startswith("Interface to the libbzip2 compression library.")
    assert "    return a bytes object" not in text["bz2.py"]
    assert "Function definitions" in text["pydoc_data.topics/function"]


def test_fingerprints_tell_kinds_and_splits_apart_and_do_not_change():
    first = {(kind, split): fingerprint(kind, split) for kind in KINDS for split in SPLITS}
    assert len(set(first.values())) == 4
    fingerprint.cache_clear()
    documents.cache_clear()
    assert first["prose", "held-out"] == fingerprint("prose", "held-out")


def test_windows_are_the_same_each_time_and_do_not_overlap(tokenizer):
    windows = token_windows(tokenizer, "prose", "held-out", length=100)
    text = "<|endoftext|>".join(text for _, text in documents("prose", "held-out"))
    assert windows.dtype == torch.int64
    assert text.encode().startswith(tokenizer.decode(windows[:5].flatten()).encode())
    assert torch.equal(windows, token_windows(tokenizer, "prose", "held-out", length=100))


def test_held_out_windows_spread_over_all_documents_whatever_the_seed(tokenizer):
    everything = token_windows(tokenizer, "prose", "held-out", length=128)
    few = held_out(tokenizer, "prose", length=128, count=11)
    assert few.shape == (11, 128)
    assert torch.equal(few[0], everything[0])
    assert torch.equal(few[-1], everything[-1])
    assert torch.equal(few[5], everything[round((len(everything) - 1) / 2)])
    assert torch.equal(few, token_windows(tokenizer, "prose", "held-out", length=128, count=11, seed=1))


def test_training_windows_are_drawn_by_seed_without_replacement(tokenizer):
    def drawn(seed):
        return token_windows(tokenizer, "prose", "train", length=512, count=1000, seed=seed)

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))
    assert len({tuple(window.tolist()) for window in drawn(0)}) == 1000


def test_a_window_can_be_changed_without_changing_the_text(tokenizer):
    token_windows(tokenizer, "prose", "held-out", length=64).zero_()
    assert token_windows(tokenizer, "prose", "held-out", length=64).any()


def test_mistakes_are_named(tokenizer):
    with pytest.raises(ManticoreError, match=r"kind='poetry'.*'prose' and 'code'"):
        documents("poetry", "train")
    with pytest.raises(ManticoreError, match=r"split='test'.*'train' and 'held-out'"):
        documents("prose", "test")
    with pytest.raises(ManticoreError, match=r"count=10000000: the held-out prose .* has \d+ windows of 128"):
        token_windows(tokenizer, "prose", "held-out", length=128, count=10_000_000)
    with pytest.raises(ManticoreError, match="no end-of-text token"):
        token_windows(PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE())), "prose", "train", length=8)


def test_excerpts_are_windows_of_the_text_and_repeat(tokenizer):
    first = builtin_text.excerpts(tokenizer, "prose", "held-out", length=16, count=5)
    assert first.shape == (5, 16)
    assert torch.equal(first, builtin_text.excerpts(tokenizer, "prose", "held-out", length=16, count=5))
    assert not torch.equal(first, builtin_text.excerpts(tokenizer, "prose", "held-out", length=16, count=5, seed=1))
    text = "".join(tokenizer.decode(first[0]).split())
    assert any(text in "".join(d.text.split()) for d in builtin_text.documents("prose", "held-out"))
