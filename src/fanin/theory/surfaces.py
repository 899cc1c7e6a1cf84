"""Functions of two variables that optimizers race on, with their stationary points; plain arithmetic, so that tensors,
arrays and floats can be put in, and no torch, so that a report can draw them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fanin.errors import choice, number

KINDS = ("quadratic", "saddle", "rosenbrock", "valley", "peaks")

Point = tuple[float, float]
Entries = tuple[float, float, float]  # of a symmetric matrix: xx, xy, yy

CENTRE: Point = (0.5, -0.5)
"""Where the quadratic has its minimum."""


@dataclass(frozen=True)
class Surface:
    """A function of two variables and what is known of it.

    Args:
        kind: one of KINDS.
        value: (x, y) -> f, of any numbers of one shape.
        start: where an optimizer starts unless told otherwise.
        minima: the points where f has a local minimum, the deepest first.
        saddles: the stationary points that are no extremum.
        maxima: the points where f has a local maximum, the highest first.
        gradient: (x, y) -> (df/dx, df/dy).
        hessian: (x, y) -> the second derivatives xx, xy, yy.
    """

    kind: str
    value: Callable[[Any, Any], Any]
    start: Point
    minima: tuple[Point, ...]
    gradient: Callable[[Any, Any], tuple[Any, Any]]
    hessian: Callable[[Any, Any], tuple[Any, Any, Any]]
    saddles: tuple[Point, ...] = ()
    maxima: tuple[Point, ...] = ()

    @property
    def lowest(self) -> float:
        """The least value of f."""
        return float(self.value(*self.minima[0]))


def surface(kind: str, *, condition: float = 50.0, rotation: float = 30.0) -> Surface:
    """One of the surfaces.

    quadratic:  f = 1/2 x^T P x + q^T x, q = -P c, with its minimum at c = (0.5, -0.5); P has the eigenvalues 1 and
                kappa, the direction of the first one turned by the rotation against the x axis
    saddle:     f = x^2/2 - y^2/2 + y^4/4, a saddle at 0 between two minima of value -1/4; the start is so near to the
                saddle's stable axis y = 0 that the gradient leads to it first
    rosenbrock: f = (1 - x)^2 + 100 (y - x^2)^2, a bent valley down to (1, 1). Source: Rosenbrock 1960
    valley:     f = x^4/4 - x^3/3 - x^2 + 2 (y - x^2/4)^2, whose floor y = x^2/4 rises from a shallow minimum at
                x = -1, -5/12, over a pass at x = 0, 0, and falls to the deep one at x = 2, -8/3
    peaks:      f = 3 (1 - x)^2 exp(-x^2 - (y + 1)^2) - 10 (x/5 - x^3 - y^5) exp(-x^2 - y^2) - exp(-(x + 1)^2 - y^2)/3,
                three maxima, three minima and three saddles on a plain of height 0; the start is beside the highest
                peak, above the shallowest minimum. Source: MATLAB's peaks

    Args:
        kind: one of KINDS.
        condition: kappa of the quadratic, >= 1; not used by the others.
        rotation: of the quadratic, in degrees; not used by the others.

    Raises:
        OptionError: an unknown kind, or a number out of range.

    >>> rosenbrock = surface("rosenbrock")
    >>> rosenbrock.minima, rosenbrock.lowest, rosenbrock.gradient(1.0, 1.0) == (0.0, 0.0)
    (((1.0, 1.0),), 0.0, True)
    """
    made = {"quadratic": lambda: _quadratic(*bowl(condition, rotation)), "saddle": _saddle}
    return (made | {"rosenbrock": _rosenbrock, "valley": _valley, "peaks": _peaks})[choice("kind", kind, KINDS)]()


def bowl(condition: float, rotation: float) -> tuple[Entries, Point]:
    """P, as its entries xx, xy, yy, and q of the quadratic."""
    kappa, turned = number("condition", condition, 1), math.radians(number("rotation", rotation))
    c, s = math.cos(turned), math.sin(turned)
    xx, xy, yy = c * c + kappa * s * s, (1 - kappa) * c * s, s * s + kappa * c * c
    x, y = CENTRE
    return (xx, xy, yy), (-xx * x - xy * y, -xy * x - yy * y)


def _quadratic(curvature: Entries, slope: Point) -> Surface:
    (xx, xy, yy), (qx, qy) = curvature, slope
    return Surface(
        kind="quadratic",
        value=lambda x, y: 0.5 * (xx * x * x + 2 * xy * x * y + yy * y * y) + qx * x + qy * y,
        start=(-3.5, -1.5),
        minima=(CENTRE,),
        gradient=lambda x, y: (xx * x + xy * y + qx, xy * x + yy * y + qy),
        hessian=lambda x, y: (xx + 0 * x, xy + 0 * x, yy + 0 * x),
    )


def _saddle() -> Surface:
    return Surface(
        kind="saddle",
        value=lambda x, y: 0.5 * x * x - 0.5 * y * y + 0.25 * y * y * y * y,
        start=(1.5, 0.02),
        minima=((0.0, 1.0), (0.0, -1.0)),
        saddles=((0.0, 0.0),),
        gradient=lambda x, y: (x, y * y * y - y),
        hessian=lambda x, y: (1 + 0 * x, 0 * x, 3 * y * y - 1),
    )


def _rosenbrock() -> Surface:
    return Surface(
        kind="rosenbrock",
        value=lambda x, y: (1 - x) * (1 - x) + 100 * (y - x * x) * (y - x * x),
        start=(-1.2, 1.0),
        minima=((1.0, 1.0),),
        gradient=lambda x, y: (2 * (x - 1) - 400 * x * (y - x * x), 200 * (y - x * x)),
        hessian=lambda x, y: (2 + 1200 * x * x - 400 * y, -400 * x, 200 + 0 * x),
    )


def _valley() -> Surface:
    return Surface(
        kind="valley",
        value=lambda x, y: x * x * (x * x / 4 - x / 3 - 1) + 2 * (y - x * x / 4) * (y - x * x / 4),
        start=(-1.8, 2.0),
        minima=((2.0, 1.0), (-1.0, 0.25)),
        saddles=((0.0, 0.0),),
        gradient=lambda x, y: (x * (x + 1) * (x - 2) - 2 * x * (y - x * x / 4), 4 * (y - x * x / 4)),
        hessian=lambda x, y: (3 * x * x - 2 * x - 2 - 2 * y + 1.5 * x * x, -2 * x, 4 + 0 * x),
    )


def _peaks() -> Surface:
    """Polynomials under bells, p exp(-u^2 - v^2) each; stationary points by Newton's method, to rounding."""

    def bells(x: Any, y: Any) -> tuple[tuple[Any, ...], ...]:
        """Of each: u, v, p and its derivatives x, y, xx, yy; those by xy are 0."""
        return (
            (x, y + 1, 3 * (1 - x) * (1 - x), 6 * (x - 1), 0, 6, 0),
            (x, y, 10 * (x * x * x + y**5) - 2 * x, 30 * x * x - 2, 50 * y**4, 60 * x, 200 * y * y * y),
            (x + 1, y, -1 / 3, 0, 0, 0, 0),
        )

    def value(x: Any, y: Any) -> Any:
        return sum(p * math.e ** (-u * u - v * v) for u, v, p, *_ in bells(x, y))

    def gradient(x: Any, y: Any) -> tuple[Any, Any]:
        each = [(math.e ** (-u * u - v * v), u, v, p, px, py) for u, v, p, px, py, _, _ in bells(x, y)]
        along_x = sum(e * (px - 2 * u * p) for e, u, v, p, px, py in each)
        return along_x, sum(e * (py - 2 * v * p) for e, u, v, p, px, py in each)

    def hessian(x: Any, y: Any) -> tuple[Any, Any, Any]:
        each = [(math.e ** (-u * u - v * v), u, v, *polynomial) for u, v, *polynomial in bells(x, y)]
        return (
            sum(e * (pxx - 4 * u * px + (4 * u * u - 2) * p) for e, u, v, p, px, py, pxx, pyy in each),
            sum(e * (4 * u * v * p - 2 * u * py - 2 * v * px) for e, u, v, p, px, py, pxx, pyy in each),
            sum(e * (pyy - 4 * v * py + (4 * v * v - 2) * p) for e, u, v, p, px, py, pxx, pyy in each),
        )

    return Surface(
        kind="peaks",
        value=value,
        start=(0.2, 1.4),
        minima=(
            (0.2282789205563691, -1.6255349574999967),
            (-1.3473962443682108, 0.20451886609700515),
            (0.2964455538468321, 0.3201962476668344),
        ),
        gradient=gradient,
        hessian=hessian,
        saddles=(
            (0.4163233216785082, -0.3941450984024246),
            (-0.2659375568372457, 0.46673999372626945),
            (1.0982728343350927, 0.8544609795247524),
        ),
        maxima=(
            (-0.00931758195995412, 1.5813679629389996),
            (-0.4600245180343866, -0.6291965087168009),
            (1.285684697241304, -0.00484755907559367),
        ),
    )


def nearest(points: Sequence[Point], x: float, y: float) -> tuple[int, float]:
    """Which of the points is the nearest to (x, y), and how far it is.

    >>> nearest([(0.0, 0.0), (3.0, 4.0)], 3.0, 0.0)
    (0, 3.0)
    """
    far = [math.hypot(x - px, y - py) for px, py in points]
    return far.index(min(far)), min(far)
