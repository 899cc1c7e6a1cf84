"""Intervals and bounds of the true risk: against scipy, by hand, and by how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fanin.theory.generalization import hoeffding_half, t_interval, vc_bound, wilson_interval


@settings(max_examples=50, deadline=None)
@given(examples=st.integers(1, 10**5), share=st.floats(0, 1))
def test_wilsons_interval_is_scipys(examples: int, share: float) -> None:
    wrong = round(share * examples)
    expected = stats.binomtest(wrong, examples).proportion_ci(0.95, method="wilson")
    assert wilson_interval(wrong, examples) == pytest.approx((expected.low, expected.high), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(examples=st.integers(2, 10**5), mean=st.floats(-5, 5), deviation=st.floats(0.01, 10))
def test_the_t_interval_is_scipys(examples: int, mean: float, deviation: float) -> None:
    expected = stats.t.interval(0.95, examples - 1, mean, deviation / math.sqrt(examples))
    # the expansion is right to 1e-6 of the quantile
    assert t_interval(mean, deviation, examples) == pytest.approx(expected, abs=2e-6 * deviation)
    assert all(map(math.isnan, t_interval(mean, math.nan, 1)))


@pytest.mark.parametrize("error", [0.05, 0.3, 0.5])
def test_hoeffdings_interval_holds_the_error_at_least_95_times_in_100(error: float) -> None:
    examples = 200
    wrong = np.arange(examples + 1)
    held = np.abs(wrong / examples - error) <= hoeffding_half(examples)
    assert stats.binom.pmf(wrong, examples, error)[held].sum() >= 0.95
    assert hoeffding_half(4 * examples) == pytest.approx(hoeffding_half(examples) / 2)


def test_the_bound_of_vapnik_and_chervonenkis_by_hand() -> None:
    """The growth function of points on a line, of which thresholds (d = 1) make n + 1 and Sauer's bound (e n/d)^d."""
    n = 1000
    by_hand = math.sqrt(8 / n * math.log(4 * (math.e * 2 * n) / 0.05))
    assert vc_bound(1, n) == pytest.approx(by_hand)
    assert 2 * math.e * n > 2 * n + 1
    assert vc_bound(2 * n, n) == pytest.approx(math.sqrt(8 / n * (2 * n * math.log(2) + math.log(80))))
    assert vc_bound(2 * n, n) == vc_bound(10**9, n) > 1
    falls = [vc_bound(50, size) for size in (10**3, 10**4, 10**5, 10**6)]
    assert falls == sorted(falls, reverse=True)
