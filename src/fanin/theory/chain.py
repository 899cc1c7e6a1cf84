"""The law of a chain of fully connected layers with normal weights and biases, for any activation, at finite width.

Given x_(l-1), the n_l pre-activations of layer l are independent N(0, q_l), q_l = v_l m_(l-1) + s_l, with
m = ||x||^2/n, v = fan_in Var(W), s = Var(b). So m_l = (1/n_l) sum_i phi(sqrt(q_l) g_i)^2 is a Markov chain in ONE
number. Its law is carried from layer to layer on a grid of y = ln m; each row is a normal in y' with the exact mean
and variance of ln m_l given y (log_moments.py).

Backwards, chain_backward.py follows the same steps.

Source: Hanin & Rolnick 2018, Hanin & Nica 2019, Burkholz & Dubatovka 2019 for relu; Schoenholz et al. 2017 for the
infinite width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fanin.theory.chain_backward import NEGLIGIBLE, ChainStep, backward_laws
from fanin.theory.chain_layer import ChainLayer, check_chain
from fanin.theory.gaussian_maps import Activation, FloatArray
from fanin.theory.layer_moments import LayerMoments
from fanin.theory.log_law import LogLaw, log_sum, mixture
from fanin.theory.ratio import log_chi2_moments

SPACING = 0.6
"""Points of the grid: so many standard deviations of the narrowest row apart; a sum over a normal is exact there."""

REACH = 8.0
"""Standard deviations that a grid reaches beyond the means of its rows."""

MOST_POINTS = 3000


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
    check_chain(layers)
    y, chance = np.array([math.log(max(input_mean_square, 1e-300))]), np.ones(1)
    moments = LayerMoments.of(activation)
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
    deltas, gradients, whole = map(tuple, backward_laws(layers, steps, y, chance, against_last))
    return ChainLaw(tuple(pre), (*post, pre[-1]), gradients, deltas, whole)


def _variance(layer: ChainLayer, y: FloatArray) -> FloatArray:
    return np.asarray(layer.variance * np.exp(y) + layer.bias_variance)


def _step(
    layer: ChainLayer, above: ChainLayer, moments: LayerMoments, y: FloatArray, chance: FloatArray
) -> tuple[ChainStep, FloatArray]:
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
    return ChainStep(layer, y, chance, after, q, mean, sd, numbers, kernel, factor, rest), reached


def _share(activation: Activation) -> float | None:
    """V(q)/q if it is the same at all q, as for relu; then E m_l follows from E m_(l-1) alone. None if it is not."""
    shares = [activation.mean_square(q) / q for q in (0.01, 0.3, 1.0, 30.0)]
    return shares[0] if max(shares) - min(shares) < 1e-9 * max(shares) else None


def _pre(layer: ChainLayer, y: FloatArray, chance: FloatArray, log_square: float | None) -> LogLaw:
    """||z_l||^2 = q chi2_n: given q its logarithm has the moments of ln chi2."""
    n, logs = layer.fan_out, np.log(_variance(layer, y))
    log_mean = log_sum(logs, chance) if log_square is None else float(np.log(_variance(layer, np.array(log_square))))
    chi2 = log_chi2_moments(n)
    return mixture(logs + chi2.mean, np.full_like(logs, math.sqrt(chi2.variance)), chance, log_mean + math.log(n))


def _post(layer: ChainLayer, step: ChainStep, log_exact: float | None) -> LogLaw:
    log_mean_square = (
        log_sum(np.log(np.maximum(step.numbers.square, 1e-300)), step.chance) if log_exact is None else log_exact
    )
    return mixture(step.mean, step.sd, step.chance, log_mean_square).shifted(math.log(layer.fan_out))
