"""What the variance of a layer's pre-activations decides of its factors, forwards and backwards."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from fanin.theory.cubic_spline import CubicSpline
from fanin.theory.gaussian_maps import LATTICE, Activation, FloatArray, Nodes
from fanin.theory.log_moments import few_nodes, log_gradient_factor_moments, log_mean_square_moments


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
        self.lattice: dict[tuple[int, int], tuple[float, ...]] = {}

    @classmethod
    def of(cls, activation: Activation) -> LayerMoments:
        """Those of an activation, which keeps them."""
        known: LayerMoments = vars(activation).setdefault("layer_moments", cls(activation))
        return known

    def __call__(self, n: int, q: FloatArray) -> LayerNumbers:
        """A layer's numbers at the variances q of its pre-activations, [points]."""
        logs = np.log(q)
        if self.activation.slopes is not None:  # phi(sqrt(q) g)^2 is q phi(g)^2: one row is all
            numbers = LayerNumbers(*np.repeat(np.array([self.row(n, 0.0)]).T, len(q), axis=1))
            return replace(numbers, log_mean=numbers.log_mean + logs, square=numbers.square * q)
        low, high = float(logs.min()), float(logs.max())
        if high - low < 1e-9:
            return LayerNumbers(*np.repeat(np.array([self.row(n, low)]).T, len(q), axis=1))
        places = range(math.floor(low / LATTICE) - 1, math.ceil(high / LATTICE) + 2)
        rows = np.array([self._on_lattice(n, place) for place in places])
        return LayerNumbers(*CubicSpline(LATTICE * places[0], LATTICE, rows)(logs).T)

    def row(self, n: int, log_q: float) -> tuple[float, ...]:
        """The moments at one variance."""
        key = (n, log_q)
        if key not in self.rows:
            q = math.exp(log_q)
            self.rows[key] = _row(q, n, self.activation.at(q), self.activation.at(q, *few_nodes(n)))
        return self.rows[key]

    def _on_lattice(self, n: int, place: int) -> tuple[float, ...]:
        if (n, place) not in self.lattice:
            nodes = (self.activation.on_lattice(place, *of) for of in ((), few_nodes(n)))
            self.lattice[n, place] = _row(math.exp(LATTICE * place), n, *nodes)
        return self.lattice[n, place]


@np.errstate(over="ignore", invalid="ignore")
def _row(q: float, n: int, at: Nodes, few: Nodes) -> tuple[float, ...]:
    phi, slope = at.phi, at.slope
    square, steep = at.mean(phi**2), at.mean(slope**2)
    both = square * steep
    joint = at.mean((phi * slope) ** 2) / both if both > 0 else 1.0
    length = at.activation.mean_square_slope(q, at)
    along = q * length**2 / both if both > 0 else 0.0
    across = at.mean((at.z * slope) ** 2) / (q * steep) - along if steep > 0 else 0.0
    forward, backward = log_mean_square_moments(few, n), log_gradient_factor_moments(few, n)
    return (*forward, *backward, joint, square, along, across)
