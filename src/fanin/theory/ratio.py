"""Exact law of the factor by which one layer with normal weights changes the squared norm.

Given its input x, the pre-activation z = W x with W_ij ~ N(0, c / fan_in) has fan_out independent components
N(0, c ||x||^2 / fan_in). A ReLU keeps those above 0, each with probability 1/2 and independently of its size:

    ||relu(z)||^2 / ||x||^2 = (c / fan_in) chi2_K,    K ~ Binomial(fan_out, 1/2)
    ||z||^2       / ||x||^2 = (c / fan_in) chi2_K,    K = fan_out

Neither depends on x, so the factors of successive layers are independent and ln ||x_l||^2 is a random walk.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanin.errors import integer, number

FloatArray = NDArray[np.float64]


class Moments(NamedTuple):
    """Mean and variance of a random number."""

    mean: float
    variance: float


def log_ratio_moments(fan_in: int, fan_out: int, c: float, gate: bool = True) -> Moments:
    """Exact mean and variance of ln(||x_l||^2 / ||x_(l-1)||^2) for one layer.

        E   = sum_K P(K) m_K                                m_K = digamma(K/2) + ln 2 + ln(c / fan_in)
        Var = sum_K P(K) [trigamma(K/2) + (m_K - E)^2]

    With a gate P is Binomial(fan_out, 1/2) given K >= 1: a layer that is dead as a whole has no logarithm.
    The mean is linear in ln c; the variance depends on fan_out alone.

    Args:
        fan_in: inputs of the layer, >= 1.
        fan_out: outputs of the layer, >= 1.
        c: fan_in * Var(W), > 0.
        gate: True after a ReLU; False before it, or where there is none.

    Raises:
        OptionError: a value out of its range.

    Source: Hanin & Nica 2019, Burkholz & Dubatovka 2019.

    >>> [round(moment, 6) for moment in log_ratio_moments(100, 100, 2.0)]
    [-0.025421, 0.05194]
    """
    integer("fan_in", fan_in, low=1)
    integer("fan_out", fan_out, low=1)
    number("c", c, low=0, open_low=True)
    chi2 = log_chi2_moments(fan_out, gate)
    return Moments(chi2.mean + math.log(c / fan_in), chi2.variance)


@lru_cache(maxsize=1024)
def log_chi2_moments(count: int, gate: bool = False) -> Moments:
    """Mean and variance of ln chi2_n, or with a gate of ln chi2_K for the K of n units that a ReLU keeps.

    >>> [round(moment, 4) for moment in log_chi2_moments(1)]  # of ln g^2: -gamma - ln 2 and pi^2/2
    [-1.2704, 4.9348]
    """
    log_mean, log_variance = _log_chi2_given_count(count)
    if not gate:
        return Moments(float(log_mean[-1]), float(log_variance[-1]))
    chance = _half_binomial(count)
    mean = float(chance @ log_mean)
    return Moments(mean, float(chance @ (log_variance + (log_mean - mean) ** 2)))


def _half_binomial(count: int) -> FloatArray:
    """P(K = k) for k = 1..count of Binomial(count, 1/2) given K >= 1, [count].

    Summing ln P(k+1)/P(k) = ln (count - k)/(k + 1) needs no factorials and cannot overflow.
    """
    k = np.arange(1, count, dtype=np.float64)
    log_chance = np.concatenate([[0.0], np.cumsum(np.log((count - k) / (k + 1)))])
    chance = np.exp(log_chance - log_chance.max())
    return np.asarray(chance / chance.sum())


def _log_chi2_given_count(count: int) -> tuple[FloatArray, FloatArray]:
    """E ln chi2_k = digamma(k/2) + ln 2 and Var ln chi2_k = trigamma(k/2) for k = 1..count, each [count].

    From digamma(x + 1) = digamma(x) + 1/x and trigamma(x + 1) = trigamma(x) - 1/x^2, odd and even k apart,
    which start at x = 1/2 and x = 1.
    """
    mean, variance = np.empty(count), np.empty(count)
    starts = (
        (-np.euler_gamma - 2 * math.log(2), math.pi**2 / 2),
        (-np.euler_gamma, math.pi**2 / 6),
    )
    for parity, (digamma, trigamma) in enumerate(starts):
        x = np.arange(1 + parity, count - 1, 2, dtype=np.float64) / 2  # every k/2 but the last of this parity
        size = mean[parity::2].size
        mean[parity::2] = (digamma + np.concatenate([[0.0], np.cumsum(1 / x)]))[:size] + math.log(2)
        variance[parity::2] = (trigamma - np.concatenate([[0.0], np.cumsum(1 / x**2)]))[:size]
    return mean, variance
