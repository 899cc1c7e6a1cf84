"""Lines and band of the activation norms over depth, at initialization.

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
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from fanin.errors import integer, number
from fanin.theory.laws import RELU, ActivationLaw
from fanin.theory.logs import exp, log
from fanin.theory.ratio import log_ratio_moments


@dataclass(frozen=True)
class Layer:
    """One weight layer as theory sees it: n_(l-1) = fan_in, n_l = fan_out, c = fan_in * Var(W), > 0."""

    name: str
    fan_in: int
    fan_out: int
    c: float

    def __post_init__(self) -> None:
        integer("fan_in", self.fan_in, low=1)
        integer("fan_out", self.fan_out, low=1)
        number("c", self.c, low=0, open_low=True)


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


def check_chain(layers: Sequence[Layer]) -> None:
    """Raises ValueError unless every layer takes in what the one before puts out.

    >>> check_chain([Layer("first", 784, 100, 2.0), Layer("second", 50, 10, 2.0)])
    Traceback (most recent call last):
    ValueError: second has fan_in 50 but first has fan_out 100: the theory is for a chain of fully connected layers
    """
    for below, above in pairwise(layers):
        if below.fan_out != above.fan_in:
            raise ValueError(
                f"{above.name} has fan_in {above.fan_in} but {below.name} has fan_out {below.fan_out}: "
                "the theory is for a chain of fully connected layers"
            )


def forward_theory(layers: Sequence[Layer], input_norm: float, law: ActivationLaw = RELU) -> ForwardTheory:
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

    >>> layers = [Layer("first", 100, 100, 2.0), Layer("second", 100, 100, 2.0)]
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
        linear = log_ratio_moments(layer.fan_in, layer.fan_out, layer.c, gate=False)
        log_mean_square += math.log(layer.c * layer.fan_out / layer.fan_in)
        pre.append(_norm_theory(log_mean_square, log_mean + linear.mean, log_variance + linear.variance))
        gated = law.moments(layer.fan_in, layer.fan_out, layer.c)
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
