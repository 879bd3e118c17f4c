"""The time that a piece of work takes: the process's CPU time, or synchronised wall time where a GPU does the work."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Clock:
    """Reads seconds when called, for work on `device`.

    On the CPU that is the CPU time of this process, all its threads together, which other processes on the machine
    disturb least; with `wall` it is the time that a person waits. A GPU works on after a call has returned, so there
    it is wall time, read when all queued work is done.
    """

    device: torch.device
    wall: bool = False

    def __call__(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() if self.wall or self.device.type == "cuda" else time.process_time()

    @property
    def unit(self) -> str:
        """What one of its seconds is called."""
        return "s" if self.wall or self.device.type == "cuda" else "CPU-s"

    @property
    def micro(self) -> str:
        """What one of its microseconds is called."""
        return self.unit.replace("s", "µs")


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Inside the context torch computes on `count` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
