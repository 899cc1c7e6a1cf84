"""Figures as files: drawn once for each, and placed as all their panels ask."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from fanin.report.figures import saving
from fanin.report.figures.lines import name_rows
from fanin.report.figures.paper import in_points
from fanin.report.figures.saving import save
from fanin.report.figures.style import Sheet, corners, look, panel
from fanin.report.make import write_report
from fanin.report.read.configurations import Configuration
from read_back import tick_labels, too_long


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


@pytest.mark.slow
def test_numbers_on_axes_are_short(
    tmp_path: Path, write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On every axis of a report's figures, colour bars' too, of a sweep whose values have many digits."""
    rates = [float(f"{10 ** (-4 + 3 * i / 9):.3g}") for i in range(10)]
    for number, (lr, c) in enumerate(itertools.product(rates, (0.125, 0.1875, 12345.0))):
        told = {"optimizer.lr": lr, "initializer.gain": c}
        write_run(
            tmp_path, overrides=told, depth=3, width=4, count=4, last=20000, metrics={"test_error": 1e-3 + number / 7e4}
        )
    labels: dict[str, list[str]] = {}
    original = saving.print_figure

    def noted(figure: Figure, path: Path) -> None:
        original(figure, path)
        labels[path.name] = tick_labels(figure)

    monkeypatch.setattr(saving, "print_figure", noted)
    write_report([tmp_path])
    assert {"axes.svg", "best.svg", "study.svg", "curves.svg", "importance.svg", "parallel.svg"} <= labels.keys()
    assert {name: long for name, found in labels.items() if (long := [one for one in found if too_long(one)])} == {}
    assert [one for one in labels["axes.svg"] if one == "10⁻⁴"]  # of the map, between the ranks
    assert "1.2345·10⁴" in labels["axes.svg"]
    assert "1.875·10⁻¹" in labels["axes.svg"]


def test_a_papers_column_holds_its_words() -> None:
    """Long names of rows break after their commas, titles and labels between words; nothing is cut at the edge."""
    side = "optimizer=momentum,optimizer.lr=0.01"
    with look("paper"):
        figure, (axes,) = Sheet("", "", [Configuration("", {})]).figure(1, 1, 7.5, 3.0)
        name_rows(axes, [side, f"{side}\n10 pairs"], 0.5)
        panel(axes, "A", f"better than {side}", "mean rank over 10 runs, 95 % bootstrap interval")
        in_points(figure)
        figure.draw_without_rendering()
        words = [*axes.texts, axes.xaxis.label, *axes.get_yticklabels()]
        boxes = [(text.get_text(), text.get_window_extent()) for text in words]
        assert boxes[-1][0] == "optimizer=momentum,\noptimizer.lr=0.01\n10 pairs"
        assert [text for text, box in boxes if box.x0 < 0 or box.x1 > figure.bbox.x1 + 1] == []
        assert axes.get_position().width > 0.4
