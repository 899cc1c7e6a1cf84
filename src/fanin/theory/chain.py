"""The law of a chain of fully connected layers with normal weights and biases, for any activation, at finite width.

Given x_(l-1), the n_l pre-activations of layer l are independent N(0, q_l), q_l = v_l m_(l-1) + s_l, with
m = ||x||^2/n, v = fan_in Var(W), s = Var(b). So m_l = (1/n_l) sum_i phi(sqrt(q_l) g_i)^2 is a Markov chain in ONE
number. Its law is carried from layer to layer on a grid of y = ln m; each row is a normal in y' with the exact mean
and variance of ln m_l given y (log_moments.py).

Backwards, with delta = dL/dz,
    r_l = ||delta_l||^2 / ||delta_(l+1)||^2 = (v_(l+1) / n_l) sum_i phi'(z_i)^2 h_i^2
has the SAME z_i as m_l. Its logarithm, given the step from y to y', is a normal whose mean follows y' by the
covariance E phi^2 phi'^2/(V D) - 1 over n; the gradient of a weight, ||delta_l|| ||x_(l-1)||, sums such steps.

Source: Hanin & Rolnick 2018, Hanin & Nica 2019, Burkholz & Dubatovka 2019 for relu; Schoenholz et al. 2017 for the
infinite width. The coupling is derived here and checked by sampling networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import digamma, ndtr, polygamma

from fanin.errors import integer, number
from fanin.theory.gaussian_maps import Activation, FloatArray
from fanin.theory.log_moments import log_gradient_factor_moments, log_mean_square_moments

SPACING = 0.6
"""Points of the grid: this many standard deviations of the narrowest row apart (the sum over a normal is exact there)."""

REACH = 8.0
"""Standard deviations that a grid reaches beyond the means of its rows."""

NEGLIGIBLE = 1e-15
"""Probability of a grid's point that is left out."""

MOST_POINTS = 3000
LATTICE = 0.25
"""Distance in ln q of the variances at which a layer's exact moments are computed."""

LEVELS = (0.025, 0.16, 0.5, 0.84, 0.975)
"""Probabilities of the quantiles."""


@dataclass(frozen=True)
class ChainLayer:
    """A fully connected layer, and whether its activation follows.

    Args:
        name: of the layer.
        fan_in, fan_out: inputs and outputs, n_(l-1) and n_l.
        variance: v = fan_in Var(W), > 0.
        bias_variance: s = Var(b), >= 0.
    """

    name: str
    fan_in: int
    fan_out: int
    variance: float
    bias_variance: float = 0.0

    def __post_init__(self) -> None:
        integer("fan_in", self.fan_in, low=1)
        integer("fan_out", self.fan_out, low=1)
        number("variance", self.variance, low=0, open_low=True)
        number("bias_variance", self.bias_variance, low=0)


@dataclass(frozen=True)
class LogLaw:
    """Law of the logarithm of a square: its moments and quantiles.

    Attributes:
        mean, variance: of the logarithm.
        quantiles: at LEVELS.
        log_mean_square: ln of the mean of the square itself.
    """

    mean: float
    variance: float
    quantiles: tuple[float, ...]
    log_mean_square: float

    def shifted(self, by: float) -> LogLaw:
        """The law of the square times e^by."""
        return LogLaw(
            self.mean + by, self.variance, tuple(one + by for one in self.quantiles), self.log_mean_square + by
        )


@dataclass(frozen=True)
class ChainLaw:
    """Laws of one example's squared norms over fresh weights, a LogLaw for every layer 1..L.

    Attributes:
        pre: of ||z_l||^2.
        post: of ||x_l||^2; the last layer has no activation, its x is its z.
        gradient: of ||dL/dW_l||^2 / ||dL/dW_L||^2.
        deltas: of ||dL/dz_l||^2 / ||dL/dz_L||^2.
    """

    pre: tuple[LogLaw, ...]
    post: tuple[LogLaw, ...]
    gradient: tuple[LogLaw, ...]
    deltas: tuple[LogLaw, ...]


@dataclass(frozen=True)
class _Step:
    """One layer's transition on the grids of y before and after it."""

    before: FloatArray  # [I], with the probabilities of these points
    chance: FloatArray  # [I]
    after: FloatArray  # [J]
    mean: FloatArray  # [I], of ln m_l given y
    sd: FloatArray  # [I]
    log_square: FloatArray  # [I], ln V(q)
    kernel: FloatArray  # [I, J], rows sum to 1
    factor: FloatArray  # [I, J], mean of ln r_l given y and y'
    rest: FloatArray  # [I], its variance


def chain_law(layers: Sequence[ChainLayer], input_mean_square: float, activation: Activation) -> ChainLaw:
    """The law of a chain.

    Args:
        layers: l = 1..L in order, each with the activation but the last.
        input_mean_square: m_0 = ||x_0||^2 / n_0 of the example, > 0 (or >= 0 where biases have variance).
        activation: phi, the same after every layer but the last.

    Raises:
        ValueError: a layer that does not take what the one before puts out.
    """
    for below, above in pairwise(layers):
        if below.fan_out != above.fan_in:
            raise ValueError(f"{above.name} takes {above.fan_in} inputs, but {below.name} gives {below.fan_out}")
    y, chance = np.array([math.log(max(input_mean_square, 1e-300))]), np.ones(1)
    moments = _Moments(activation)
    steps, pre, post = [], [], []
    for layer, above in pairwise(layers):
        step, reached = _step(layer, above, moments, y, chance)
        steps.append(step)
        pre.append(_pre(layer, y, chance))
        post.append(_post(layer, step))
        y, chance = step.after, reached
    pre.append(_pre(layers[-1], y, chance))
    deltas, gradients = _backward(layers, steps, y)
    return ChainLaw(tuple(pre), (*post, pre[-1]), tuple(gradients), tuple(deltas))


def _variance(layer: ChainLayer, y: FloatArray) -> FloatArray:
    return np.asarray(layer.variance * np.exp(y) + layer.bias_variance)


class _Moments:
    """A layer's exact moments at the variances of a lattice in ln q, interpolated between them.

    What is computed for one layer serves all layers of its width: lattice points are kept.
    """

    def __init__(self, activation: Activation) -> None:
        self.activation = activation
        self.rows: dict[tuple[int, float], tuple[float, ...]] = {}

    def __call__(self, n: int, q: FloatArray) -> FloatArray:
        """Rows of (E, Var ln m; E, Var ln of the gradient's factor; their covariance; V, D), [7, points]."""
        logs = np.log(q)
        low, high = float(logs.min()), float(logs.max())
        if high - low < 1e-9:
            return np.repeat(np.array([self.row(n, low)]).T, len(q), axis=1)
        lattice = LATTICE * np.arange(math.floor(low / LATTICE) - 1, math.ceil(high / LATTICE) + 2)
        rows = np.array([self.row(n, float(log_q)) for log_q in lattice])
        return np.asarray(CubicSpline(lattice, rows)(logs).T)

    def row(self, n: int, log_q: float) -> tuple[float, ...]:
        """The moments at one variance."""
        key = (n, round(log_q, 12))
        if key not in self.rows:
            activation, q = self.activation, math.exp(log_q)
            forward = log_mean_square_moments(activation, q, n)
            backward = log_gradient_factor_moments(activation, q, n)
            square, slope = activation.mean_square(q), activation.derivative_mean_square(q)
            coupling = (activation.joint_square(q) / (square * slope) - 1) / n if square * slope > 0 else 0.0
            self.rows[key] = (*forward, *backward, coupling, square, slope)
        return self.rows[key]


def _step(
    layer: ChainLayer, above: ChainLayer, moments: _Moments, y: FloatArray, chance: FloatArray
) -> tuple[_Step, FloatArray]:
    """The transition of a layer, and the probabilities of the points after it."""
    q = _variance(layer, y)
    mean, variance, log_factor, spread, coupling, square, _ = moments(layer.fan_out, q)
    sd = np.sqrt(np.maximum(variance, 1e-24))
    low, high = float((mean - REACH * sd).min()), float((mean + REACH * sd).max())
    count = int(min(MOST_POINTS, max(64, math.ceil((high - low) / (SPACING * float(sd.min()))))))
    after = np.linspace(low, high, count)
    kernel = np.exp(-(((after - mean[:, None]) / sd[:, None]) ** 2) / 2)
    kernel /= kernel.sum(axis=1, keepdims=True)
    reached = chance @ kernel
    kept = reached > NEGLIGIBLE * reached.max()
    after, kernel, reached = after[kept], kernel[:, kept], reached[kept] / reached[kept].sum()
    # The gradient's factor given y and y' follows what the same pre-activations did to the norm.
    slope = coupling / np.maximum(variance, 1e-24)
    factor = (log_factor + math.log(above.variance))[:, None] + slope[:, None] * (after - mean[:, None])
    rest = np.maximum(spread - slope * coupling, 0.0)
    return _Step(y, chance, after, mean, sd, np.log(np.maximum(square, 1e-300)), kernel, factor, rest), reached


def _pre(layer: ChainLayer, y: FloatArray, chance: FloatArray) -> LogLaw:
    """||z_l||^2 = q chi2_n: given q its logarithm has the moments of ln chi2."""
    n, logs = layer.fan_out, np.log(_variance(layer, y))
    mean = logs + digamma(n / 2) + math.log(2)
    sd = np.full_like(mean, math.sqrt(polygamma(1, n / 2)))
    return _mixture(mean, sd, chance, _log_sum(logs + math.log(n), chance))


def _post(layer: ChainLayer, step: _Step) -> LogLaw:
    law = _mixture(step.mean, step.sd, step.chance, _log_sum(step.log_square, step.chance))
    return law.shifted(math.log(layer.fan_out))


def _backward(layers: Sequence[ChainLayer], steps: Sequence[_Step], y: FloatArray) -> list[list[LogLaw]]:
    """Laws of the deltas and of the weights' gradients, each against the last layer's.

    What is carried from layer to layer, for every layer l below, are the probability of y and the first two moments
    of the sum of ln r from l on, together with y: so the law is a mixture over where the chain has ended.
    """
    chance = np.zeros((0, 1))
    sums, squares = np.zeros((0, 2, 1)), np.zeros((0, 2, 1))  # [layers, (deltas, gradients), points]
    for step in steps:
        own = np.stack([np.zeros_like(step.before), step.before])  # ln ||delta|| starts here; the gradient has x_(l-1)
        chance = np.concatenate([chance, step.chance[None]])
        sums = np.concatenate([sums, (step.chance * own)[None]])
        squares = np.concatenate([squares, (step.chance * own**2)[None]])
        product = step.kernel * step.factor
        second = product * step.factor + step.kernel * step.rest[:, None]
        squares = squares @ step.kernel + 2 * sums @ product + (chance @ second)[:, None]
        sums = sums @ step.kernel + (chance @ product)[:, None]
        chance = chance @ step.kernel
    laws: list[list[LogLaw]] = [[], []]
    for l, layer in enumerate(layers[:-1]):  # noqa: E741
        there = chance[l] > NEGLIGIBLE
        widths = math.log(layer.fan_in / layers[-1].fan_in)
        for kind, end in enumerate((np.zeros_like(y), widths - y)):
            mean = (sums[l, kind] / np.maximum(chance[l], 1e-300))[there]
            sd = np.sqrt(np.maximum((squares[l, kind] / np.maximum(chance[l], 1e-300))[there] - mean**2, 0.0))
            laws[kind].append(_mixture(mean + end[there], sd, chance[l][there], None))
    itself = LogLaw(0.0, 0.0, (0.0,) * len(LEVELS), 0.0)
    return [[*law, itself] for law in laws]


def _log_sum(logs: FloatArray, chance: FloatArray) -> float:
    """ln sum p e^log."""
    top = float(logs.max())
    return top + math.log(float(chance @ np.exp(logs - top)))


def _mixture(mean: FloatArray, sd: FloatArray, chance: FloatArray, log_mean_square: float | None) -> LogLaw:
    """The law of a mixture of normals; its mean square is that of the lognormals where none is given."""
    chance = chance / chance.sum()
    centre = float(chance @ mean)
    variance = float(chance @ (sd**2 + (mean - centre) ** 2))
    if log_mean_square is None:
        log_mean_square = _log_sum(mean + sd**2 / 2, chance)
    sd = np.maximum(sd, 1e-9)
    low, high = float((mean - 9 * sd).min()), float((mean + 9 * sd).max())
    ends = np.array([[low, high]] * len(LEVELS))
    for _ in range(60):
        middle = ends.mean(axis=1)
        below = ndtr((middle[:, None] - mean) / sd) @ chance < LEVELS
        ends = np.where(below[:, None], np.stack([middle, ends[:, 1]], 1), np.stack([ends[:, 0], middle], 1))
    return LogLaw(centre, variance, tuple(map(float, ends.mean(axis=1))), log_mean_square)
