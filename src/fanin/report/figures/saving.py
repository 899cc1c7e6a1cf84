"""Figures as files."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from fanin.report.figures import paper
from fanin.report.figures.ticks import shorten

CANVASES = {
    ".png": ("backend_agg", "FigureCanvasAgg"),
    ".svg": ("backend_svg", "FigureCanvasSVG"),
    ".pdf": ("backend_pdf", "FigureCanvasPdf"),
}
"""Module and class of matplotlib's that draw each format."""


def save(figure: Figure, out: Path, name: str) -> list[Path]:
    """Write a figure as PNG and SVG, for a paper as PDF, too; the same figure gives the same bytes."""
    paths = [out / f"{name}.{ending}" for ending in ("png", "svg", *(("pdf",) if paper.for_paper() else ()))]
    shorten(figure.axes)
    if paper.for_paper():
        paper.in_points(figure)
    for path in paths:
        figure.set_dpi(300 if paper.for_paper() else 150 if path.suffix == ".png" else 100)  # of an SVG's images
        print_figure(figure, path)
        if path is paths[0]:
            _settle(figure)
    return paths


def _settle(figure: Figure) -> None:
    """The places found for the PNG hold for the others, without what the solver of the layout leaves in the last bits.

    Names of an SVG's clip paths are made of these bits.
    """
    figure.set_layout_engine("none")
    for axes in figure.axes:
        left, bottom, width, height = (round(number, 9) for number in axes.get_position(original=True).bounds)
        axes.set_position((left, bottom, width, height), which="original")


def print_figure(figure: Figure, path: Path) -> None:
    """Draw a figure once, in the format of the file's ending and at its own resolution.

    `Figure.savefig` draws everything twice, the first time to find the places, which `Figure.draw` does, too.
    """
    backend, canvas_name = CANVASES[path.suffix]  # imported by need: that of PDF takes as long as matplotlib itself
    undated = {".png": None, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    canvas: Any = getattr(import_module(f"matplotlib.backends.{backend}"), canvas_name)(figure)
    getattr(canvas, f"print_{path.suffix[1:]}")(path, metadata=undated[path.suffix])
