"""Shape over depth of the norm of the weight gradients, at initialization.

With delta_l = dL/dz_l the gradient of one sample is dL/dW_l = delta_l x_(l-1)^T, so its squared norm is
||delta_l||^2 ||x_(l-1)||^2. W_k^T delta_k has n_(k-1) components of variance (c_k / n_(k-1)) ||delta_k||^2,
of which the nonlinearity passes on the share `half`, so widths cancel:

    E||delta_l||^2   = E||delta_L||^2 prod_(k=l+1..L) half c_k
    E||x_(l-1)||^2   = ||x_0||^2 (n_(l-1) / n_0) prod_(k=1..l-1) half c_k
    E||dL/dW_l||^2   = E||delta_L||^2 ||x_0||^2 (n_(l-1) / n_0) half^(L-1) prod_(k != l) c_k

Over l this goes like n_(l-1) / c_l whatever the activation: where all c are the same the norm goes like
sqrt(n_(l-1)). Exact for one sample and a delta_L that does not depend on the weights. The loss makes it
depend on them a little; and in the mean over a batch the samples' gradients add up the less the further they
have come back through gates that differ, so that measured norms may lie below the shape in the first layers
(by half, for 50 layers and 100 images of MNIST, where c is above 2 and the samples' errors are much alike).
Source: He et al. 2015; Hanin & Rolnick 2018; Hanin & Nica 2019.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fanin.theory.forward import Layer, check_chain
from fanin.theory.laws import RELU, ActivationLaw
from fanin.theory.logs import exp
from fanin.theory.ratio import Moments


def gradient_line(layers: Sequence[Layer], measured: Sequence[float]) -> list[float]:
    """The mean-square shape of ||dL/dW_l||_F, put at the level of the measured norms.

    Shape sqrt(n_(l-1) / c_l). The level is free, for it hangs on the loss and the labels: the line has the
    geometric mean of the measured norms over layers 2..L (layer 1, whose inputs are the data, is left to be
    compared).

    Args:
        layers: the weight layers l = 1..L.
        measured: ||dL/dW_l||_F, [L]; zeros and non-finite ones do not count.

    Returns:
        The line, [L]; nan throughout where no norm of layers 2..L counts.

    Raises:
        ValueError: as many norms as layers were not given, or the layers do not form a chain.

    >>> layers = [Layer("linear_1", 784, 100, 2.0), Layer("linear_2", 100, 100, 2.0)]
    >>> gradient_line(layers, [3.0, 1.0])
    [2.8, 1.0]
    """
    check_chain(layers)
    if len(measured) != len(layers):
        raise ValueError(f"{len(measured)} gradient norms for {len(layers)} layers")
    shape = [math.log(layer.fan_in / layer.c) / 2 for layer in layers]
    offsets = [
        math.log(norm) - log_shape
        for norm, log_shape in zip(measured[1:], shape[1:], strict=True)
        if 0 < norm < math.inf
    ]
    level = math.fsum(offsets) / len(offsets) if offsets else math.nan
    return [exp(level + log_shape) for log_shape in shape]


def backward_moments(layers: Sequence[Layer], law: ActivationLaw = RELU) -> Moments:
    """Mean and variance of ln(||dL/dz_1||^2 / ||dL/dz_L||^2): what L layers do to a gradient on its way to the input.

    W_(l+1)^T delta_(l+1) has n_l independent components of variance (c_(l+1) / n_l) ||delta_(l+1)||^2; a ReLU hands on
    those of its active units. So each layer multiplies the square by (c_(l+1) / n_l) chi2_K, K ~ Binomial(n_l, 1/2),
    the law of the forward pass with the layer's inputs in the place of its outputs:

        mean, variance = sums over l = 1..L-1 of those of ln(||x||^2 ratio) at fan_in = fan_out = n_l, c = c_(l+1)

    Exact for one example where delta_L does not depend on the weights; a batch averages, and spreads less.

    Args:
        layers: the weight layers l = 1..L.
        law: the activation between them.

    Raises:
        ValueError: the layers do not form a chain.

    Source: Hanin & Rolnick 2018; Hanin & Nica 2019.
    """
    check_chain(layers)
    ratios = [law.moments(layer.fan_in, layer.fan_in, layer.c) for layer in layers[1:]]
    return Moments(math.fsum(one.mean for one in ratios), math.fsum(one.variance for one in ratios))
