"""What the variance of a layer's pre-activations decides of its factors, forwards and backwards."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fanin.theory.cubic_spline import CubicSpline
from fanin.theory.gaussian_maps import Activation, FloatArray
from fanin.theory.log_moments import log_gradient_factor_moments, log_mean_square_moments

LATTICE = 0.25
"""Distance in ln q of the variances at which a layer's exact moments are computed."""


@dataclass(frozen=True)
class LayerNumbers:
    """What a layer's variance q decides, [points] each."""

    log_mean: FloatArray  # E ln m
    log_variance: FloatArray
    factor_mean: FloatArray  # E ln of the gradient's factor, without v
    factor_variance: FloatArray
    joint: FloatArray  # E phi^2 phi'^2 / (V D)
    square: FloatArray  # V
    along: FloatArray  # q V'^2 / (V D): what of the gradient's component along x the next layer carries on
    across: FloatArray  # E z^2 phi'^2 / (q D) - along: what it makes of the rest


class LayerMoments:
    """A layer's exact moments at the variances of a lattice in ln q, interpolated between them.

    What is computed for one layer serves all layers of its width: lattice points are kept.
    """

    def __init__(self, activation: Activation) -> None:
        self.activation = activation
        self.rows: dict[tuple[int, float], tuple[float, ...]] = {}

    @classmethod
    def of(cls, activation: Activation) -> LayerMoments:
        """Those of an activation, which keeps them."""
        known: LayerMoments = vars(activation).setdefault("layer_moments", cls(activation))
        return known

    def __call__(self, n: int, q: FloatArray) -> LayerNumbers:
        """A layer's numbers at the variances q of its pre-activations, [points]."""
        logs = np.log(q)
        low, high = float(logs.min()), float(logs.max())
        if high - low < 1e-9:
            return LayerNumbers(*np.repeat(np.array([self.row(n, low)]).T, len(q), axis=1))
        lattice = LATTICE * np.arange(math.floor(low / LATTICE) - 1, math.ceil(high / LATTICE) + 2)
        rows = np.array([self.row(n, float(log_q)) for log_q in lattice])
        return LayerNumbers(*CubicSpline(float(lattice[0]), LATTICE, rows)(logs).T)

    def row(self, n: int, log_q: float) -> tuple[float, ...]:
        """The moments at one variance."""
        key = (n, round(log_q, 12))
        if key not in self.rows:
            activation, q = self.activation, math.exp(log_q)
            forward = log_mean_square_moments(activation, q, n)
            backward = log_gradient_factor_moments(activation, q, n)
            square, slope = activation.mean_square(q), activation.derivative_mean_square(q)
            joint = activation.joint_square(q) / (square * slope) if square * slope > 0 else 1.0
            length = activation.mean_square_slope(q)
            reach = activation.expectation(lambda z: (z * activation.derivative(z)) ** 2, q)
            along = q * length**2 / (square * slope) if square * slope > 0 else 0.0
            across = reach / (q * slope) - along if slope > 0 else 0.0
            self.rows[key] = (*forward, *backward, joint, square, along, across)
        return self.rows[key]
