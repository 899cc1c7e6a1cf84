"""The critical variance where a normalization restores the units' lengths at every layer.

With n(z) = z / sqrt(mean z^2), or (z - mean z) / sd(z), at infinite width (v = fan_in Var(W), s = Var(b); V, D and M
the means of phi^2, phi'^2 and phi of a normal of variance q):

    before the activation, x = phi(n(W x + b)):  q = 1,      chi_perp = v D / (v V + s)
    behind it,             x = n(phi(W x + b)):  q = v + s,  chi_perp = v D / V, or v D / (V - M^2) with means removed

and lengths return to their place in one layer: chi_par = 0. Source: Yang et al. 2019; Doshi, He & Gromov 2023.
"""

from __future__ import annotations

import math

import numpy as np

from fanin.theory.gaussian_maps import Activation
from fanin.theory.phase import FixedPoint, NoCriticalPoint, crossing

FLAT = 1e-6
"""How near to 1 chi_perp is the same as 1."""

WHERE = (1e-6, 1e6)
"""Weight variances among which a critical one is looked for."""


def normalized_slope(
    activation: Activation, variance: float, bias_variance: float, *, after: bool, centred: bool
) -> float:
    """chi_perp with a normalization between the layers.

    Args:
        activation: phi.
        variance, bias_variance: v > 0 and s.
        after: whether it stands behind the activation.
        centred: whether it removes the mean, too.
    """
    if not after:
        below = variance * activation.mean_square(1.0) + bias_variance
        return variance * activation.derivative_mean_square(1.0) / below
    q = variance + bias_variance
    spread = activation.mean_square(q) - (activation.mean(q) ** 2 if centred else 0.0)
    return variance * activation.derivative_mean_square(q) / spread if spread > 0 else math.inf


def normalized_critical_point(
    activation: Activation, bias_variance: float, *, after: bool, centred: bool
) -> FixedPoint | NoCriticalPoint:
    """The weight variance at which chi_perp is 1 with a normalization; where it is 1 at all of them, 1 / V(1).

    >>> relu = Activation(lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float))
    >>> normalized_critical_point(relu, 0.0, after=False, centred=True).variance
    2.0
    >>> round(normalized_critical_point(relu, 0.1, after=True, centred=True).variance, 6)
    0.214159
    """

    def slope(log_v: float) -> float:
        return normalized_slope(activation, math.exp(log_v), bias_variance, after=after, centred=centred) - 1

    def at(variance: float) -> FixedPoint:
        found = normalized_slope(activation, variance, bias_variance, after=after, centred=centred)
        return FixedPoint(variance, bias_variance, variance + bias_variance if after else 1.0, 0.0, found)

    places = np.linspace(math.log(WHERE[0]), math.log(WHERE[1]), 97).tolist()
    slopes = [slope(place) for place in places]
    if max(map(abs, slopes)) < FLAT:
        return at(1 / activation.mean_square(1.0))
    for place, next_place, one, next_one in zip(places, places[1:], slopes, slopes[1:], strict=False):
        smallest, largest = sorted((abs(one), abs(next_one)))
        if smallest > FLAT and one * next_one < 0 and largest < math.inf:
            return at(math.exp(crossing(slope, place, next_place)))
    low, high = 1 + min(slopes), 1 + max(slopes)
    rates = f"{low:.3g}" if high - low < 1e-3 else f"{low:.3g} to {high:.3g}"
    return NoCriticalPoint(
        f"with this normalization squared gradients change by {rates} a layer at all weight variances while "
        f"bias_variance={bias_variance:g}"
    )
