"""The surfaces against their formulas: derivatives by differences, stationary points, the quadratic by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanin.errors import OptionError
from fanin.theory.surfaces import CENTRE, KINDS, Surface, bowl, nearest, surface

coordinates = st.floats(-2.5, 2.5)
ALL = [surface(kind) for kind in KINDS]


def matrix(entries: tuple[float, float, float]) -> np.ndarray:
    xx, xy, yy = entries
    return np.array([[xx, xy], [xy, yy]])


@pytest.mark.parametrize("on", ALL, ids=KINDS)
@given(x=coordinates, y=coordinates)
@settings(max_examples=20, deadline=None)
def test_derivatives_are_those_of_the_value(on: Surface, x: float, y: float) -> None:
    # Central differences of step h: h^2/6 of a third derivative (2400 |x| on rosenbrock), and rounding eps f / h.
    h = 1e-5
    slope = [(on.value(x + h, y) - on.value(x - h, y)) / (2 * h), (on.value(x, y + h) - on.value(x, y - h)) / (2 * h)]
    assert on.gradient(x, y) == pytest.approx(slope, abs=2e-6, rel=1e-7)
    by_x = [(a - b) / (2 * h) for a, b in zip(on.gradient(x + h, y), on.gradient(x - h, y), strict=True)]
    by_y = [(a - b) / (2 * h) for a, b in zip(on.gradient(x, y + h), on.gradient(x, y - h), strict=True)]
    assert by_x[1] == pytest.approx(by_y[0], abs=2e-6, rel=1e-6)
    assert on.hessian(x, y) == pytest.approx((by_x[0], by_x[1], by_y[1]), abs=2e-6, rel=1e-6)


@pytest.mark.parametrize("on", ALL, ids=KINDS)
def test_stationary_points_are_what_they_are_called(on: Surface) -> None:
    for point in (*on.minima, *on.saddles, *on.maxima):
        assert on.gradient(*point) == pytest.approx((0, 0), abs=1e-13)
    for point in on.minima:
        assert np.linalg.eigvalsh(matrix(on.hessian(*point))).min() > 0.1
    for point in on.saddles:
        low, high = np.linalg.eigvalsh(matrix(on.hessian(*point)))
        assert low < -0.1 < 0.1 < high
    for point in on.maxima:
        assert np.linalg.eigvalsh(matrix(on.hessian(*point))).max() < -0.1


@pytest.mark.parametrize(
    ("kind", "lowest"),
    [("saddle", -0.25), ("rosenbrock", 0.0), ("valley", -8 / 3), ("quadratic", None), ("peaks", None)],
)
def test_nothing_lies_lower_than_the_lowest(kind: str, lowest: float | None) -> None:
    on = surface(kind)
    assert lowest is None or on.lowest == pytest.approx(lowest, abs=1e-15)
    heights = on.value(*np.meshgrid(np.linspace(-5, 5, 401), np.linspace(-5, 5, 401)))
    assert heights.min() >= on.lowest - 1e-12
    assert [on.value(*point) for point in on.minima] == sorted(on.value(*point) for point in on.minima)
    assert on.value(*on.start) > on.lowest + 0.5


def test_the_peaks_are_those_of_the_formula() -> None:
    on, e = surface("peaks"), math.exp(1)
    assert on.value(0, 0) == pytest.approx(3 / e - 1 / (3 * e), rel=1e-14)
    assert on.value(1, 0) == pytest.approx(10 * 0.8 / e - math.exp(-4) / 3, rel=1e-14)
    assert on.value(0, 2) == pytest.approx(3 * math.exp(-9) + 320 * math.exp(-4) - math.exp(-5) / 3, rel=1e-14)
    heights = on.value(*np.meshgrid(np.linspace(-3, 3, 601), np.linspace(-3, 3, 601)))
    # the grid comes within 0.005 of the peak in x and in y, where the curvature is 33 at most
    assert 0 <= on.value(*on.maxima[0]) - heights.max() <= 33 * 0.005**2


def test_the_valley_has_a_pass_between_its_minima() -> None:
    on = surface("valley")
    floor = [on.value(x, x * x / 4) for x in np.linspace(-1, 2, 301)]
    assert int(np.argmax(floor)) == 100  # x = 0
    assert on.value(*on.minima[1]) == pytest.approx(-5 / 12, abs=1e-15)
    assert on.saddles == ((0.0, 0.0),)
    assert on.value(*on.saddles[0]) == 0


@given(condition=st.floats(1, 1e4), rotation=st.floats(-180, 180))
@settings(max_examples=25, deadline=None)
def test_the_quadratic_has_the_curvatures_that_were_asked_for(condition: float, rotation: float) -> None:
    entries, slope = bowl(condition, rotation)
    turned = math.radians(rotation)
    turn = np.array([[math.cos(turned), -math.sin(turned)], [math.sin(turned), math.cos(turned)]])
    expected = turn @ np.diag([1, condition]) @ turn.T
    np.testing.assert_allclose(matrix(entries), expected, rtol=0, atol=1e-14 * condition)
    np.testing.assert_allclose(np.array(slope), -expected @ CENTRE, rtol=0, atol=1e-14 * condition)
    on = surface("quadratic", condition=condition, rotation=rotation)
    x = np.array([0.3, 1.7])
    assert on.value(*x) == pytest.approx(x @ expected @ x / 2 + np.array(slope) @ x, rel=1e-12)
    assert on.lowest == pytest.approx(-np.array(CENTRE) @ expected @ CENTRE / 2, rel=1e-12)


def test_the_nearest_point() -> None:
    assert nearest([(0, 0), (3, 4)], 3, 3) == (1, 1.0)
    assert nearest([(0, 0), (3, 4)], 0.6, 0.8) == (0, pytest.approx(1.0))


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (
            {"kind": "vally"},
            "kind=vally: must be one of quadratic, saddle, rosenbrock, valley, peaks; did you mean valley?",
        ),
        ({"kind": "quadratic", "condition": 0.5}, "condition=0.5: must be a finite number >= 1"),
        ({"kind": "quadratic", "rotation": math.nan}, "rotation=nan: must be a finite number"),
    ],
)
def test_mistakes_are_told(typed: dict[str, object], told: str) -> None:
    with pytest.raises(OptionError) as error:
        surface(**typed)  # type: ignore[arg-type]
    assert str(error.value) == told
