"""Intervals cover, tests keep their level, and pairing finds what separate intervals cannot."""

import numpy as np
import pytest

from manticore_kit.analysis import Difference, mean_interval, paired_difference
from manticore_kit.analysis.significance import bootstrap_intervals, holm
from manticore_kit.errors import ManticoreError


def test_intervals_cover_the_true_mean_about_as_often_as_they_say():
    rows = np.random.default_rng(0).gamma(4.0, size=(400, 64))  # skewed, as losses are; true mean 4
    low, high = bootstrap_intervals(rows, confidence=0.9, resamples=999)
    covered = ((low <= 4.0) & (high >= 4.0)).mean()
    assert 0.85 <= covered <= 0.93


def test_no_difference_is_rarely_called_one():
    rng = np.random.default_rng(1)
    p_values = [paired_difference(*rng.normal(3.0, 1.0, size=(2, 24)), resamples=499).p_value for _ in range(200)]
    assert np.mean(np.array(p_values) < 0.05) <= 0.1
    assert np.mean(np.array(p_values) < 0.5) == pytest.approx(0.5, abs=0.1)


def test_pairing_finds_a_small_difference_among_very_different_examples():
    rng = np.random.default_rng(2)
    hard_and_easy = rng.normal(4.0, 1.0, size=64)
    a, b = hard_and_easy - 0.1 + rng.normal(0, 0.05, size=64), hard_and_easy
    assert mean_interval(a).high > mean_interval(b).low, "separate intervals overlap"
    found = paired_difference(a, b)
    assert found.verdict == "better"
    assert found.low < -0.1 < found.high
    assert found.high < 0
    assert paired_difference(b, a).verdict == "worse"


def test_the_sign_flip_test_is_exact_for_few_examples():
    found = paired_difference([2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 1.0, 1.0, 1.0, 1.0])
    assert found.p_value == pytest.approx(2 / 2**5)
    assert found.verdict == "no difference shown", "five examples cannot reach p < 0.05"


def test_a_model_against_itself():
    losses = np.random.default_rng(3).normal(size=20)
    assert paired_difference(losses, losses) == Difference(0.0, 0.0, 0.0, 1.0)


def test_swapping_the_two_changes_signs_only():
    a, b = np.random.default_rng(4).normal(3.0, 0.3, size=(2, 12))
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert back.mean == -there.mean
    assert back.p_value == pytest.approx(there.p_value)
    assert paired_difference(a, b) == there, "same seed, same numbers"


def test_the_verdict_follows_the_test_and_its_level():
    assert Difference(-0.1, -0.2, -0.01, 0.03).verdict == "better"
    assert Difference(-0.1, -0.2, -0.01, 0.03, confidence=0.99).verdict == "no difference shown"
    assert Difference(0.1, 0.01, 0.2, 0.001).verdict == "worse"


def test_holm_steps_down_and_never_back():
    # By hand: sorted 0.005 × 4, 0.01 × 3, 0.03 × 2, and 0.04 × 1, which may not fall below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.4, 0.9]).tolist() == [1, 1, 1]
    assert holm([0.2]).tolist() == [0.2]
    assert holm([]).tolist() == []


def test_holm_keeps_the_order_and_lies_between_no_adjustment_and_bonferroni():
    p = np.random.default_rng(5).uniform(size=40) ** 3
    adjusted = holm(p)
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(40 * p, 1)).all()
    assert adjusted.min() == pytest.approx(min(40 * p.min(), 1))


def test_holm_rarely_rejects_anything_where_nothing_differs():
    p = np.random.default_rng(6).uniform(size=(2000, 10))
    assert np.mean([(holm(row) < 0.05).any() for row in p]) == pytest.approx(0.05, abs=0.015)


def test_differences_read_well():
    assert str(Difference(-0.1234, -0.15, -0.1, 0.0002)) == "−0.123 nats/token [−0.150, −0.100], p < 0.001"
    assert str(Difference(-0.0001, -0.2, 0.3, 0.81)) == "0.000 nats/token [−0.200, 0.300], p = 0.810"


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0, 3.0], "2 against 3"),
        ([1.0], [1.0], r"shape \(1,\)"),
        ([[1.0, 2.0]], [[1.0, 2.0]], r"shape \(1, 2\)"),
        ([1.0, float("nan"), 2.0], [1.0, 2.0, 3.0], "nan at example 1"),
        ([1.0, 2.0], [1.0, float("inf")], "inf at example 1"),
    ],
)
def test_losses_that_cannot_be_compared_are_refused(a, b, message):
    with pytest.raises(ManticoreError, match=message):
        paired_difference(a, b)


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_a_confidence_that_is_no_share_is_refused(confidence):
    with pytest.raises(ManticoreError, match=r"such as 0\.95"):
        mean_interval([1.0, 2.0], confidence=confidence)
