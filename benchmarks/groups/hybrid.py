"""Hybrid against its components

A hybrid of GPT-Neo and Mamba, two blocks, uniform mixture, against the sum of its components' own times on the same
tokens: what joining them costs. The bounds in tokens per second are eight and two times what a public reimplementation
of the same hybrid reached, 369 in training and 5,332 forward; those two figures were measured elsewhere.
"""

from collections.abc import Iterator

from benchmarks.clock import Clock
from benchmarks.measure import measure, rates, ratios, total
from benchmarks.models import gptneo, hybrid_of, mamba, token_ids
from benchmarks.rows import Row
from benchmarks.works import forward, training_step

QUICK = {"rounds": 3, "batch": 16, "wide": 256}

# Tokens per CPU-second of the public reimplementation (batch 32, length 128, width 128, 4 + 4 layers).
ELSEWHERE_TRAINING, ELSEWHERE_FORWARD = 369, 5332


def rows(
    clock: Clock,
    *,
    rounds: int = 7,
    batch: int = 32,
    length: int = 128,
    width: int = 128,
    depth: int = 4,
    wide: int = 768,
    wide_batch: int = 16,
) -> Iterator[Row]:
    """Ratios to the sum of the components at `width` and at `wide`, and tokens per second at `width`."""
    bounds = {"training step": "<= 1.10", "forward": "<= 1.05", "forward with loss": ""}
    for kind, times in _measured(clock, rounds, batch, length, width, depth, bounds):
        yield _overhead(times, f"{kind}, width {width}", bounds[kind])
        if kind in ("training step", "forward"):
            bound = 8 * ELSEWHERE_TRAINING if kind == "training step" else 2 * ELSEWHERE_FORWARD
            speed = rates(batch * length, times["hybrid"])
            yield Row("hybrid", f"{kind}, width {width}: speed", speed, f"tokens/{clock.unit}", f">= {bound}")
    bounds = {"training step": "<= 1.04", "forward": "<= 1.04"}
    for kind, times in _measured(clock, rounds, wide_batch, length, wide, depth, bounds):
        yield _overhead(times, f"{kind}, width {wide}", bounds[kind])


def _measured(clock: Clock, rounds: int, batch: int, length: int, width: int, depth: int, kinds) -> Iterator:
    parts = [gptneo(clock, width, depth), mamba(clock, width, depth)]
    ids = token_ids(clock, batch, length)
    models = {"hybrid": hybrid_of(parts), **{str(k): part.component.model for k, part in enumerate(parts)}}
    for kind in kinds:
        works = {
            name: training_step(model, ids)
            if kind == "training step"
            else forward(model, ids, loss=kind == "forward with loss")
            for name, model in models.items()
        }
        yield kind, measure(works, clock, rounds)


def _overhead(times: dict[str, list[float]], name: str, target: str) -> Row:
    parts = total(*(values for key, values in times.items() if key != "hybrid"))
    return Row("hybrid", f"{name}: hybrid over the sum of its components", ratios(times["hybrid"], parts), "×", target)
