"""Cached generation

Greedy, one text at a time. The speed is that of the hybrid over the speed that running its components one after the
other for every token would give, 1 / (1/a + 1/b). Flatness is the time per token near the end of a long generation over
that near its start: Mamba's state has a constant size, attention's cache grows.
"""

from collections.abc import Iterator
from statistics import median

from torch import Tensor
from transformers.generation.streamers import BaseStreamer

from benchmarks.clock import Clock
from benchmarks.measure import measure, rates, ratios, total
from benchmarks.models import gptneo, hybrid_of, mamba, token_ids
from benchmarks.rows import Row
from benchmarks.works import generation

QUICK = {"rounds": 3, "new_tokens": 48, "long": 200, "long_rounds": 1}


def rows(
    clock: Clock,
    *,
    rounds: int = 7,
    width: int = 128,
    depth: int = 4,
    prompt: int = 16,
    new_tokens: int = 96,
    long: int = 1000,
    long_rounds: int = 3,
) -> Iterator[Row]:
    """Speed of the hybrid's generation beside its components', and flatness along `long` tokens."""
    parts = {"GPT-Neo": gptneo(clock, width, depth), "Mamba": mamba(clock, width, depth)}
    models = {"hybrid": hybrid_of(list(parts.values())), **{n: p.component.model for n, p in parts.items()}}
    ids = token_ids(clock, 1, prompt)

    times = measure({name: generation(model, ids, new_tokens) for name, model in models.items()}, clock, rounds)
    one_after_the_other = total(*(times[name] for name in parts))
    name = "speed of the hybrid over that of its components one after the other"
    yield Row("generation", name, ratios(one_after_the_other, times["hybrid"]), "×", ">= 0.9")
    for name in models:
        yield Row("generation", f"{name}: speed", rates(new_tokens, times[name]), f"tokens/{clock.unit}")

    targets = {"Mamba": "<= 1.1"}
    flatness: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(long_rounds):
        for name, model in models.items():
            flatness[name].append(_late_over_early(model, ids, long, clock))
    for name, values in flatness.items():
        title = f"{name}: time per token, last tenth of {long:,} over the second tenth"
        yield Row("generation", title, values, "×", targets.get(name, ""))


class _Stopwatch(BaseStreamer):
    """Notes the time at each new token."""

    def __init__(self, clock: Clock):
        self.clock = clock
        self.seconds: list[float] = []

    def put(self, value: Tensor) -> None:
        self.seconds.append(self.clock())

    def end(self) -> None:
        pass


def _late_over_early(model, ids: Tensor, long: int, clock: Clock) -> float:
    watch = _Stopwatch(clock)
    model.eval()
    model.generate(ids, max_new_tokens=long, do_sample=False, use_cache=True, streamer=watch)
    steps = [after - before for before, after in zip(watch.seconds, watch.seconds[1:], strict=False)]
    tenth = len(steps) // 10
    return median(steps[-tenth:]) / median(steps[tenth : 2 * tenth])
