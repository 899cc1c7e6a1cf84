"""What an activation does to a normal pre-activation: its means over N(0, q), by quadrature from the function itself.

    V(q) = E phi(sqrt(q) g)^2      D(q) = E phi'(sqrt(q) g)^2      g ~ N(0, 1)

No formula of an activation is needed, only its values and its derivative's, so a user's own function has a theory too.
Gauss-Hermite quadrature is wrong at kinks; here the line is cut into panels at every kink of the function and finely
around 0, and each panel is integrated by Gauss-Legendre with nodes inside it, where the function is smooth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Function = Callable[[FloatArray], FloatArray]

REACH = 9.0
"""Standard deviations at which the normal density is cut off: beyond lies 2e-19 of it."""

NODES = 12
"""Gauss-Legendre nodes of a panel: exact for polynomials of degree 23."""

SEARCHED = 40.0
"""Kinks are looked for between pre-activations -40 and 40."""

LATTICE = 0.25
"""Distance in ln q of the variances at which means are computed to be interpolated."""

BLOCK = 8
"""Places of the lattice that an activation is asked for at once."""

PARTS = 512
"""Into which an interval with a jump is cut, again and again."""


@dataclass(frozen=True, eq=False)
class Activation:
    """An activation as theory sees it.

    Args:
        phi: the function, entry by entry, of float64 arrays.
        derivative: phi', likewise.

    >>> relu = Activation(lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float))
    >>> round(relu.mean_square(3.0), 6), round(relu.derivative_mean_square(3.0), 6)
    (1.5, 0.5)
    """

    phi: Function
    derivative: Function

    @cached_property
    def kinks(self) -> FloatArray:
        """Where the function or its derivative jumps, sorted."""
        return np.unique(np.concatenate([_jumps(self.phi), _jumps(self.derivative)]))

    @cached_property
    def rises(self) -> FloatArray:
        """What phi^2 jumps by at each of the kinks; 0 where only the derivative does."""
        step = 1e-9 * np.maximum(1, np.abs(self.kinks))
        below, above = np.split(self.phi(np.concatenate([self.kinks - step, self.kinks + step])) ** 2, 2)
        return np.where(np.abs(above - below) > 1e-6, above - below, 0.0)

    @cached_property
    def slopes(self) -> tuple[float, float] | None:
        """The slopes left and right of 0 of a function that has two; None for any other."""
        z = np.array([1e-3, 0.3, 1.0, 7.0, 40.0])
        above, below, (middle,) = np.split(self.phi(np.concatenate([z, -z, np.zeros(1)])), [5, 10])
        right, left = above / z, below / -z
        straight = np.ptp(right) <= 1e-12 * (1 + abs(right[0])) and np.ptp(left) <= 1e-12 * (1 + abs(left[0]))
        return (float(left[2]), float(right[2])) if straight and abs(middle) < 1e-300 else None

    def at(self, q: float, nodes: int = NODES, halvings: int = 0) -> Nodes:
        """The nodes of the mean over N(0, q), and the activation's values there.

        Args:
            q: variance of the pre-activation, >= 0.
            nodes: of a panel.
            halvings: how often the panels beside 0 are halved, for functions that are narrow there.
        """
        return _at(self, float(q), nodes, halvings)

    def on_lattice(self, place: int, nodes: int = NODES, halvings: int = 0) -> Nodes:
        """The same at ln q = LATTICE place: a call of the activation for a block of places, always of the same ones."""
        return _block(self, place // BLOCK, nodes, halvings)[place % BLOCK]

    def mean(self, q: float) -> float:
        """E phi(sqrt(q) g)."""
        return self._mean(q, lambda at: at.phi)

    def mean_square(self, q: float) -> float:
        """V(q) = E phi(sqrt(q) g)^2."""
        return self._mean(q, lambda at: at.phi**2)

    def derivative_mean_square(self, q: float) -> float:
        """D(q) = E phi'(sqrt(q) g)^2."""
        return self._mean(q, lambda at: at.slope**2)

    def _mean(self, q: float, function: Callable[[Nodes], FloatArray]) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            at = self.at(q)
            return at.mean(function(at))

    def mean_square_slope(self, q: float, at: Nodes | None = None) -> float:
        """V'(q) = E phi phi' g / sqrt(q) (by the derivative of phi(sqrt(q) g)^2 with respect to q); at q = 0 its limit.

        >>> tanh = Activation(np.tanh, lambda z: 1 - np.tanh(z) ** 2)
        >>> h = 1e-4
        >>> bool(abs(tanh.mean_square_slope(1) - (tanh.mean_square(1 + h) - tanh.mean_square(1 - h)) / (2 * h)) < 1e-8)
        True
        """
        q = max(q, 1e-12)
        at, near = at or self.at(q), np.abs(self.kinks) < REACH * np.sqrt(q)
        with np.errstate(over="ignore", invalid="ignore"):
            slope = at.mean(at.phi * at.slope * at.z) / q
        if near.any():  # a jump of phi itself adds its own share: d/dq of the probability of lying beyond it
            places = self.kinks[near]
            density = np.exp(-(places**2) / (2 * q)) / np.sqrt(2 * np.pi * q)
            slope += float((self.rises[near] * density * places).sum() / (2 * q))
        return slope

    def fourth_moment(self, q: float) -> float:
        """E phi(sqrt(q) g)^4."""
        return self._mean(q, lambda at: at.phi**4)

    def derivative_fourth_moment(self, q: float) -> float:
        """E phi'(sqrt(q) g)^4."""
        return self._mean(q, lambda at: at.slope**4)


@dataclass(frozen=True, eq=False)
class Nodes:
    """Nodes z and weights w such that sum_i w_i f(z_i) = E f(sqrt(q) g), and an activation's values at them.

    Args:
        activation: which is asked for its values when they are first wanted.
        z, weights: of the quadrature.
    """

    activation: Activation
    z: FloatArray
    weights: FloatArray

    @cached_property
    def phi(self) -> FloatArray:
        """phi(z)."""
        return self.activation.phi(self.z)

    @cached_property
    def slope(self) -> FloatArray:
        """phi'(z)."""
        return self.activation.derivative(self.z)

    def mean(self, values: FloatArray) -> float:
        """E f(sqrt(q) g), of f(z)."""
        return float(self.weights @ values)


@lru_cache(maxsize=512)
def _at(activation: Activation, q: float, nodes: int, halvings: int) -> Nodes:
    return Nodes(activation, *_quadrature(q, activation.kinks.tobytes(), nodes, halvings))


@lru_cache(maxsize=64)
def _block(activation: Activation, number: int, nodes: int, halvings: int) -> list[Nodes]:
    kinks = activation.kinks.tobytes()
    places = [LATTICE * (number * BLOCK + place) for place in range(BLOCK)]
    found = [Nodes(activation, *_quadrature(math.exp(place), kinks, nodes, halvings)) for place in places]
    whole = np.concatenate([one.z for one in found])
    ends = np.cumsum([one.z.size for one in found])[:-1]
    values = (np.split(function(whole), ends) for function in (activation.phi, activation.derivative))
    for one, phi, slope in zip(found, *values, strict=True):
        vars(one).update(phi=phi, slope=slope)
    return found


@lru_cache(maxsize=8)
def _panel(nodes: int) -> tuple[FloatArray, FloatArray]:
    return np.polynomial.legendre.leggauss(nodes)


@lru_cache(maxsize=512)
def _quadrature(q: float, kinks: bytes, count: int, halvings: int) -> tuple[FloatArray, FloatArray]:
    if q <= 0:
        return np.zeros(1), np.ones(1)
    scale = np.sqrt(q)
    reach = REACH * scale
    # Panels half a standard deviation wide, and around 0, where activations bend, no wider than they bend.
    coarse = np.linspace(-reach, reach, 37)
    fine = 0.25 * 2.0 ** np.arange(-halvings, 8)
    bends = np.concatenate([-fine, fine, np.linspace(-4, 4, 33) if scale > 0.5 else np.zeros(1), np.zeros(1)])
    edges = np.concatenate([coarse, bends, np.frombuffer(kinks)])
    edges = np.unique(edges[np.abs(edges) <= reach])
    points, shares = _panel(count)
    half = np.diff(edges)[:, None] / 2
    nodes = (edges[:-1, None] + half * (points + 1)).ravel()
    weights = (half * shares).ravel() * np.exp(-(nodes**2) / (2 * q))
    weights /= weights.sum()
    nodes.flags.writeable = weights.flags.writeable = False
    return nodes, weights


def _jumps(function: Function) -> FloatArray:
    """Where a function jumps, by cutting the steepest intervals of a grid to where they are steepest.

    >>> _jumps(lambda z: (z > 1.25).astype(float) + np.tanh(z)).round(9)
    array([1.25])
    """
    grid = np.linspace(-SEARCHED, SEARCHED, 8001) + 1e-5 * np.pi
    values = function(grid)
    if not np.isfinite(values).all():
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    rises = np.abs(np.diff(values))
    likely = np.flatnonzero(rises > 1e-4)
    # Of a smooth stretch neighbours rise alike; a jump stands out among them.
    beside = np.maximum(np.roll(rises, 1), np.roll(rises, -1))[likely]
    likely = likely[(rises[likely] > 1.5 * beside) | (rises[likely] > 0.2)]
    if not likely.size:
        return np.zeros(0)
    low, high = grid[likely], grid[likely + 1]
    for _ in range(6):  # PARTS^6 parts of an interval are more than there are numbers in it
        cut = np.linspace(low, high, PARTS + 1)
        steepest = np.abs(np.diff(function(cut.ravel()).reshape(cut.shape), axis=0)).argmax(0)
        low, high = (np.take_along_axis(cut, (steepest + more)[None], 0)[0] for more in (0, 1))
    jumps = np.abs(function(high) - function(low)) > 0.5 * rises[likely]
    return np.asarray(_rounded((low + high)[jumps] / 2))


def _rounded(places: FloatArray) -> FloatArray:
    """A place that was found, as the number with few digits that it is within rounding."""
    near = np.round(places, 9)
    return np.where(np.abs(near - places) < 1e-11, near, places)
