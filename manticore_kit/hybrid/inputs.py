"""What a hybrid can be given, checked before anything runs or changes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from manticore_kit.errors import ManticoreError


def check_ids(input_ids: Any, vocabularies: Mapping[str, int]) -> Tensor:
    """`input_ids`; raises `ManticoreError` unless it is an integer tensor (batch, length) with something in it.

    `vocabularies` are the components that will read the ids, and how many ids each knows. Ids on an accelerator are not
    looked at, since reading them would wait for it.
    """
    if not isinstance(input_ids, Tensor):
        raise ManticoreError(
            f"input_ids is {type(input_ids).__name__}: a hybrid reads a tensor of token ids, (batch, length), such as "
            'tokenizer(text, return_tensors="pt")["input_ids"]. It takes no `inputs_embeds`, as each of its components '
            "has an embedding of its own."
        )
    if input_ids.ndim != 2 or input_ids.numel() == 0 or input_ids.dtype not in (torch.int64, torch.int32):
        raise ManticoreError(
            f"input_ids has shape {tuple(input_ids.shape)} and type {input_ids.dtype}: token ids are integers of shape "
            "(batch, length), with at least one row and one token."
        )
    if not input_ids.is_cpu:
        return input_ids
    low, high = (int(x) for x in input_ids.aminmax())
    for name, size in vocabularies.items():
        if low < 0 or high >= size:
            raise ManticoreError(
                f"input_ids holds {low if low < 0 else high}, but {name!r} knows the ids 0 to {size - 1}. Use the "
                "hybrid's own tokenizer, and mark padding with `attention_mask` rather than with other ids."
            )
    return input_ids


def check_width(width: Any, widths: list[int], where: str) -> int:
    """The shared width as a plain number: `width`, or the widest component's where that is None.

    Raises `ManticoreError` below the widest component, whose state would be cut, and above all of them together, where
    nothing is left to hold.
    """
    if width is None:
        return max(widths)
    if isinstance(width, bool) or not hasattr(width, "__index__") or not max(widths) <= width <= sum(widths):
        raise ManticoreError(
            f"{where}: the shared width is {width!r}; it must be a whole number from {max(widths)} (the widest "
            f"component) to {sum(widths)} (all of them together)."
        )
    return int(width)
