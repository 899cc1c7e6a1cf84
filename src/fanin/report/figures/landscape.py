"""Figures of lines and planes through trained weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.record.landscape_files import Landscape
from fanin.report.figures.saving import save
from fanin.report.figures.style import GREY, OKABE_ITO, look, panel, plain
from fanin.report.figures.ticks import exact

LEVELS = 24


def line_panel(axes: Axes, found: Landscape, column: str = "loss", colour: str = OKABE_ITO[0], label: str = "") -> None:
    """A column of a line's grid over its place."""
    axes.plot(found.x, getattr(found, column)[0], color=colour, lw=1.6, label=label or None)


def plane_panel(figure: Figure, axes: Axes, found: Landscape, column: str = "loss") -> None:
    """A column of a plane's grid: contours of equal ratios of the loss, the runs as points, their ways as lines."""
    values = np.where(np.isfinite(getattr(found, column)), getattr(found, column), np.nan)
    if not np.isfinite(values).any():
        return
    low, high = np.nanmin(values), np.nanmax(values)
    logarithmic = column == "loss" and low > 0 and high / low > 10
    levels = np.geomspace(low, high, LEVELS) if logarithmic else np.linspace(low, high, LEVELS)
    if high > low:
        shown = axes.contourf(
            found.x, found.y, values, levels=levels, cmap="viridis", norm="log" if logarithmic else None
        )
        axes.contour(found.x, found.y, values, levels=levels[::3], colors="white", linewidths=0.4, alpha=0.6)
        ticks = levels[:: LEVELS // 5]
        figure.colorbar(shown, ax=axes, pad=0.02, ticks=ticks, format=lambda value, _: exact(float(f"{value:.2g}")))
    axes.grid(visible=False)
    xlim, ylim = axes.get_xlim(), axes.get_ylim()
    for path in found.paths.values():
        axes.plot(path[:, 1], path[:, 2], color="white", lw=1, alpha=0.9)
    for _, x, y in found.about.get("marks", []):
        axes.plot(x, y, "o", color="white", mec="black", ms=5, zorder=4)
    axes.set_xlim(xlim)
    axes.set_ylim(ylim)


def landscape_figure(found: Landscape) -> Figure:
    """Loss and error of a line or plane, one panel each."""
    figure = Figure(figsize=(10.6, 4.4 if not found.is_line else 3.8), layout="constrained")
    panels = figure.subplots(1, 2)
    about = found.about
    runs = [plain(str(run), 140) for run in about.get("runs", [])]
    title = f"{about.get('kind', '')} through " + ",\n".join(runs)
    figure.suptitle(title, fontsize=9, color=GREY, x=0.01, ha="left")
    axes = [*about.get("axes", []), "", ""]
    for place, letter, column in zip(panels, "ab", ("loss", "error"), strict=True):
        if found.is_line:
            line_panel(place, found, column)
            for _, x, _ in about.get("marks", []):
                place.axvline(x, color=GREY, lw=0.8, ls=":")
        else:
            plane_panel(figure, place, found, column)
        panel(place, letter, f"{about.get('part', '')} {column}", axes[0], "" if found.is_line else axes[1])
    return figure


def draw_landscape(found: Landscape, folder: Path, name: str) -> list[Path]:
    """Write NAME.png and NAME.svg."""
    with look():
        return save(landscape_figure(found), folder, name)
