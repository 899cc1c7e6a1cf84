"""Means over seeds and their 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit


class Interval(NamedTuple):
    """A mean over `n` finite values of `measured` ones, with the ends of its 95 % interval; nan where there is none."""

    mean: float
    low: float
    high: float
    n: int
    measured: int


NOTHING = Interval(math.nan, math.nan, math.nan, 0, 0)


def t_quantile(n: int | NDArray[np.intp]) -> NDArray[np.float64]:
    """The 97.5 % quantile of Student's t with n - 1 degrees of freedom; nan for n < 2."""
    freedom = np.asarray(n, float) - 1
    quantile: NDArray[np.float64] = np.where(freedom > 0, stdtrit(np.maximum(freedom, 1), 0.975), np.nan)
    return quantile


def mean_interval(values: Iterable[float | None]) -> Interval:
    """Mean and interval  mean +- t s / sqrt(n)  over the finite values.

    One value has no interval. With no finite value the mean says why: nan or inf if any such was measured.
    """
    measured = [value for value in values if value is not None]
    finite = np.array([value for value in measured if math.isfinite(value)])
    if not len(finite):
        return Interval(measured[0], math.nan, math.nan, 0, len(measured)) if measured else NOTHING
    mean = float(finite.mean())
    if len(finite) == 1:
        return Interval(mean, math.nan, math.nan, 1, len(measured))
    half = float(t_quantile(len(finite)) * finite.std(ddof=1)) / math.sqrt(len(finite))
    return Interval(mean, mean - half, mean + half, len(finite), len(measured))


def geometric_interval(values: Iterable[float | None]) -> Interval:
    """The same for positive quantities on a logarithmic scale: geometric mean, interval of the logarithms.

    A value of 0 makes the geometric mean 0 and leaves no interval.
    """
    measured = [value for value in values if value is not None]
    counted = [value for value in measured if math.isfinite(value) and value >= 0]
    if 0.0 in counted:
        return Interval(0.0, math.nan, math.nan, len(counted), len(measured))
    if not counted:
        return mean_interval(measured)
    interval = mean_interval([math.log(value) for value in counted])
    with np.errstate(over="ignore", under="ignore"):  # two seeds far apart: an interval from 0 to inf
        mean, low, high = (float(np.exp(value)) for value in interval[:3])
    return Interval(mean, low, high, interval.n, len(measured))


def mean_curve(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean, low and high of [seeds, S] at each step over the seeds that are finite there.

    Steps that fewer than half of the seeds have are nan: when most have stopped, the rest are another sample.
    """
    finite = np.isfinite(values)
    n = finite.sum(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.where(finite, values, 0).sum(axis=0) / np.maximum(n, 1)
        squares = (np.where(finite, values, mean) - mean) ** 2
        half = t_quantile(n) * np.sqrt(squares.sum(axis=0) / np.maximum(n - 1, 1) / np.maximum(n, 1))
    mean = np.where((n > 0) & (2 * n >= len(values)), mean, np.nan)
    return mean, mean - half, mean + half
