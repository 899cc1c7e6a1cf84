"""Sums: of a shortcut and a branch on the way up, of the gradients of several parts on the way down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fanin.theory.bands import weakest
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.signals import Flow, Sampler, Signal
from fanin.theory.stages.base import NoRule, Place, Stage, drawn, lazy


@dataclass(frozen=True)
class Added(Stage):
    """y = h + a F, of two signals of which one is independent of the other: K = K_h + a^2 K_F, G_F = a^2 G.

    With the shares w of the two in ||y||^2 their cross term adds noise of covariance 4 w_h w_F r_h r_F / n.

    Args:
        scale: a.
    """

    scale: float = 1.0

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        if len(inputs) != 2:
            raise NoRule("it adds what theory does not see")
        h, f = inputs
        if not (h.fresh or f.fresh) or h is f:
            raise NoRule("what it adds depends on each other")
        added = self.scale**2 * f.gram
        gram = h.gram + added
        whole, part = np.diagonal(gram, axis1=1, axis2=2).sum(0), np.diagonal(added, axis1=1, axis2=2).sum(0)
        share = np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)
        rest = 1 - share
        parts = np.sqrt(np.outer(share * rest, share * rest))
        at.noises.forward[at.index] = 4 * parts * _both(h, f) / h.units
        elasticity = rest * h.elasticity + share * f.elasticity
        before = rest * (h.shift + at.noises.variances(h.elasticity) / 2)
        before += share * (f.shift + at.noises.variances(f.elasticity) / 2)
        elasticity[at.index] = 1.0
        kurtosis = 3 + rest**2 * (h.kurtosis - 3) + share**2 * (f.kurtosis - 3)
        return Signal(
            gram,
            h.units,
            elasticity,
            before - at.noises.variances(elasticity) / 2,
            h.mean + self.scale * f.mean,
            kurtosis,
            normal=h.normal and f.normal,
            fresh=h.fresh and f.fresh,
            draw=_sum_of(h, f, self.scale),
            size=h.size,
            field=None if h.field is None or f.field is None else h.field + self.scale**2 * f.field,
            turned=_turned(h, f, share),
            source=weakest([h.source, f.source]),
        )

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        square = self.scale**2
        draw = None if flow.draw is None else lazy(lambda: self.scale * drawn(flow))
        one = np.ones((1, 1, 1))
        return [
            replace(flow, factor=one, along=None, maps=None),
            replace(flow, gram=square * flow.gram, factor=square * one, along=None, draw=draw, maps=None),
        ]


def meet(flows: Sequence[Flow], units: int, at: Place) -> Flow:
    """The gradient of a place that several parts take from: independent ones add up."""
    total, *others = flows
    for other in others:
        gram = total.gram + other.gram
        whole = np.diagonal(gram, axis1=1, axis2=2).sum(0)
        share = np.divide(total.squares.sum(0), whole, out=np.ones_like(whole), where=whole > 0)
        rest = 1 - share
        noise = 4 * np.sqrt(np.outer(share * rest, share * rest)) * total.correlation[0] * other.correlation[0] / units
        elasticity = share * total.elasticity + rest * other.elasticity
        row = 2 * at.noises.stages + at.index
        at.noises.meeting[at.index] = noise
        before = share * (total.shift + at.noises.variances(total.elasticity) / 2)
        before += rest * (other.shift + at.noises.variances(other.elasticity) / 2)
        elasticity[row] = 1.0
        shift = before - at.noises.variances(elasticity) / 2
        draw = _sum_of(total, other, 1.0)
        peak = np.ones_like(shift)
        total = Flow(gram, elasticity, shift, None, peak, draw=draw, source=weakest([total.source, other.source]))
    return total


def _both(one: Signal, other: Signal) -> FloatArray:
    """The mean over the places of both correlations' product."""
    return np.asarray((one.correlation * other.correlation).mean(0))


def _sum_of(one: Signal | Flow, other: Signal | Flow, scale: float) -> Sampler | None:
    if one.draw is None or other.draw is None:
        return None
    return lazy(lambda: drawn(one) + scale * drawn(other))


def _turned(h: Signal, f: Signal, share: FloatArray) -> FloatArray | None:
    """How far the correlations of a sum stray, [B, B], by each part and by what the parts have of each other."""
    if h.turned is None or f.turned is None:
        return None
    rest = 1 - share
    cross = 2 * np.sqrt(np.outer(share * rest, share * rest)) * (1 - np.minimum(_both(h, f), 1)) ** 2 / h.units
    return np.asarray(np.outer(rest, rest) * h.turned + np.outer(share, share) * f.turned + cross)
