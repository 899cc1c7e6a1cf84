"""The gradients of a chain of fully connected layers: what the steps of its activations do to them on the way down.

With delta = dL/dz,
    r_l = ||delta_l||^2 / ||delta_(l+1)||^2 = (v_(l+1) / n_l) sum_i phi'(z_i)^2 h_i^2
has the SAME z_i as m_l. Its logarithm, given the step from y to y', is a normal whose mean follows y' by the
covariance E phi^2 phi'^2/(V D) - 1 over n; the gradient of a weight, ||delta_l|| ||x_(l-1)||, sums such steps.

The gradient u = dL/dx of a layer is isotropic but for its component along x itself, which the next layer's own
pre-activations z = W x + b carry coherently: per unit of v ||delta||^2 its mean square is pi = A s + N (1 - s), where s
is the share of the layer above,
    A = a^2 (V/m) / (v D),  a = v m V'/V        N n = (v m/q) (E z^2 phi'^2 - q^2 V'^2/V) / (q D) + s_b/q
and a layer's factor has 1 - 1/n + pi w, w ~ chi2_1, in place of 1. For relu pi = 1/n; where lengths are contracted
(tanh) the component dies and gradients lose 1/n a layer; where they grow (silu) it grows too.

Derived here, and checked by sampling networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fanin.theory.chain_layer import ChainLayer
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.layer_moments import LayerNumbers
from fanin.theory.log_law import LEVELS, LogLaw, mixture

NEGLIGIBLE = 1e-15
"""Probability of a grid's point that is left out."""

_points, _weights = np.polynomial.hermite_e.hermegauss(40)
SQUARES, WEIGHTS = _points**2, _weights / _weights.sum()
"""Nodes and weights of w ~ chi2_1."""


@dataclass(frozen=True)
class ChainStep:
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


def _with_component_along(steps: Sequence[ChainStep]) -> list[ChainStep]:
    """The steps with what the gradient's component along the activations does to their factors, from the top down."""
    done: list[ChainStep] = []
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


def backward_laws(
    layers: Sequence[ChainLayer], steps: Sequence[ChainStep], y: FloatArray, ended: FloatArray, against_last: bool
) -> list[list[LogLaw]]:
    """Laws of the deltas and of the weights' gradients, each against the last layer's, and of these against its delta.

    What is carried from layer to layer, for every layer l below, are the probability of y and the first two moments
    of the sum of ln r from l on, together with y: so the law is a mixture over where the chain has ended.
    """
    steps = _with_component_along(steps)
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
            laws[place].append(mixture(mean + end[there], sd, chance[l][there], None))
    if not against_last:
        laws[:2] = [], []
    itself = LogLaw(0.0, 0.0, (0.0,) * len(LEVELS), 0.0)
    known = (steps[-1].mean, steps[-1].sd, steps[-1].chance) if steps else (y, np.zeros_like(y), ended)
    last = mixture(*known, None).shifted(math.log(layers[-1].fan_in))
    return [[*law, end] for law, end in zip(laws, (itself, itself, last), strict=True)]
