"""Windows of a text of one's own."""

import torch
from torch import Tensor

from manticore_kit.errors import ManticoreError


def windows_of(text: str, tokenizer, *, length: int = 128) -> Tensor:
    """Ids (windows, length) of `text`, cut one after another; what is left over at the end is dropped.

    Raises `ManticoreError` where the text is shorter than one window.
    """
    if not isinstance(text, str):
        raise ManticoreError(f"text is of type {type(text).__name__}; give one string, such as Path(...).read_text().")
    # A tokenizer warns of texts longer than its model; windows are not.
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    if length < 2 or len(ids) < length:
        raise ManticoreError(
            f"the text has {len(ids)} tokens and length is {length}: a window takes at least 2 tokens, and no more "
            "than the text has."
        )
    return torch.tensor(ids[: len(ids) // length * length]).view(-1, length)
