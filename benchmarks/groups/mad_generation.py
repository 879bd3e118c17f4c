"""MAD's rows

Training and test rows of each of MAD's six tasks at the baseline, drawn on one core of the CPU, with the part of the
work that keeps the splits apart. The published generator took 78 s for the six on the project's reference machine; that
figure is taken over and not measured here.
"""

from collections.abc import Callable, Iterator

import torch

from benchmarks.clock import Clock
from benchmarks.measure import measure, total
from benchmarks.rows import Row
from manticore_kit.tasks import mad

QUICK = {"rounds": 2, "train": 1280, "test": 128, "memorization_train": 64}


def rows(
    _: Clock, *, rounds: int = 7, train: int = 12_800, test: int = 1_280, memorization_train: int = 256
) -> Iterator[Row]:
    """Seconds of all tasks together, and of each."""
    cpu = Clock(torch.device("cpu"))
    sizes = {task: memorization_train if task == "memorization" else train for task in mad.TASKS}
    times = measure({task: _both_splits(task, size, test) for task, size in sizes.items()}, cpu, rounds)
    yield Row("mad_generation", "all six tasks", total(*times.values()), cpu.unit, "<= 1")
    for task in mad.TASKS:
        yield Row("mad_generation", task, times[task], cpu.unit)


def _both_splits(task: str, train: int, test: int) -> Callable[[], None]:
    def work() -> None:
        mad.generate(task, "train", num_examples=train)
        mad.generate(task, "test", num_examples=test)

    return work
