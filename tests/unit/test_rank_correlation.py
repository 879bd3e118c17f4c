"""Spearman's correlation with its interval and test."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from manticore_kit.analysis.rank_correlation import rank_correlation
from manticore_kit.errors import ManticoreError


def test_it_is_scipys_correlation_also_with_ties():
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = rng.integers(0, 6, 12), rng.normal(size=12)
        assert rank_correlation(a, b).rho == pytest.approx(spearmanr(a, b).statistic)


def test_same_order_is_certain_and_noise_is_not():
    a = np.arange(9.0)
    same, opposite = rank_correlation(a, a**3), rank_correlation(a, -a)
    assert (same.rho, same.low, same.high) == (1, 1, 1)
    assert same.p_value < 0.001
    assert opposite.rho == -1
    assert opposite.p_value < 0.001
    noise = rank_correlation(a, np.random.default_rng(1).normal(size=9))
    assert noise.low < 0 < noise.high
    assert noise.p_value > 0.05


def test_p_values_of_unrelated_series_are_uniform():
    rng = np.random.default_rng(2)
    p = [rank_correlation(rng.normal(size=8), rng.normal(size=8), seed=n).p_value for n in range(60)]
    assert 0.35 < np.mean(p) < 0.65
    assert np.mean(np.array(p) < 0.1) < 0.25


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], "5 or more"),
        ([1, 2, 3, 4, 5], [1, 2, 3, 4], "same 5"),
        ([1] * 6, [1, 2, 3, 4, 5, 6], "same throughout"),
    ],
)
def test_what_has_no_correlation_is_refused(a, b, message):
    with pytest.raises(ManticoreError, match=message):
        rank_correlation(a, b)
