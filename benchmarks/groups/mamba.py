"""Mamba's training step

Gradients cleared, forward with labels and backward of a Mamba, against a GPT-Neo of the same width, depth and
vocabulary on the same tokens.
"""

from collections.abc import Iterator

from benchmarks.clock import Clock
from benchmarks.measure import measure, rates, ratios
from benchmarks.models import gptneo, mamba, token_ids
from benchmarks.rows import Row
from benchmarks.works import training_step

QUICK = {"rounds": 3, "batch": 16}


def rows(
    clock: Clock, *, rounds: int = 7, batch: int = 32, length: int = 128, width: int = 128, depth: int = 4
) -> Iterator[Row]:
    """Mamba's time over GPT-Neo's, and the tokens per second of each."""
    ids = token_ids(clock, batch, length)
    models = {"Mamba": mamba(clock, width, depth), "GPT-Neo": gptneo(clock, width, depth)}
    steps = {name: training_step(loaded.component.model, ids) for name, loaded in models.items()}
    times = measure(steps, clock, rounds)
    yield Row("mamba", "Mamba's training step over GPT-Neo's", ratios(times["Mamba"], times["GPT-Neo"]), "×", "<= 1.0")
    for name in models:
        yield Row("mamba", f"{name}, training", rates(ids.numel(), times[name]), f"tokens/{clock.unit}")
