"""Whether one loss is lower than another, decided on per-example losses.

Two models are judged on the same examples, so what counts is the difference on each example: examples differ from one
another far more than models do, and pairing takes that away. An interval comes from the bootstrap over examples, a
p-value from flipping the signs of the differences at random; neither assumes a distribution. Both take examples as
independent: windows of one document are not quite, and neighbours should then be averaged first.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap, permutation_test

from manticore_kit.errors import ManticoreError

# Resolves p < 0.001 on two sides; about a tenth of a second for 100 examples.
RESAMPLES = 9999

# Scipy works on this many resampled numbers at a time, which bounds the memory (32 MB) for whole surfaces.
_NUMBERS_AT_A_TIME = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A mean loss in nats per token with its bootstrap interval over examples."""

    mean: float
    low: float
    high: float
    confidence: float = 0.95

    def __str__(self) -> str:
        return f"{self.mean:.3f} nats/token [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Difference:
    """A mean paired difference of losses, a − b, in nats per token: below 0 where a is the better of the two."""

    mean: float
    low: float
    high: float
    p_value: float
    confidence: float = 0.95

    @property
    def is_significant(self) -> bool:
        """Whether the test rejects "no difference" at the level that belongs to the confidence."""
        return self.p_value < 1 - self.confidence

    @property
    def verdict(self) -> str:
        """What may be said of a against b: "better", "worse" or "no difference shown"."""
        if not self.is_significant or self.mean == 0:
            return "no difference shown"
        return "better" if self.mean < 0 else "worse"

    def __str__(self) -> str:
        p = "p < 0.001" if self.p_value < 0.001 else f"p = {self.p_value:.3f}"
        return f"{_signed(self.mean)} nats/token [{_signed(self.low)}, {_signed(self.high)}], {p}"


def mean_interval(a: ArrayLike, *, confidence: float = 0.95, seed: int = 0) -> Interval:
    """The mean of per-example losses `a` (examples,) and its percentile bootstrap interval.

    Raises `ManticoreError` for fewer than two examples and for losses that are not finite.
    """
    losses = _checked(a, "losses", confidence)
    low, high = bootstrap_intervals(losses[None], confidence=confidence, seed=seed)
    return Interval(float(losses.mean()), float(low[0]), float(high[0]), confidence)


def paired_difference(
    a: ArrayLike, b: ArrayLike, *, confidence: float = 0.95, seed: int = 0, resamples: int = RESAMPLES
) -> Difference:
    """The mean of a − b, (examples,) losses on the same examples in the same order, with interval and p-value.

    The interval is a percentile bootstrap over examples, the p-value that of the two-sided sign-flip test (exact where
    all 2^examples flips are fewer than `resamples`). Raises `ManticoreError` where the two do not match, for fewer than
    two examples and for losses that are not finite.
    """
    a, b = _checked(a, "first losses", confidence), _checked(b, "second losses", confidence)
    if a.shape != b.shape:
        raise ManticoreError(
            f"a paired difference needs losses on the same examples, not {len(a)} against {len(b)} of them"
        )
    difference = a - b
    low, high = bootstrap_intervals(difference[None], confidence=confidence, seed=seed, resamples=resamples)
    test = permutation_test(
        (difference,),
        np.mean,
        permutation_type="samples",  # of a single sample: flips signs
        n_resamples=resamples,
        batch=max(1, _NUMBERS_AT_A_TIME // len(difference)),
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return Difference(float(difference.mean()), float(low[0]), float(high[0]), float(test.pvalue), confidence)


def bootstrap_intervals(
    rows: NDArray[np.floating], *, confidence: float = 0.95, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Bounds (low, high), each (rows,), of the percentile bootstrap of the mean of each row of `rows` (rows, examples).

    All rows see the same resampled examples.
    """
    interval = bootstrap(
        (rows,),
        np.mean,
        axis=-1,
        n_resamples=resamples,
        batch=max(1, _NUMBERS_AT_A_TIME // rows.size),
        confidence_level=confidence,
        method="percentile",  # the others divide by the spread, which is 0 for a row against itself
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return interval.low, interval.high


def _checked(losses: ArrayLike, name: str, confidence: float) -> NDArray[np.floating]:
    if not 0 < confidence < 1:
        raise ManticoreError(f"confidence is {confidence}: give a number between 0 and 1, such as 0.95")
    array = np.asarray(losses, dtype=np.float64)
    if array.ndim != 1 or len(array) < 2:
        raise ManticoreError(f"{name} of shape {array.shape}: give one loss for each of at least two examples")
    if not np.isfinite(array).all():
        where = np.flatnonzero(~np.isfinite(array))
        raise ManticoreError(
            f"{name} hold {array[where[0]]} at example {where[0]} ({len(where)} of {len(array)} are not finite)"
        )
    return array


def _signed(value: float) -> str:
    """Three decimals with a real minus sign, and no sign on a zero."""
    text = f"{abs(value):.3f}"
    return "−" + text if value < 0 and float(text) else text
