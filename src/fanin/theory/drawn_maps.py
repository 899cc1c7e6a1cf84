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
    found = single(total[:, :places])
    known = variance * np.einsum("kpa,p->ka", squares_at(deltas), (near < places).mean(1))
    by_draws = squares_at(found).sum(1)
    by = np.sqrt(np.divide(known, by_draws, out=np.zeros_like(known), where=by_draws > 0))
    return np.asarray(found * by[:, None, :, None].astype(np.float32))


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
