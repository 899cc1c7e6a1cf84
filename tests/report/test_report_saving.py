"""Figures as files: drawn once for each, and placed as all their panels ask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from fanin.report.figures.saving import save
from fanin.report.figures.style import corners, look


def test_each_file_is_one_drawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure of a grid's report is drawn for a PNG and an SVG, laid out for the first; drawing takes all the time."""
    drawn: list[str] = []
    original = Figure.draw

    def noted(self: Figure, renderer: object) -> None:
        drawn.append(type(self.canvas).__name__)
        original(self, renderer)

    monkeypatch.setattr(Figure, "draw", noted)
    with look():
        figure = Figure((2, 2), layout="constrained")
        figure.subplots().plot([0, 1], [0, 1])
        paths = save(figure, tmp_path, "line")
    assert drawn == ["FigureCanvasAgg", "FigureCanvasSVG"]
    assert [path.name for path in paths] == ["line.png", "line.svg"]
    png = paths[0].read_bytes()
    width, height = (int.from_bytes(png[start : start + 4]) for start in (16, 20))
    assert (width, height) == (300, 300)  # 2 inches at 150 dots


def test_a_colour_bar_of_corners_is_that_of_all() -> None:
    """Of 3 x 2 panels, the last one taken away, the corners put the bar and every panel where all five put them."""
    places = []
    for few in (False, True):
        with look():
            figure = Figure((5, 5), layout="constrained")
            axes = list(figure.subplots(3, 2).flat)
            axes.pop().remove()
            kept = corners(axes) if few else axes
            figure.colorbar(ScalarMappable(), ax=kept, label="a scale")
            figure.draw_without_rendering()
            places.append([one.get_position().bounds for one in figure.axes])
    assert kept == [axes[0], axes[1], axes[4]]
    np.testing.assert_allclose(places[1], places[0], atol=1e-9)
