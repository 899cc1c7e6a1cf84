"""The stages that a network is made of, and what each does to a signal on its way up and to a gradient on its way down.

A law of a model is put together from these, in the order in which the model runs its parts. All formulas are those of
infinite width with the first order in 1/n beside them: a stage adds noise to the logarithm of each example's squared
norm, and its mean falls by half of the noise's variance. Notation as in signals.py; r and g are the correlations of two
examples' signals and gradients.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fanin.theory.bands import FIRST_ORDER, MEAN_FIELD, weakest
from fanin.theory.gaussian_maps import Activation, FloatArray
from fanin.theory.pairs import PairMaps
from fanin.theory.signals import SAMPLED, Flow, Noises, Sampler, Signal
from fanin.theory.weights import Weights


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
        """Draws of its own, [SAMPLED, B]."""
        half = np.random.default_rng(self.index).standard_normal((SAMPLED // 2, self.noises.examples))
        return np.concatenate([half, -half])


class Stage(ABC):
    """One part of a network as theory sees it."""

    @abstractmethod
    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """What the part gives of what it takes.

        Raises:
            NoRule: there is no law for this.
        """

    @abstractmethod
    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """The gradients with respect to its inputs, from that with respect to its output."""


@dataclass(frozen=True)
class Linear(Stage):
    """z = W x + b:  K' = v K + s,  G = v G'.

    Noise of ln ||z_a||^2: 2 r^2 / n, times 1 - n/n_in for the part of a rotation that an orthogonal W is.

    Args:
        fan_in, fan_out: n_in and n.
        weights: W and b.
    """

    fan_in: int
    fan_out: int
    weights: Weights

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        (x,) = inputs
        v, s = self.weights.variance, self.weights.bias_variance
        gram = v * x.gram + s
        before, after = x.squares.mean(0), np.diagonal(gram, axis1=1, axis2=2).mean(0)
        share = np.divide(v * before, after, out=np.ones_like(after), where=after > 0)
        noise = 2 * _mean_square(gram) / self.fan_out * (1 - self._rotation(self.fan_out, self.fan_in))
        at.noises.forward[at.index] = noise
        spread = at.noises.variances(x.elasticity)
        elasticity, shift = share * x.elasticity, share * x.shift + share * (1 - share) * spread / 2
        source = MEAN_FIELD if self.weights.calibrated is not None else FIRST_ORDER
        if self.weights.calibrated is not None:
            mean = float(after.mean())
            if mean > 0 and abs(mean - 1) > self.weights.calibrated:
                gram = gram / mean
            # The batch's norm is set, whatever the weights: what all examples have in common is taken out.
            part = after / after.sum()
            elasticity = elasticity - (elasticity * part).sum(1, keepdims=True)
            shift = shift - shift @ part
            at.noises.forward[at.index] = 0.0
        elasticity[at.index] = 1.0
        return Signal(
            gram,
            self.fan_out,
            elasticity,
            shift - np.diagonal(at.noises.forward[at.index]) / 2,
            np.zeros(gram.shape[:2]),
            np.full(gram.shape[1], 3.0),
            normal=True,
            fresh=True,
            draw=_lazy(lambda: at.normals() @ _root(gram[0]).T),
            size=x.size,
            source=weakest([x.source, source]),
        )

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        v = self.weights.variance
        gram = v * flow.gram
        if self.weights.calibrated is not None:  # W is what makes the output's variance 1
            before = float(v * inputs[0].squares.mean() + self.weights.bias_variance)
            gram = gram * (float(output.squares.mean()) / before if before > 0 else 1.0)
        noise = 2 * _mean_square(flow.gram) / self.fan_in * (1 - self._rotation(self.fan_in, self.fan_out))
        return [_from_weights(gram, v, noise, flow, at, self.fan_in)]

    def _rotation(self, outputs: int, inputs: int) -> float:
        """Which part of a vector's length an orthogonal matrix keeps for certain."""
        return min(1.0, outputs / inputs) if self.weights.kind == "orthogonal" else 0.0


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

    def __post_init__(self) -> None:
        known = vars(self.activation).setdefault("pair_maps", PairMaps(self.activation))
        object.__setattr__(self, "maps", known)

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        (z,) = inputs
        if not z.normal:
            return self._of_draws(z, at)
        if z.gram.shape[0] > 1:
            raise NoRule("no rule")
        one, pair = self.maps.lengths(z.squares), self.maps.pairs(z.gram)
        gram = pair.product.copy()
        _set_diagonal(gram, one.square)
        rate, bend, tilt = one.square_rate[0], one.square_bend[0], one.tilt[0]
        radial = 2 * np.outer(rate, rate) * z.correlation[0] ** 2
        noise = pair.squares[0] - 1 - radial
        if z.centred:
            noise = noise - np.outer(tilt, tilt) * z.correlation[0]
        noise = noise / z.units
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
            kurtosis=np.diagonal(pair.squares[0]).copy(),
            normal=False,
            fresh=False,
            centred=False,
            draw=_lazy(lambda: self.activation.phi(_drawn(z))),
        )

    def _of_draws(self, z: Signal, at: Place) -> Signal:
        """Of units that are not normal: from draws of them."""
        drawn = self.activation.phi(_drawn(z))
        gram = drawn.T @ drawn / SAMPLED
        squares = drawn**2 / np.maximum(np.diagonal(gram), 1e-300)
        noise = (squares.T @ squares / SAMPLED - 1) / z.units
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
            mean=drawn.mean(0)[None],
            kurtosis=kurtosis,
            fresh=False,
            centred=False,
            draw=lambda: drawn,
            source=weakest([z.source, MEAN_FIELD]),
        )

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        (z,) = inputs
        n = z.units
        both = 1 + 2 * flow.correlation[0] ** 2
        draw = _lazy(lambda: self.activation.derivative(_drawn(z)) * _drawn(flow))
        if not z.normal:
            delta = draw()
            gram = n * (delta.T @ delta)[None] / SAMPLED
            squares = delta**2 / np.maximum(np.diagonal(gram[0]) / n, 1e-300)
            ahead = _drawn(output) ** 2 / np.maximum(np.diagonal(output.gram[0]), 1e-300)
            noise = (squares.T @ squares / SAMPLED - both) / n
            at.noises.backward[at.index] = noise
            at.noises.mixed[at.index] = (ahead.T @ squares / SAMPLED - 1) / n
            elasticity = flow.elasticity.copy()
            elasticity[at.above] = 1.0
            shift = flow.shift - np.diagonal(noise) / 2
            return [Flow(gram, elasticity, shift, None, (squares**2).mean(0) / 3, draw, MEAN_FIELD)]
        one, pair = self.maps.lengths(z.squares), self.maps.pairs(z.gram)
        slopes = pair.slopes.copy()
        _set_diagonal(slopes, one.slope)
        rate, bend, ahead = one.slope_rate[0], one.slope_bend[0], one.square_rate[0]
        square = z.correlation[0] ** 2
        np.fill_diagonal(both, 3 * flow.peak)
        noise = (both * (pair.slope_squares[0] - 1) - 2 * np.outer(rate, rate) * square) / n
        at.noises.backward[at.index] = noise
        at.noises.mixed[at.index] = (pair.mixed[0] - 1 - 2 * np.outer(ahead, rate) * square) / n
        spread = at.noises.variances(z.elasticity)
        elasticity = flow.elasticity + rate * z.elasticity
        elasticity[at.above] = 1.0
        shift = flow.shift + rate * z.shift + bend * spread / 2 - (bend - rate + rate**2) / n - np.diagonal(noise) / 2
        transfer = None if flow.transfer is None else flow.transfer * slopes
        peak = flow.peak * np.diagonal(pair.slope_squares[0])
        return [Flow(slopes * flow.gram, elasticity, shift, transfer, peak, draw, flow.source)]


@dataclass(frozen=True, eq=False)
class Data(Stage):
    """The batch itself.

    Args:
        gram: x_a x_b summed over the units of one place and divided by their number, [P, B, B].
        units: entries of an example at a place.
        kurtosis: mean x^4 / (mean x^2)^2 over an example's entries, [B].
        size: of the map whose places these are; None for other places.
    """

    gram: FloatArray
    units: int
    kurtosis: FloatArray
    size: tuple[int, int] | None = None

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        elasticity = np.zeros((at.noises.rows, self.gram.shape[1]))
        elasticity[0] = 1.0
        nothing = np.zeros(self.gram.shape[:2])
        return Signal(self.gram, self.units, elasticity, nothing[0].copy(), nothing, self.kurtosis, size=self.size)

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        return []


@dataclass(frozen=True)
class Flattened(Stage):
    """Maps as one vector: its units are all entries of all places."""

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        (x,) = inputs
        gram, mean = x.gram.mean(0, keepdims=True), x.mean.mean(0, keepdims=True)
        return replace(x, gram=gram, mean=mean, units=x.units * len(x.gram), size=None, normal=False, draw=None)

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        places = len(inputs[0].gram)
        gram = np.repeat(flow.gram / places, places, axis=0)
        transfer = None if flow.transfer is None else np.repeat(flow.transfer / places, places, axis=0)
        return [replace(flow, gram=gram, transfer=transfer, draw=None)]


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
        return [flow]


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
        transfer = None
        if total.transfer is not None and other.transfer is not None:
            transfer = total.transfer + other.transfer
        shift = before - at.noises.variances(elasticity) / 2
        draw = _added(total, other, 1.0)
        peak = np.ones_like(shift)
        total = Flow(gram, elasticity, shift, transfer, peak, draw, weakest([total.source, other.source]))
    return total


def _from_weights(gram: FloatArray, factor: float, noise: FloatArray, flow: Flow, at: Place, units: int) -> Flow:
    """The gradient below a weight layer: normal over the weights."""
    at.noises.backward[at.index] = noise
    elasticity = flow.elasticity.copy()
    elasticity[at.above] = 1.0
    transfer = None if flow.transfer is None else flow.transfer * factor
    shift = flow.shift - np.diagonal(noise) / 2
    draw = _lazy(lambda: at.normals() @ _root(gram[0] / units).T)
    return Flow(gram, elasticity, shift, transfer, np.ones_like(shift), draw, flow.source)


def _added(one: Signal | Flow, other: Signal | Flow, scale: float) -> Sampler | None:
    if one.draw is None or other.draw is None:
        return None
    return _lazy(lambda: _drawn(one) + scale * _drawn(other))


def _drawn(of: Signal | Flow) -> FloatArray:
    if of.draw is None:
        raise NoRule("no rule for what comes before it")
    return of.draw()


def _lazy(make: Sampler) -> Sampler:
    """Draws that are made once."""
    made: list[FloatArray] = []

    def draw() -> FloatArray:
        if not made:
            made.append(make())
        return made[0]

    return draw


def _root(gram: FloatArray) -> FloatArray:
    """A matrix R with R R^T = K."""
    values, vectors = np.linalg.eigh(gram)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)))


def _mean_square(gram: FloatArray) -> FloatArray:
    """The squared correlation of two examples, over the places; a weight per place by its square, [B, B]."""
    squares = np.diagonal(gram, axis1=1, axis2=2)
    total = squares.sum(0)
    product = np.outer(total, total)
    return np.asarray(np.divide((gram**2).sum(0), product, out=np.zeros_like(product), where=product > 0))


def _set_diagonal(gram: FloatArray, values: FloatArray) -> None:
    places = np.arange(gram.shape[-1])
    gram[..., places, places] = values
