"""Grids of mixtures: which ones a loss surface is measured on.

A mixture is a (blocks, components) array of rows on the simplex. What can be drawn is one block of two components (a
curve over one weight), two blocks of two components (a surface over two weights) and one block of three components (a
triangle). In a hybrid of more blocks the others keep their rows, which gives a slice.
"""

from collections.abc import Sequence
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manticore_kit.errors import ManticoreError

Kind = Literal["curve", "surface", "triangle"]

# (blocks that vary, components) -> what it is drawn as
KINDS: dict[tuple[int, int], Kind] = {(1, 2): "curve", (2, 2): "surface", (1, 3): "triangle"}
DRAWABLE = "one block of two or three components, or two blocks of two components"


def mixture_grid(start: ArrayLike, *, blocks: Sequence[int] | None = None, points: int = 9) -> NDArray:
    """Mixtures (grid points, blocks, components) with `points` weights from 0 to 1 along each direction.

    `blocks` (counted from 0; all unless given) take every value, the others keep their row of `start` (blocks,
    components). Raises `ManticoreError` where the result could not be drawn.
    """
    start = np.asarray(start, dtype=np.float64)
    depth, components = start.shape
    varied = tuple(range(depth)) if blocks is None else tuple(blocks)
    if points < 2:
        raise ManticoreError(f"points is {points}: a grid needs at least 2 along each direction")
    if len(set(varied)) != len(varied) or not set(varied) <= set(range(depth)):
        raise ManticoreError(
            f"blocks is {varied}: give different numbers from 0 to {depth - 1} (this hybrid has {depth} blocks)"
        )
    if (len(varied), components) not in KINDS:
        raise ManticoreError(
            f"a grid over {len(varied)} blocks of {components} components cannot be drawn: it takes {DRAWABLE}. "
            "Vary fewer with `blocks=(0,)`, or name the points yourself with `mixtures=`"
        )
    rows = simplex_lattice(components, points)
    grid = np.broadcast_to(start, (len(rows) ** len(varied), depth, components)).copy()
    grid[:, varied, :] = np.array(list(product(rows, repeat=len(varied))))
    return grid


def simplex_lattice(components: int, points: int) -> NDArray:
    """Every row of `components` weights that are multiples of 1 / (points − 1) and sum to 1: (rows, components)."""
    steps = points - 1
    counts = [row for row in product(range(points), repeat=components - 1) if sum(row) <= steps]
    rest = [(steps - sum(row), *row) for row in counts]
    return np.array(rest, dtype=np.float64) / steps


def check_mixtures(mixtures: ArrayLike, *, blocks: int, components: int) -> NDArray:
    """`mixtures` as an array (points, blocks, components).

    Raises `ManticoreError` for another shape and for a row that is not on the simplex.
    """
    array = np.asarray(mixtures, dtype=np.float64)
    if array.ndim != 3 or array.shape[1:] != (blocks, components) or not len(array):
        raise ManticoreError(
            f"mixtures have the shape {array.shape}: this hybrid takes (points, {blocks}, {components}), one row per "
            "block and one weight per component"
        )
    # A NaN fails the comparisons, so it counts as wrong.
    right = (array >= 0).all(-1) & (np.abs(array.sum(-1) - 1) < 1e-6)
    if not right.all():
        point, block = np.argwhere(~right)[0]
        raise ManticoreError(
            f"row {block} of mixture {point} is {array[point, block].tolist()}: weights must be at least 0 and sum to 1"
        )
    return array
