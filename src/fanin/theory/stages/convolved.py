"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fanin.theory.bands import MEAN_FIELD, weakest
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.signals import Flow, Signal, correlation
from fanin.theory.stages.base import NoRule, Place, Stage, of_map
from fanin.theory.weights import Weights


@dataclass(frozen=True)
class Convolution(Stage):
    """z(p) = sum_d W_d x(p + d) + b:  K'(p) = v mean_d K(p + d) + s, beyond the map x is 0 or the map goes on.

    Of one example all places are kept, and of two examples the same place of both, for which the rule is closed; so it
    is for any two places of a few examples, which decide how much their noises have in common. Gradients have no rule.
    Source: Novak et al. 2019; Xiao et al. 2018.

    Args:
        fan_in: of the kernel, channels times its places.
        channels: n, of the output.
        kernel: height and width.
        stride: down and across.
        padding: places of zeros on each side, or of the map's other end.
        circular: whether it goes on at its other end.
        weights: W and b.
    """

    most_examples: ClassVar[int] = 16

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
        field = None if x.field is None else v * _mean_of_two(x.field, near, len(x.gram)) + s
        after = _trace(gram)
        share = np.divide(after - s * len(gram), after, out=np.ones_like(after), where=after > 0)
        spread = at.noises.variances(x.elasticity)
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
        if len(gram) == 1:
            noise = 2 * correlation(gram)[0] ** 2 / self.channels
        else:  # of all examples together
            both = of_map(signal, lambda field: 2 * field**2, lambda field: np.diagonal(field, axis1=1, axis2=2))
            noise = np.full(gram.shape[1:], both / self.channels)
        at.noises.forward[at.index] = noise
        signal.elasticity[at.index] = 1.0
        signal.shift[:] -= np.diagonal(noise) / 2
        return signal

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        raise NoRule("theory has no law for the gradients of a map")

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


def _mean_of_two(field: FloatArray, near: np.ndarray, places: int) -> FloatArray:
    """The same for two places, of one example or of two, that each kernel entry takes together."""
    count = len(field)
    examples = np.arange(count // places)[:, None, None] * places
    taken = np.where(near < places, near + examples, count).reshape(-1, near.shape[1])
    padded = np.zeros((count + 1, count + 1))
    padded[:-1, :-1] = field
    total = np.zeros((len(taken), len(taken)))
    for column in taken.T:
        total += padded[np.ix_(column, column)]
    return np.asarray(total / near.shape[1])


def _trace(gram: FloatArray) -> FloatArray:
    return np.asarray(np.diagonal(gram, axis1=1, axis2=2).sum(0))
