"""What is known of a batch at one place of a network: its Gram matrix over fresh weights, and how norms stray from it.

Forwards a Signal, backwards a Flow. Both hold the mean over weights at infinite width, and to first order in 1/n the
logarithms' deviations: each stage adds noise of its own, and hands on what came before by an elasticity, so that a
deviation is a sum over stages of elasticity times noise. Noises of different examples of one stage are correlated, as
the units that make them are the same; those of different stages are independent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fanin.theory.bands import EXACT
from fanin.theory.gaussian_maps import Activation, FloatArray

Sampler = Callable[[], FloatArray]


@dataclass(frozen=True, eq=False)
class Products:
    """Means of products of two examples at each place, [P, B, B]."""

    gram: FloatArray

    @property
    def squares(self) -> FloatArray:
        """Those of one example with itself, [P, B]."""
        return np.diagonal(self.gram, axis1=1, axis2=2)

    @property
    def correlation(self) -> FloatArray:
        """Of two examples at one place, [P, B, B]."""
        return correlation(self.gram)


@dataclass(frozen=True, eq=False)
class Signal(Products):
    """What units of one place hold for the B examples of a batch, at P places of a map or sequence.

    Args:
        gram: K = E x_a x_b of one unit, [P, B, B].
        units: independent units at each place, n.
        elasticity: d ln of an example's squared norm by each noise, [noises, B]; row 0 is the input's.
        shift: E ln of the squared norm, less the logarithm of what `gram` says, [B].
        mean: E x of one unit over the units, [P, B].
        kurtosis: E x^4 / (E x^2)^2 of one unit, [B].
        normal: whether units are normal over the weights.
        fresh: whether they have mean 0 given everything else, as behind a weight layer.
        centred: whether the units' own mean is 0 in every draw.
        draw: drawn units of place 0, [samples, B]; where there is no formula they are the law.
        size: height and width of the map, whose places these are; None for no map.
        field: E x x' of one unit at any two places of some of the examples, [E P, E P]; None for one place, or where
            it is not known.
        maps: drawn units at all places, [P, B, draws]; None for one place, or where nobody knows how to draw them.
        under: of what an activation made these, likewise.
        strays: how norms stray at each time of a sequence.
        turned: variance of the correlation of two examples at one place, which layers of finite width let stray,
            [B, B]; None where it is not known.
        before: what an activation made this of, and the activation; None where something else did.
        source: of this knowledge.
    """

    units: int
    elasticity: FloatArray
    shift: FloatArray
    mean: FloatArray
    kurtosis: FloatArray
    normal: bool = False
    fresh: bool = False
    centred: bool = False
    draw: Sampler | None = None
    size: tuple[int, int] | None = None
    field: FloatArray | None = None
    maps: Sampler | None = None
    under: Sampler | None = None
    strays: Strays | None = None
    turned: FloatArray | None = None
    before: tuple[Signal, Activation] | None = None
    source: str = EXACT


@dataclass(frozen=True, eq=False)
class Strays:
    """How the examples' norms stray at each time of a sequence.

    Args:
        covariance: of ln of the squared norms, of any two times and examples, [T B, T B].
        follows: how they follow the input's, [T, B].
        slopes: how alike the units' slopes are at two times, [T, T].
        tails: E phi'^2 phi'^2 / (D D) of two times, [T, T].
        index: of the stage whose noise is that of the whole sequence.
    """

    covariance: FloatArray
    follows: FloatArray
    slopes: FloatArray
    tails: FloatArray
    index: int = 0

    def between(self, one: int, other: int) -> FloatArray:
        """Of two times, [B, B]."""
        times, examples = self.follows.shape
        return np.asarray(self.covariance.reshape(times, examples, times, examples)[one, :, other])

    def of(self, share: FloatArray) -> FloatArray:
        """Of the examples' norms over all times, which have shares in it, [T, B]: [B, B]."""
        times, examples = self.follows.shape
        places = self.covariance.reshape(times, examples, times, examples)
        return np.asarray(np.einsum("tasb,ta,sb->ab", places, share, share, optimize=True))

    def at(self, where: int, share: FloatArray) -> tuple[FloatArray, FloatArray]:
        """How one time follows the whole sequence's noise, [B], and what it strays besides, [B, B]."""
        times, examples = self.follows.shape
        places = self.covariance.reshape(times, examples, times, examples)
        whole = self.of(share)
        common = np.einsum("asb,sb->ab", places[where], share)
        own = np.maximum(np.diagonal(whole), 1e-300)
        follows = np.diagonal(common) / own
        rest = self.between(where, where) - follows[:, None] * common.T - follows * common
        return follows, np.asarray(rest + np.outer(follows, follows) * whole)


@dataclass(frozen=True, eq=False)
class Base:
    """The gradient above maps, in parts: pairs of examples of which the gradients in the maps follow.

    Args:
        place: of the step that gives the vector above them.
        grams: of each part, [k, B, B]. The first does not depend on the signals, the others lie along them: the second
            along the vector itself, one more along what each convolution since then took.
        tied: of each of these, how its pairs follow E o_a R_a o_b R_b, [B, B], and how many of these the parts before
            it have without it, [k, B, B].
    """

    place: int
    grams: FloatArray
    tied: tuple[tuple[FloatArray, FloatArray], ...] = ()

    def followed(self, parts: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What follows the parts, [k, B, B], as what follows the first ones and E o_a R_a o_b R_b, [B, B]."""
        parts, along = parts.copy(), np.zeros(parts.shape[1:])
        first = len(self.grams) - len(self.tied)
        for number in reversed(range(len(self.tied))):
            pattern, free = self.tied[number]
            one = parts[first + number] * pattern
            along += one
            parts[: first + number] -= one * free
        return parts[:first], along


@dataclass(frozen=True, eq=False)
class Flow(Products):
    """The gradient with respect to the units of a place.

    Args:
        gram: G = E sum over units of delta_a delta_b, [P, B, B].
        elasticity, shift: as of a Signal, of the squared norm of delta.
        factor: what the last stage multiplied G by, entry by entry, [P, B, B]; None where it did something else.
        peak: E delta^4 / (E delta^2)^2 of one unit over 3, [B].
        along: what of G lies along the signals of the place themselves, [P, B, B]; None for nothing.
        draw: as of a Signal.
        maps: of maps, drawn units where the gradient above them is 1, in each of its parts, [k, P, B, draws].
        base: the gradient above the maps.
        follows: how the outputs follow the examples' norms at each place, [P, B], where that is known.
        source: of this knowledge.
    """

    elasticity: FloatArray
    shift: FloatArray
    factor: FloatArray | None
    peak: FloatArray
    along: FloatArray | None = None
    draw: Sampler | None = None
    maps: Sampler | None = None
    base: Base | None = None
    follows: FloatArray | None = None
    source: str = EXACT


@dataclass
class Noises:
    """The covariances of the noises of all stages; there are three of each: forwards, backwards, and where flows meet.

    Args:
        stages: how many.
        examples: B.
        samples: units that are drawn where no formula is known.
        channels: of maps, that are drawn.
        of: examples of the whole batch, which these stand for; 0 for no more than these.

    Attributes:
        apart: variance that masks of their own add to each example's logarithm, which pairs stray by, too.
        along: E o_a R_a o_b R_b of the outputs and of what the loss answers to them, [B, B].
        follows: the outputs' elasticity by the noises, [noises, B].
    """

    stages: int
    examples: int
    samples: int = 2000
    channels: int = 192
    of: int = 0
    forward: FloatArray = field(init=False)
    mixed: FloatArray = field(init=False)
    backward: FloatArray = field(init=False)
    meeting: FloatArray = field(init=False)
    apart: float = 0.0
    along: FloatArray | None = None
    follows: FloatArray | None = None

    def __post_init__(self) -> None:
        shape = (self.stages, self.examples, self.examples)
        self.forward, self.mixed, self.backward, self.meeting = (np.zeros(shape) for _ in range(4))

    @property
    def rows(self) -> int:
        """Of an elasticity."""
        return 3 * self.stages

    def variances(self, elasticity: FloatArray) -> FloatArray:
        """Variance of each example's logarithm, [B]."""
        ahead, back, met = elasticity.reshape(3, self.stages, -1)
        total = (ahead**2 * _diagonals(self.forward)).sum(0)
        if back.any():
            total += (back * (2 * ahead * _diagonals(self.mixed) + back * _diagonals(self.backward))).sum(0)
        if met.any():
            total += (met**2 * _diagonals(self.meeting)).sum(0)
        return np.asarray(total)

    def variance(self, elasticity: FloatArray, weights: FloatArray, each: FloatArray | None = None) -> float:
        """Variance of a weighted sum of the logarithms of all examples that these stand for.

        An example's own variance counts as one of so many, its covariances with others as those of the others.

        Args:
            elasticity: of each example, [noises, B].
            weights: of each, [B].
            each: the `variances` of this elasticity, where they are known.
        """
        ahead, back, met = (elasticity * weights).reshape(3, self.stages, -1)
        pairs = ((ahead, self.forward, ahead), (2 * ahead, self.mixed, back), (back, self.backward, back))
        whole = sum(_bilinear(*one) for one in (*pairs, (met, self.meeting, met)))
        count = np.count_nonzero(weights)
        if not 1 < count < self.of:
            return whole
        own = float((weights**2 * (self.variances(elasticity) if each is None else each)).sum())
        return (whole - own) * (1 - 1 / self.of) / (1 - 1 / count) + own * count / self.of


def _bilinear(x: FloatArray, noise: FloatArray, y: FloatArray) -> float:
    """The sum over stages of x^T noise y."""
    some = np.flatnonzero(x.any(1) & y.any(1))
    if not some.size:
        return 0.0
    span = slice(some[0], some[-1] + 1)  # a view: a choice of single stages would be copied
    return float((np.matmul(x[span, None], noise[span])[:, 0] * y[span]).sum())


def correlation(gram: FloatArray) -> FloatArray:
    """A Gram matrix divided by its lengths; 0 where one is 0.

    >>> correlation(np.array([[4.0, 1.0], [1.0, 1.0]]))
    array([[1. , 0.5],
           [0.5, 1. ]])
    """
    lengths = np.sqrt(np.maximum(np.diagonal(gram, axis1=-2, axis2=-1), 0))
    product = lengths[..., :, None] * lengths[..., None, :]
    return np.asarray(np.clip(np.divide(gram, product, out=np.zeros_like(gram), where=product > 0), -1, 1))


def _diagonals(noise: FloatArray) -> FloatArray:
    return np.diagonal(noise, axis1=1, axis2=2)
