"""Activations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fanin.theory.bands import MEAN_FIELD, weakest
from fanin.theory.drawn_maps import entries, gram_at, scaled, spread
from fanin.theory.gaussian_maps import Activation, FloatArray
from fanin.theory.pairs import LengthMoments, PairMaps, PairMoments
from fanin.theory.signals import Flow, Signal, correlation
from fanin.theory.stages.base import NoRule, Place, Stage, drawn, lazy, of_map, outer, set_diagonal, then


@dataclass(frozen=True)
class Activated(Stage):
    """x = phi(z), entry by entry: K = E phi phi, G = G' E phi' phi'.

    Given the squared norm of z the noise of ln ||x_a||^2 is (E phi^2 phi^2/(V V) - 1 - 2 e_a e_b r^2)/n, e = q V'/V the
    elasticity with which it follows ln q; backwards likewise with phi', and as the units are the same the two noises
    have the covariance (E phi^2 phi'^2/(V D) - 1 - 2 e d r^2)/n, d = q D'/D.

    Args:
        activation: phi.
    """

    activation: Activation
    maps: PairMaps = field(init=False, compare=False)
    last: dict[str, tuple[Signal, LengthMoments, PairMoments]] = field(init=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        known = vars(self.activation).setdefault("pair_maps", PairMaps(self.activation))
        object.__setattr__(self, "maps", known)

    def _moments(self, z: Signal) -> tuple[LengthMoments, PairMoments]:
        """Of what it takes, worked out once for the way up and the way down."""
        known = self.last.get("taken")
        if known is None or known[0] is not z:
            known = self.last["taken"] = z, self.maps.lengths(z.squares), self.maps.pairs(z.gram)
        return known[1:]

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        (z,) = inputs
        if not z.normal:
            return self._of_draws(z, at)
        one, pair = self._moments(z)
        gram = pair.product.copy()
        set_diagonal(gram, one.square)
        share = one.square / np.maximum(one.square.sum(0), 1e-300)
        rate, bend = (share * one.square_rate).sum(0), (share * one.square_bend).sum(0)
        square = z.correlation**2
        noise = pair.squares - 1 - 2 * outer(one.square_rate) * square
        if z.centred:
            noise = noise - outer(one.tilt) * z.correlation
        if len(z.gram) > 1:  # of a map, all examples together
            noise = np.full_like(noise, of_map(z, self._noise, lambda field: self._squares(field)))
        noise = noise[0] / z.units
        at.noises.forward[at.index] = noise
        spread = at.noises.variances(z.elasticity)
        shift = rate * z.shift + bend * spread / 2 - (bend - rate + rate**2) / z.units - np.diagonal(noise) / 2
        elasticity = rate * z.elasticity
        elasticity[at.index] = 1.0
        return replace(
            z,
            gram=gram,
            elasticity=elasticity,
            shift=shift,
            mean=one.mean,
            kurtosis=(share * np.diagonal(pair.squares, axis1=1, axis2=2)).sum(0),
            field=None if z.field is None else self.maps.product(z.field[None])[0],
            turned=None if z.turned is None else _turned(z, one, pair),
            before=(z, self.activation),
            normal=False,
            fresh=False,
            centred=False,
            draw=lazy(lambda: self.activation.phi(drawn(z))),
            maps=then(z.maps, lambda units: scaled(entries(self.activation.phi, units), one.square)),
        )

    def _squares(self, field: FloatArray) -> FloatArray:
        return self.maps.lengths(np.diagonal(field, axis1=1, axis2=2)).square

    def _noise(self, field: FloatArray) -> FloatArray:
        """The covariance of phi^2 at two places, given their lengths, not divided by its mean."""
        lengths = np.diagonal(field, axis1=1, axis2=2)
        one, pair = self.maps.lengths(lengths), self.maps.pairs(field)
        return np.asarray(outer(one.square) * (pair.squares - 1 - 2 * outer(one.square_rate) * correlation(field) ** 2))

    def _of_draws(self, z: Signal, at: Place) -> Signal:
        """Of units that are not normal: from draws of them."""
        if len(z.gram) > 1:
            raise NoRule("it takes maps that are no weighted sums")
        units = self.activation.phi(drawn(z))
        gram = units.T @ units / at.noises.samples
        squares = units**2 / np.maximum(np.diagonal(gram), 1e-300)
        noise = (squares.T @ squares / at.noises.samples - 1) / z.units
        at.noises.forward[at.index] = noise
        elasticity = z.elasticity.copy()
        elasticity[at.index] = 1.0
        shift = z.shift - np.diagonal(noise) / 2
        kurtosis = (squares**2).mean(0)
        return replace(
            z,
            gram=gram[None],
            elasticity=elasticity,
            shift=shift,
            mean=units.mean(0)[None],
            kurtosis=kurtosis,
            fresh=False,
            centred=False,
            draw=lambda: units,
            source=weakest([z.source, MEAN_FIELD]),
        )

    def along(self, z: Signal) -> FloatArray:
        """By how much a gradient along x itself is handed on, E (phi phi')^2 / E phi^2 of both examples, [B, B]."""
        one, pair = self._moments(z)
        size = np.sqrt(np.diagonal(pair.mixed[0]) * one.slope[0])
        return np.asarray(np.outer(size, size))

    def radial(self, z: Signal, shares: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What the lengths of z, which the rest of the noise is given, have in the noise of a form of the gradients.

        Args:
            z: that it takes.
            shares: of pairs in the form, [layers, B, B].

        Returns:
            n times its variance, [layers], and its covariance with ln ||x_a||^2, [layers, B].
        """
        one, _ = self._moments(z)
        square = 2 * z.correlation[0] ** 2
        follows = shares.sum(2) * one.slope_rate[0]
        by = follows @ square
        return (by * follows).sum(1), by * one.square_rate[0]

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        (z,) = inputs
        n = z.units
        if z.maps is not None and flow.maps is not None and z.normal:
            return [self._of_maps(z, z.maps(), flow, flow.maps(), at)]
        draw = lazy(lambda: self.activation.derivative(drawn(z)) * drawn(flow))
        if not z.normal:
            delta = draw()
            gram = n * (delta.T @ delta)[None] / at.noises.samples
            squares = delta**2 / np.maximum(np.diagonal(gram[0]) / n, 1e-300)
            ahead = drawn(output) ** 2 / np.maximum(np.diagonal(output.gram[0]), 1e-300)
            both = 1 + 2 * flow.correlation[0] ** 2
            noise = (squares.T @ squares / at.noises.samples - both) / n
            at.noises.backward[at.index] = noise
            at.noises.mixed[at.index] = (ahead.T @ squares / at.noises.samples - 1) / n
            elasticity = flow.elasticity.copy()
            elasticity[at.above] = 1.0
            shift = flow.shift - np.diagonal(noise) / 2
            return [Flow(gram, elasticity, shift, None, (squares**2).mean(0) / 3, draw=draw, source=MEAN_FIELD)]
        one, pair = self._moments(z)
        slopes = pair.slopes.copy()
        set_diagonal(slopes, one.slope)
        after = one.slope * flow.squares
        share = after / np.maximum(after.sum(0), 1e-300)
        rate, bend = (share * one.slope_rate).sum(0), (share * one.slope_bend).sum(0)
        square = z.correlation**2
        both = 1 + 2 * flow.correlation**2
        set_diagonal(both, np.repeat(3 * flow.peak[None], len(z.gram), axis=0))
        weights = outer(share)  # gradients of different places are independent
        noise = ((both * (pair.slope_squares - 1) - 2 * outer(one.slope_rate) * square) * weights).sum(0) / n
        at.noises.backward[at.index] = noise
        mixed = pair.mixed - 1 - 2 * one.square_rate[:, :, None] * one.slope_rate[:, None] * square
        at.noises.mixed[at.index] = (mixed * weights).sum(0) / n
        spread = at.noises.variances(z.elasticity)
        elasticity = flow.elasticity + rate * z.elasticity
        elasticity[at.above] = 1.0
        shift = flow.shift + rate * z.shift + bend * spread / 2 - (bend - rate + rate**2) / n - np.diagonal(noise) / 2
        peak = flow.peak * (share * np.diagonal(pair.slope_squares, axis1=1, axis2=2)).sum(0)
        gram = slopes * flow.gram
        if flow.along is not None:
            gram = gram + (self.along(z) - slopes) * flow.along
        return [Flow(gram, elasticity, shift, slopes, peak, draw=draw, source=flow.source)]

    def _of_maps(self, z: Signal, units: FloatArray, flow: Flow, deltas: FloatArray, at: Place) -> Flow:
        """Of drawn channels."""
        after = entries(self.activation.derivative, units) * deltas
        assert flow.base is not None
        noise = (spread(after, flow.base.grams) - spread(deltas, flow.base.grams)) / z.units
        at.noises.backward[at.index] = noise
        one, squares = self.maps.lengths(z.squares), np.maximum(flow.squares, 1e-300)
        rate = (one.slope * one.slope_rate * squares).sum(0) / (one.slope * squares).sum(0)
        elasticity = flow.elasticity + rate * z.elasticity
        elasticity[at.above] = 1.0
        shift, peak = flow.shift + rate * z.shift - np.diagonal(noise) / 2, np.ones_like(flow.shift)
        gram = z.units * gram_at(after, flow.base.grams)
        maps = lambda: after  # noqa: E731
        return Flow(gram, elasticity, shift, None, peak, maps=maps, base=flow.base, source=flow.source)


def _turned(z: Signal, one: LengthMoments, pair: PairMoments) -> FloatArray:
    """How far correlations stray behind the activation, [B, B]: as they follow those before it, and as n units do."""
    lengths = outer(np.sqrt(one.square))[0]
    passed, product = outer(np.sqrt(z.squares))[0] * pair.slopes[0], pair.product[0]
    follows, after = (
        np.divide(part, lengths, out=np.zeros_like(part), where=lengths > 0) for part in (passed, product)
    )
    own = (1 - np.minimum(after**2, 1)) ** 2 - follows**2 * (1 - z.correlation[0] ** 2) ** 2
    own = np.maximum(own, 0.0)
    np.fill_diagonal(own, 0.0)
    assert z.turned is not None
    return np.asarray(follows**2 * z.turned + own / z.units)
