"""What a network begins with, what changes nothing, and what nothing is known of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.signals import Flow, Signal
from fanin.theory.stages.base import NoRule, Place, Stage


@dataclass(frozen=True, eq=False)
class Data(Stage):
    """The batch itself.

    Args:
        gram: x_a x_b summed over the units of one place and divided by their number, [P, B, B].
        units: entries of an example at a place.
        kurtosis: mean x^4 / (mean x^2)^2 over an example's entries, [B].
        size: of the map whose places these are; None for other places.
        field: x x' over the units, of any two places of some of the examples, [E P, E P]; None for one place.
        maps: of a map, its units, [P, B, units].
    """

    gram: FloatArray
    units: int
    kurtosis: FloatArray
    size: tuple[int, int] | None = None
    field: FloatArray | None = None
    maps: FloatArray | None = None

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        elasticity = np.zeros((at.noises.rows, self.gram.shape[1]))
        elasticity[0] = 1.0
        nothing = np.zeros(self.gram.shape[:2])
        return Signal(
            self.gram,
            self.units,
            elasticity,
            nothing[0].copy(),
            nothing,
            self.kurtosis,
            size=self.size,
            field=self.field,
            maps=None if self.maps is None else self._units,
        )

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        return []

    def _units(self) -> FloatArray:
        assert self.maps is not None
        return self.maps


@dataclass(frozen=True)
class Flattened(Stage):
    """Maps as one vector: its units are all entries of all places."""

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        (x,) = inputs
        gram, mean = x.gram.mean(0, keepdims=True), x.mean.mean(0, keepdims=True)
        return replace(
            x,
            gram=gram,
            mean=mean,
            units=x.units * len(x.gram),
            size=None,
            field=None,
            maps=None,
            before=None,
            normal=False,
            draw=None,
        )

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        (x,) = inputs
        places = len(x.gram)
        gram = np.repeat(flow.gram / places, places, axis=0)
        maps, base = at.above_maps(x, flow)
        return [replace(flow, gram=gram, factor=None, along=None, draw=None, maps=maps, base=base)]

    def adjoint(self, below: Sequence[FloatArray | None], flows: Sequence[Flow]) -> FloatArray | None:
        """See Stage: each place has an equal share of the vector."""
        return None if below[0] is None else below[0].mean(1, keepdims=True)


@dataclass(frozen=True)
class Unknown(Stage):
    """A part without a rule: the law ends there.

    Args:
        why: it has none.
    """

    why: str = "it has no rule"

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        raise NoRule(self.why)

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        raise NoRule(self.why)


@dataclass(frozen=True)
class Passed(Stage):
    """What changes nothing that a law speaks of: flattening a vector, an identity."""

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        return inputs[0]

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        return [replace(flow, factor=np.ones((1, 1, 1)))]
