"""What looks at the curvature saw over the steps of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fanin.report.figures.encoding import GREY, OKABE_ITO
from fanin.report.figures.lines import draw_steps
from fanin.report.figures.style import Panel, Sheet, panel
from fanin.report.figures.ticks import log_axis
from fanin.report.read.curvature import Looks, edge_of_stability, on_one_grid, read_curvature
from fanin.report.read.folders import Run
from fanin.report.read.series import Floats, Metrics, on_all_steps

DECADES = 4
"""Below the highest density of a look, down to which it is shown."""

BINS, ROOM = 200, 3.0
"""Eigenvalues of the image of densities; how far above the sharpness the stable limit is still shown, as a factor."""


def curvature_figure(sheet: Sheet, run: Run, looks: Looks, metrics: Metrics) -> Figure | None:
    """Sharpness with the limit of stability, both ends of the spectrum, and the density, of one run.

    Args:
        sheet: titles.
        run: whose result tells the verdict.
        looks: of `read_curvature`.
        metrics: of this run alone, for its learning rate.
    """
    drawn = []
    if any(len(looks.series(name)[0]) for name in ("sharpness", "critical_sharpness")):
        draw = partial(sharpness_panel, looks=looks, config=run.config.config, rates=metrics.series(0, "lr"))
        told = (run.result.get("curvature") or {}).get("verdict")
        drawn.append(Panel(draw, "sharpness" + (f"; at the end: {told}" if told else ""), "step", "sharpness"))
    if len(looks.series("eigenvalue_largest", 1)[0]):
        drawn.append(Panel(partial(eigenvalues_panel, looks=looks), "ends of the spectrum", "step", "eigenvalue"))
    for prefix, found in [*looks.densities.items()][:1]:
        title = f"density of {'the Gauss-Newton matrix' if prefix else 'the Hessian'}"
        drawn.append(Panel(partial(density_panel, found=found), title, "step", "eigenvalue"))
    return sheet.panels(drawn, len(drawn), 1.0 + 3.9 * len(drawn), 3.9)[0] if drawn else None


def sharpness_panel(axes: Axes, looks: Looks, config: Any, rates: tuple[Floats, Floats]) -> None:
    """Sharpness and critical sharpness over steps, and the limit of stability of gradient descent at its rates.

    Args:
        axes: to draw on.
        looks: what was seen.
        config: of the run.
        rates: steps and learning rates there.
    """
    names = {"sharpness": OKABE_ITO[0], "critical_sharpness": OKABE_ITO[1]}
    drawn = {name: looks.series(name) for name in names}
    for name, (steps, values) in drawn.items():
        if len(steps):
            axes.plot(steps, values, color=names[name], marker="o", ms=3, label=name.replace("_", " "))
    heights = np.concatenate([values for _, values in drawn.values()])
    edge = edge_of_stability(config, rates[1])
    if edge is not None and len(rates[0]) and np.isfinite(edge[0]).any():
        reach = float(heights.max()) * ROOM
        low = float(np.nanmin(edge[0]))
        if low <= reach or not heights.max() > 0:
            axes.plot(rates[0], edge[0], color=GREY, ls="--", lw=1.2, label=edge[1])
        else:
            axes.plot([], [], color=GREY, ls="--", lw=1.2, label=f"{edge[1]} = {low:.3g}, far above")
    if (heights > 0).all() and heights.max() > 30 * heights.min():
        axes.set_yscale("log")
        log_axis(axes)
    elif (heights >= 0).all():
        axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, frameon=False)


def eigenvalues_panel(axes: Axes, looks: Looks) -> None:
    """The largest and the smallest eigenvalues over steps; 0 is a line, for what lies below it bends down."""
    for name, colour in (("largest", OKABE_ITO[0]), ("smallest", OKABE_ITO[5])):
        indices = sorted(index for quantity, index in looks.numbers if quantity == f"eigenvalue_{name}")
        for index in indices:
            steps, values = looks.series(f"eigenvalue_{name}", index)
            label = name if index == indices[0] else None
            axes.plot(steps, values, color=colour, marker="o", ms=2.5, lw=1.2 if label else 0.7, label=label)
    axes.axhline(0, color=GREY, lw=0.8)
    axes.legend(fontsize=8, frameon=False)


def density_panel(axes: Axes, found: Mapping[int, tuple[Floats, Floats]]) -> None:
    """The spectrum's density as an image: steps along x, eigenvalues along y, the decades below the highest as shade.

    Args:
        axes: to draw on; a colour bar stands beside them.
        found: eigenvalues and densities [bins] of each step.
    """
    steps = sorted(found)
    at, table = on_one_grid([found[step] for step in steps], BINS)
    heights = table / table.max(axis=1, keepdims=True)
    shades = np.log10(np.clip(heights, 10.0**-DECADES, 1.0))
    middles = np.array([(one + other) / 2 for one, other in pairwise(steps)])
    edges = np.concatenate([[steps[0]], middles, [steps[-1] + (1 if len(steps) == 1 else 0)]])
    widths = (at[1] - at[0]) / 2
    shown = axes.pcolormesh(
        edges, np.concatenate([at - widths, [at[-1] + widths]]), shades.T, cmap="viridis", vmin=-DECADES, vmax=0,
        rasterized=True,
    )  # fmt: skip
    axes.axhline(0, color="white", lw=0.6, ls=":")
    axes.grid(visible=False)
    axes.figure.colorbar(shown, ax=axes, pad=0.02, label="log10 of density / its highest")


def sharpness_figure(sheet: Sheet, runs: Sequence[Run], metrics: Metrics) -> Figure | None:
    """Sharpness, critical sharpness and trace over steps of every configuration, with each one's limit of stability."""
    looks = [read_curvature(run.folder, run.notes) for run in runs]
    names = [
        name for name in ("sharpness", "critical_sharpness", "trace")
        if any(len(one.series(name)[0]) > 1 for one in looks)
    ]  # fmt: skip
    if not names:
        return None
    figure, axes = sheet.figure(1, len(names), 1.4 + 3.9 * len(names), 4.2)
    limited = False
    for place, letter, name in zip(axes, "abc", names, strict=False):
        tops = []
        for one, colour, style in zip(sheet.configurations, sheet.colours, sheet.encoding.styles, strict=True):
            steps, values = on_all_steps([looks[member].series(name) for member in one.members])
            if len(steps):
                draw_steps(place, steps, values, colour, folds=one.folds, **style)
                tops += [values[np.isfinite(values)]]
        heights = np.concatenate(tops) if tops else np.empty(0)
        for one, colour in zip(sheet.configurations, sheet.colours, strict=True):
            rates = metrics.series(one.members[0], "lr")
            edge = edge_of_stability(runs[one.members[0]].config.config, rates[1])
            if name == "trace" or edge is None or not len(rates[0]):
                continue
            if len(heights) and float(np.min(edge[0])) <= ROOM * float(heights.max()):
                place.plot(rates[0], edge[0], color=colour, ls=":", lw=1.2)
                limited = True
        if len(heights) and heights.min() > 0 and heights.max() > 30 * heights.min():
            place.set_yscale("log")
            log_axis(place)
        panel(place, letter, name.replace("_", " "), "step", name.replace("_", " "))
    styles = [Line2D([], [], color=GREY, ls=":", lw=1.2, label="limit of gradient descent, (2 + 2 momentum)/lr")]
    sheet.legend(figure, axes, styles if limited else [])
    return figure
