"""Normalization: of each example over its units, and of each unit over the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from fanin.theory.bands import MEAN_FIELD, weakest
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.signals import Flow, Signal
from fanin.theory.stages.base import NoRule, Place, Stage, drawn, lazy, outer, then


@dataclass(frozen=True)
class Normalized(Stage):
    """y = (x - mean) / sqrt(var + eps) over the units, or x / sqrt(mean x^2 + eps):  K_ab / (sigma_a sigma_b).

    Whatever strayed before is set right: an example's norm is sqrt(n). Backwards G_ab / (sigma_a sigma_b), less what
    lies along x and, where the mean is taken out, along (1, .., 1): 1/n each. Source: Ba, Kiros & Hinton 2016.

    Args:
        centres: whether the mean is taken out.
        eps: added to the variance.
        groups: into which the units are divided, each normalized by itself.
        over_places: whether the units of all places are one vector.
    """

    centres: bool
    eps: float
    groups: int = 1
    over_places: bool = False

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        (x,) = inputs
        if not self.over_places and len(x.gram) > 1 and x.size is not None:
            raise NoRule("it normalizes the places of a map one by one")
        gram = self._centred(x)
        sigma = self._sigma(gram)
        noises = at.noises
        noises.forward[at.index] = 0.0
        draw = None
        if x.draw is not None:
            mean = x.mean[0] if self.centres else 0.0
            draw = lazy(lambda: (drawn(x) - mean) / sigma[0])
        return replace(
            x,
            gram=gram / outer(sigma),
            elasticity=np.zeros_like(x.elasticity),
            shift=np.zeros_like(x.shift),
            mean=np.zeros_like(x.mean) if self.centres else x.mean / sigma,
            kurtosis=x.kurtosis,
            centred=self.centres and x.normal,
            field=None if x.field is None else self._over_field(x.field, x.mean, sigma),
            before=None,
            fresh=x.fresh,
            draw=draw,
            maps=then(x.maps, lambda units: (units - x.mean[..., None] * self.centres) / sigma[..., None]),
            source=weakest([x.source, MEAN_FIELD]),
        )

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        (x,) = inputs
        gram = self._centred(x)
        number = x.units * (len(x.gram) if self.over_places else 1) / self.groups
        by = (1 - (1 + self.centres) / number) / outer(self._sigma(gram))
        draw = None if flow.draw is None else lazy(lambda: drawn(flow) * np.sqrt(np.diagonal(by[0])))
        each = np.diagonal(by, axis1=1, axis2=2)
        return [
            Flow(
                flow.gram * by,
                flow.elasticity - x.elasticity,
                flow.shift - x.shift,
                by,
                flow.peak,
                draw=draw,
                maps=then(flow.maps, lambda units: units * np.sqrt(each)[..., None]),
                base=flow.base,
                source=weakest([flow.source, MEAN_FIELD]),
            )
        ]

    def _over_field(self, field: FloatArray, mean: FloatArray, sigma: FloatArray) -> FloatArray:
        """The same of any two places of the first examples."""
        sizes, means = sigma.T.ravel()[: len(field)], mean.T.ravel()[: len(field)]
        centred = field - np.outer(means, means) if self.centres else field
        return np.asarray(centred / np.outer(sizes, sizes))

    def _centred(self, x: Signal) -> FloatArray:
        return x.gram - x.mean[:, :, None] * x.mean[:, None, :] if self.centres else x.gram

    def _sigma(self, gram: FloatArray) -> FloatArray:
        square = np.diagonal(gram, axis1=1, axis2=2)
        if self.over_places:
            square = np.repeat(square.mean(0, keepdims=True), len(gram), axis=0)
        return np.asarray(np.sqrt(square + self.eps))


@dataclass(frozen=True)
class BatchNormalized(Stage):
    """y = (z - mean) / sqrt(var + eps), mean and var of one unit over the batch, from drawn units.

    Backwards each drawn unit's own Jacobian: (delta - mean delta - y mean(delta y)) / sigma. Source: Ioffe & Szegedy
    2015; Yang et al. 2019. That is the law of widths that are large against the batch: from half as many examples as
    units on, gradients come out a tenth too large and more, and have none.

    Args:
        eps: added to the variance.
    """

    draws: ClassVar[int] = 2000
    least_examples: ClassVar[int] = 128

    eps: float

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        (z,) = inputs
        if len(z.gram) > 1:
            raise NoRule("theory has no batch normalization of maps")
        y, _ = self._normalized(drawn(z))
        gram = y.T @ y / at.noises.samples
        squares = y**2 / np.diagonal(gram)
        at.noises.forward[at.index] = (squares.T @ squares / at.noises.samples - 1) / z.units
        elasticity = np.zeros_like(z.elasticity)
        elasticity[at.index] = 1.0
        return replace(
            z,
            gram=gram[None],
            elasticity=elasticity,
            shift=-np.diagonal(at.noises.forward[at.index]) / 2,
            mean=y.mean(0)[None],
            kurtosis=(squares**2).mean(0),
            normal=False,
            before=None,
            draw=lambda: y,
            source=weakest([z.source, MEAN_FIELD]),
        )

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        (z,) = inputs
        if 2 * at.noises.of > z.units:
            raise NoRule(f"its batch of {at.noises.of} is large against {z.units} units")
        y, sigma = self._normalized(drawn(z))
        delta = drawn(flow)
        delta = (delta - delta.mean(1, keepdims=True) - y * (delta * y).mean(1, keepdims=True)) / sigma
        gram = z.units * delta.T @ delta / at.noises.samples
        squares = delta**2 / np.maximum(np.diagonal(gram) / z.units, 1e-300)
        noise = (squares.T @ squares / at.noises.samples - 1 - 2 * flow.correlation[0] ** 2) / z.units
        at.noises.backward[at.index] = noise
        share = z.squares[0] / z.squares[0].sum()
        elasticity = flow.elasticity - (z.elasticity * share).sum(1, keepdims=True)
        elasticity[at.above] = 1.0
        shift = flow.shift - z.shift @ share - np.diagonal(noise) / 2
        return [
            Flow(gram[None], elasticity, shift, None, (squares**2).mean(0) / 3, draw=lambda: delta, source=MEAN_FIELD)
        ]

    def _normalized(self, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Units [samples, B] over their spreads, and these [samples, 1]."""
        centred = z - z.mean(1, keepdims=True)
        sigma = np.sqrt((centred**2).mean(1, keepdims=True) + self.eps)
        return centred / sigma, sigma
