"""What is asked of a model that has read a row up to a position: an id, or nothing."""

import numpy as np
from numpy.typing import NDArray

IGNORED = -100  # as a target: nothing is asked here (PyTorch's cross-entropy leaves it out by default)

Ints = NDArray[np.int64]
Tokens = NDArray[np.integer]
Mask = NDArray[np.bool_]


def next_tokens(tokens: Tokens, asked: Mask | None = None) -> tuple[Ints, Ints]:
    """Inputs and targets, both (rows, length − 1), of predicting each next one of `tokens` (rows, length).

    Where a mask `asked` (rows, length) is given, only the tokens that it marks are targets.
    """
    targets = tokens[:, 1:].astype(np.int64)
    if asked is not None:
        targets[~asked[:, 1:]] = IGNORED
    return tokens[:, :-1].astype(np.int64), targets


def seen_before(keys: NDArray[np.integer]) -> Mask:
    """Whether each of `keys` (rows, places) also stands further to the left in its row, (rows, places)."""
    order = np.argsort(keys, axis=1, kind="stable")  # of equal keys, the leftmost comes first
    ordered = np.take_along_axis(keys, order, axis=1)
    repeats = np.zeros(keys.shape, dtype=bool)
    repeats[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    seen = np.empty_like(repeats)
    np.put_along_axis(seen, order, repeats, axis=1)
    return seen
