"""Memory of building

The most memory that building a hybrid holds, over the bytes of its weights, for models that lie on disk in shards: one
build of each kind, in a process of its own, since memory differs little from build to build. *Held* is what a machine
must have; *resident* counts pages of files too, which the system takes back when it needs them. Mamba has twice as many
layers as GPT-Neo, which makes them the same size.
"""

from collections.abc import Iterator, Sequence

from benchmarks import building
from benchmarks.clock import Clock
from benchmarks.rows import Row

QUICK = {"cases": ("float32",), "layers": 2}


def rows(
    _: Clock,
    *,
    cases: Sequence[str] = tuple(building.CASES),
    width: int = 768,
    layers: int = 12,
    vocabulary: int = 50257,
) -> Iterator[Row]:
    """Multiples of the weights."""
    for row in building.measure(cases, builds=1, width=width, layers=layers, vocabulary=vocabulary):
        yield Row("building", row["name"], [row["median"]], row["unit"], row["target"])
