"""From a soft mixture to one component per block: the nearest one-hot rows, or the best ones that a beam finds.

The nearest one-hot looks at the weights alone. That two components each did well at half weight does not mean that
either does well by itself there, so `beam_one_hots` judges by loss on held-out text instead (the paper retrains
afterwards, section 3.3).

Rows are decided from the first block to the last. A block reads what the blocks before it leave, so each is judged on
the input that it will have in the end, while the rows not yet decided keep the hybrid's own soft weights; and mixtures
that agree in their first rows share the work on these blocks.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from manticore_kit.analysis.surface import _distinct, path_label
from manticore_kit.errors import ManticoreError
from manticore_kit.hybrid.shared_run import SharedRun
from manticore_kit.recipe import check_rows
from manticore_kit.tasks.language.evaluate import check_windows, losses_of_logits

Path = tuple[int, ...]  # the component of each block


class RankedPath(NamedTuple):
    """A one-hot mixture, and its mean held-out loss in nats per token."""

    path: Path  # the component of each block, both from 0
    label: str  # such as "tiny-gptneo → tiny-mamba"
    loss: float
    components: int

    @property
    def rows(self) -> list[list[float]]:
        """The mixture, one row per block, as `set_mixture` takes it."""
        return one_hot_rows(self.path, self.components)


@dataclass(frozen=True)
class OneHotChoice:
    """What `beam_one_hots` found: every complete one-hot mixture that it judged, lowest mean loss first."""

    ranking: tuple[RankedPath, ...]
    exhaustive: bool  # whether these are all there are, so that no better one exists on these windows

    @property
    def best(self) -> RankedPath:
        """The mixture of the lowest loss. It was chosen on these windows: report its loss on others."""
        return self.ranking[0]

    @property
    def rows(self) -> list[list[float]]:
        """The rows of the best mixture."""
        return self.best.rows

    @property
    def loss(self) -> float:
        """The mean held-out loss of the best mixture, nats per token."""
        return self.best.loss


def one_hot_rows(path: Sequence[int], components: int) -> list[list[float]]:
    """The mixture in which block n is component `path[n]` alone, one row per block."""
    return [[float(k == chosen) for k in range(components)] for chosen in path]


def nearest_one_hot(mixture: Sequence[Sequence[float]] | Tensor) -> list[list[float]]:
    """Each row of `mixture` (blocks, components) with 1 at its largest weight; of equal ones, at the first.

    This is what `ManticoreForCausalLM.discretize` keeps. Raises `ManticoreError` for rows off the simplex.
    """
    try:
        rows = check_rows(mixture.detach().tolist() if isinstance(mixture, Tensor) else mixture)
    except (ValueError, TypeError) as error:
        raise ManticoreError(
            f"{error}. Rows are blocks, columns are components, as in [[0.5, 0.5], [1, 0]]."
        ) from error
    return one_hot_rows([row.index(max(row)) for row in rows], len(rows[0]))


def beam_one_hots(
    hybrid: Any,
    windows: Tensor,
    *,
    width: int = 4,
    batch_size: int = 32,
    progress: Callable[[int, int], object] | None = None,
) -> OneHotChoice:
    """The one-hot mixtures of the lowest mean loss on `windows` (examples, length), by beam search block by block.

    The `width` best beginnings are kept at each block. Beginnings are judged as soon as there are more than `width`
    of them; where judging all complete mixtures takes no more evaluations than the beam, it judges them all.
    `progress(done, total)` counts mixtures × batches. The hybrid's own mixture and mode are put back at the end, also
    after an error. Raises `ManticoreError` for fewer than two windows, a width below 1, a discretised hybrid, and where
    every loss is NaN.
    """
    check_windows(windows)
    if len(windows) < 2:
        raise ManticoreError("one window is too few to choose a mixture on: give held-out windows, dozens if possible")
    if width < 1:
        raise ManticoreError(f"width is {width}: a beam keeps 1 mixture (greedy) or more")
    refuse_discretised(hybrid)
    blocks, components = hybrid.mixture.logits.shape
    depth, evaluations = _first_judged(blocks, components, width)
    batches = windows.split(batch_size)
    done, total = 0, evaluations * len(batches)

    def count() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    judged: list[tuple[float, Path]] = []
    was_training = hybrid.training
    hybrid.eval()
    try:
        with mixture_put_back(hybrid):
            paths = list(product(range(components), repeat=depth))
            judged = _judge(hybrid, paths, batches, count)
            while depth < blocks:
                depth += 1
                paths = sorted((*path, k) for _, path in judged[:width] for k in range(components))
                judged = _judge(hybrid, paths, batches, count)
    finally:
        hybrid.train(was_training)
    if np.isnan(judged[0][0]):
        raise ManticoreError(
            "every one-hot mixture has a loss of NaN on these windows: look at the components' own losses with "
            "`per_example_losses`, and at the hybrid's precision"
        )
    names = _distinct(hybrid.config.component_names)
    ranking = tuple(RankedPath(path, path_label(path, names), loss, components) for loss, path in judged)
    return OneHotChoice(ranking, exhaustive=len(ranking) == components**blocks)


@contextmanager
def mixture_put_back(hybrid: Any) -> Iterator[None]:
    """Whatever happens to the hybrid's mixture inside is undone at the end, to the last bit."""
    start = hybrid.mixture.logits.detach().clone()
    try:
        yield
    finally:
        with torch.no_grad():
            hybrid.mixture.logits.copy_(start)


def refuse_discretised(hybrid: Any) -> None:
    """Raises `ManticoreError` where the hybrid holds one component per block already."""
    if hybrid.is_discretised:
        raise ManticoreError(
            "This hybrid was discretised: it holds one component per block, so there is nothing left to choose. Give "
            "the hybrid that it was made of."
        )


def _first_judged(blocks: int, components: int, width: int) -> tuple[int, int]:
    """How long the beginnings are that are judged first, and how many evaluations there will be.

    While all beginnings fit in the beam none would be dropped, so judging them would be for nothing.
    """
    depth = next(n for n in range(1, blocks + 1) if n == blocks or components**n > width)
    evaluations = components**depth + (blocks - depth) * width * components
    return (blocks, components**blocks) if components**blocks <= evaluations else (depth, evaluations)


def _judge(
    hybrid: Any, paths: list[Path], batches: Sequence[Tensor], count: Callable[[], None]
) -> list[tuple[float, Path]]:
    """Mean losses of the beginnings `paths`, in order of their paths, lowest first and NaN last."""
    own = hybrid.mixture.logits
    soft = own.detach().clone()
    sums = np.zeros(len(paths))
    for batch in batches:
        run = SharedRun(hybrid, batch.to(hybrid.device))
        for index, path in enumerate(paths):
            with torch.no_grad():
                decided = torch.tensor(one_hot_rows(path, own.shape[1])).log()
                own[: len(path)] = decided.to(own)
            sums[index] += losses_of_logits(run.logits(), run.input_ids).double().sum().item()
            count()
        with torch.no_grad():
            own.copy_(soft)
    means = sums / sum(map(len, batches))
    # Stable, so that of equal ones the first path stays first.
    return [(float(means[index]), paths[index]) for index in np.argsort(means, kind="stable")]
