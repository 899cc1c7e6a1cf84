"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fanin.theory.bands import MEAN_FIELD, weakest
from fanin.theory.drawn_maps import TAKEN, mixed, mixed_back, products, scaled, spread
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.signals import Base, Flow, Sampler, Signal, correlation
from fanin.theory.stages.base import NoRule, Place, Shared, Stage, lazy, of_map, then
from fanin.theory.weights import Weights

MOST_PARTS = 4
"""Parts that a gradient is carried in, at most: below that convolutions' own weights count as independent of it."""


@dataclass(frozen=True)
class Convolution(Stage):
    """z(p) = sum_d W_d x(p + d) + b:  K'(p) = v mean_d K(p + d) + s, beyond the map x is 0 or the map goes on.

    Of one example all places are kept, and of two examples the same place of both, for which the rule is closed; so it
    is for any two places of a few examples, which decide how much their noises have in common.
    Backwards each place gives to those that it took from: G'(q) = (v/kernel) sum_d G(q - d); drawn channels know what
    the gradients of different places have in common. Source: Novak et al. 2019; Xiao et al. 2018.

    Args:
        fan_in: of the kernel, channels times its places.
        channels: n, of the output.
        kernel: height and width.
        stride: down and across.
        padding: places of zeros on each side, or of the map's other end.
        circular: whether it goes on at its other end.
        weights: W and b.
    """

    shifts: ClassVar[tuple[int, ...]] = (0,)
    most_examples: ClassVar[int] = 20

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
        squares = np.diagonal(gram, axis1=1, axis2=2)
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
            maps=then(
                x.maps, lambda units: scaled(mixed(units, near, v, s, at.noises.channels, [at.index, 2]), squares)
            ),
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
        (x,) = inputs
        if flow.maps is None or flow.base is None or x.size is None:
            raise NoRule("theory has no law for the gradients of such a map")
        near, _ = self._near(x.size)
        places, v = len(x.gram), self.weights.variance
        gram = np.zeros((places + 1, *flow.gram.shape[1:]))
        for column in near.T:
            gram[column] += flow.gram * (v / near.shape[1])
        gram = gram[:-1]
        deltas = flow.maps() * np.sqrt(self.channels / x.units)
        deltas = mixed_back(deltas, near, places, v, [at.index, 3])
        noise = spread(deltas, flow.base.grams) / x.units
        at.noises.backward[at.index] = noise
        elasticity = flow.elasticity.copy()
        elasticity[at.above] = 1.0
        maps, base = self._along(x, output, flow, deltas, at)
        if base is not flow.base:
            gram = gram + base.grams[-1] * x.gram * x.units
        return [
            Flow(
                gram,
                elasticity,
                flow.shift - np.diagonal(noise) / 2,
                None,
                np.ones_like(flow.shift),
                maps=maps,
                base=base,
                source=weakest([flow.source, MEAN_FIELD]),
            )
        ]

    def _along(self, x: Signal, z: Signal, flow: Flow, deltas: FloatArray, at: Place) -> tuple[Sampler, Base]:
        """The gradient with what it has along x because the loss's answers follow from this W, too (see Linear)."""
        base, above = flow.base, flow.maps
        assert base is not None
        if len(base.grams) == MOST_PARTS:
            return lambda: deltas, base
        if at.noises.along is None or at.noises.follows is None or x.maps is None or z.maps is None or above is None:
            return lambda: deltas, base
        follows = np.maximum(at.noises.follows[at.index], 1e-12)
        length = np.maximum(_trace(x.gram) * x.units, 1e-300)
        pattern = np.outer(follows / length, follows / length)
        units = np.ascontiguousarray(z.maps()[:, :, :TAKEN].transpose(1, 0, 2))
        taken = np.ascontiguousarray(above().transpose(0, 2, 3, 1)) @ units  # [k, B, draws, channels]
        flat = taken.reshape(*taken.shape[:2], -1)
        free = (flat @ flat.transpose(0, 2, 1)).astype(float) * (self.channels / (taken.shape[2] * taken.shape[3]))
        free /= np.outer(follows, follows)
        more = pattern * (at.noises.along - (free * base.grams).sum(0))
        made = x.maps
        maps = lazy(lambda: np.concatenate([deltas, made()[None]]))
        return maps, Base(base.place, np.concatenate([base.grams, more[None]]), (*base.tied, (pattern, free)))

    def gradients(self, x: Signal, z: Signal, flow: Flow, at: Place) -> list[Shared]:
        """Of W: how it follows the gradient above the maps, and how its squared norm strays.

        Raises:
            NoRule: nothing knows the gradients at two places of the map.
        """
        if flow.maps is None or flow.base is None or x.maps is None or x.size is None:
            raise NoRule("theory has no law for the gradients of such a map")
        near, _ = self._near(x.size)
        follows, noise = products(x.maps(), flow.maps(), near, flow.base.grams)
        return [Shared(x, flow, follows * (self.channels * x.units), noise / self.channels)]

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
