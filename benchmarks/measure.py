"""Several pieces of work timed in turn, round by round, in one process.

In the order A B C A B C … whatever else the machine does falls on all of them alike, and a ratio is taken within a
round, between works that ran moments apart. What is reported is the median of the rounds' ratios.
"""

import gc
import math
from collections.abc import Callable, Mapping, Sequence

from benchmarks.clock import Clock

# Work shorter than this many seconds is repeated within a round, and its time divided.
SHORTEST = 0.05
# Work of which even the first call, with all that is done once, takes more than this is not short.
LONG = 1.0

Times = Sequence[float]


def measure(
    works: Mapping[str, Callable[[], object]], clock: Clock, rounds: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Seconds that each of `works` takes per call, one number a round, after one round that is not measured.

    The unmeasured round fills allocator, caches and thread pools, and tells how often short work must be repeated.
    Without `warm_up` the caller has warmed up by smaller work of the same kind, and nothing is repeated.
    """
    repeats = dict.fromkeys(works, 1)
    times: dict[str, list[float]] = {name: [] for name in works}
    gc.freeze()  # what is there already need not be looked through again before each work
    try:
        if warm_up:
            for name, work in works.items():
                # The first call's imports and allocations say nothing of the calls to come.
                if _seconds(work, 1, clock) < LONG:
                    repeats[name] = max(1, math.ceil(SHORTEST / max(_seconds(work, 1, clock), 1e-6)))
        for _ in range(rounds):
            for name, work in works.items():
                times[name].append(_seconds(work, repeats[name], clock))
    finally:
        gc.unfreeze()
    return times


def ratios(numerator: Times, denominator: Times) -> list[float]:
    """The ratio in each round."""
    return [a / b for a, b in zip(numerator, denominator, strict=True)]


def total(*times: Times) -> list[float]:
    """The sum in each round."""
    return [sum(each) for each in zip(*times, strict=True)]


def rates(amount: float, times: Times) -> list[float]:
    """`amount` per second in each round."""
    return [amount / seconds for seconds in times]


def _seconds(work: Callable[[], object], repeats: int, clock: Clock) -> float:
    gc.collect()  # nobody pays for the garbage of the one before
    start = clock()
    for _ in range(repeats):
        work()
    return (clock() - start) / repeats
