"""Where a run's recipe stands between order and chaos, as result.json has it."""

from __future__ import annotations

from functools import lru_cache

from torch import nn

from fanin.parts.activation_maps import activation_map
from fanin.parts.models.layers import fans, weight_layers
from fanin.run.make_option import is_neutral
from fanin.run.recipe import Recipe
from fanin.theory.gaussian_maps import Activation
from fanin.theory.phase import LARGEST, SMALLEST, FixedPoint, critical_point, fixed_point

NUMBERS = (
    "point_variance", "point_bias_variance", "point_q", "point_chi_par", "point_chi_perp", "point_spread",
    "critical_variance",
)  # fmt: skip
Point = dict[str, float | None]


def phase_point(made: Recipe, model: nn.Module) -> Point:
    """The fixed point that lengths of order 1 go to in the model's inner layers, its slopes, and the critical variance.

    Every number is None unless the model is a chain of fully connected layers without normalization and dropout, whose
    inner weights are independent draws of one variance, with an activation that acts on every entry alone.
    """
    nothing: Point = dict.fromkeys(NUMBERS)
    plain = getattr(model, "is_chain", False) and is_neutral(made.normalization) and made.dropout is None
    if not plain or not made.probe.profile_due(0):
        return nothing
    inner = {fans(layer) for _, layer in weight_layers(model)[1:-1]}
    variances = [(fan_in, made.initializer.variance(fan_in, fan_out)) for fan_in, fan_out in inner]
    scaled = {round(fan_in * (variance or 0.0), 12) for fan_in, variance in variances} - {0.0}
    biased = any(getattr(layer, "bias", None) is not None for _, layer in weight_layers(model))
    spreads = {made.initializer.bias_variance_of(fan_in) if biased else 0.0 for fan_in, _ in inner}
    phi = activation_map(made.make_activation())
    if len(scaled) != 1 or len(spreads) != 1 or phi is None:
        return nothing
    return dict(zip(NUMBERS, _point(phi, scaled.pop(), spreads.pop()), strict=True))


@lru_cache(maxsize=256)
def _point(phi: Activation, variance: float, bias_variance: float) -> tuple[float | None, ...]:
    point, critical = fixed_point(phi, variance, bias_variance), critical_point(phi, bias_variance)
    found = critical.variance if isinstance(critical, FixedPoint) else None
    q = min(max(point.q, SMALLEST), LARGEST)
    slope = phi.derivative_mean_square(q)
    spread = 3 * phi.derivative_fourth_moment(q) / slope**2 - 1 if slope > 0 else None
    return variance, bias_variance, point.q, point.chi_par, point.chi_perp, spread, found
