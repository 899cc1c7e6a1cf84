"""Single times of a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fanin.theory.drawn_maps import single
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.signals import Flow, Signal
from fanin.theory.stages.base import Place, Stage, then


@dataclass(frozen=True)
class Once(Stage):
    """The vector of one time of a sequence.

    Args:
        place: of the sequence, from its end where it is negative.
    """

    place: int

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        (x,) = inputs
        where = range(len(x.gram))[self.place]
        gram = x.gram[where : where + 1]
        elasticity, shift = x.elasticity.copy(), x.shift
        if x.strays is not None:  # what it has of the whole sequence's noise, and the rest as its own
            share = x.squares / np.maximum(x.squares.sum(0), 1e-300)
            follows, rest = x.strays.at(where, share)
            elasticity[:] = 0.0
            elasticity[0] = x.strays.follows[where]
            elasticity[x.strays.index] = follows
            at.noises.forward[at.index] = rest
            elasticity[at.index] = 1.0
            shift = -np.diagonal(x.strays.between(where, where)) / 2
        return replace(
            x,
            gram=gram,
            elasticity=elasticity,
            shift=shift,
            mean=x.mean[where : where + 1],
            size=None,
            field=None,
            maps=None,
            under=None,
            strays=None,
            before=None,
            draw=None,
            fresh=False,
        )

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        (x,) = inputs
        where, count = range(len(x.gram))[self.place], len(x.gram)
        gram = np.zeros((count, *flow.gram.shape[1:]))
        gram[where] = flow.gram[0]
        units = x.maps
        maps, base = at.above_maps(replace(output, maps=then(units, lambda all_of: all_of[where : where + 1])), flow)

        def placed(deltas: FloatArray) -> FloatArray:
            whole = single(np.zeros((len(deltas), count, *deltas.shape[2:])))
            whole[:, where : where + 1] = deltas
            return whole

        follows = None
        if at.noises.follows is not None:
            follows = np.zeros((count, gram.shape[1]))
            follows[where] = np.maximum(at.noises.follows[at.index], 0)
        return [
            replace(
                flow, gram=gram, factor=None, along=None, draw=None, maps=then(maps, placed), base=base, follows=follows
            )
        ]


@dataclass(frozen=True)
class Nothing(Stage):
    """Zeros: what a recurrent matrix makes of the state before the first time.

    Args:
        width: units.
    """

    width: int

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        (x,) = inputs
        return Signal(
            np.zeros_like(x.gram[:1]), self.width, np.zeros_like(x.elasticity), x.shift * 0, x.mean[:1] * 0, x.kurtosis
        )

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        return []
