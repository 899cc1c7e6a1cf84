"""What every stage is: what a part of a network does to a signal on its way up and to a gradient on its way down."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.signals import Flow, Noises, Sampler, Signal


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


class Stage(ABC):
    """One part of a network as theory sees it."""

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


def root(gram: FloatArray) -> FloatArray:
    """A matrix R with R R^T = K."""
    values, vectors = np.linalg.eigh(gram)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)))


def set_diagonal(gram: FloatArray, values: FloatArray) -> None:
    places = np.arange(gram.shape[-1])
    gram[..., places, places] = values
