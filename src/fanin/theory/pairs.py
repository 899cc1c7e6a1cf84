"""What an activation does to two correlated normal pre-activations: entries of a batch's Gram matrix, layer by layer.

For (u, w) normal with variances q_a, q_b and correlation r, and f one of phi, phi', phi^2, phi'^2,

    E f(u) g(w) = sum_k c_k^f(q_a) c_k^g(q_b) r^k,   c_k^f(q) = E f(sqrt(q) g) He_k(g) / sqrt(k!)

(Mehler). What is left after TERMS terms is counted as one more power, so that r = 1 gives E f g itself. Functions with
one slope on each side of 0 (relu and its kin) have closed forms. Source: Cho & Saul 2009; Daniely et al. 2016.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from fanin.theory.cubic_spline import CubicSpline
from fanin.theory.gaussian_maps import LATTICE, Activation, FloatArray

TERMS = 32
"""Powers of the correlation that are carried one by one."""

LEAST = 1e-20
"""Variances below count as this one."""


@dataclass(frozen=True)
class LengthMoments:
    """What a variance q decides of one pre-activation, of the shape of q.

    Attributes:
        mean: E phi.
        square, slope: V = E phi^2 and D = E phi'^2.
        square_rate, slope_rate: d ln V / d ln q and d ln D / d ln q.
        square_bend, slope_bend: d^2 ln V / d ln q^2 and d^2 ln D / d ln q^2.
        tilt: E phi^2 g / V, what a mean of the pre-activations over the units does to the square.
    """

    mean: FloatArray
    square: FloatArray
    slope: FloatArray
    square_rate: FloatArray
    slope_rate: FloatArray
    square_bend: FloatArray
    slope_bend: FloatArray
    tilt: FloatArray


@dataclass(frozen=True)
class PairMoments:
    """What a covariance decides of two pre-activations, [..., B, B].

    Attributes:
        product, slopes: E phi phi and E phi' phi'.
        squares: E phi^2 phi^2 / (V V).
        slope_squares: E phi'^2 phi'^2 / (D D).
        mixed: E phi_a^2 phi'_b^2 / (V_a D_b).
    """

    product: FloatArray
    slopes: FloatArray
    squares: FloatArray
    slope_squares: FloatArray
    mixed: FloatArray


class PairMaps:
    """An activation's expectations over single pre-activations and pairs of them.

    >>> relu = Activation(lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float))
    >>> pair = PairMaps(relu).pairs(np.array([[2.0, 0.0], [0.0, 2.0]]))
    >>> pair.product.round(3)  # q/2 on the diagonal, q/(2 pi) beside it
    array([[1.   , 0.318],
           [0.318, 1.   ]])
    """

    def __init__(self, activation: Activation) -> None:
        self.activation = activation
        self._rows: dict[int, FloatArray] = {}
        self._splines: dict[tuple[int, int], CubicSpline] = {}

    def lengths(self, q: FloatArray) -> LengthMoments:
        """The moments of single pre-activations of variance q."""
        q = np.maximum(q, LEAST)
        if self.activation.slopes is not None:
            left, right = self.activation.slopes
            one, even, odd = np.ones_like(q), (left**2 + right**2) / 2, (right**2 - left**2) / 2
            tilts = one * (odd / even * math.sqrt(8 / math.pi) if even else 0.0)
            mean = (right - left) * np.sqrt(q / (2 * math.pi))
            return LengthMoments(mean, even * q, even * one, one, 0 * one, 0 * one, 0 * one, tilts)
        logs = np.log(q)
        spline = self._between(float(logs.min()), float(logs.max()))
        values = spline(logs)
        square, slope = values[..., 0], values[..., 1]
        first, second = spline(logs, 1), spline(logs, 2)
        rate, slope_rate = first[..., 0] / _positive(square), first[..., 1] / _positive(slope)
        bend = second[..., 0] / _positive(square) - rate**2
        slope_bend = second[..., 1] / _positive(slope) - slope_rate**2
        coefficients = values[..., 5:].reshape(*q.shape, 4, TERMS + 1)
        tilt = coefficients[..., 2, 1] / _positive(square)
        return LengthMoments(coefficients[..., 0, 0], square, slope, rate, slope_rate, bend, slope_bend, tilt)

    def pairs(self, gram: FloatArray) -> PairMoments:
        """The moments of pairs.

        Args:
            gram: covariances of the pre-activations, [..., B, B].
        """
        q = np.maximum(np.diagonal(gram, axis1=-2, axis2=-1), LEAST)
        root = np.sqrt(q)
        r = np.clip(gram / (root[..., :, None] * root[..., None, :]), -1, 1)
        return self._straight(q, r) if self.activation.slopes is not None else self._series(q, r)

    def product(self, gram: FloatArray) -> FloatArray:
        """E phi phi of pairs alone, [..., B, B]."""
        if self.activation.slopes is not None:
            return self.pairs(gram).product
        q = np.maximum(np.diagonal(gram, axis1=-2, axis2=-1), LEAST)
        root, logs = np.sqrt(q), np.log(q)
        r = np.clip(gram / (root[..., :, None] * root[..., None, :]), -1, 1)
        values = self._between(float(logs.min()), float(logs.max()))(logs)
        terms = values[..., 5 : 6 + TERMS]
        rest = values[..., 0] - (terms**2).sum(-1)
        total = (rest[..., :, None] + rest[..., None, :]) / 2 * r
        for k in range(TERMS, -1, -1):
            total = total + terms[..., :, None, k] * terms[..., None, :, k]
            total = total * r if k else total
        return np.asarray(total)

    def between(
        self, first: FloatArray, second: FloatArray, covariance: FloatArray, *, of: str = "product"
    ) -> FloatArray:
        """E phi phi of pairs of two kinds, [n, m]; or E phi' phi', E phi^2 phi^2/(V V), E phi'^2 phi'^2/(D D).

        Args:
            first, second: variances, [n] and [m].
            covariance: [n, m].
            of: product, slopes, squares or slope_squares.
        """
        first, second = np.maximum(first, LEAST), np.maximum(second, LEAST)
        size = np.sqrt(first)[:, None] * np.sqrt(second)
        r = np.clip(covariance / size, -1, 1)
        if self.activation.slopes is not None:
            found = self._straight_of(r)
            return size * found.product if of == "product" else np.asarray(getattr(found, of))
        logs = np.log(first), np.log(second)
        spline = self._between(min(map(np.min, logs)), max(map(np.max, logs)))
        values = spline(logs[0]), spline(logs[1])
        at = ("product", "slopes", "squares", "slope_squares").index(of)
        begin = 5 + at * (TERMS + 1)
        a, b = (one[:, begin : begin + TERMS + 1] for one in values)
        rest = [one[:, at] - (terms**2).sum(1) for one, terms in zip(values, (a, b), strict=True)]
        total = (rest[0][:, None] + rest[1]) / 2 * r
        for k in range(TERMS, -1, -1):
            total = total + a[:, k, None] * b[:, k]
            total = total * r if k else total
        if at < 2:
            return np.asarray(total)
        return np.asarray(total / _positive(values[0][:, at - 2, None] * values[1][:, at - 2]))

    def _straight(self, q: FloatArray, r: FloatArray) -> PairMoments:
        """Of a function with two slopes."""
        found = self._straight_of(r)
        return replace(found, product=np.sqrt(q)[..., :, None] * np.sqrt(q)[..., None, :] * found.product)

    def _straight_of(self, r: FloatArray) -> PairMoments:
        """The same of variances of 1."""
        left, right = self.activation.slopes or (0.0, 0.0)
        mean, half = (right + left) / 2, (right - left) / 2  # phi = mean z + half |z|
        even, odd = (left**2 + right**2) / 2, (right**2 - left**2) / 2  # phi^2 = even z^2 + odd z |z|
        angle, side, by = np.arcsin(r), np.sqrt(1 - r**2), 2 / math.pi
        norm = even**2 or 1.0
        return PairMoments(
            product=mean**2 * r + half**2 * by * (side + r * angle),
            slopes=mean**2 + half**2 * by * angle,
            squares=(even**2 * (1 + 2 * r**2) + odd**2 * by * ((1 + 2 * r**2) * angle + 3 * r * side)) / norm,
            slope_squares=(even**2 + odd**2 * by * angle) / norm,
            mixed=(even**2 + odd**2 * by * (r * side + angle)) / norm,
        )

    def _series(self, q: FloatArray, r: FloatArray) -> PairMoments:
        logs = np.log(q)
        values = self._between(float(logs.min()), float(logs.max()))(logs)
        moments, coefficients = values[..., :5], values[..., 5:].reshape(*q.shape, 4, TERMS + 1)
        powers = [np.ones_like(r), r]
        for _ in range(TERMS):
            powers.append(powers[-1] * r)
        stack = np.stack(powers)  # [TERMS + 2, ..., B, B]

        def expectation(f: int, g: int, moment: int) -> FloatArray:
            a, b = np.moveaxis(coefficients[..., f, :], -1, 0), np.moveaxis(coefficients[..., g, :], -1, 0)
            rest = moments[..., moment] - (a * b).sum(0)
            total = np.einsum("k...a,k...b,k...ab->...ab", a, b, stack[:-1], optimize=False)
            return np.asarray(total + (rest[..., :, None] + rest[..., None, :]) / 2 * stack[-1])

        square, slope = _positive(moments[..., 0]), _positive(moments[..., 1])
        return PairMoments(
            product=expectation(0, 0, 0),
            slopes=expectation(1, 1, 1),
            squares=expectation(2, 2, 2) / (square[..., :, None] * square[..., None, :]),
            slope_squares=expectation(3, 3, 3) / (slope[..., :, None] * slope[..., None, :]),
            mixed=expectation(2, 3, 4) / (square[..., :, None] * slope[..., None, :]),
        )

    def _between(self, low: float, high: float) -> CubicSpline:
        """Moments V, D, E phi^4, E phi'^4, E phi^2 phi'^2 and then the coefficients, over ln q."""
        first, last = math.floor(low / LATTICE) - 2, math.ceil(high / LATTICE) + 2
        if (first, last) not in self._splines:  # one for each range: a wider one gives other digits
            rows = np.array([self._row(place) for place in range(first, last + 1)])
            self._splines[first, last] = CubicSpline(LATTICE * first, LATTICE, rows)
        return self._splines[first, last]

    def _row(self, place: int) -> FloatArray:
        if place not in self._rows:
            q = math.exp(LATTICE * place)
            at = self.activation.on_lattice(place)
            with np.errstate(over="ignore", invalid="ignore"):
                functions = np.stack([at.phi, at.slope, at.phi**2, at.slope**2])
                moments = (functions[2:] @ at.weights, functions[2:] ** 2 @ at.weights)
                mixed = at.mean((at.phi * at.slope) ** 2)
            coefficients = (functions * at.weights) @ hermite(at.z / math.sqrt(q), TERMS).T
            self._rows[place] = np.concatenate([*moments, [mixed], coefficients.ravel()])
        return self._rows[place]


def hermite(g: FloatArray, degree: int) -> FloatArray:
    """The normalized Hermite polynomials He_k(g) / sqrt(k!), k = 0..degree, [degree + 1, points].

    >>> hermite(np.array([2.0]), 2).ravel().round(4)
    array([1.    , 2.    , 2.1213])
    """
    rows = [np.ones_like(g), g]
    for k in range(1, degree):
        rows.append((g * rows[k] - math.sqrt(k) * rows[k - 1]) / math.sqrt(k + 1))
    return np.stack(rows[: degree + 1])


def _positive(value: FloatArray) -> FloatArray:
    return np.maximum(value, 1e-300)
