"""What an activation does to a normal pre-activation: its means over N(0, q), by quadrature from the function itself.

    V(q) = E phi(sqrt(q) g)^2      D(q) = E phi'(sqrt(q) g)^2      g ~ N(0, 1)

No formula of an activation is needed, only its values and its derivative's, so a user's own function has a theory too.
Gauss-Hermite quadrature is wrong at kinks; here the line is cut into panels at every kink of the function and finely
around 0, and each panel is integrated by Gauss-Legendre with nodes inside it, where the function is smooth.
"""

from __future__ import annotations

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
    def slopes(self) -> tuple[float, float] | None:
        """The slopes left and right of 0 of a function that has two; None for any other."""
        phi, z = self.phi, np.array([1e-3, 0.3, 1.0, 7.0, 40.0])
        right, left = phi(z) / z, phi(-z) / -z
        straight = np.ptp(right) <= 1e-12 * (1 + abs(right[0])) and np.ptp(left) <= 1e-12 * (1 + abs(left[0]))
        return (float(left[2]), float(right[2])) if straight and abs(float(phi(np.zeros(1))[0])) < 1e-300 else None

    def expectation(self, function: Function, q: float) -> float:
        """E f(sqrt(q) g) for a function of the pre-activation that is smooth where the activation is.

        Args:
            function: f, entry by entry.
            q: variance of the pre-activation, >= 0.
        """
        nodes, weights = self.quadrature(q)
        with np.errstate(over="ignore", invalid="ignore"):
            return float(weights @ function(nodes))

    def quadrature(self, q: float, nodes: int = NODES, halvings: int = 0) -> tuple[FloatArray, FloatArray]:
        """Nodes z and weights w such that sum_i w_i f(z_i) = E f(sqrt(q) g).

        Args:
            q: variance of the pre-activation.
            nodes: of a panel.
            halvings: how often the panels beside 0 are halved, for functions that are narrow there.
        """
        if q <= 0:
            return np.zeros(1), np.ones(1)
        return _quadrature(float(q), self.kinks.tobytes(), nodes, halvings)

    def mean(self, q: float) -> float:
        """E phi(sqrt(q) g)."""
        return self.expectation(self.phi, q)

    def mean_square(self, q: float) -> float:
        """V(q) = E phi(sqrt(q) g)^2."""
        return self.expectation(lambda z: self.phi(z) ** 2, q)

    def derivative_mean_square(self, q: float) -> float:
        """D(q) = E phi'(sqrt(q) g)^2."""
        return self.expectation(lambda z: self.derivative(z) ** 2, q)

    def mean_square_slope(self, q: float) -> float:
        """V'(q) = E phi phi' g / sqrt(q) (by the derivative of phi(sqrt(q) g)^2 with respect to q); at q = 0 its limit.

        >>> tanh = Activation(np.tanh, lambda z: 1 - np.tanh(z) ** 2)
        >>> h = 1e-4
        >>> bool(abs(tanh.mean_square_slope(1) - (tanh.mean_square(1 + h) - tanh.mean_square(1 - h)) / (2 * h)) < 1e-8)
        True
        """
        q = max(q, 1e-12)
        slope = self.expectation(lambda z: self.phi(z) * self.derivative(z) * z, q) / q
        at = self.kinks[np.abs(self.kinks) < REACH * np.sqrt(q)]
        if at.size:  # a jump of phi itself adds its own share: d/dq of the probability of lying beyond it
            step = 1e-9 * np.maximum(1, np.abs(at))
            rise = self.phi(at + step) ** 2 - self.phi(at - step) ** 2
            rise = np.where(np.abs(rise) > 1e-6, rise, 0.0)
            density = np.exp(-(at**2) / (2 * q)) / np.sqrt(2 * np.pi * q)
            slope += float((rise * density * at).sum() / (2 * q))
        return slope

    def fourth_moment(self, q: float) -> float:
        """E phi(sqrt(q) g)^4."""
        return self.expectation(lambda z: self.phi(z) ** 4, q)

    def derivative_fourth_moment(self, q: float) -> float:
        """E phi'(sqrt(q) g)^4."""
        return self.expectation(lambda z: self.derivative(z) ** 4, q)

    def joint_square(self, q: float) -> float:
        """E phi(sqrt(q) g)^2 phi'(sqrt(q) g)^2."""
        return self.expectation(lambda z: (self.phi(z) * self.derivative(z)) ** 2, q)


@lru_cache(maxsize=512)
def _quadrature(q: float, kinks: bytes, count: int, halvings: int) -> tuple[FloatArray, FloatArray]:
    scale = np.sqrt(q)
    reach = REACH * scale
    # Panels half a standard deviation wide, and around 0, where activations bend, no wider than they bend.
    coarse = np.linspace(-reach, reach, 37)
    fine = 0.25 * 2.0 ** np.arange(-halvings, 8)
    bends = np.concatenate([-fine, fine, np.linspace(-4, 4, 33) if scale > 0.5 else np.zeros(1), np.zeros(1)])
    edges = np.concatenate([coarse, bends, np.frombuffer(kinks)])
    edges = np.unique(edges[np.abs(edges) <= reach])
    points, shares = np.polynomial.legendre.leggauss(count)
    half = np.diff(edges)[:, None] / 2
    nodes = (edges[:-1, None] + half * (points + 1)).ravel()
    weights = (half * shares).ravel() * np.exp(-(nodes**2) / (2 * q))
    weights /= weights.sum()
    nodes.flags.writeable = weights.flags.writeable = False
    return nodes, weights


def _jumps(function: Function) -> FloatArray:
    """Where a function jumps, by bisection of the steepest intervals of a grid.

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
    low, high = grid[likely], grid[likely + 1]
    for _ in range(60):
        middle = (low + high) / 2
        at_low, at_middle, at_high = function(low), function(middle), function(high)
        left = np.abs(at_middle - at_low) >= np.abs(at_high - at_middle)
        low, high = np.where(left, low, middle), np.where(left, middle, high)
    jumps = np.abs(function(high) - function(low)) > 0.5 * rises[likely]
    return np.asarray(_rounded((low + high)[jumps] / 2))


def _rounded(places: FloatArray) -> FloatArray:
    """A place that bisection found, as the number with few digits that it is within rounding."""
    near = np.round(places, 9)
    return np.where(np.abs(near - places) < 1e-11, near, places)
