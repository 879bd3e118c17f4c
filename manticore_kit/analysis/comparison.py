"""Several trained models compared on the same held-out examples, with what luck could have done taken into account.

Each entrant was trained some number of times (seeds) and every training judged on the same examples. A difference may
then be luck in two ways: other examples would have been easier for the other model, and another seed would have trained
it better. The intervals resample both. The p-values are those of the sign-flip test over examples, on losses averaged
over seeds, so they speak of these trainings; Holm's adjustment pays for asking about several pairs. A verdict needs
both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, t

from manticore_kit.analysis.significance import (
    RESAMPLES,
    Interval,
    bootstrap_means,
    check_confidence,
    format_p,
    holm,
    sign_flip_p_value,
    signed,
)
from manticore_kit.analysis.units import bits_of_loss, perplexity
from manticore_kit.errors import ManticoreError


@dataclass(frozen=True)
class PairedDifference:
    """The mean loss of `name` minus that of `reference`, nats per token: below 0 where `name` is the better one.

    `low` and `high` bound the two-way interval, see `two_way_interval`. `p_value` is the sign-flip test's and
    `adjusted_p` the same after Holm's adjustment over all pairs of the comparison. `effect_size` is Cohen's d_z: the
    mean difference in standard deviations over examples, infinite where all examples differ by the same.
    `share_of_seeds` is the share of trainings in which `name` has the lower mean loss: of pairs with the same seed
    where both have as many, else of all pairs. `seed_spread` is the standard deviation of the difference from one
    training to another, None for a single one.
    """

    name: str
    reference: str
    mean: float
    low: float
    high: float
    p_value: float
    adjusted_p: float
    effect_size: float
    share_of_seeds: float
    seed_spread: float | None
    confidence: float = 0.95

    @property
    def verdict(self) -> str:
        """What may be said of `name` against `reference`: "better", "worse" or "no difference shown".

        The first two need an adjusted p-value below 1 − confidence *and* an interval without 0: the test knows nothing
        of other seeds, and the interval nothing of other pairs.
        """
        if self.adjusted_p >= 1 - self.confidence or self.low <= 0 <= self.high:
            return "no difference shown"
        return "better" if self.mean < 0 else "worse"

    def __str__(self) -> str:
        interval = f"[{signed(self.low)}, {signed(self.high)}]"
        return f"{signed(self.mean)} nats/token {interval}, Holm's {format_p(self.adjusted_p)}: {self.verdict}"


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Entrants, each with losses (seeds, examples) in nats per token on the same examples; made by `compare_losses`.

    `intervals` holds each entrant's mean over seeds and examples with its two-way interval. `pairs` holds each entrant
    that is no reference against each of the `references`.
    """

    losses: dict[str, NDArray[np.float64]]
    references: tuple[str, ...]
    intervals: dict[str, Interval]
    pairs: tuple[PairedDifference, ...]
    confidence: float = 0.95

    def __repr__(self) -> str:
        seeds = ", ".join(f"{name} ({_times(len(losses))})" for name, losses in self.losses.items())
        return f"Comparison({seeds}; against {', '.join(self.references)})"

    def pair(self, name: str, reference: str | None = None) -> PairedDifference:
        """`name` against `reference`, the only one unless given. Raises `ManticoreError` for a pair not compared."""
        reference = self.references[0] if reference is None and len(self.references) == 1 else reference
        for pair in self.pairs:
            if (pair.name, pair.reference) == (name, reference):
                return pair
        known = "; ".join(f"{pair.name} against {pair.reference}" for pair in self.pairs)
        raise ManticoreError(f"{name!r} against {reference!r} was not compared. Compared were: {known}")

    def loss_rows(self, *, bytes_per_token: float | None = None) -> list[dict[str, str]]:
        """Rows of text for a table: the loss of each entrant, in several units.

        Perplexity and bits per byte are those of the mean loss over seeds and examples; bits per byte stand only where
        `bytes_per_token` is given, see `units.bytes_per_token`.
        """
        rows = []
        for name, losses in self.losses.items():
            interval = self.intervals[name]
            row = {
                "": name,
                "trainings": str(len(losses)),
                "loss (nats/token)": f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]",
                "perplexity": f"{perplexity(interval.mean):.4g}",
            }
            if bytes_per_token is not None:
                row["bits per byte"] = f"{bits_of_loss(interval.mean, bytes_per_token):.3f}"
            rows.append(row)
        return rows

    def difference_rows(self) -> list[dict[str, str]]:
        """Rows of text for a table: each difference from a reference, and what it shows; by reference, then by name."""
        pairs = sorted(self.pairs, key=lambda pair: self.references.index(pair.reference))
        return [{"": pair.name, "against": pair.reference, **_cells(pair)} for pair in pairs]


def _cells(pair: PairedDifference) -> dict[str, str]:
    spread = pair.seed_spread
    # A difference that is shown to be one, and still too small for the usual decimals, is not printed as 0.000.
    decimals = 6 if pair.verdict in ("better", "worse") and abs(pair.mean) < 0.0005 else 3
    mean, low, high = (signed(value, decimals) for value in (pair.mean, pair.low, pair.high))
    return {
        "difference": f"{mean} [{low}, {high}]",
        "p (Holm)": format_p(pair.adjusted_p).removeprefix("p ").removeprefix("= "),
        "effect size": signed(pair.effect_size, 2),
        "better in": "" if spread is None else f"{pair.share_of_seeds:.0%}",
        "sd over seeds": "" if spread is None else f"{spread:.3f}",
        "verdict": pair.verdict,
    }


def compare_losses(
    losses: Mapping[str, ArrayLike],
    reference: str | Sequence[str],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare each entrant of `losses` that is no reference with `reference`, one name or several.

    An entrant's losses are (seeds, examples), nats per token, on the same examples in the same order for all; a row for
    each independent training, and a single row for what was not trained, such as an ensemble as it is. Where two
    entrants have as many rows, row i of one belongs to row i of the other: the same seed, so the same order of data.

    What is left out: choices that were made on these examples (the best of many settings, a step to stop at) make an
    entrant look better than it is; windows of one document are not quite independent. Raises `ManticoreError` for
    references that are not among the entrants, for unequal examples, for fewer than two of them, and for losses that
    are not finite.
    """
    check_confidence(confidence)
    references = (reference,) if isinstance(reference, str) else tuple(reference)
    arrays = _checked(losses)
    others = [name for name in arrays if name not in references]
    if not references or not others or len(set(references)) < len(references) or not set(references) <= set(arrays):
        raise ManticoreError(
            f"reference is {reference!r} and losses are given for: {', '.join(arrays)}. Name one of these, or several "
            "different ones, and leave at least one to compare with them"
        )
    options: dict[str, Any] = {"confidence": confidence, "seed": seed, "resamples": resamples}
    intervals = {
        name: Interval(float(array.mean()), *two_way_interval(array, **options), confidence)
        for name, array in arrays.items()
    }
    asked = [(name, other) for name in others for other in references]
    p_values = [
        sign_flip_p_value(arrays[a].mean(axis=0) - arrays[b].mean(axis=0), seed=seed, resamples=resamples)
        for a, b in asked
    ]
    pairs = tuple(
        _pair(a, b, arrays, p, adjusted, options)
        for (a, b), p, adjusted in zip(asked, p_values, holm(p_values).tolist(), strict=True)
    )
    return Comparison(arrays, references, intervals, pairs, confidence)


def two_way_interval(
    a: NDArray[np.float64],
    b: NDArray[np.float64] | None = None,
    *,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Bounds of the mean of losses `a` (seeds, examples), or of a − b with `b` on the same examples.

    Whole seeds and whole examples are resampled, independently of each other (Owen, "The pigeonhole bootstrap", 2007);
    seeds of `a` and `b` together where there are as many, and examples always. It departs from Owen in two ways. The
    effects of the two are added, since with the product of their weights what is peculiar to a seed on an example
    counts three times. And a bootstrap of n values is too narrow by √((n − 1) / n) and takes their spread as known,
    which tells with the few seeds that anyone trains; so the effect of seeds is widened to that of a t-interval
    (Hesterberg, "What teachers should know about the bootstrap", 2015). With two seeds that differ it is wide.

    It covers other examples like these and other seeds of the same training. From a single seed nothing can be known
    about others: there it covers other examples alone. It does not cover other data, other settings, or a choice that
    was made on these examples, and it is for one pair at a time.
    """
    if b is None:
        b = np.zeros_like(a)
    parts = [a - b] if len(a) == len(b) else [a, -b]
    over_examples = np.sum([part.mean(axis=0) for part in parts], axis=0)
    means = bootstrap_means(over_examples[None], seed=seed, resamples=resamples)[0]
    for number, part in enumerate(parts, start=1):
        seeds = len(part)
        if seeds > 1:
            over_seeds = part.mean(axis=1)
            quantile = (1 + confidence) / 2
            widened = np.sqrt(seeds / (seeds - 1)) * t.ppf(quantile, seeds - 1) / norm.ppf(quantile)
            resampled = bootstrap_means(over_seeds[None], seed=(seed, number), resamples=resamples)[0]
            means = means + widened * (resampled - over_seeds.mean())
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _pair(
    name: str, reference: str, arrays: dict[str, NDArray], p_value: float, adjusted: float, options: dict[str, Any]
) -> PairedDifference:
    a, b = arrays[name], arrays[reference]
    by_example = a.mean(axis=0) - b.mean(axis=0)
    mean, spread = float(by_example.mean()), float(by_example.std(ddof=1))
    unmoved = float(np.copysign(np.inf, mean)) if mean else 0.0
    effect = mean / spread if spread else unmoved
    over_seeds = [array.mean(axis=1) for array in (a, b)]
    if len(a) == len(b):
        differences = over_seeds[0] - over_seeds[1]
        variances = [differences.var(ddof=1)] if len(a) > 1 else []
    else:
        differences = np.subtract.outer(*over_seeds)
        variances = [means.var(ddof=1) for means in over_seeds if len(means) > 1]
    return PairedDifference(
        name,
        reference,
        mean,
        *two_way_interval(a, b, **options),
        p_value,
        adjusted,
        effect,
        float((differences < 0).mean()),
        float(np.sqrt(sum(variances))) if variances else None,
        options["confidence"],
    )


def _checked(losses: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float64]]:
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in losses.items()}
    if len(arrays) < 2:
        raise ManticoreError(f"losses are given for {', '.join(arrays) or 'nothing'}: a comparison takes two or more")
    for name, array in arrays.items():
        if array.ndim != 2 or not len(array) or array.shape[1] < 2:
            raise ManticoreError(
                f"losses of {name} have the shape {array.shape}: give (seeds, examples), at least one training judged "
                "on at least two examples (`losses[None]` for a single training)"
            )
        if not np.isfinite(array).all():
            where = np.argwhere(~np.isfinite(array))
            row, example = where[0]
            raise ManticoreError(
                f"losses of {name} hold {array[row, example]} in training {row} at example {example} ({len(where)} of "
                f"{array.size} are not finite): leave that training out, and say so"
            )
    examples = {name: array.shape[1] for name, array in arrays.items()}
    if len(set(examples.values())) > 1:
        given = ", ".join(f"{name} {count}" for name, count in examples.items())
        raise ManticoreError(f"a comparison needs all losses on the same examples; their numbers are: {given}")
    return arrays


def _times(seeds: int) -> str:
    return "1 training" if seeds == 1 else f"{seeds} trainings"
