"""Means over seeds or folds and their 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A mean over `n` finite values of `measured` ones, with the ends of its 95 % interval; nan where there is none."""

    mean: float
    low: float
    high: float
    n: int
    measured: int


NOTHING = Interval(math.nan, math.nan, math.nan, 0, 0)


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


def mean_interval(values: Iterable[float | None], folds: int | None = None, *, share: bool = False) -> Interval:
    """Mean and interval  mean +- t s sqrt(1/n + 1/(k - 1))  over the finite values; without 1/(k - 1) for seeds.

    One value has no interval. With no finite value the mean says why: nan or inf if any such was measured.

    Args:
        values: of the runs; None if a run has none.
        folds: k where the runs are folds of a cross-validation. Their training sets overlap, so that their results
            vary less than those of independent runs would, and the ordinary interval is too narrow.
        share: values lie in [0, 1], such as errors, and so do the ends of their interval.

    Source: Student (1908); Nadeau and Bengio, Inference for the generalization error (2003), the corrected resampled
        t-test; for several rounds of folds Bouckaert and Frank (2004).

    >>> low, high = mean_interval([0.02, 0.04])[1:3]
    >>> round(low, 3), round(high, 3)
    (-0.097, 0.157)
    >>> mean_interval([0.02, 0.04], share=True).low
    0.0
    """
    measured = [value for value in values if value is not None]
    finite = np.array([value for value in measured if math.isfinite(value)])
    if not len(finite):
        return Interval(measured[0], math.nan, math.nan, 0, len(measured)) if measured else NOTHING
    mean = float(finite.mean())
    if len(finite) == 1:
        return Interval(mean, math.nan, math.nan, 1, len(measured))
    half = float(t_quantile(len(finite)) * finite.std(ddof=1)) * math.sqrt(1 / len(finite) + overlap_of(folds))
    low, high = mean - half, mean + half
    return Interval(
        mean, max(low, 0.0) if share else low, min(high, 1.0) if share else high, len(finite), len(measured)
    )


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
    interval = mean_interval([math.log(value) for value in counted], folds)
    with np.errstate(over="ignore", under="ignore"):  # two seeds far apart: an interval from 0 to inf
        mean, low, high = (float(np.exp(value)) for value in interval[:3])
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
