"""Where a recipe stands between order and chaos, as result.json has it."""

from __future__ import annotations

from functools import lru_cache

from fanin.theory.gaussian_maps import Activation
from fanin.theory.phase import LARGEST, SMALLEST, FixedPoint, critical_point, fixed_point
from fanin.theory.plain_chain import Chain

NUMBERS = (
    "point_variance", "point_bias_variance", "point_q", "point_chi_par", "point_chi_perp", "point_spread",
    "critical_variance",
)  # fmt: skip
Point = dict[str, float | None]


def phase_point(chain: Chain | None) -> Point:
    """The fixed point that lengths of order 1 go to in a chain's inner layers, its slopes, and the critical variance.

    Every number is None without a chain, and where its inner layers do not share one variance of weights and biases.
    """
    inner = set() if chain is None else {(round(one.variance, 12), one.bias_variance) for one in chain.layers[1:-1]}
    if chain is None or len(inner) != 1:
        return dict.fromkeys(NUMBERS)
    return dict(zip(NUMBERS, _point(chain.activation, *inner.pop()), strict=True))


@lru_cache(maxsize=256)
def _point(phi: Activation, variance: float, bias_variance: float) -> tuple[float | None, ...]:
    point, critical = fixed_point(phi, variance, bias_variance), critical_point(phi, bias_variance)
    found = critical.variance if isinstance(critical, FixedPoint) else None
    q = min(max(point.q, SMALLEST), LARGEST)
    slope = phi.derivative_mean_square(q)
    spread = 3 * phi.derivative_fourth_moment(q) / slope**2 - 1 if slope > 0 else None
    return variance, bias_variance, point.q, point.chi_par, point.chi_perp, spread, found
