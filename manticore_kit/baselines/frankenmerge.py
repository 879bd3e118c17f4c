"""Naive frankenmerges: the first blocks of one model, the next of another, with nothing between them.

They are the corners of the mixtures that are no single component. A one-hot mixture uses no projector, so the state of
one model goes into another as it is, cut or padded with zeros to its width. That seldom does well untrained, and is
what a hybrid with projectors is measured against.

Source: arXiv 2406.00894, section 4 (baselines).
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from manticore_kit.analysis.discrete import Path, mixture_put_back, one_hot_rows, refuse_discretised
from manticore_kit.analysis.surface import _distinct, path_label
from manticore_kit.errors import ManticoreError
from manticore_kit.hybrid.modeling import ManticoreForCausalLM

# Beyond this nobody measures them all: 2 components in 10 blocks, 4 in 5.
MOST = 1024


class Frankenmerge(NamedTuple):
    """A mixture of one-hot rows on at least two components."""

    label: str  # such as "tiny-gptneo → tiny-mamba"
    path: Path  # the component of each block, from 0
    rows: list[list[float]]  # one per block, as `set_mixture` takes them


def frankenmerges(hybrid: ManticoreForCausalLM) -> list[Frankenmerge]:
    """Every frankenmerge of the hybrid's blocks, in the order of their paths; none where it has a single block.

    Raises `ManticoreError` for a discretised hybrid, and where there are more than 1,024 one-hot mixtures.
    """
    refuse_discretised(hybrid)
    blocks, components = hybrid.mixture.logits.shape
    if components**blocks > MOST:
        raise ManticoreError(
            f"{blocks} blocks of {components} components have {components**blocks:,} one-hot mixtures, and at most "
            f"{MOST:,} are listed. `manticore_kit.analysis.discrete.beam_one_hots` finds good ones without trying all, "
            "and `as_frankenmerge(hybrid, path)` makes the one of any path."
        )
    names = _distinct(hybrid.config.component_names)
    paths = product(range(components), repeat=blocks)
    return [
        Frankenmerge(path_label(path, names), path, one_hot_rows(path, components))
        for path in paths
        if len(set(path)) > 1
    ]


def as_frankenmerge(hybrid: ManticoreForCausalLM, path: Sequence[int]) -> ManticoreForCausalLM:
    """A smaller hybrid in which block n is component `path[n]` (both from 0), without projectors and unused parts.

    A path of one component gives that component. The hybrid itself stays as it is and shares no weights with the
    result. Raises `ManticoreError` for a path that is not a component for each block, and for a discretised hybrid.
    """
    refuse_discretised(hybrid)
    blocks, components = hybrid.mixture.logits.shape
    if len(path) != blocks or not all(k in range(components) for k in path):
        raise ManticoreError(
            f"path is {path!r}: give a number from 0 to {components - 1} for each of the {blocks} blocks, the "
            f"component that it is taken from, such as {tuple(n % components for n in range(blocks))}"
        )
    with mixture_put_back(hybrid):
        hybrid.set_mixture(one_hot_rows(path, components))
        return hybrid.discretize()
