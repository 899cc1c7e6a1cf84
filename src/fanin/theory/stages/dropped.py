"""Dropout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fanin.theory.bands import FIRST_ORDER, weakest
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.signals import Flow, Sampler, Signal
from fanin.theory.stages.base import NoRule, Place, Stage, drawn, lazy, then

STRAYING = 0.5
"""Of a batch's pairs of examples, above which gradients of half a batch's size come from no mean Gram matrix."""


@dataclass(frozen=True)
class Dropped(Stage):
    """y = x mask / k, a mask of its own for each example: K_aa / k, K_ab as it is; backwards the same.

    The masks add noise to each example alone: (E x^4/(E x^2)^2) (1/k - 1)/n forwards, 3 (1/k - 1)/n backwards, and as
    they are the same (1/k - 1)/n between the two.

    Each pair of examples strays from the mean Gram matrix by as much, and a batch of B has B times as many pairs as
    examples: at B (1/k - 1) sum 1/n of `STRAYING` and more, that mean no longer is the law of the gradients.

    Args:
        keep: k, probability of keeping a unit.
    """

    keep: float

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        (x,) = inputs
        more = 1 / self.keep - 1
        noise = np.diag(x.kurtosis * more / x.units / len(x.gram))
        at.noises.forward[at.index] = noise
        at.noises.apart += more / x.units / len(x.gram)
        elasticity = x.elasticity.copy()
        elasticity[at.index] = 1.0
        return replace(
            x,
            gram=self._thinned(x.gram),
            elasticity=elasticity,
            shift=x.shift - np.diagonal(noise) / 2,
            kurtosis=x.kurtosis / self.keep,
            before=None,
            normal=False,
            centred=False,
            draw=None if x.draw is None else lazy(lambda: drawn(x) * self._masks(at) / self.keep),
            maps=self._maps(x.maps, at),
            source=weakest([x.source, FIRST_ORDER]),
        )

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        (x,) = inputs
        if at.noises.of > 1 and at.noises.of * at.noises.apart >= STRAYING:
            raise NoRule("masks of their own take the batch's pairs of examples too far from their mean")
        more = (1 / self.keep - 1) / x.units / len(x.gram)
        noise = np.diag(3 * flow.peak * more)
        at.noises.backward[at.index] = noise
        at.noises.mixed[at.index] = np.eye(len(x.shift)) * more
        elasticity = flow.elasticity.copy()
        elasticity[at.above] = 1.0
        factor = self._thinned(np.ones_like(flow.gram))
        draw = None if flow.draw is None else lazy(lambda: drawn(flow) * self._masks(at) / self.keep)
        shift = flow.shift - np.diagonal(noise) / 2
        return [
            Flow(
                factor * flow.gram,
                elasticity,
                shift,
                factor,
                flow.peak / self.keep,
                draw=draw,
                maps=self._maps(flow.maps, at),
                base=flow.base,
                source=flow.source,
            )
        ]

    def _maps(self, maps: Sampler | None, at: Place) -> Sampler | None:
        def masks(units: FloatArray) -> FloatArray:
            return np.asarray(np.random.default_rng([at.index, 1]).random(units.shape) < self.keep) / self.keep

        return then(maps, lambda units: units * masks(units))

    def _thinned(self, gram: np.ndarray) -> np.ndarray:
        return gram * (1 + (1 / self.keep - 1) * np.eye(gram.shape[-1]))

    def _masks(self, at: Place) -> np.ndarray:
        shape = (at.noises.samples, at.noises.examples)
        return np.random.default_rng([at.index, 1]).random(shape) < self.keep
