"""Held-out loss over mixture weights (the paper's figures 2 and 3), with the loss on every example kept.

The hybrid is fixed and only its mixture moves. Because each mixture is judged on the same examples, the difference of
any two points has a confidence interval, and "this mixture is better than that component" can be tested.
"""

import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from manticore_kit.analysis.mixtures import DRAWABLE, KINDS, Kind, check_mixtures, mixture_grid
from manticore_kit.analysis.significance import (
    Difference,
    Interval,
    bootstrap_intervals,
    mean_interval,
    paired_difference,
)
from manticore_kit.errors import ManticoreError
from manticore_kit.hybrid.shared_run import SharedRun
from manticore_kit.tasks.language.evaluate import check_windows, losses_of_logits

# Enough for a band in a figure; a difference that is reported takes more (significance.RESAMPLES).
_BAND_RESAMPLES = 1999


class Corner(NamedTuple):
    """A measured mixture of one-hot rows: a component itself, or a frankenmerge such as "tiny-gptneo → tiny-mamba"."""

    point: int
    label: str
    path: tuple[int, ...]  # the component of each block

    @property
    def component(self) -> int | None:
        """The component that this corner is, or None for a frankenmerge."""
        return self.path[0] if len(set(self.path)) == 1 else None


class Axis(NamedTuple):
    """One direction of a surface: the weight of `component` in `block` (both from 0), and the values it takes."""

    block: int
    component: int
    name: str
    where: str  # "in block 2", or nothing in a hybrid of one block
    values: NDArray

    @property
    def label(self) -> str:
        """What the axis shows, such as "weight of tiny-mamba in block 2"."""
        return f"weight of {self.name} {self.where}".rstrip()


@dataclass(frozen=True, eq=False, repr=False)
class LossSurface:
    """Per-example held-out losses, nats per token, of one hybrid at many mixtures.

    `mixtures` is (points, blocks, components) with rows on the simplex, `losses` is (points, examples), and
    `component_names` label the components. A surface that is still being measured has NaN where nothing is known yet.
    """

    component_names: tuple[str, ...]
    mixtures: NDArray
    losses: NDArray

    def __post_init__(self) -> None:
        points, _, components = self.mixtures.shape
        if self.losses.ndim != 2 or len(self.losses) != points or components != len(self.component_names):
            raise ManticoreError(
                f"a loss surface of {points} mixtures of {components} components does not go with losses "
                f"{self.losses.shape} and the names {', '.join(self.component_names)}"
            )

    def __repr__(self) -> str:
        points, examples = self.losses.shape
        best = f"{np.nanmin(self.mean):.3f}" if points and not np.isnan(self.mean).all() else "unknown"
        names = ", ".join(self.component_names)
        return f"LossSurface({names}: {points} mixtures × {examples} examples, lowest mean loss {best})"

    @cached_property
    def mean(self) -> NDArray:
        """The mean loss at each point, (points,)."""
        return self.losses.mean(axis=1)

    @property
    def best(self) -> int:
        """The point of the lowest mean loss. It is chosen on these examples; `gain` is the honest comparison."""
        return int(np.nanargmin(self.mean))

    @cached_property
    def varied_blocks(self) -> tuple[int, ...]:
        """The blocks, from 0, whose row is not the same at all points."""
        differs = (self.mixtures != self.mixtures[0]).any(axis=(0, 2))
        return tuple(int(block) for block in np.flatnonzero(differs))

    @property
    def kind(self) -> Kind:
        """What it is drawn as: "curve", "surface" or "triangle". Raises `ManticoreError` for any other shape."""
        components = len(self.component_names)
        kind = KINDS.get((len(self.varied_blocks), components))
        if kind is None:
            raise ManticoreError(
                f"losses over {len(self.varied_blocks)} varied blocks of {components} components cannot be drawn: "
                f"it takes {DRAWABLE}"
            )
        return kind

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The weights that vary: of the second component in each varied block, or of each of three components."""
        if self.kind == "triangle":
            directions = [(self.varied_blocks[0], component) for component in range(3)]
        else:
            directions = [(block, 1) for block in self.varied_blocks]
        return tuple(self._axis(block, component) for block, component in directions)

    def _axis(self, block: int, component: int) -> Axis:
        where = f"in block {block + 1}" if self.mixtures.shape[1] > 1 else ""
        values = np.unique(self.mixtures[:, block, component])
        return Axis(block, component, self.component_names[component], where, values)

    @cached_property
    def grid_points(self) -> NDArray:
        """Which point lies at each place of a two-block surface: (values of the second axis, values of the first).

        Raises `ManticoreError` if this is no surface or not every place was measured exactly once.
        """
        if self.kind != "surface":
            raise ManticoreError(f"only a surface over two blocks has a grid; this is a {self.kind}")
        first, second = self.axes
        columns = np.searchsorted(first.values, self.mixtures[:, first.block, 1])
        rows = np.searchsorted(second.values, self.mixtures[:, second.block, 1])
        points = np.full((len(second.values), len(first.values)), -1)
        points[rows, columns] = np.arange(len(self.mixtures))
        if (points < 0).any() or points.size != len(self.mixtures):
            raise ManticoreError(
                f"these {len(self.mixtures)} mixtures are no full grid of {len(first.values)} × {len(second.values)} "
                "weights: leave `mixtures` out to have one made"
            )
        return points

    def grid(self) -> NDArray:
        """Mean losses of a two-block surface: rows follow the second axis, columns the first."""
        return self.mean[self.grid_points]

    @cached_property
    def corners(self) -> tuple[Corner, ...]:
        """The measured points whose every row is one-hot: components first, then frankenmerges."""
        found = []
        one_hot = (self.mixtures == 1).any(axis=2).all(axis=1)
        for point in np.flatnonzero(one_hot & ~np.isnan(self.mean)):
            path = tuple(self.mixtures[point].argmax(axis=1).tolist())
            found.append(Corner(int(point), path_label(path, self.component_names), path))
        return tuple(sorted(found, key=lambda corner: (corner.component is None, corner.path)))

    @property
    def best_component(self) -> Corner | None:
        """The component of the lowest mean loss, or None where no component's corner was measured."""
        components = [corner for corner in self.corners if corner.component is not None]
        return min(components, key=lambda corner: self.mean[corner.point], default=None)

    def interval(self, point: int, *, confidence: float = 0.95) -> Interval:
        """The mean loss at `point` with its bootstrap interval over examples."""
        return mean_interval(self.losses[point], confidence=confidence)

    def intervals(self, *, against: int | None = None, confidence: float = 0.95) -> tuple[NDArray, NDArray]:
        """Bootstrap bounds (low, high), each (points,): of the loss, or of its difference from the point `against`."""
        rows = self.losses if against is None else self.losses - self.losses[against]
        low, high = np.full((2, len(rows)), np.nan)
        known = ~np.isnan(rows).any(axis=1)
        low[known], high[known] = bootstrap_intervals(rows[known], confidence=confidence, resamples=_BAND_RESAMPLES)
        return low, high

    def difference(self, point: int, other: int, *, confidence: float = 0.95) -> Difference:
        """The loss at `point` minus the loss at `other`, paired by example."""
        return paired_difference(self.losses[point], self.losses[other], confidence=confidence)

    def gain(self, *, confidence: float = 0.95) -> Difference:
        """The loss of the best mixture minus that of the best component, free of the luck of having been chosen.

        The lowest of many noisy means is too low. So best mixture and best component are chosen on every other
        example and judged on the rest, and the other way round (two-fold cross-fitting). Raises `ManticoreError`
        where no component's corner was measured or there are fewer than four examples.
        """
        components = [corner.point for corner in self.corners if corner.component is not None]
        examples = self.losses.shape[1]
        if not components or examples < 4:
            raise ManticoreError(
                f"a gain needs a component's corner among the mixtures (there are {len(components)}) and at least four "
                f"examples (there are {examples})"
            )
        even = np.arange(examples) % 2 == 0
        mixture, component = np.empty(examples), np.empty(examples)
        for judged in (even, ~even):
            chosen_on = self.losses[:, ~judged].mean(axis=1)
            mixture[judged] = self.losses[chosen_on.argmin(), judged]
            component[judged] = self.losses[min(components, key=lambda p: chosen_on[p]), judged]
        return paired_difference(mixture, component, confidence=confidence)

    def describe_point(self, point: int) -> tuple[str, ...]:
        """The mixture at `point` in words, one line per block."""
        rows, depth = self.mixtures[point], self.mixtures.shape[1]
        return tuple(
            (f"block {block + 1}: " if depth > 1 else "")
            + ", ".join(f"{w:.3g} {name}" for w, name in zip(row, self.component_names, strict=True))
            for block, row in enumerate(rows)
        )

    def save(self, path: Path | str) -> Path:
        """Write everything to `path` (npz) and return it; the file appears whole or not at all."""
        path = Path(path)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                np.savez_compressed(
                    file, component_names=self.component_names, mixtures=self.mixtures, losses=self.losses
                )
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return path

    @classmethod
    def load(cls, path: Path | str) -> "LossSurface":
        """The surface that `save` wrote to `path`. Raises `ManticoreError` for any other file; runs no code from it."""
        try:
            # Opened here, because numpy leaves a file open that it finds broken.
            with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                names, mixtures, losses = (file[key] for key in ("component_names", "mixtures", "losses"))
        except (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
            raise ManticoreError(
                f"{path} is not a saved loss surface ({type(error).__name__}: {error}): "
                "give a file written by `LossSurface.save`"
            ) from error
        return cls(tuple(str(name) for name in names), mixtures, losses)


def loss_surface(
    hybrid: Any,
    input_ids: Tensor,
    *,
    points: int = 9,
    blocks: Sequence[int] | None = None,
    mixtures: ArrayLike | None = None,
    batch_size: int = 32,
    progress: Callable[[int, int], object] | None = None,
    watch: Callable[[LossSurface], object] | None = None,
) -> LossSurface:
    """The held-out loss of `hybrid` on `input_ids` (examples, length) at a grid of mixtures.

    The grid has `points` weights along each direction and varies the rows of `blocks` (counted from 0; all of them
    unless given). `mixtures` (points, blocks, components) replaces the grid. The first `batch_size` examples are judged
    at every mixture, then the next; `progress(done, total)` counts mixtures × batches, and `watch` is given the surface
    as far as it is known: point by point on the first batch (what is not yet measured is NaN), then batch by batch.
    The hybrid's own mixture is put back at the end, also after an error. Raises `ManticoreError`
    for a grid that could not be drawn, for rows that are not on the simplex and for anything else than windows of ids.
    Source: the paper's figures 2 and 3.
    """
    check_windows(input_ids)
    start = hybrid.mixture.logits.detach().clone()
    depth, components = start.shape
    if mixtures is None:
        mixtures = mixture_grid(start.softmax(dim=-1).cpu().double().numpy(), blocks=blocks, points=points)
    elif blocks is not None:
        raise ManticoreError("give `blocks`, for a grid that varies them, or `mixtures`, not both")
    mixtures = check_mixtures(mixtures, blocks=depth, components=components)
    names = _distinct(hybrid.config.component_names)
    losses = np.full((len(mixtures), len(input_ids)), np.nan)
    # Neighbours in this order share their first rows, and so the work on the first blocks.
    order = np.lexsort(mixtures.reshape(len(mixtures), -1).T[::-1])
    batches, judged, done = input_ids.split(batch_size), 0, 0
    was_training = hybrid.training
    hybrid.eval()
    try:
        for batch in batches:
            run = SharedRun(hybrid, batch.to(hybrid.device))
            first, judged = judged, judged + len(batch)
            for point in order:
                hybrid.set_mixture(mixtures[point].tolist())
                losses[point, first:judged] = losses_of_logits(run.logits(), run.input_ids).double().cpu().numpy()
                done += 1
                if progress is not None:
                    progress(done, len(mixtures) * len(batches))
                if watch is not None and (first == 0 or point == order[-1]):
                    watch(LossSurface(names, mixtures, losses[:, :judged].copy()))
    finally:
        with torch.no_grad():
            hybrid.mixture.logits.copy_(start)
        hybrid.train(was_training)
    return LossSurface(names, mixtures, losses)


def path_label(path: Sequence[int], names: Sequence[str]) -> str:
    """A component's name where all blocks are its own, otherwise the name of each block's component in order."""
    return names[path[0]] if len(set(path)) == 1 else " → ".join(names[k] for k in path)


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Two copies of one model are told apart as "name (1)" and "name (2)"."""
    names = list(names)
    return tuple(
        f"{name} ({names[: i + 1].count(name)})" if names.count(name) > 1 else name for i, name in enumerate(names)
    )
