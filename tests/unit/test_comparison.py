"""Comparisons over seeds: intervals that cover, tests that reject as often as they say, verdicts that need both."""

import numpy as np
import pytest
import torch
from scipy.stats import false_discovery_control

from manticore_kit.analysis.comparison import compare_losses, two_way_interval
from manticore_kit.analysis.mixture_diagnostics import diagnose_mixture
from manticore_kit.analysis.significance import holm
from manticore_kit.analysis.units import bits_per_byte, bytes_per_token, perplexity
from manticore_kit.components.loading import load_tokenizer
from manticore_kit.errors import ManticoreError
from manticore_kit.tasks.language import builtin_text


def entrants(rng, *, effect=0.0, seeds=5, examples=80, over_seeds=0.02, over_examples=0.1):
    """Two entrants on the same examples; the second is worse by `effect`, with luck of seeds and of examples."""
    hard = rng.normal(3, 0.5, examples)
    first = hard + rng.normal(0, over_seeds, (seeds, 1)) + rng.normal(0, 0.02, (seeds, examples))
    second = hard + effect + rng.normal(0, over_examples, examples) + rng.normal(0, over_seeds, (seeds, 1))
    return {"a": first, "b": second + rng.normal(0, 0.02, (seeds, examples))}


def test_holm_is_the_worked_example():
    """Sorted p-values times 4, 3, 2, 1, never falling, at most 1."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1, 1])


def test_holm_is_between_no_adjustment_and_bonferronis():
    p = np.random.default_rng(0).random(20) ** 3
    adjusted = holm(p.tolist())
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, 20 * p) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()
    assert (adjusted >= false_discovery_control(p) - 1e-12).all()  # which controls less


def test_the_interval_covers_seeds_and_examples():
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(150):
        losses = entrants(rng, seeds=4, examples=40, over_seeds=0.03)
        low, high = two_way_interval(losses["a"], losses["b"], seed=trial, resamples=499)
        covered += low <= 0 <= high
    assert covered / 150 > 0.9


def test_equals_are_rarely_told_apart_and_differences_are():
    rng = np.random.default_rng(2)
    verdicts = {
        effect: [compare_losses(entrants(rng, effect=effect), "b", resamples=499).pair("a").verdict for _ in range(60)]
        for effect in (0.0, 0.2)
    }
    assert sum(verdict != "no difference shown" for verdict in verdicts[0.0]) <= 6
    assert set(verdicts[0.2]) == {"better"}


def test_the_other_way_round_the_signs_change():
    losses = entrants(np.random.default_rng(3), effect=0.1)
    one, other = (compare_losses(losses, name).pairs[0] for name in ("b", "a"))
    assert one.mean == pytest.approx(-other.mean)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=0.01)
    assert one.effect_size == pytest.approx(-other.effect_size)
    assert {one.verdict, other.verdict} == {"better", "worse"}


def test_rows_say_what_they_are():
    losses = entrants(np.random.default_rng(4), effect=0.2)
    compared = compare_losses({**losses, "once": losses["a"][:1]}, "b")
    rows = compared.loss_rows(bytes_per_token=3.0)
    assert [row[""] for row in rows] == ["a", "b", "once"]
    assert [row["trainings"] for row in rows] == ["5", "5", "1"]
    differences = compared.difference_rows()
    assert [(row[""], row["against"]) for row in differences] == [("a", "b"), ("once", "b")]
    assert differences[0]["verdict"] == "better"
    assert float(rows[0]["perplexity"]) == pytest.approx(np.exp(losses["a"].mean()), rel=1e-3)
    assert float(rows[0]["bits per byte"]) == pytest.approx(losses["a"].mean() / np.log(2) / 3, abs=1e-3)


def test_a_small_difference_that_is_one_is_not_printed_as_none():
    losses = np.random.default_rng(4).normal(3, 0.5, (3, 80))
    (row,) = compare_losses({"a": losses, "b": losses + 0.0001}, "a", resamples=499).difference_rows()
    assert row["verdict"] == "worse"
    assert row["difference"] == "0.000100 [0.000100, 0.000100]"


@pytest.mark.parametrize(
    ("losses", "reference", "says"),
    [
        ({"a": [[1, 2]]}, "a", "two or more"),
        ({"a": [[1, 2]], "b": [[1, 2, 3]]}, "a", "same examples.*a 2, b 3"),
        ({"a": [[1, 2]], "b": [[1, float("nan")]]}, "a", "losses of b hold nan in training 0 at example 1"),
        ({"a": [1, 2], "b": [[1, 2]]}, "b", r"a have the shape \(2,\)"),
        ({"a": [[1, 2]], "b": [[1, 2]]}, "c", "reference is 'c'.*a, b"),
    ],
)
def test_what_cannot_be_compared_is_refused(losses, reference, says):
    with pytest.raises(ManticoreError, match=says):
        compare_losses(losses, reference)


def test_bits_per_byte_count_the_bytes_that_were_predicted():
    tokenizer = load_tokenizer("tiny-gptneo")
    windows = builtin_text.held_out(tokenizer, "code", length=32, count=8)
    total = sum(len(tokenizer.decode(window[1:]).encode()) for window in windows)
    assert bytes_per_token(windows, tokenizer) == pytest.approx(total / (8 * 31), rel=0.01)
    losses = torch.linspace(2, 4, 8).numpy()
    nats = losses.sum() * 31
    assert bits_per_byte(losses, windows, tokenizer) == pytest.approx(nats / np.log(2) / total, rel=0.01)
    assert perplexity(np.log(7)) == pytest.approx(7)


def test_diagnostics_of_known_mixtures():
    known = diagnose_mixture([[0.5, 0.5], [1, 0], [0.25, 0.75]])
    assert known.normalised_entropy == pytest.approx([1, 0, 0.8112781])
    assert known.edge == pytest.approx([0.5, 0, 0.25])
    assert known.path_length is None
    moved = diagnose_mixture([[[1, 0]], [[0.5, 0.5]], [[0.75, 0.25]]])
    assert moved.path_length == pytest.approx([0.75])
    assert moved.last_tenth == pytest.approx([0.25])
    assert moved.rows()[0]["block"] == 1
    with pytest.raises(ManticoreError):
        diagnose_mixture([[0.5, 0.6]])
