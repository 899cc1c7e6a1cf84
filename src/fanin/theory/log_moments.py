"""Exact mean and variance of the logarithm of a mean of independent squares, as one layer of a network makes it.

For S = (1/n) sum_i X_i with independent X_i >= 0, T = E/S with E ~ Exp(1) has the survival function
M(t) = E exp(-t S) = L(t/n)^n, L(t) = E exp(-t X), so that

    E ln S = -gamma - E ln T        Var ln S = Var ln T - pi^2/6

and the moments of ln T are integrals of M over u = ln t: one quadrature for L, one for M, no sampling.
If all X_i are 0 with probability P0 = P(X = 0)^n, the logarithm is that of the S > 0: (M - P0) / (1 - P0).
"""

from __future__ import annotations

import math

import numpy as np

from fanin.theory.gaussian_maps import FloatArray, Nodes
from fanin.theory.ratio import Moments

LOW, HIGH, STEP = -22.0, 45.0, 0.2
"""The grid of u = ln(t / E S); M falls from 1 to 0 inside it for n >= 10, and long before its end for wide layers."""

FEW = 6
"""Nodes of a panel: transforms are smooth averages."""

WIDE = 40
"""Units from which on the smallest activations do not count: a mean of few squares can be small."""


def few_nodes(n: int) -> tuple[int, int]:
    """Nodes of a panel and halvings beside 0 that the moments of a layer of n units need."""
    return FEW, 0 if n >= WIDE else 32


def log_mean_square_moments(at: Nodes, n: int) -> Moments:
    """Mean and variance of ln((1/n) sum_i phi(sqrt(q) g_i)^2), g_i ~ N(0, 1) independent.

    Args:
        at: the activation phi at `few_nodes(n)` of N(0, q).
        n: units of the layer, >= 1.

    >>> from fanin.theory.gaussian_maps import Activation
    >>> relu = Activation(lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float))
    >>> [round(moment, 6) for moment in log_mean_square_moments(relu.at(2.0, *few_nodes(100)), 100)]
    [-0.025421, 0.05194]
    """
    squares, weights = at.phi**2, at.weights
    scale = float(weights @ squares)
    return _moments(_laplace(squares / scale if scale else squares, weights, n), scale, squares, weights, n)


def log_gradient_factor_moments(at: Nodes, n: int) -> Moments:
    """Mean and variance of ln((1/n) sum_i phi'(z_i)^2 h_i^2), z_i ~ N(0, q) and h_i ~ N(0, 1) independent.

    The mean over h is in closed form: E exp(-t phi'^2 h^2) = (1 + 2 t phi'^2)^(-1/2).

    >>> from fanin.theory.gaussian_maps import Activation
    >>> identity = Activation(lambda z: z, np.ones_like)
    >>> from scipy.special import digamma, polygamma
    >>> mean, variance = log_gradient_factor_moments(identity.at(1.0, *few_nodes(100)), 100)
    >>> bool(abs(mean - digamma(50) - np.log(2 / 100)) < 1e-8), bool(abs(variance - polygamma(1, 50)) < 1e-7)
    (True, True)
    """
    squares, weights = at.slope**2, at.weights
    scale = float(weights @ squares)
    t = np.exp(_grid(n))[:, None] / n
    transform = (1 / np.sqrt(1 + 2 * t * (squares / scale if scale else squares))) @ weights
    return _moments(transform, scale, squares, weights, n)


def _grid(n: int) -> FloatArray:
    return np.arange(LOW, min(HIGH, math.log(n) + 8 + 400 / n), STEP)


def _laplace(squares: FloatArray, weights: FloatArray, n: int) -> FloatArray:
    """L(t/n) on the grid."""
    with np.errstate(under="ignore"):
        return np.asarray(np.exp(-np.exp(_grid(n))[:, None] / n * squares) @ weights)


def _moments(transform: FloatArray, scale: float, squares: FloatArray, weights: FloatArray, n: int) -> Moments:
    if not scale > 0 or not math.isfinite(scale):
        return Moments(-math.inf if scale == 0 else math.nan, 0.0 if scale == 0 else math.nan)
    none = float(weights[squares == 0].sum()) ** n
    survival = (np.maximum(transform, 0) ** n - none) / (1 - none)
    survival[0] /= 2  # the trapezoidal rule's end, and the slope of 2u there (Euler and Maclaurin's correction)
    first = float(survival.sum() * STEP) + LOW
    second = float((2 * _grid(n) * survival).sum() * STEP) + LOW**2 + STEP**2 / 6
    return Moments(-np.euler_gamma - first + math.log(scale), max(second - first**2 - math.pi**2 / 6, 0.0))
