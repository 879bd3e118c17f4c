"""A change of the mixture

What a person waits for: from setting a row of the mixture to the held-out loss at it, in the first notebook's hybrid,
on two threads and in wall time. Each edit moves the weight of one block, either of the two, to a random place.
"""

from collections.abc import Iterator

import numpy as np

from benchmarks.clock import Clock, threads
from benchmarks.demo import demo
from benchmarks.rows import Row
from manticore_kit.analysis import LiveLosses

QUICK = {"edits": 20}

WINDOWS = 16  # of 128 tokens


def rows(clock: Clock, *, edits: int = 100, windows: int = WINDOWS) -> Iterator[Row]:
    """The median wait and its 95th percentile, in milliseconds."""
    hybrid, text = demo(clock, windows)
    losses = LiveLosses(hybrid, text)
    wall = Clock(clock.device, wall=True)
    draw = np.random.default_rng(0)
    mixture = [[0.5, 0.5], [0.5, 0.5]]
    waits = []
    with threads(2):
        for edit in range(-3, edits):  # three that are not counted
            weight = draw.random()
            mixture[draw.integers(2)] = [1 - weight, weight]
            start = wall()
            hybrid.set_mixture(mixture)
            losses().mean().item()
            if edit >= 0:
                waits.append(1000 * (wall() - start))
    yield Row("edit", f"from an edit to the loss of {windows} windows, median of {edits} edits", waits, "ms", "<= 150")
    name = f"from an edit to the loss of {windows} windows, 95th percentile"
    yield Row("edit", name, [np.percentile(waits, 95)], "ms")
