"""The law of a chain of fully connected layers with normal weights and biases, for any activation, at finite width.

Given x_(l-1), the n_l pre-activations of layer l are independent N(0, q_l), q_l = v_l m_(l-1) + s_l, with
m = ||x||^2/n, v = fan_in Var(W), s = Var(b). So m_l = (1/n_l) sum_i phi(sqrt(q_l) g_i)^2 is a Markov chain in ONE
number. Its law is carried from layer to layer on a grid of y = ln m; each row is a normal in y' with the exact mean
and variance of ln m_l given y (log_moments.py).

Backwards, with delta = dL/dz,
    r_l = ||delta_l||^2 / ||delta_(l+1)||^2 = (v_(l+1) / n_l) sum_i phi'(z_i)^2 h_i^2
has the SAME z_i as m_l. Its logarithm, given the step from y to y', is a normal whose mean follows y' by the
covariance E phi^2 phi'^2/(V D) - 1 over n; the gradient of a weight, ||delta_l|| ||x_(l-1)||, sums such steps.

The gradient u = dL/dx of a layer is isotropic but for its component along x itself, which the next layer's own
pre-activations z = W x + b carry coherently: per unit of v ||delta||^2 its mean square is pi = A s + N (1 - s), where s
is the share of the layer above,
    A = a^2 (V/m) / (v D),  a = v m V'/V        N n = (v m/q) (E z^2 phi'^2 - q^2 V'^2/V) / (q D) + s_b/q
and a layer's factor has 1 - 1/n + pi w, w ~ chi2_1, in place of 1. For relu pi = 1/n; where lengths are contracted
(tanh) the component dies and gradients lose 1/n a layer; where they grow (silu) it grows too.

Source: Hanin & Rolnick 2018, Hanin & Nica 2019, Burkholz & Dubatovka 2019 for relu; Schoenholz et al. 2017 for the
infinite width. The coupling is derived here and checked by sampling networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.special import digamma, ndtr, polygamma

from fanin.errors import integer, number
from fanin.theory.gaussian_maps import Activation, FloatArray
from fanin.theory.layer_moments import LayerMoments, LayerNumbers

SPACING = 0.6
"""Points of the grid: so many standard deviations of the narrowest row apart; a sum over a normal is exact there."""

REACH = 8.0
"""Standard deviations that a grid reaches beyond the means of its rows."""

NEGLIGIBLE = 1e-15
"""Probability of a grid's point that is left out."""

MOST_POINTS = 3000
_points, _weights = np.polynomial.hermite_e.hermegauss(40)
SQUARES, WEIGHTS = _points**2, _weights / _weights.sum()
"""Nodes and weights of w ~ chi2_1."""

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
        from_output: of ||dL/dW_l||^2 / ||dL/dz_L||^2.
    """

    pre: tuple[LogLaw, ...]
    post: tuple[LogLaw, ...]
    gradient: tuple[LogLaw, ...]
    deltas: tuple[LogLaw, ...]
    from_output: tuple[LogLaw, ...]


@dataclass(frozen=True)
class _Step:
    """One layer's transition on the grids of y before and after it."""

    layer: ChainLayer
    before: FloatArray  # [I], with the probabilities of these points
    chance: FloatArray  # [I]
    after: FloatArray  # [J]
    q: FloatArray  # [I]
    mean: FloatArray  # [I], of ln m_l given y
    sd: FloatArray  # [I]
    numbers: LayerNumbers
    kernel: FloatArray  # [I, J], rows sum to 1
    factor: FloatArray  # [I, J], mean of ln r_l given y and y'
    rest: FloatArray  # [I, J], its variance


def chain_law(
    layers: Sequence[ChainLayer], input_mean_square: float, activation: Activation, *, against_last: bool = True
) -> ChainLaw:
    """The law of a chain.

    Args:
        layers: l = 1..L in order, each with the activation but the last.
        input_mean_square: m_0 = ||x_0||^2 / n_0 of the example, > 0 (or >= 0 where biases have variance).
        activation: phi, the same after every layer but the last.
        against_last: whether gradients are wanted against the last layer's, too.

    Raises:
        ValueError: a layer that does not take what the one before puts out.
    """
    for below, above in pairwise(layers):
        if below.fan_out != above.fan_in:
            raise ValueError(f"{above.name} takes {above.fan_in} inputs, but {below.name} gives {below.fan_out}")
    y, chance = np.array([math.log(max(input_mean_square, 1e-300))]), np.ones(1)
    moments = vars(activation).setdefault("layer_moments", LayerMoments(activation))
    share = _share(activation)
    log_square: float | None = float(y[0]) if share is not None else None  # ln E m_l, where it has a recursion
    steps, pre, post = [], [], []
    for layer, above in pairwise(layers):
        step, reached = _step(layer, above, moments, y, chance)
        steps.append(step)
        pre.append(_pre(layer, y, chance, log_square))
        if share is not None and log_square is not None:
            log_square = math.log(share) + float(np.log(_variance(layer, np.array(log_square))))
        post.append(_post(layer, step, log_square))
        y, chance = step.after, reached
    pre.append(_pre(layers[-1], y, chance, log_square))
    deltas, gradients, whole = map(tuple, _backward(layers, _with_component_along(steps), y, chance, against_last))
    return ChainLaw(tuple(pre), (*post, pre[-1]), gradients, deltas, whole)


def _variance(layer: ChainLayer, y: FloatArray) -> FloatArray:
    return np.asarray(layer.variance * np.exp(y) + layer.bias_variance)


def _step(
    layer: ChainLayer, above: ChainLayer, moments: LayerMoments, y: FloatArray, chance: FloatArray
) -> tuple[_Step, FloatArray]:
    """The transition of a layer, and the probabilities of the points after it."""
    q = _variance(layer, y)
    numbers = moments(layer.fan_out, q)
    mean, variance = numbers.log_mean, numbers.log_variance
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
    coupling = (numbers.joint - 1) / layer.fan_out
    slope = coupling / np.maximum(variance, 1e-24)
    log_factor = numbers.factor_mean + math.log(above.variance)
    factor = log_factor[:, None] + slope[:, None] * (after - mean[:, None])
    rest = np.repeat(np.maximum(numbers.factor_variance - slope * coupling, 0.0)[:, None], len(after), axis=1)
    return _Step(layer, y, chance, after, q, mean, sd, numbers, kernel, factor, rest), reached


def _share(activation: Activation) -> float | None:
    """V(q)/q if it is the same at all q, as for relu; then E m_l follows from E m_(l-1) alone. None if it is not."""
    shares = [activation.mean_square(q) / q for q in (0.01, 0.3, 1.0, 30.0)]
    return shares[0] if max(shares) - min(shares) < 1e-9 * max(shares) else None


def _pre(layer: ChainLayer, y: FloatArray, chance: FloatArray, log_square: float | None) -> LogLaw:
    """||z_l||^2 = q chi2_n: given q its logarithm has the moments of ln chi2."""
    n, logs = layer.fan_out, np.log(_variance(layer, y))
    log_mean = _log_sum(logs, chance) if log_square is None else float(np.log(_variance(layer, np.array(log_square))))
    mean = logs + digamma(n / 2) + math.log(2)
    sd = np.full_like(mean, math.sqrt(polygamma(1, n / 2)))
    return _mixture(mean, sd, chance, log_mean + math.log(n))


def _post(layer: ChainLayer, step: _Step, log_exact: float | None) -> LogLaw:
    log_mean_square = (
        _log_sum(np.log(np.maximum(step.numbers.square, 1e-300)), step.chance) if log_exact is None else log_exact
    )
    return _mixture(step.mean, step.sd, step.chance, log_mean_square).shifted(math.log(layer.fan_out))


def _with_component_along(steps: Sequence[_Step]) -> list[_Step]:
    """The steps with what the gradient's component along the activations does to their factors, from the top down."""
    done: list[_Step] = []
    share: FloatArray | None = None  # of the component in the squared gradient of the layer above, given its y
    for step in reversed(steps):
        n = step.layer.fan_out
        if share is None:
            part = np.full(len(step.after), 1 / n)
        else:
            above = done[-1]
            passed = above.layer.variance * np.exp(above.before) / above.q
            across = passed * above.numbers.across + above.layer.bias_variance / above.q
            carried = above.kernel @ share
            part = passed * above.numbers.along * carried + across * (1 - carried) / n
        whole = 1 - 1 / n + part[:, None] * SQUARES  # [J, nodes of w]
        usual = np.log(1 - 1 / n + SQUARES / n) @ WEIGHTS
        logs = np.log(whole)
        shift, spread = logs @ WEIGHTS - usual, logs**2 @ WEIGHTS - (logs @ WEIGHTS) ** 2
        share = (part[:, None] * SQUARES / whole) @ WEIGHTS
        turned = np.log1p((share - 1 / n) * (step.numbers.joint - 1)[:, None])
        usual_spread = np.log(1 - 1 / n + SQUARES / n) ** 2 @ WEIGHTS - usual**2
        rest = np.maximum(step.rest + spread - usual_spread, 0.0)
        done.append(replace(step, factor=step.factor + shift + turned, rest=rest))
    return done[::-1]


def _backward(
    layers: Sequence[ChainLayer], steps: Sequence[_Step], y: FloatArray, ended: FloatArray, against_last: bool
) -> list[list[LogLaw]]:
    """Laws of the deltas and of the weights' gradients, each against the last layer's, and of these against its delta.

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
        second = product * step.factor + step.kernel * step.rest
        squares = squares @ step.kernel + 2 * sums @ product + (chance @ second)[:, None]
        sums = sums @ step.kernel + (chance @ product)[:, None]
        chance = chance @ step.kernel
    laws: list[list[LogLaw]] = [[], [], []]
    for l, layer in enumerate(layers[:-1]):  # noqa: E741
        there = chance[l] > NEGLIGIBLE
        widths = math.log(layer.fan_in / layers[-1].fan_in)
        kinds = ((0, 0 * y), (1, widths - y), (1, 0 * y + math.log(layer.fan_in)))
        for place, (kind, end) in enumerate(kinds):
            if place < 2 and not against_last:
                continue
            mean = (sums[l, kind] / np.maximum(chance[l], 1e-300))[there]
            sd = np.sqrt(np.maximum((squares[l, kind] / np.maximum(chance[l], 1e-300))[there] - mean**2, 0.0))
            laws[place].append(_mixture(mean + end[there], sd, chance[l][there], None))
    if not against_last:
        laws[:2] = [], []
    itself = LogLaw(0.0, 0.0, (0.0,) * len(LEVELS), 0.0)
    last = _mixture(y + math.log(layers[-1].fan_in), np.zeros_like(y), ended, None)
    return [[*law, end] for law, end in zip(laws, (itself, itself, last), strict=True)]


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
    some = chance > 1e-10
    quantiles = _quantiles(mean[some], np.maximum(sd[some], 1e-9), chance[some] / chance[some].sum())
    return LogLaw(centre, variance, quantiles, log_mean_square)


def _quantiles(mean: FloatArray, sd: FloatArray, chance: FloatArray) -> tuple[float, ...]:
    """Of a mixture of normals, at LEVELS: by halving, and where that has come near by Newton's rule."""
    low = np.full(len(LEVELS), float((mean - 9 * sd).min()))
    high = np.full(len(LEVELS), float((mean + 9 * sd).max()))
    for _ in range(22):
        middle = (low + high) / 2
        below = ndtr((middle[:, None] - mean) / sd) @ chance < LEVELS
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    at = (low + high) / 2
    for _ in range(2):
        z = (at[:, None] - mean) / sd
        density = np.exp(-(z**2) / 2) @ (chance / sd) / math.sqrt(2 * math.pi)
        step = (ndtr(z) @ chance - LEVELS) / np.maximum(density, 1e-300)
        at = np.clip(at - step, low, high)
    return tuple(map(float, at))
