"""Start-up

The time that a person waits for `manticore --help`, and whether `import manticore_kit` leaves PyTorch alone: each in a
process of its own.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.clock import Clock
from benchmarks.measure import measure
from benchmarks.rows import Row

QUICK = {"rounds": 3}

MANTICORE = str(Path(sys.executable).with_name("manticore"))
IMPORTED = "import sys, manticore_kit; print(sum(name.split('.')[0] == 'torch' for name in sys.modules))"


def rows(clock: Clock, *, rounds: int = 7) -> Iterator[Row]:
    """Seconds to the help page, and the number of torch's modules that the package's import brings along."""
    wall = Clock(clock.device, wall=True)
    times = measure({"help": lambda: _run(MANTICORE, "--help")}, wall, rounds)
    yield Row("startup", "manticore --help", times["help"], "s", "< 0.5")
    modules = int(_run(sys.executable, "-c", IMPORTED))
    yield Row("startup", "modules of torch after `import manticore_kit`", [modules], "modules", "<= 0")


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
