"""What every stage is: what a part of a network does to a signal on its way up and to a gradient on its way down."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fanin.theory.drawn_maps import single, white
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.signals import Base, Flow, Noises, Sampler, Signal

PLACES = 100
"""Places of a map between which noises are compared."""


class NoRule(Exception):
    """No law goes on from here; says why."""


@dataclass(frozen=True)
class Place:
    """Where in a network a stage stands.

    Args:
        index: of the stage, from 1; noises are numbered by it.
        noises: of all stages.
    """

    index: int
    noises: Noises

    @property
    def above(self) -> int:
        """The row of an elasticity that the stage's noise backwards has."""
        return self.noises.stages + self.index

    def normals(self) -> FloatArray:
        """Draws of its own, [samples, B]."""
        half = np.random.default_rng(self.index).standard_normal((self.noises.samples // 2, self.noises.examples))
        return np.concatenate([half, -half])

    def above_maps(self, x: Signal, flow: Flow) -> tuple[Sampler | None, Base | None]:
        """A gradient of one place, of a vector of all entries of the maps x, as `maps` and `base` of a Flow."""
        if x.maps is None:
            return None, None
        units, places = x.maps, len(x.gram)
        grams = [flow.gram[0]]
        if flow.along is not None:
            whole = x.gram.sum(0) * x.units
            along = np.divide(flow.along[0], whole, out=np.zeros_like(whole), where=np.abs(whole) > 0)
            grams = [flow.gram[0] - flow.along[0], along]

        def draw() -> FloatArray:
            free = white(np.random.default_rng([self.index, 4]).standard_normal((self.noises.channels, places)))
            free = np.repeat(free.T[:, None] / np.sqrt(places * x.units), self.noises.examples, axis=1)
            return single(np.stack([free, units()] if len(grams) == 2 else [free]))

        return lazy(draw), Base(self.index - 1, np.stack(grams))


@dataclass(frozen=True)
class Shared:
    """The gradient of weights that all places share.

    Args:
        x, flow: what they take, and the gradient behind them.
        follows: by how much two examples' gradients follow the pairs of each part of that above, [k, B, B].
        noise: variance of the squared norm's logarithm by the units behind them.
    """

    x: Signal
    flow: Flow
    follows: FloatArray
    noise: float


def drawn_of_field(field: FloatArray, places: int, at: Place) -> FloatArray:
    """Draws of normal units that have a covariance at all places, [B P, B P]: [P, B, draws]."""
    lift = 1e-9 * max(float(np.trace(field)), 1e-300) / len(field)
    lower = np.linalg.cholesky(field + lift * np.eye(len(field)))
    half = lower @ np.random.default_rng([at.index, 2]).standard_normal((len(field), at.noises.channels // 2))
    return single(np.concatenate([half, -half], axis=1).reshape(-1, places, 2 * half.shape[1]).transpose(1, 0, 2))


def field_of_all(x: Signal, what: str) -> FloatArray:
    """What a unit of all examples has in common at any two places, [B P, B P].

    Raises:
        NoRule: that is not known of all examples; `what` the places are called.
    """
    places, examples = x.gram.shape[:2]
    field = x.gram[0] if places == 1 else x.field
    if field is None or len(field) != places * examples:
        raise NoRule(f"it is not known what the {what} have in common")
    return field


def of_map(
    signal: Signal, kind: Callable[[FloatArray], FloatArray], level: Callable[[FloatArray], FloatArray]
) -> float:
    """The noise of the mean over the places and examples of a map, relative to it, of one unit.

    Args:
        signal: whose places these are.
        kind: from Gram matrices of places, [1, S, S], the covariance of their noises, [1, S, S].
        level: from the same, the means that the noises are of, [1, S].

    Raises:
        NoRule: it is not known what the places have in common.
    """
    if signal.field is None:
        raise NoRule("it is not known what the places of the map have in common")
    count = len(signal.field)
    some = np.linspace(0, count - 1, min(count, PLACES)).round().astype(int)
    field = signal.field[np.ix_(some, some)][None]
    noise, mean = kind(field)[0], float(level(field).mean())
    others = float(noise.sum() - np.trace(noise)) / max(len(some) * (len(some) - 1), 1)
    each = float(np.trace(noise)) / len(some) / signal.gram.shape[0] / signal.gram.shape[1]
    return (others + each) / mean**2 if mean > 0 else 0.0


class Stage(ABC):
    """One part of a network as theory sees it.

    Attributes:
        draws: units that are drawn where its rule is one of drawn units.
        most_examples: of the batch whose Gram matrix is carried through it: a matrix for each place of a map is large.
        least_examples: the same, where it matters how many there are.
        shifts: of weights that all places share, how many steps further the step of their rows is.
    """

    draws: ClassVar[int] = 400
    most_examples: ClassVar[int] = 48
    least_examples: ClassVar[int] = 0
    shifts: ClassVar[tuple[int, ...]] = ()

    def adjoint(self, below: Sequence[FloatArray | None], flows: Sequence[Flow]) -> FloatArray | None:
        """How much a sum over pairs of the gradients below follows each pair of the gradient above.

        Args:
            below: weights of the pairs of each input's gradient, [layers, P, B, B]; None for none.
            flows: these gradients, as `backward` gave them.

        Returns:
            [layers, P, B, B]; None where no input's counts, or it does not follow pair by pair.
        """
        parts = []
        for one, flow in zip(below, flows, strict=True):
            if one is None:
                continue
            if flow.factor is None:
                return None
            parts.append(one * flow.factor)
        return sum(parts[1:], parts[0]) if parts else None

    @abstractmethod
    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """What the part gives of what it takes.

        Raises:
            NoRule: there is no law for this.
        """

    @abstractmethod
    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """The gradients with respect to its inputs, from that with respect to its output."""

    def gradients(self, x: Signal, output: Signal, flow: Flow, at: Place) -> list[Shared]:
        """Of its weights that all places share, one for each of `shifts`."""
        return []


def drawn(of: Signal | Flow) -> FloatArray:
    if of.draw is None:
        raise NoRule("no rule for what comes before it")
    return of.draw()


def lazy(make: Sampler) -> Sampler:
    """Draws that are made once."""
    made: list[FloatArray] = []

    def draw() -> FloatArray:
        if not made:
            made.append(make())
        return made[0]

    return draw


def then(of: Sampler | None, change: Callable[[FloatArray], FloatArray]) -> Sampler | None:
    """Draws that are changed, where there are some."""
    return None if of is None else lazy(lambda: change(of()))


def outer(values: FloatArray) -> FloatArray:
    """Products of pairs, [P, B, B] of [P, B]."""
    return np.asarray(values[:, :, None] * values[:, None, :])


def set_diagonal(gram: FloatArray, values: FloatArray) -> None:
    places = np.arange(gram.shape[-1])
    gram[..., places, places] = values
