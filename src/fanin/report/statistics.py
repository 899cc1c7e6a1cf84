"""Means over seeds or folds with their 95 % intervals, and what paired differences say."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

with warnings.catch_warnings():  # scipy adds filters of its own, and a notebook's are to stay as they are
    from scipy.special import stdtr, stdtrit

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A mean over `n` finite values of `measured` ones, with the ends of its 95 % interval; nan where there is none."""

    mean: float
    low: float
    high: float
    n: int
    measured: int


def t_quantile(n: int | NDArray[np.intp]) -> Floats:
    """The 97.5 % quantile of Student's t with n - 1 degrees of freedom; nan for n < 2.

    >>> round(float(t_quantile(3)), 3)
    4.303
    """
    freedom = np.asarray(n, float) - 1
    quantile: Floats = np.where(freedom > 0, stdtrit(np.maximum(freedom, 1), 0.975), np.nan)
    return quantile


def overlap_of(folds: int | None) -> float:
    """n_test / n_train = 1/(k - 1) of k folds of a cross-validation; 0 for independent runs, where `folds` is None.

    >>> overlap_of(5), overlap_of(None)
    (0.25, 0.0)
    """
    return 0.0 if folds is None else 1 / (folds - 1)


def bounds_of(metric: str, *, percent: bool) -> tuple[float, float]:
    """Between which numbers a metric lies: an error is never below 0, a share never above 1.

    >>> bounds_of("test_error", percent=True), bounds_of("test_error", percent=False)
    ((0.0, 1.0), (0.0, inf))
    >>> bounds_of("test_loss", percent=False)
    (-inf, inf)
    """
    return 0.0 if percent or metric.endswith("error") else -math.inf, 1.0 if percent else math.inf


def mean_interval(
    values: Iterable[float | None], folds: int | None = None, bounds: tuple[float, float] = (-math.inf, math.inf)
) -> Interval:
    """Mean and interval  mean +- t s sqrt(1/n + 1/(k - 1))  over the finite values; without 1/(k - 1) for seeds.

    One value has no interval. With no finite value the mean says why: nan or inf if any such was measured.

    Args:
        values: of the runs; None if a run has none.
        folds: k of a cross-validation, whose training sets overlap: the ordinary interval is too narrow.
        bounds: between which values lie, and so do the ends of their interval; see `bounds_of`.

    Source: Student (1908); Nadeau and Bengio, Inference for the generalization error (2003), the corrected resampled
        t-test; for several rounds of folds Bouckaert and Frank (2004).

    >>> low, high = mean_interval([0.02, 0.04])[1:3]
    >>> round(low, 3), round(high, 3)
    (-0.097, 0.157)
    >>> mean_interval([0.02, 0.04], bounds=(0.0, 1.0)).low
    0.0
    """
    measured = [value for value in values if value is not None]
    finite = np.array([value for value in measured if math.isfinite(value)])
    n = len(finite)
    if not n:
        return Interval(measured[0] if measured else math.nan, math.nan, math.nan, 0, len(measured))
    mean, half = float(finite.mean()), math.nan
    if n > 1:
        half = float(t_quantile(n) * finite.std(ddof=1)) * math.sqrt(1 / n + overlap_of(folds))
    low, high = (min(max(end, bounds[0]), bounds[1]) for end in (mean - half, mean + half))
    return Interval(mean, low, high, n, len(measured))


def bounded(name: str, *told: float | None) -> dict[str, float | None]:
    """An estimate and the ends of its interval by the names of their columns; what else is told of it is left out.

    >>> bounded("rank", 2.0, 1.5, 3.0, 17)
    {'rank': 2.0, 'rank_low': 1.5, 'rank_high': 3.0}
    """
    return dict(zip((name, f"{name}_low", f"{name}_high"), told, strict=False))


def geometric_interval(values: Iterable[float | None], folds: int | None = None) -> Interval:
    """The same for positive quantities on a logarithmic scale: geometric mean, interval of the logarithms.

    A value of 0 makes the geometric mean 0 and leaves no interval.

    >>> round(geometric_interval([1.0, 4.0]).mean, 9)
    2.0
    """
    measured = [value for value in values if value is not None]
    counted = [value for value in measured if math.isfinite(value) and value >= 0]
    if 0.0 in counted:
        return Interval(0.0, math.nan, math.nan, len(counted), len(measured))
    if not counted:
        return mean_interval(measured)
    interval = mean_interval(np.log(counted), folds)
    with np.errstate(over="ignore", under="ignore"):  # two seeds far apart: an interval from 0 to inf
        mean, low, high = np.exp(interval[:3]).tolist()
    return Interval(mean, low, high, interval.n, len(measured))


def mean_curve(values: Floats, folds: int | None = None) -> tuple[Floats, Floats, Floats]:
    """Mean, low and high of [runs, S] at each step over the runs that are finite there, as mean_interval.

    Steps that fewer than half of the runs have are nan: when most have stopped, the rest are another sample.
    """
    finite = np.isfinite(values)
    n = finite.sum(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.where(finite, values, 0).sum(axis=0) / np.maximum(n, 1)
        squares = (np.where(finite, values, mean) - mean) ** 2
        variance = squares.sum(axis=0) / np.maximum(n - 1, 1)
        half = t_quantile(n) * np.sqrt(variance * (1 / np.maximum(n, 1) + overlap_of(folds)))
    mean = np.where((n > 0) & (2 * n >= len(values)), mean, np.nan)
    return mean, mean - half, mean + half


def positive(values: Floats, *, log: bool = True) -> Floats:
    """The values with nan for all that a logarithmic axis cannot show: 0, negative and not finite (else that only)."""
    return np.where(np.isfinite(values) & ((values > 0) | (not log)), values, np.nan)


def column_means(values: Floats, *, log: bool) -> Floats:
    """Means over the first axis of the finite values, or geometric ones of the positive; nan where there are none."""
    shown = positive(values, log=log)
    counts = (~np.isnan(shown)).sum(axis=0)
    sums = np.nansum(np.log(shown) if log else shown, axis=0)
    mean = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return np.asarray(np.exp(mean) if log else mean)


def geometric_mean(values: Floats) -> Floats:
    """Column means [K] of [n, K] on a logarithmic scale over the positive finite values; nan where there are none."""
    return column_means(values, log=True)


class Difference(NamedTuple):
    """A mean difference of n pairs, or of two samples, with its 95 % interval and its t-test's two-sided p.

    p is nan where the test says nothing: no interval, or all differences equal and not zero.
    """

    mean: float
    low: float
    high: float
    p: float
    n: int


NO_DIFFERENCE = Difference(math.nan, math.nan, math.nan, math.nan, 0)
"""Of what is not held against anything."""


def paired_difference(differences: Sequence[float], folds: int | None = None) -> Difference:
    """The paired t-test of finite differences, of independent pairs or of `folds` folds.

    The interval is that of `mean_interval`, and T = mean / (s sqrt(1/n + 1/(k - 1))) has n - 1 degrees of freedom;
    without 1/(k - 1) it is the ordinary one. Differences that are all zero have p = 1.

    Source: Student (1908); Nadeau and Bengio, Inference for the generalization error (2003).

    >>> round(paired_difference([1.0, 2.0, 3.0]).p, 4)  # T = 2 sqrt(3) with 2 degrees of freedom
    0.0742
    """
    d = np.asarray(differences, float)
    if len(d) < 2 or (d == d[0]).all():  # without the rounding of a mean
        mean = float(d[0]) if len(d) else math.nan
        ends = (mean, mean) if len(d) > 1 else (math.nan, math.nan)
        return Difference(mean, *ends, 1.0 if len(d) > 1 and not mean else math.nan, len(d))
    mean, low, high = mean_interval(d.tolist(), folds)[:3]
    error = float(d.std(ddof=1)) * math.sqrt(1 / len(d) + overlap_of(folds))
    return Difference(mean, low, high, 2 * float(stdtr(len(d) - 1, -abs(mean / error))), len(d))


def welch_difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Welch's t-test of the means of two independent samples of finite values, second - first; n is of both together.

    T = (m2 - m1) / sqrt(v1 + v2) with v = s^2 / n, on (v1 + v2)^2 / (v1^2 / (n1 - 1) + v2^2 / (n2 - 1)) degrees of
    freedom; no interval and no p where a sample has fewer than two values or neither varies.

    Source: Welch (1947).

    >>> round(welch_difference([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]).p, 4)
    0.2209
    """
    one, other = np.asarray(first, float), np.asarray(second, float)
    n, mean = len(one) + len(other), math.nan
    if len(one) and len(other):
        mean = float(other.mean() - one.mean())
    if (
        min(len(one), len(other)) < 2
        or not (v := [sample.var(ddof=1) / len(sample) for sample in (one, other)])[0] + v[1]
    ):
        return Difference(mean, math.nan, math.nan, math.nan, n)
    freedom = (v[0] + v[1]) ** 2 / (v[0] ** 2 / (len(one) - 1) + v[1] ** 2 / (len(other) - 1))
    error = math.sqrt(v[0] + v[1])
    half = error * float(stdtrit(freedom, 0.975))
    return Difference(mean, mean - half, mean + half, 2 * float(stdtr(freedom, -abs(mean) / error)), n)


class Paired(NamedTuple):
    """What n differences d_i = b_i - a_i say; p values are two-sided, nan where the test says nothing.

    Attributes:
        mean, low, high: with the 95 % interval of the mean.
        sd, median: sd with n - 1.
        t_p: paired t-test; nan where all differences are equal.
        wilcoxon_p: Wilcoxon's signed-rank test, which asks for symmetry, not for normality; nan where all are zero.
        below, above: how many differences are negative and positive.
    """

    mean: float
    low: float
    high: float
    sd: float
    median: float
    t_p: float
    wilcoxon_p: float
    below: int
    above: int
    n: int


def paired(differences: Sequence[float], folds: int | None = None) -> Paired:
    """Mean, interval and tests of two or more finite differences, see `paired_difference`.

    Wilcoxon's test leaves zeros out, and is exact for small n.

    Raises:
        ValueError: fewer than two differences, which have no interval.

    Source: Wilcoxon (1945).

    >>> one = paired([1.0, 2.0, 3.0])
    >>> one.mean, one.sd, round(one.high - one.low, 3)  # 2 * 4.303 / sqrt(3)
    (2.0, 1.0, 4.968)
    """
    from scipy.stats import wilcoxon

    d, n = np.asarray(differences, float), len(differences)
    if n < 2:
        raise ValueError(f"an interval needs at least two pairs, not {n}")
    mean, low, high, t_p, _ = paired_difference(differences, folds)
    equal = bool((d == d[0]).all())
    sd, t_p = (0.0, math.nan) if equal else (float(d.std(ddof=1)), t_p)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ties in a small sample: an approximation, as good as there is
        wilcoxon_p = float(wilcoxon(d).pvalue) if d.any() else math.nan
    return Paired(mean, low, high, sd, float(np.median(d)), t_p, wilcoxon_p, int((d < 0).sum()), int((d > 0).sum()), n)
