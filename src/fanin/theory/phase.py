"""Where a recipe stands between order and chaos: fixed points of the lengths, their slopes, and the critical variance.

At infinite width q_(l+1) = v V(q_l) + s, with v = fan_in Var(W) and s = Var(b). At its fixed point q*

    chi_par  = v V'(q*)    what happens to a small change of the length; above 1 the point repels
    chi_perp = v D(q*)     what happens to a small angle between two inputs, and to the square of gradients
    xi_q = -1 / ln chi_par      xi_c = -1 / ln chi_perp      in layers: how deep lengths and angles are remembered

chi_perp < 1 is order (gradients vanish), > 1 chaos (they explode), and 1 the edge of chaos, where deep networks train.
Source: Poole et al. 2016; Schoenholz et al. 2017; Roberts, Yaida & Hanin 2022.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fanin.theory.gaussian_maps import Activation

SMALLEST, LARGEST = 1e-12, 1e12
"""Variances of pre-activations between which fixed points are looked for."""

EDGE = 1e-3
"""How near to 1 chi_perp is called critical."""

PRECISION = 1e-14
"""How closely the logarithm of a variance is found."""


@dataclass(frozen=True)
class FixedPoint:
    """A fixed point of the lengths, and what happens around it.

    Attributes:
        variance, bias_variance: v and s.
        q: variance of the pre-activations there; 0 where lengths vanish, inf where they grow without bound.
        chi_par, chi_perp: the slopes.
        phase: ordered, critical or chaotic.
    """

    variance: float
    bias_variance: float
    q: float
    chi_par: float
    chi_perp: float

    @property
    def xi_q(self) -> float:
        """Layers after which a change of the length has fallen (or grown, if negative) by e; inf at 1."""
        return _depth(self.chi_par)

    @property
    def xi_c(self) -> float:
        """Layers after which a small angle, or a squared gradient, has fallen (or grown, if negative) by e."""
        return _depth(self.chi_perp)

    @property
    def phase(self) -> str:
        """Ordered, critical or chaotic, by chi_perp."""
        if abs(self.chi_perp - 1) <= EDGE:
            return "critical"
        return "ordered" if self.chi_perp < 1 else "chaotic"


@dataclass(frozen=True)
class NoCriticalPoint:
    """There is no weight variance at which chi_perp is 1; `why` says why not."""

    why: str


def fixed_point(activation: Activation, variance: float, bias_variance: float, start: float = 1.0) -> FixedPoint:
    """The fixed point that lengths go to from a start.

    Args:
        activation: phi.
        variance: v, > 0.
        bias_variance: s, >= 0.
        start: variance of the first layer's pre-activations, > 0.

    >>> tanh = Activation(np.tanh, lambda z: 1 - np.tanh(z) ** 2)
    >>> point = fixed_point(tanh, 1.76095, 0.05)
    >>> round(point.q, 4), round(point.chi_perp, 4), round(point.chi_par, 3), point.phase
    (0.57, 1.0, 0.518, 'critical')
    """

    def gap(log_q: float) -> float:
        q = math.exp(log_q)
        return variance * activation.mean_square(q) / q + bias_variance / q - 1

    low, high = math.log(SMALLEST), math.log(LARGEST)
    here = math.log(min(max(start, SMALLEST), LARGEST))
    if abs(gap(here)) < 1e-12:  # also the any q of a homogeneous activation at its critical variance
        return _at(activation, variance, bias_variance, math.exp(here))
    rises = gap(here) > 0
    if activation.slopes is not None:  # V(q) = V(1) q
        rest = 1 - variance * activation.mean_square(1.0)
        q = bias_variance / rest if rest > 0 else math.inf
        return _at(activation, variance, bias_variance, q if SMALLEST <= q <= LARGEST else math.inf if rises else 0.0)
    step = 0.25 if rises else -0.25
    while low < here < high:
        there = min(max(here + step, low), high)
        if (gap(there) > 0) != rises:
            return _at(activation, variance, bias_variance, math.exp(crossing(gap, here, there)))
        here = there
    return _at(activation, variance, bias_variance, math.inf if rises else 0.0)


def critical_point(activation: Activation, bias_variance: float = 0.0) -> FixedPoint | NoCriticalPoint:
    """The weight variance at which chi_perp = v D(q*) = 1, if there is one.

    v = 1/D(q*) with q* = V(q*)/D(q*) + s. At s = 0 and phi(0) = 0 it is the point q* = 0.

    >>> relu = Activation(lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float))
    >>> critical_point(relu).variance
    2.0
    >>> critical_point(relu, 0.1).why
    'at a bias variance of 0.1 lengths grow from layer to layer at the weight variance at which angles would hold'
    """

    def gap(log_q: float) -> float:
        q = math.exp(log_q)
        slope = activation.derivative_mean_square(q)
        return activation.mean_square(q) / slope / q + bias_variance / q - 1 if slope > 0 else math.inf

    tiny = 1e-16
    slope = activation.derivative_mean_square(tiny)
    if bias_variance == 0 and activation.mean_square(tiny) < 1e3 * tiny and slope > 0:
        variance = 1 / slope
        variance = round(variance, 9) if abs(variance - round(variance, 9)) < 1e-12 * variance else variance
        return _at(activation, variance, 0.0, 0.0)
    places = np.linspace(math.log(1e-8), math.log(1e8), 129)
    gaps = [gap(float(place)) for place in places]
    for place, after, one, next_one in zip(places, places[1:], gaps, gaps[1:], strict=False):
        if one > 0 >= next_one and math.isfinite(one):
            q = math.exp(crossing(gap, float(place), float(after)))
            return _at(activation, 1 / activation.derivative_mean_square(q), bias_variance, q)
    return NoCriticalPoint(
        f"at a bias variance of {bias_variance:g} lengths grow from layer to layer at the weight variance at which "
        "angles would hold"
    )


def crossing(gap: Callable[[float], float], here: float, there: float) -> float:
    """Where a function changes its sign between two places, by the ITP method: fast, and never slower than bisection.

    Source: Oliveira & Takahashi 2021; importing scipy.optimize takes longer than a short run.

    >>> round(crossing(lambda x: x**3 - 2, 0.0, 2.0), 12)
    1.259921049895
    """
    low, high = min(here, there), max(here, there)
    sign = 1.0 if gap(high) > 0 else -1.0
    at_low, at_high = sign * gap(low), sign * gap(high)
    reach, width = PRECISION * max(1.0, abs(low), abs(high)), high - low
    left = math.ceil(math.log2(max(width / reach, 1.0))) + 1  # halvings that bisection needs, and one more
    while high - low > reach and left > 0:
        middle, half = (low + high) / 2, (high - low) / 2
        straight = (at_high * low - at_low * high) / (at_high - at_low) if at_high - at_low < math.inf else middle
        nearer = math.copysign(min(0.2 / width * (high - low) ** 2, abs(middle - straight)), middle - straight)
        slack = max(reach / 2 * 2.0**left - half, 0.0)
        place = min(max(straight + nearer, middle - slack), middle + slack)
        value = sign * gap(place)
        if value == 0:
            return place
        low, at_low, high, at_high = (low, at_low, place, value) if value > 0 else (place, value, high, at_high)
        left -= 1
    return (low + high) / 2


def _at(activation: Activation, variance: float, bias_variance: float, q: float) -> FixedPoint:
    """The slopes at a fixed point; at 0 and without bound those of the limit."""
    near = min(max(q, SMALLEST), LARGEST)
    chi_par = variance * activation.mean_square_slope(near)
    return FixedPoint(variance, bias_variance, q, chi_par, variance * activation.derivative_mean_square(near))


def _depth(chi: float) -> float:
    if chi <= 0:
        return 0.0
    return math.inf if abs(chi - 1) < 1e-12 else -1 / math.log(chi)
