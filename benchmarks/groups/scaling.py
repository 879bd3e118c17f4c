"""Cost against size

Time per token of the hybrid and of the sum of its components' own, forward and training step, along sequence length
(with as many tokens in every batch), number of blocks, of components (GPT-Neo, then Mamba, then Pythia) and of
sequences in a batch. Width 128, four layers a component, uniform mixture; what an axis does not change is GPT-Neo with
Mamba in two blocks.
"""

from collections.abc import Iterator, Sequence

from torch import Tensor

from benchmarks.clock import Clock
from benchmarks.measure import measure, total
from benchmarks.models import FAMILIES, hybrid_of, token_ids
from benchmarks.rows import Row
from benchmarks.works import forward, training_step
from manticore_kit.components import Loaded

QUICK = {"rounds": 1, "tokens": 512, "lengths": (64, 256, 512), "blocks": (1, 2, 4), "batches": (1, 4, 16)}

KINDS = {"forward": forward, "training step": training_step}
SERIES = ("hybrid", "sum of its components")


def rows(
    clock: Clock,
    *,
    rounds: int = 5,
    tokens: int = 4096,
    lengths: Sequence[int] = (64, 128, 256, 512, 1024, 2048, 4096),
    blocks: Sequence[int] = (1, 2, 3, 4),
    components: Sequence[int] = (1, 2, 3),
    batches: Sequence[int] = (1, 2, 4, 8, 16, 32),
    length: int = 128,
    width: int = 128,
) -> Iterator[Row]:
    """Two curves, hybrid and components, for each of two kinds of work along each of four axes."""
    parts = [family(clock, width) for family in list(FAMILIES.values())[: max(2, *components)]]
    usual = token_ids(clock, max(1, tokens // length), length)
    for n in lengths:
        yield from _point("length", n, parts[:2], 2, token_ids(clock, max(1, tokens // n), n), clock, rounds)
    for n in blocks:
        yield from _point("blocks", n, parts[:2], n, usual, clock, rounds)
    for n in components:
        yield from _point("components", n, parts[:n], 2, usual, clock, rounds)
    for n in batches:
        yield from _point("batch", n, parts[:2], 2, token_ids(clock, n, length), clock, rounds)


def _point(
    axis: str, at: int, parts: list[Loaded], blocks: int, ids: Tensor, clock: Clock, rounds: int
) -> Iterator[Row]:
    models = {"hybrid": hybrid_of(parts, blocks), **{part.component.name: part.component.model for part in parts}}
    for kind, work in KINDS.items():
        times = measure({name: work(model, ids) for name, model in models.items()}, clock, rounds)
        curves = (times.pop("hybrid"), total(*times.values()))
        for series, seconds in zip(SERIES, curves, strict=True):
            per_token = [1e6 * each / ids.numel() for each in seconds]
            yield Row("scaling", f"{axis}, {kind}, {series}", per_token, f"{clock.micro} per token", at=at)
    for model in models.values():
        model.zero_grad()
