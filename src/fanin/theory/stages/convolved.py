"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fanin.theory.bands import MEAN_FIELD, weakest
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.signals import Flow, Signal, correlation
from fanin.theory.stages.base import NoRule, Place, Stage, across
from fanin.theory.weights import Weights


@dataclass(frozen=True)
class Convolution(Stage):
    """z(p) = sum_d W_d x(p + d) + b:  K'(p) = v mean_d K(p + d) + s, beyond the map x is 0 or the map goes on.

    Of one example all places are kept, and of two examples the same place of both, for which the rule is closed; so it
    is for two places of one example, p and p', which decide how much their noises have in common. Backwards
    G(p) = v mean_d G'(p - d): gradients of different places are independent. Source: Novak et al. 2019; Xiao et al.
    2018.

    Args:
        fan_in: of the kernel, channels times its places.
        channels: n, of the output.
        kernel: height and width.
        stride: down and across.
        padding: places of zeros on each side, or of the map's other end.
        circular: whether it goes on at its other end.
        weights: W and b.
    """

    fan_in: int
    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    circular: bool
    weights: Weights

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        (x,) = inputs
        if x.size is None:
            raise NoRule("it takes no map")
        v, s = self.weights.variance, self.weights.bias_variance
        near, size = self._near(x.size)
        gram = v * _mean(x.gram, near) + s
        field = None if x.field is None else v * _mean_of_two(x.field, near) + s
        after = _trace(gram)
        share = np.divide(after - s * len(gram), after, out=np.ones_like(after), where=after > 0)
        spread = at.noises.variances(x.elasticity)
        places = np.diagonal(gram, axis1=1, axis2=2)
        part = places / np.maximum(places.sum(0), 1e-300)
        both = np.sqrt(part[:, :, None] * part[:, None, :])
        squared = (correlation(gram) ** 2 * both).sum(0) / np.maximum(both.sum(0), 1e-300)
        signal = Signal(
            gram,
            self.channels,
            share * x.elasticity,
            share * x.shift + share * (1 - share) * spread / 2,
            np.zeros(gram.shape[:2]),
            np.full(gram.shape[1], 3.0),
            normal=True,
            fresh=True,
            size=size,
            field=field,
            source=weakest([x.source, MEAN_FIELD]),
        )
        noise = 2 * squared / self.channels * across(signal, lambda grams: grams**2)
        at.noises.forward[at.index] = noise
        signal.elasticity[at.index] = 1.0
        signal.shift[:] -= np.diagonal(noise) / 2
        return signal

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        (x,) = inputs
        assert x.size is not None
        near, _ = self._near(x.size)
        flat = flow.gram.reshape(len(flow.gram), -1)
        gram = np.zeros((len(x.gram) + 1, flat.shape[1]))
        for column in near.T:  # an output gives to the places that it takes from; what lies outside is the last row
            np.add.at(gram, column, flat)
        gram = gram[:-1].reshape(x.gram.shape) * self.weights.variance / near.shape[1]
        squares = np.diagonal(gram, axis1=1, axis2=2)
        part = squares / np.maximum(squares.sum(0), 1e-300)
        square = correlation(gram) ** 2 * part[:, :, None] * part[:, None, :]
        noise = 2 * square.sum(0) * near.shape[1] / self.fan_in
        at.noises.backward[at.index] = noise
        elasticity = flow.elasticity.copy()
        elasticity[at.above] = 1.0
        shift = flow.shift - np.diagonal(noise) / 2
        return [Flow(gram, elasticity, shift, None, np.ones_like(shift), source=weakest([flow.source, MEAN_FIELD]))]

    def taken(self, x: Signal) -> FloatArray:
        """fan_in K of what each place of the output takes, [P, B, B]."""
        assert x.size is not None
        return self.fan_in * _mean(x.gram, self._near(x.size)[0])

    def _near(self, size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
        """The places that each place of the output takes, [P, kernel]; as many as there are for one outside."""
        rows, columns = (
            _taken(side, kernel, stride, pad, self.circular)
            for side, kernel, stride, pad in zip(size, self.kernel, self.stride, self.padding, strict=True)
        )
        height, width = len(rows), len(columns)
        at = rows[:, None, :, None] * size[1] + columns[None, :, None, :]
        outside = (rows[:, None, :, None] < 0) | (columns[None, :, None, :] < 0)
        at = np.where(outside, size[0] * size[1], at)
        return at.reshape(height * width, -1), (height, width)


def _taken(side: int, kernel: int, stride: int, pad: int, circular: bool) -> np.ndarray:
    """The places along one axis that each output takes, [outputs, kernel]; -1 for one outside."""
    starts = np.arange(0, side + 2 * pad - kernel + 1, stride) - pad
    places = starts[:, None] + np.arange(kernel)
    return places % side if circular else np.where((places >= 0) & (places < side), places, -1)


def _mean(gram: FloatArray, near: np.ndarray) -> FloatArray:
    """The mean of K over the places that each output takes; 0 outside."""
    padded = np.concatenate([gram, np.zeros((1, *gram.shape[1:]))])
    total = np.zeros((len(near), *gram.shape[1:]))
    for column in near.T:
        total += padded[column]
    return np.asarray(total / near.shape[1])


def _mean_of_two(field: FloatArray, near: np.ndarray) -> FloatArray:
    """The same for two places that each kernel entry takes together."""
    padded = np.zeros((len(field) + 1, len(field) + 1))
    padded[:-1, :-1] = field
    total = np.zeros((len(near), len(near)))
    for column in near.T:
        total += padded[np.ix_(column, column)]
    return np.asarray(total / near.shape[1])


def _trace(gram: FloatArray) -> FloatArray:
    return np.asarray(np.diagonal(gram, axis1=1, axis2=2).sum(0))
