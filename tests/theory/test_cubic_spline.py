"""Splines against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import interpolate

from fanin.theory.cubic_spline import CubicSpline


@pytest.mark.parametrize("points", [4, 5, 40])
def test_values_and_derivatives_are_scipys(points: int) -> None:
    random = np.random.default_rng(points)
    start, spacing, values = random.normal(), random.uniform(0.1, 2), random.normal(size=(points, 2, 3))
    places = random.uniform(start - spacing, start + points * spacing, (6, 7))
    theirs = interpolate.CubicSpline(start + spacing * np.arange(points), values)
    own = CubicSpline(start, spacing, values)
    for derivative in (0, 1, 2):
        expected = theirs(places, derivative)
        # Both solve a system whose condition number is some 10; values add up within the places' largest.
        assert own(places, derivative) == pytest.approx(expected, rel=1e-9, abs=1e-11 * np.abs(expected).max())
