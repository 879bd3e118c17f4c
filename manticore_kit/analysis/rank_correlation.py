"""How well one measure of the same things orders them as another does, with what luck could have done."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import permutation_test, rankdata

from manticore_kit.analysis.significance import format_p, signed
from manticore_kit.errors import ManticoreError

RESAMPLES = 4999

# With fewer, resampled pairs are mostly copies of one another.
FEWEST = 5


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation of `count` pairs, its bootstrap interval over pairs, and a permutation p-value."""

    rho: float
    low: float
    high: float
    p_value: float
    count: int
    confidence: float = 0.95

    def __str__(self) -> str:
        interval = f"[{signed(self.low, 2)}, {signed(self.high, 2)}]"
        return f"{signed(self.rho, 2)} {interval}, {format_p(self.p_value)}, {self.count} mixtures"


def rank_correlation(a: ArrayLike, b: ArrayLike, *, confidence: float = 0.95, seed: int = 0) -> RankCorrelation:
    """Spearman's correlation of `a` and `b`, each (pairs,), with interval and two-sided p-value.

    Resamples in which one of the two is constant have no correlation and are left out of the interval. Raises
    `ManticoreError` for other shapes, for fewer than five pairs, and where one of the two is constant.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape or a.ndim != 1 or len(a) < FEWEST:
        raise ManticoreError(
            f"a rank correlation takes two series of the same {FEWEST} or more things, not {a.shape} and {b.shape}"
        )
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        raise ManticoreError("a rank correlation needs differences, and one of the two series is the same throughout")

    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(a), size=(RESAMPLES, len(a)))
    resampled = _rho(a[drawn], b[drawn])
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(resampled, [tail, 1 - tail])
    test = permutation_test(
        (a,), lambda x, axis=-1: _rho(x, b, axis), permutation_type="pairings", n_resamples=RESAMPLES, rng=rng
    )
    return RankCorrelation(float(_rho(a, b)), float(low), float(high), float(test.pvalue), len(a), confidence)


def _rho(x: NDArray, y: NDArray, axis: int = -1) -> NDArray:
    """Spearman's correlation along `axis` of many series at once, NaN where one is constant."""
    x, y = np.broadcast_arrays(x, y)
    ranks = [rankdata(series, axis=axis) for series in (x, y)]
    first, second = (r - r.mean(axis=axis, keepdims=True) for r in ranks)
    with np.errstate(invalid="ignore"):
        return (first * second).sum(axis=axis) / np.sqrt((first**2).sum(axis=axis) * (second**2).sum(axis=axis))
