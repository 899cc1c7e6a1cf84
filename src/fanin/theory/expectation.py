"""What a fresh draw of a recipe is expected to be along its weight layers, for a verdict to go by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fanin.theory.bands import Band
from fanin.theory.chain_layer import ChainLayer, check_chain
from fanin.theory.gaussian_maps import Activation
from fanin.theory.layer_moments import LayerMoments
from fanin.theory.ratio import Moments

NAMES = {(0.0, 1.0): "relu", (1.0, 1.0): "identity"}
"""Of activations, by their slopes on either side of 0."""


@dataclass(frozen=True)
class Critical:
    """Where the critical variance would have the norms of a chain whose activation is positively homogeneous.

    Attributes:
        law: the activation whose critical variance it is.
        log_changes: what it would add to ln ||x_l||^2 of a draw, [L]: scaled weights scale every norm.
        rise: the law of ln(||x_(L-1)||^2 / ||x_1||^2) with it; None of a chain of one hidden layer or none.
        flow: the law of ln(||dL/dz_1||^2 / ||dL/dz_L||^2) with it; None of a chain of one layer.
    """

    law: str
    log_changes: Sequence[float]
    rise: Moments | None
    flow: Moments | None

    @classmethod
    def of_chain(cls, layers: Sequence[ChainLayer], activation: Activation) -> Critical | None:
        """That of weight layers l = 1..L with an activation between them; None if it has not one slope on each side.

        With v = 2 / (a^2 + b^2) for slopes a and b, and W_(l+1)^T delta_(l+1) of independent components,

            ln r = ln v + ln((1/n) sum phi(g_i)^2)         forwards, from layer to layer, for the norm per unit
            ln r = ln v + ln((1/n) sum phi'(g_i)^2 h_i^2)  backwards

        Exact for one example, and backwards where delta_L does not depend on the weights; a batch averages, and spreads
        less.

        Raises:
            ValueError: the layers do not form a chain.

        Source: Hanin & Rolnick 2018; Hanin & Nica 2019.

        >>> relu = Activation(lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float))
        >>> layers = [ChainLayer("first", 100, 100, 1.0), ChainLayer("second", 100, 100, 1.0)]
        >>> [round(math.exp(one)) for one in Critical.of_chain(layers, relu).log_changes]  # 2 for 1, layer by layer
        [2, 4]
        """
        check_chain(layers)
        slopes = activation.slopes
        if slopes is None or slopes == (0.0, 0.0):
            return None
        variance = 2 / (slopes[0] ** 2 + slopes[1] ** 2)
        changes = np.cumsum([math.log(variance / layer.variance) for layer in layers])
        moments = LayerMoments.of(activation)
        hidden = [moments.row(layer.fan_out, 0.0) for layer in layers[:-1]]
        rise = flow = None
        if len(hidden) > 1:
            widths = math.log(layers[-2].fan_out / layers[0].fan_out)
            rise = _sum([(one[0], one[1]) for one in hidden[1:]], math.log(variance), widths)
        if hidden:
            flow = _sum([(one[2], one[3]) for one in hidden], math.log(variance))
        name = NAMES.get(slopes, f"slopes {slopes[0]:g} and {slopes[1]:g}")
        return cls(name, changes.tolist(), rise, flow)


def _sum(steps: Sequence[tuple[float, float]], each: float, more: float = 0.0) -> Moments:
    """Mean and variance of a sum of independent steps, to each of which a number is added, and of one number more."""
    means, variances = zip(*steps, strict=True)
    return Moments(math.fsum(means) + len(steps) * each + more, math.fsum(variances))


@dataclass(frozen=True)
class Expectation:
    """What is expected of the weight layers l = 1..L.

    Attributes:
        activations: the band of ||x_l|| after the nonlinearity, [L]; None where none is known; empty for none at all.
        gradients: of ||dL/dW_l||, the same.
        log_widths: ln(n_(L-1) / n_1) of a chain, the growth of the widths that factors leave out; 0 where unknown.
        critical: where the critical variance would have the norms; None where there is no such thing.
    """

    activations: Sequence[Band | None] = ()
    gradients: Sequence[Band | None] = ()
    log_widths: float = 0.0
    critical: Critical | None = None


def band_at(bands: Sequence[Band | None], place: int) -> Band | None:
    """The band of a layer, counted from 0; None where there is none."""
    return bands[place] if -len(bands) <= place < len(bands) else None
