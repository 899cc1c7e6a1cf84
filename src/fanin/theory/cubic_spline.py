"""Cubic splines over equally spaced points; importing scipy.interpolate takes longer than a short run."""

from __future__ import annotations

import numpy as np

from fanin.theory.gaussian_maps import FloatArray


class CubicSpline:
    """The cubic spline through values at equally spaced points, not-a-knot at both ends as scipy's.

    With second derivatives M_i and spacing h: M_(i-1) + 4 M_i + M_(i+1) = 6 (y_(i-1) - 2 y_i + y_(i+1)) / h^2, and the
    third derivative is continuous at the first and the last inner point.

    Args:
        start: the first point.
        spacing: h, > 0.
        values: y, [points, ...]; four points or more.

    Source: de Boor 1978, A Practical Guide to Splines, chapter IV.

    >>> cube = CubicSpline(0.0, 0.5, np.arange(5) ** 3 / 8)
    >>> [round(float(cube(np.array(0.7), derivative)), 9) for derivative in (0, 1, 2)]
    [0.343, 1.47, 4.2]
    """

    def __init__(self, start: float, spacing: float, values: FloatArray) -> None:
        count = len(values)
        system = np.diag(np.full(count, 4.0)) + np.eye(count, k=1) + np.eye(count, k=-1)
        system[0], system[-1] = 0.0, 0.0
        system[0, :3] = system[-1, -3:] = 1.0, -2.0, 1.0
        bends = np.zeros_like(values, dtype=float)
        bends[1:-1] = 6 * (values[:-2] - 2 * values[1:-1] + values[2:]) / spacing**2
        second = np.linalg.solve(system, bends.reshape(count, -1)).reshape(values.shape)
        rise = (values[1:] - values[:-1]) / spacing
        first = rise - spacing * (2 * second[:-1] + second[1:]) / 6
        third = (second[1:] - second[:-1]) / spacing
        self.start, self.spacing = start, spacing
        self.coefficients = [values[:-1], first, second[:-1] / 2, third / 6]

    def __call__(self, x: FloatArray, derivative: int = 0) -> FloatArray:
        """The spline, or its first or second derivative, at any places: [*x.shape, ...]."""
        piece = np.clip(np.floor((x - self.start) / self.spacing).astype(int), 0, len(self.coefficients[0]) - 1)
        a, b, c, d = (one[piece] for one in self.coefficients)
        t = np.asarray(x - (self.start + self.spacing * piece)).reshape((*np.shape(x), *[1] * (a.ndim - np.ndim(x))))
        if derivative == 0:
            return np.asarray(a + t * (b + t * (c + t * d)))
        return np.asarray(b + t * (2 * c + 3 * t * d) if derivative == 1 else 2 * c + 6 * t * d)
