"""Closed forms of chains of ReLUs, or of no activation at all, for the theory of all activations to be held against.

With x_0 the input, z_l = W_l x_(l-1) and x_l = phi(z_l); the last layer has no nonlinearity, x_L = z_L:

    E||z_l||^2 = c_l (n_l / n_(l-1)) E||x_(l-1)||^2          E||x_l||^2 = half E||z_l||^2

A single draw of the weights is not that expectation: ln||x_l||^2 is a sum of l independent terms, so its
typical value, the median line, falls below the mean-square line with depth, and its band widens like sqrt(l).

The moments are those of one input. A batch of different inputs averages over them in the first layers, so its
spread is smaller there (half the band at layer 1, for images of MNIST); with depth its inputs grow collinear
and move as one, and the band holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from fanin.theory.chain_layer import ChainLayer, check_chain
from fanin.theory.logs import exp, log
from fanin.theory.ratio import Moments, log_ratio_moments


@dataclass(frozen=True)
class ActivationLaw:
    """How an activation passes on the squared norm of normal pre-activations.

    Attributes:
        name: name of the activation.
        half: E phi(z)^2 / E z^2 for z ~ N(0, 1), the same as E phi'(z)^2; 1/2 for ReLU (He et al. 2015).
        moments: (fan_in, fan_out, c) -> mean and variance of ln(||x_l||^2 / ||x_(l-1)||^2).
    """

    name: str
    half: float
    moments: Callable[[int, int, float], Moments]

    @property
    def critical_c(self) -> float:
        """The c that keeps E||x_l||^2 / n_l constant: 1 / half."""
        return 1 / self.half


RELU = ActivationLaw("relu", half=0.5, moments=partial(log_ratio_moments, gate=True))
IDENTITY = ActivationLaw("identity", half=1.0, moments=partial(log_ratio_moments, gate=False))


@dataclass(frozen=True)
class NormTheory:
    """Law of one norm over random weights.

    Attributes:
        mean_square: sqrt(E||.||^2), the mean-square line.
        median: exp(E ln||.||^2 / 2), the median line (the median up to the skew of ln||.||^2).
        low: lower end of the band, one standard deviation of ln||.|| below the median line.
        high: its upper end.
        log_mean: E ln||.||^2.
        log_sd: standard deviation of ln||.||^2.
    """

    mean_square: float
    median: float
    low: float
    high: float
    log_mean: float
    log_sd: float


@dataclass(frozen=True)
class ForwardTheory:
    """Norms of every weight layer in order: `pre` before (z_l) and `post` after (x_l) its nonlinearity."""

    pre: tuple[NormTheory, ...]
    post: tuple[NormTheory, ...]


def forward_theory(layers: Sequence[ChainLayer], input_norm: float, law: ActivationLaw = RELU) -> ForwardTheory:
    """Law of the norm before and after the nonlinearity of every weight layer.

    Args:
        layers: the weight layers l = 1..L, input first.
        input_norm: ||x_0||, for a batch the Frobenius norm of its matrix.
        law: the activation between the layers.

    Returns:
        L entries of each kind; where `input_norm` is 0 every line is 0.

    Raises:
        ValueError: the layers do not form a chain.

    Source: He et al. 2015 (mean square); Hanin & Rolnick 2018, Hanin & Nica 2019 (spread).

    >>> layers = [ChainLayer("first", 100, 100, 2.0), ChainLayer("second", 100, 100, 2.0)]
    >>> lines = forward_theory(layers, input_norm=10.0)
    >>> round(lines.pre[0].mean_square, 4), round(lines.post[0].mean_square, 4)  # 10 sqrt(2), and half of its square
    (14.1421, 10.0)
    """
    check_chain(layers)
    pre: list[NormTheory] = []
    post: list[NormTheory] = []
    log_mean_square = log_mean = 2 * log(input_norm)
    log_variance = 0.0
    for layer in layers:
        linear = log_ratio_moments(layer.fan_in, layer.fan_out, layer.variance, gate=False)
        log_mean_square += math.log(layer.variance * layer.fan_out / layer.fan_in)
        pre.append(_norm_theory(log_mean_square, log_mean + linear.mean, log_variance + linear.variance))
        gated = law.moments(layer.fan_in, layer.fan_out, layer.variance)
        log_mean_square += math.log(law.half)
        log_mean += gated.mean
        log_variance += gated.variance
        post.append(_norm_theory(log_mean_square, log_mean, log_variance))
    return ForwardTheory(tuple(pre), (*post[:-1], *pre[-1:]))


def _norm_theory(log_mean_square: float, log_mean: float, log_variance: float) -> NormTheory:
    """The lines, from logarithms of squared norms."""
    log_sd = math.sqrt(log_variance)
    return NormTheory(
        mean_square=exp(log_mean_square / 2),
        median=exp(log_mean / 2),
        low=exp((log_mean - log_sd) / 2),
        high=exp((log_mean + log_sd) / 2),
        log_mean=log_mean,
        log_sd=log_sd,
    )


def backward_moments(layers: Sequence[ChainLayer], law: ActivationLaw = RELU) -> Moments:
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
    ratios = [law.moments(layer.fan_in, layer.fan_in, layer.variance) for layer in layers[1:]]
    return Moments(math.fsum(one.mean for one in ratios), math.fsum(one.variance for one in ratios))


def slope_moments(layers: Sequence[ChainLayer], law: ActivationLaw = RELU) -> Moments:
    """Exact mean and variance over seeds of the slope of one seed.

        mean     = 1 / (2 (L-2))   sum_(l=2..L-1) [E ln r_l - ln(n_l / n_(l-1))]
        variance = 1 / (4 (L-2)^2) sum_(l=2..L-1) Var ln r_l            r_l = ||x_l||^2 / ||x_(l-1)||^2

    For ReLU and equal widths the mean is (ln(c/2) + E ln r at c=2) / 2.

    Args:
        layers: the weight layers l = 1..L.
        law: the activation between them.

    Returns:
        The moments; nan with fewer than two hidden layers.

    Raises:
        ValueError: the layers do not form a chain.

    Source: Hanin & Nica 2019; Burkholz & Dubatovka 2019.

    >>> layers = [ChainLayer(f"linear_{l}", 100, 100, 2.0) for l in range(1, 51)]
    >>> round(slope_moments(layers).mean, 5)  # E ln r / 2 at width 100
    -0.01271
    """
    check_chain(layers)
    inner = layers[1:-1]
    if not inner:
        return Moments(math.nan, math.nan)
    ratios = [law.moments(layer.fan_in, layer.fan_out, layer.variance) for layer in inner]
    widths = math.log(inner[-1].fan_out / inner[0].fan_in)
    return Moments(
        (math.fsum(ratio.mean for ratio in ratios) - widths) / (2 * len(inner)),
        math.fsum(ratio.variance for ratio in ratios) / (2 * len(inner)) ** 2,
    )
