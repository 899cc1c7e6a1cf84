"""Paired statistics against scipy, numbers worked out by hand, and intervals that are counted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fanin.report.statistics import paired


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 30), st.floats(-0.5, 0.5))
def test_independent_pairs_as_scipy_has_them(seed: int, n: int, shift: float) -> None:
    random = np.random.default_rng(seed)
    first, side = random.normal(size=(2, n))
    side += shift
    found = paired((side - first).tolist())
    expected = stats.ttest_rel(side, first)
    interval = expected.confidence_interval(0.95)
    # Both are a mean and a quantile of some 30 numbers of size 1, computed in another order; near a cancelling mean
    # p and the ends keep 1e-12 of those numbers.
    assert [found.low, found.high] == pytest.approx([interval.low, interval.high], rel=1e-9, abs=1e-12)
    assert found.t_p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.wilcoxon_p == pytest.approx(stats.wilcoxon(side, first).pvalue, rel=1e-12)
    assert (found.n, found.below + found.above) == (n, n)
    assert found.median == pytest.approx(np.median(side - first), rel=1e-12)


def test_four_differences_by_hand() -> None:
    # Mean 3, squares of the deviations 4 + 1 + 0 + 9 = 14, s^2 = 14/3; all positive: of the 2^4 = 16 equally likely
    # signs two are as extreme, p = 1/8.
    found = paired([1.0, 2.0, 3.0, 6.0])
    t = stats.t(3)
    error = math.sqrt(14 / 3 / 4)
    assert (found.mean, found.median, found.below, found.above) == (3.0, 2.5, 0, 4)
    assert found.sd == pytest.approx(math.sqrt(14 / 3), rel=1e-15)
    assert [found.low, found.high] == pytest.approx([3 - t.ppf(0.975) * error, 3 + t.ppf(0.975) * error], rel=1e-12)
    assert found.t_p == pytest.approx(2 * t.sf(3 / error), rel=1e-12)
    assert found.wilcoxon_p == pytest.approx(1 / 8, rel=1e-12)
    # As 4 folds: 1/4 becomes 1/4 + 1/3 = 7/12, and s^2 7/12 = 98/36.
    error = math.sqrt(98) / 6
    folds = paired([1.0, 2.0, 3.0, 6.0], 4)
    assert [folds.low, folds.high] == pytest.approx([3 - t.ppf(0.975) * error, 3 + t.ppf(0.975) * error], rel=1e-12)
    assert folds.t_p == pytest.approx(2 * t.sf(3 / error), rel=1e-12)
    assert (folds.mean, folds.wilcoxon_p) == (found.mean, found.wilcoxon_p)


@pytest.mark.parametrize(("value", "wilcoxon_p"), [(0.0, math.nan), (0.1, 1 / 4)])
def test_equal_differences_have_no_t_test(value: float, wilcoxon_p: float) -> None:
    found = paired([value] * 3)
    assert (found.mean, found.low, found.high, found.sd) == (value, value, value, 0.0)
    assert math.isnan(found.t_p)
    assert found.wilcoxon_p == pytest.approx(wilcoxon_p, nan_ok=True)  # of 2^3 signs two are as extreme


@pytest.mark.parametrize("differences", [[], [0.3]])
def test_fewer_than_two_pairs_have_no_interval(differences: list[float]) -> None:
    with pytest.raises(ValueError, match="at least two pairs"):
        paired(differences)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Differences over folds with the correlation 1/k that Nadeau and Bengio assume, and independent ones.

    d_i = m + sqrt(r) z + sqrt(1 - r) z_i: Var(mean) = r + (1 - r)/k = (1 - r)(1/k + r/(1 - r)) and E s^2 = 1 - r, so
    with r = 1/k the factor is 1/k + 1/(k - 1), and T is exactly Student's t.
    """
    k = 5
    random = np.random.default_rng(k)
    count, mean, r = 400, 0.3, 1 / k
    noise = random.normal(size=(count, k))
    related = mean + math.sqrt(r) * random.normal(size=(count, 1)) + math.sqrt(1 - r) * noise

    def covered(samples: np.ndarray, folds: int | None) -> float:
        intervals = [paired(sample.tolist(), folds) for sample in samples]
        return sum(one.low <= mean <= one.high for one in intervals) / count

    # Four standard deviations of a share of 400: 4 sqrt(0.95 0.05 / 400) = 0.0436.
    assert covered(mean + noise, None) == pytest.approx(0.95, abs=0.0436)
    assert covered(related, k) == pytest.approx(0.95, abs=0.0436)
    # Without the correction |T| < q sqrt((1/k) / (1/k + 1/(k - 1))), which 86 % of them are.
    ratio = math.sqrt((1 / k) / (1 / k + 1 / (k - 1)))
    expected = 1 - 2 * stats.t.sf(ratio * stats.t.ppf(0.975, k - 1), k - 1)
    assert covered(related, None) == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / count))
    assert expected == pytest.approx(0.86, abs=0.005)
