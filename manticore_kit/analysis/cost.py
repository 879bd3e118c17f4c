"""What a hybrid costs to keep: parameters by part, and the size of a saved folder."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from manticore_kit.errors import ManticoreError

OTHER = "other"


def parameters_by_part(model: nn.Module, parts: Sequence[str] | None = None) -> dict[str, int]:
    """The number of parameters under each of `parts`, dotted names of modules or parameters in `model`.

    Parts are the model's direct children unless given. Of two parts that hold a parameter, the more deeply named one
    counts it; what is under none counts as "other". A tensor that several parts share counts once, in the first of
    them, so the values always add up to the model's size. Raises `ManticoreError` for a part that the model lacks.
    """
    names = list(parts) if parts is not None else [name for name, _ in model.named_children()]
    known = {name for name, _ in model.named_modules()} | {name for name, _ in model.named_parameters()}
    if unknown := [name for name in names if name not in known]:
        children = ", ".join(name for name, _ in model.named_children())
        raise ManticoreError(f"{type(model).__name__} has no part {unknown[0]!r}; its outermost parts are: {children}")
    counts = dict.fromkeys([*names, OTHER], 0)
    for path, parameter in model.named_parameters():
        holders = [name for name in names if f"{path}.".startswith(f"{name}.")]
        counts[max(holders, key=len, default=OTHER)] += parameter.numel()
    if not counts[OTHER]:
        del counts[OTHER]
    return counts


def folder_bytes(folder: Path | str) -> int:
    """The size in bytes of all files under `folder`. Raises `ManticoreError` if it is not a folder."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ManticoreError(f"{folder} is not a folder: give the one that `save_pretrained` wrote")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
