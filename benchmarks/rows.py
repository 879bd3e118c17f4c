"""One measured figure, with its rounds, its unit and the bound that it should keep."""

import operator
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from manticore_kit.errors import ManticoreError

COMPARISONS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}


@dataclass(frozen=True)
class Row:
    """A figure of the benchmarks: `values` holds one number a round, in `unit`.

    `target` is a comparison and a bound, such as "<= 1.05", or empty for a figure that is only reported. `at` is the
    place on the axis of a figure that belongs to a curve. The spread is that of the middle half of the rounds.
    """

    group: str
    name: str
    values: Sequence[float]
    unit: str
    target: str = ""
    at: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(float(value) for value in self.values))
        if not self.values:
            raise ManticoreError(f"{self.group}, {self.name}: a row needs the value of one round at least")
        if self.target and not re.fullmatch(r"(<=|>=|<|>) \d+(\.\d+)?(e-?\d+)?", self.target):
            raise ManticoreError(
                f"{self.group}, {self.name}: the target {self.target!r} is no comparison with a number; "
                "write one such as '<= 1.05'"
            )

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """A quarter of the rounds lie below."""
        return self._quartiles()[0]

    @property
    def high(self) -> float:
        """A quarter of the rounds lie above."""
        return self._quartiles()[-1]

    @property
    def holds(self) -> bool | None:
        """Whether the median keeps the target; None without one."""
        if not self.target:
            return None
        comparison, bound = self.target.split()
        return COMPARISONS[comparison](self.median, float(bound))

    @property
    def measured(self) -> str:
        """The median with its unit, as text."""
        return f"{number(self.median)} {self.unit}"

    @property
    def spread(self) -> str:
        """The middle half of the rounds, as text; empty for a single round."""
        return f"{number(self.low)} – {number(self.high)}" if len(self.values) > 1 else ""

    def __str__(self) -> str:
        at = "" if self.at is None else f", at {self.at:g}"
        spread = f" ({self.spread})" if self.spread else ""
        verdict = "" if self.holds is None else f"; target {self.target}: {'holds' if self.holds else 'MISSED'}"
        return f"{self.name}{at}: {self.measured}{spread}{verdict}"

    def as_data(self) -> dict[str, Any]:
        """The row as plain data, what follows from the rounds included."""
        derived = {"median": self.median, "low": self.low, "high": self.high, "holds": self.holds}
        given = {"target": self.target, "at": self.at, "values": list(self.values)}
        return {"group": self.group, "name": self.name, **derived, "unit": self.unit, **given}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> "Row":
        """The row that `as_data` gave; what follows from the rounds is computed anew."""
        return cls(**{name: data[name] for name in ("group", "name", "values", "unit", "target", "at")})

    def _quartiles(self) -> list[float]:
        if len(self.values) == 1:
            return list(self.values)
        return statistics.quantiles(self.values, n=4, method="inclusive")


def number(value: float) -> str:
    """`value` to three significant digits, whole from a thousand on."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".") if value else "0"
