"""Whether one loss is lower than another, decided on per-example losses.

Two models are judged on the same examples, so what counts is the difference on each example: examples differ from one
another far more than models do, and pairing takes that away. An interval comes from the bootstrap over examples, a
p-value from flipping the signs of the differences at random; neither assumes a distribution. Both take examples as
independent: windows of one document are not quite, and neighbours should then be averaged first.
"""

from collections.abc import Sequence
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
    """A mean loss in nats per token with its bootstrap interval."""

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
        interval = f"[{signed(self.low)}, {signed(self.high)}]"
        return f"{signed(self.mean)} nats/token {interval}, {format_p(self.p_value)}"


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
    p_value = sign_flip_p_value(difference, seed=seed, resamples=resamples)
    return Difference(float(difference.mean()), float(low[0]), float(high[0]), p_value, confidence)


def sign_flip_p_value(difference: NDArray[np.floating], *, seed: int = 0, resamples: int = RESAMPLES) -> float:
    """The two-sided p-value of "the differences (examples,) are as likely of either sign", by flipping signs.

    Exact where all 2^examples flips are fewer than `resamples`; otherwise never below 2 / (resamples + 1).
    """
    test = permutation_test(
        (difference,),
        np.mean,
        permutation_type="samples",  # of a single sample: flips signs
        n_resamples=resamples,
        batch=max(1, _NUMBERS_AT_A_TIME // len(difference)),
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(test.pvalue)


def holm(p_values: ArrayLike) -> NDArray[np.floating]:
    """`p_values` (tests,) adjusted for being tested together, in their order (Holm 1979).

    Rejecting where an adjusted one is below a level keeps the chance of *any* false rejection below that level,
    however the tests depend on each other.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    adjusted = np.empty_like(p)
    adjusted[order] = stepped
    return adjusted


def bootstrap_intervals(
    rows: NDArray[np.floating], *, confidence: float = 0.95, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Bounds (low, high), each (rows,), of the percentile bootstrap of the mean of each row of `rows` (rows, examples).

    All rows see the same resampled examples.
    """
    low, high = np.quantile(
        bootstrap_means(rows, seed=seed, resamples=resamples), [(1 - confidence) / 2, (1 + confidence) / 2], axis=-1
    )
    return low, high


def bootstrap_means(
    rows: NDArray[np.floating], *, seed: int | Sequence[int] = 0, resamples: int = RESAMPLES
) -> NDArray[np.floating]:
    """The means of each row of `rows` (rows, n) over resamples of its n values: (rows, resamples).

    All rows see the same resamples.
    """
    return bootstrap(
        (rows,),
        np.mean,
        axis=-1,
        n_resamples=resamples,
        batch=max(1, _NUMBERS_AT_A_TIME // rows.size),
        method="percentile",  # the others divide by the spread, which is 0 for a row against itself
        rng=np.random.default_rng(seed),
    ).bootstrap_distribution


def check_confidence(confidence: float) -> None:
    """Raises `ManticoreError` unless `confidence` lies between 0 and 1."""
    if not 0 < confidence < 1:
        raise ManticoreError(f"confidence is {confidence}: give a number between 0 and 1, such as 0.95")


def _checked(losses: ArrayLike, name: str, confidence: float) -> NDArray[np.floating]:
    check_confidence(confidence)
    array = np.asarray(losses, dtype=np.float64)
    if array.ndim != 1 or len(array) < 2:
        raise ManticoreError(f"{name} of shape {array.shape}: give one loss for each of at least two examples")
    if not np.isfinite(array).all():
        where = np.flatnonzero(~np.isfinite(array))
        raise ManticoreError(
            f"{name} hold {array[where[0]]} at example {where[0]} ({len(where)} of {len(array)} are not finite)"
        )
    return array


def format_p(p_value: float) -> str:
    """A p-value as it is printed: "p = 0.034", "p < 0.001"."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def signed(value: float, decimals: int = 3) -> str:
    """`value` to some decimals with a real minus sign, and no sign on a zero."""
    text = f"{abs(value):.{decimals}f}"
    return "−" + text if value < 0 and float(text) else text
