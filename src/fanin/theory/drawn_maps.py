"""Drawn units of maps: what one channel is at all places of all examples, and what its gradient is.

Two places of a map have much in common, and so have their gradients below a pooling; for B examples of P places these
are (B P)^2 numbers. A few hundred channels, drawn from their law, know them, too: each is drawn with weights of its
own from those of the layer before, as it would be in a network of that many channels. What is known exactly, the mean
square at each place and example, the draws are scaled to.

The gradients' pairs of examples follow those of the gradient above the maps, G, pair by pair. So the draws are of
G = 1, the same for all examples, and G itself stands beside them, in parts: what does not depend on the signals, and
what lies along them (see `Linear.along`), which has as much in common at two places as they have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fanin.theory.gaussian_maps import FloatArray, Function
from fanin.theory.signals import correlation

MOST = 192
"""Channels that are drawn, at most."""


TAKEN = 32
"""Drawn channels of what weights take with which their gradients are looked at, at most."""


def channels(convolutions: int) -> int:
    """How many channels are drawn of a network of so many convolutions: their square is what a convolution costs.

    >>> [channels(count) for count in (1, 2, 8, 50)]
    [192, 192, 96, 48]
    """
    return max(48, MOST if convolutions <= 2 else round(MOST * (2 / convolutions) ** 0.5 / 2) * 2)


def mixed(
    units: FloatArray, near: np.ndarray, variance: float, bias: float, draws: int, seed: Sequence[int]
) -> FloatArray:
    """Channels behind a convolution, sum over channels and the kernel of W x + b, [P', B, draws].

    Half of them have the other half's weights with the other sign: where a function has two slopes they add up.

    Args:
        units: channels before it, [P, B, C].
        near: the places that each place of the output takes, [P', kernel]; P for one outside.
        variance, bias: fan_in Var(W) and Var(b).
        draws: how many, an even number.
        seed: of W and b.
    """
    examples, channels = units.shape[1:]
    rng = np.random.default_rng(seed)
    inputs = channels * near.shape[1]
    half = single(white(rng.standard_normal((draws // 2, inputs + 1))))
    weights = (half[:, :-1] * np.float32(np.sqrt(variance / inputs))).T.reshape(near.shape[1], channels, -1)
    padded = np.concatenate([units, np.zeros_like(units[:1])]).astype(np.float32)
    total = np.zeros((len(near) * examples, draws // 2), np.float32)
    for column, one in zip(near.T, weights, strict=True):
        total += padded[column].reshape(-1, channels) @ one
    total += half[:, -1] * np.float32(np.sqrt(bias))
    return np.concatenate([total, -total], axis=1).reshape(len(near), examples, draws)


def mixed_back(deltas: FloatArray, near: np.ndarray, places: int, variance: float, seed: Sequence[int]) -> FloatArray:
    """Gradients before a convolution, sum over channels of W^T delta, [k, P, B, draws].

    Each example is as long as it is over all weights.

    Args:
        deltas: one channel's gradients behind it, times the root of the channels by those before, [k, P', B, draws].
        near: as of `mixed`.
        places: before it, P.
        variance: fan_in Var(W), so that W^T has variance / kernel.
        seed: of W.
    """
    parts, _, examples, draws = deltas.shape
    rng = np.random.default_rng(seed)
    scale = np.float32(np.sqrt(variance / near.shape[1] / draws))
    total = np.zeros((parts, places + 1, examples, draws), np.float32)
    flat = deltas.astype(np.float32, copy=False).reshape(-1, draws)
    for column in near.T:  # a place is reached by one output at most from each entry of the kernel
        weights = rng.standard_normal((draws, draws), np.float32) * scale
        total[:, column] += (flat @ weights).reshape(deltas.shape)
    known = variance * np.einsum("kpa,p->ka", squares_at(deltas), (near < places).mean(1))
    return lengthened(single(total[:, :places]), known)


def lengthened(deltas: FloatArray, squares: FloatArray) -> FloatArray:
    """Draws [k, P, B, draws] of which each example's mean squared length is made what it is known to be, [k, B]."""
    found = squares_at(deltas).sum(1)
    by = np.sqrt(np.divide(squares, found, out=np.zeros_like(found), where=found > 0))
    return np.asarray(deltas * by[:, None, :, None].astype(np.float32))


def handed_down(deltas: FloatArray, variance: float, rng: np.random.Generator) -> FloatArray:
    """Gradients before a matrix that all places share, one unit's: sum over units of W^T delta.

    Args:
        deltas: one unit's behind it, times the root of the units by those before, [k, P, B, draws].
        variance: fan_in Var(W).
        rng: draws W.
    """
    draws = deltas.shape[-1]
    weights = rng.standard_normal((draws, draws), np.float32) * np.float32(np.sqrt(variance / draws))
    return lengthened(deltas @ weights, variance * squares_at(deltas).sum(1))


def products(units: FloatArray, deltas: FloatArray, near: np.ndarray, grams: FloatArray) -> tuple[FloatArray, float]:
    """By how much two examples' gradients of shared weights follow the gradient above, and how their square strays.

    Where the gradient above is the same for all examples, that of one unit's weights is T_a = sum over places of
    delta_a(p) x_a(p + d). With G it is normal with covariance C = sum_ab G_ab T_a T_b over what the weights take, so
    that the squares of one unit's vary by 2 tr C^2.

    Args:
        units: that the weights take, [P, B, C].
        deltas: the gradients behind them, [k, P', B, draws].
        near: the places that each place takes, [P', kernel]; P for none.
        grams: of the parts of the gradient above, [k, B, B].

    Returns:
        [k, B, B] of one unit each, and n times the variance of the squared norm's logarithm.
    """
    taken_units = np.ascontiguousarray(units[:, :, :TAKEN].transpose(1, 0, 2))
    padded = np.concatenate([taken_units, np.zeros_like(taken_units[:, :1])], axis=1)
    above = np.ascontiguousarray(deltas.transpose(0, 2, 3, 1))
    taken = np.stack([above @ padded[:, column] for column in near.T], axis=3)  # [k, B, draws, kernel, channels]
    parts, examples, draws = taken.shape[:3]
    flat = taken.reshape(parts, examples, -1)
    pairs = (flat @ flat.transpose(0, 2, 1)).astype(float) / (draws * padded.shape[2])
    some = taken[:, :, : 2 * TAKEN].reshape(parts, examples, -1)
    by = np.stack([root(gram).T for gram in grams]).astype(np.float32)
    noise = _normal_forms((by @ some).reshape(-1, near.shape[1] * padded.shape[2]))
    # Units differ in how far their own signals let gradients through: what the forms vary more than normal ones.
    alike = taken[0].sum(0).reshape(draws, -1)
    squares = (alike**2).sum(1)
    mean = max(float(squares.mean()), 1e-300)
    return pairs, noise + max(float(squares.var()) / mean**2 - _normal_forms(alike), 0.0)


def root(gram: FloatArray) -> FloatArray:
    """The symmetric matrix R with R R = K; eigenvectors alone have signs that a library chooses."""
    values, vectors = np.linalg.eigh(gram)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T)


def _normal_forms(vectors: FloatArray) -> float:
    """The variance of the squared length of normal vectors, relative to its mean squared, from draws [draws, n]."""
    common = vectors.T @ vectors
    return 2 * float((common**2).sum() / max(float(np.trace(common)) ** 2, 1e-300))


def single(values: NDArray[Any]) -> FloatArray:
    """Numbers of 32 bits: of draws, nobody sees more."""
    return cast(FloatArray, np.asarray(values, np.float32))


def entries(function: Function, units: FloatArray) -> FloatArray:
    """A function of each entry of draws."""
    return single(function(units.ravel().astype(float)).reshape(units.shape))


def white(normals: FloatArray) -> FloatArray:
    """Normal draws [draws, n] of which columns are made uncorrelated, as they are over many draws, if n < draws / 2."""
    draws, columns = normals.shape
    if 2 * columns > draws:
        return normals
    covariance = normals.T @ normals / draws
    return np.asarray(np.linalg.solve(np.linalg.cholesky(covariance), normals.T).T)


def scaled(units: FloatArray, squares: FloatArray) -> FloatArray:
    """Draws [P, B, draws] of which the mean squares are made what they are known to be, [P, B]."""
    found = squares_at(units)
    by = np.sqrt(np.divide(squares, found, out=np.zeros_like(found), where=found > 0))
    return np.asarray(units * by.astype(units.dtype)[..., None])


def squares_at(units: FloatArray) -> FloatArray:
    """The mean square over draws [..., draws]."""
    return np.asarray(np.einsum("...s,...s->...", units, units) / units.shape[-1], float)


def gram_at(deltas: FloatArray, grams: FloatArray) -> FloatArray:
    """E delta_a delta_b of two examples at each place, of one channel, [P, B, B], correlated as they are above."""
    size = np.sqrt(np.einsum("kpa,ka->pa", squares_at(deltas), _own(grams)))
    return np.asarray(size[:, :, None] * size[:, None, :] * correlation(grams[0]))


def spread(deltas: FloatArray, grams: FloatArray) -> FloatArray:
    """The covariance over channels of the examples' squared lengths, relative to their means, [B, B]."""
    squares = np.einsum("kas,ka->as", np.einsum("kpas,kpas->kas", deltas, deltas), _own(grams))
    squares = squares / np.maximum(squares.mean(1, keepdims=True), 1e-300)
    return np.asarray((squares @ squares.T / squares.shape[1] - 1) * correlation(grams[0]) ** 2)


def _own(grams: FloatArray) -> FloatArray:
    return np.maximum(np.diagonal(grams, axis1=1, axis2=2), 0)
