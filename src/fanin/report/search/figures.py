"""The figures of a search: its course and what mattered, parallel coordinates, rungs, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.record.search_files import RungRow, grouped
from fanin.report.figures.style import GREY, OKABE_ITO, Panel, Sheet, plain
from fanin.report.figures.ticks import log_where_wide
from fanin.report.search.importance import Floats, Importance
from fanin.report.search.searched import Axis, Searched

COLUMNS = 3
MOST_SLICES = 9
CELLS = 8
"""Of a side of the heat map, at most."""


def search_figure(
    sheet: Sheet, found: Searched, metric: str, sign: float, shares: Sequence[Importance], good: Sequence[Importance]
) -> Figure:
    """The best so far, the importances, the two most important axes as a map, and a slice along every axis."""
    names = [one.name for one in shares] or [axis.name for axis in found.axes]
    order = [next(i for i, axis in enumerate(found.axes) if axis.name == name) for name in names][:MOST_SLICES]
    drawn = [Panel(partial(course_panel, found=found, sign=sign), "best so far", "trial", plain(metric))]
    if shares:
        drawn.append(_importance(shares, good))
    if len(order) > 1:
        draw = partial(map_panel, found=found, pair=order[:2], metric=metric)
        drawn.append(Panel(draw, "mean of the two that matter most", *(found.axes[i].name for i in order[:2])))
    for index in order:
        draw = partial(slice_panel, found=found, index=index)
        drawn.append(Panel(draw, "slice: early dark, late light", found.axes[index].name, plain(metric)))
    rows = math.ceil(len(drawn) / COLUMNS)
    empty = [None] * (rows * COLUMNS - len(drawn))
    return sheet.panels([*drawn, *empty], COLUMNS, 11.0, 0.6 + 2.9 * rows)[0]


def importance_figure(sheet: Sheet, shares: Sequence[Importance], good: Sequence[Importance]) -> Figure | None:
    """The importances alone, of a grid; None where there are none."""
    drawn = [_importance(shares, good)]
    return sheet.panels(drawn, 1, 6.5, 1.6 + 0.5 * len(shares), lettered=False)[0] if shares else None


def _importance(shares: Sequence[Importance], good: Sequence[Importance]) -> Panel:
    draw = partial(importance_panel, shares=shares, good=good)
    return Panel(draw, "importance of each axis", "share of the variance; open: of the best fifth")


def course_panel(place: Axes, found: Searched, sign: float) -> None:
    """Every configuration as a dot, the best so far as steps; sign is 1 where small is good, else -1."""
    values = found.values[:, 0]
    place.plot(found.trials, values, "o", ms=3, color=GREY, mew=0, alpha=0.7)
    best = np.minimum.accumulate(np.where(np.isnan(values), np.inf, sign * values)) * sign
    place.step(found.trials, np.where(np.isfinite(best), best, np.nan), where="post", color=OKABE_ITO[0], lw=1.6)
    log_where_wide(place, "y", values)


def slice_panel(place: Axes, found: Searched, index: int) -> None:
    """Every configuration over one axis, early ones dark."""
    at, ticks = coordinates(found, index)
    place.scatter(at, found.values[:, 0], c=found.trials, s=12, cmap="viridis")
    if ticks:
        place.set_xticks(range(len(ticks)), [plain(label) for label in ticks])
    elif found.axes[index].log:
        place.set_xscale("log")
    log_where_wide(place, "y", found.values[:, 0])


def importance_panel(place: Axes, shares: Sequence[Importance], good: Sequence[Importance]) -> None:
    """A dot with its interval for each axis, the most important on top."""
    other = {one.name: one for one in good}
    for row, one in enumerate(reversed(shares)):
        place.plot([one.low, one.high], [row, row], color=OKABE_ITO[0], lw=1.6)
        place.plot(one.share, row, "o", ms=5, color=OKABE_ITO[0])
        if one.name in other:
            beside = other[one.name]
            place.plot([beside.low, beside.high], [row - 0.22] * 2, color=OKABE_ITO[1], lw=1.0)
            place.plot(beside.share, row - 0.22, "o", ms=4, mfc="white", mec=OKABE_ITO[1])
    place.set_yticks(range(len(shares)), [plain(one.name) for one in reversed(shares)])
    place.set_xlim(0, 1)


def map_panel(place: Axes, found: Searched, pair: Sequence[int], metric: str) -> None:
    """The mean over the configurations in each cell of two axes; white where there is none."""
    values = found.values[:, 0]
    at, sizes = [], []
    for index in pair:
        bins = len(found.axes[index].labels)
        sizes.append(min(bins, CELLS) if found.axes[index].ordered else bins)
        at.append(found.places[:, index] * sizes[-1] // bins)
    kept = np.isfinite(values)
    cells = pd.Series(values[kept]).groupby([at[1][kept], at[0][kept]]).mean().unstack()
    means = cells.reindex(index=range(sizes[1]), columns=range(sizes[0])).to_numpy(float)
    shown = place.pcolormesh(np.arange(sizes[0] + 1), np.arange(sizes[1] + 1), means, cmap="viridis")
    place.grid(visible=False)
    place.figure.colorbar(shown, ax=place, label=plain(metric), pad=0.02)
    for name, index, size in zip("xy", pair, sizes, strict=True):
        labels = _edge_labels(found.axes[index], size)
        where = np.linspace(0, size, len(labels)) if found.axes[index].ends else np.arange(size) + 0.5
        getattr(place, f"set_{name}ticks")(where, labels)


def _edge_labels(axis: Axis, size: int) -> list[str]:
    if axis.ends is None or not axis.ordered:
        return [plain(label) for label in axis.labels]
    spaced = np.geomspace if axis.log else np.linspace
    return [f"{edge:.2g}" for edge in spaced(*axis.ends, 3 if size == CELLS else 2)]


def coordinates(found: Searched, index: int) -> tuple[Floats, list[str]]:
    """Where the configurations lie on an axis: numbers on an interval, else the places of its labels."""
    axis = found.axes[index]
    if axis.ends is not None and axis.ordered:
        return np.array([float(row[index]) for row in found.settings]), []
    return found.places[:, index].astype(float), list(axis.labels)


def parallel_figure(sheet: Sheet, found: Searched, metric: str, sign: float) -> Figure:
    """A line for each configuration through its place on every axis, the best fifth in colour."""
    draw = partial(parallel_panel, found=found, metric=metric, sign=sign)
    drawn = [Panel(draw, "parallel coordinates; in colour the best fifth, the best on top", "")]
    return sheet.panels(drawn, 1, max(6.5, 1.6 * (len(found.axes) + 1)), 4.4, lettered=False)[0]


def parallel_panel(place: Axes, found: Searched, metric: str, sign: float) -> None:
    """The lines, each axis from 0 to 1; the last is the rank by the metric, the best on top."""
    heights, names = [], [axis.name for axis in found.axes]
    for index, axis in enumerate(found.axes):
        at, labels = coordinates(found, index)
        if labels:
            heights.append((at + 0.5) / len(labels))
            continue
        assert axis.ends is not None
        low, high = (math.log(end) if axis.log else end for end in axis.ends)
        heights.append(((np.log(at) if axis.log else at) - low) / (high - low))
    values = found.values[:, 0]
    kept = np.isfinite(values)
    ranks = np.full(len(values), np.nan)
    ranks[kept] = np.argsort(np.argsort(sign * values[kept])) / max(kept.sum() - 1, 1)
    lines = np.column_stack([*heights, 1 - ranks])
    for row in np.argsort(-np.where(kept, ranks, 2)):
        if kept[row]:
            top = ranks[row] <= 0.2
            style: dict[str, Any] = {"color": OKABE_ITO[1] if top else "#b8b8b8", "lw": 1.2 if top else 0.6}
            place.plot(range(len(names) + 1), lines[row], alpha=0.8, zorder=3 if top else 2, **style)
    for x, axis in enumerate(found.axes):
        place.axvline(x, color="#444444", lw=0.8, zorder=1)
        ends = [axis.labels[0], axis.labels[-1]] if axis.ends is None else [f"{end:g}" for end in axis.ends]
        labels = list(axis.labels) if not axis.ordered else ends
        at = (np.arange(len(labels)) + 0.5) / len(labels) if not axis.ordered else np.array([0.0, 1.0])
        for y, label in zip(at, labels, strict=True):
            place.annotate(plain(label, 18), (x, y), (3, 0), textcoords="offset points", fontsize=7, va="center")
    place.set_yticks([])
    place.set_xticks(range(len(names) + 1), [*(plain(name, 24) for name in names), f"rank of {plain(metric)}"])


def rungs_figure(sheet: Sheet, rows: Sequence[RungRow], metric: str) -> Figure | None:
    """The metric of every configuration over the steps of its rungs, a cross where it was left; None of one rung."""
    if len({row.steps for row in rows}) < 2:
        return None
    brackets = sorted({row.bracket for row in rows})
    drawn: list[Panel] = []
    for bracket in brackets[:4]:
        draw = partial(rungs_panel, rows=[row for row in rows if row.bracket == bracket])
        title = f"bracket {bracket}" if len(brackets) > 1 else "rungs; a cross where a configuration was left"
        drawn.append(Panel(draw, title, "steps", "" if drawn else plain(metric)))
    return sheet.panels(drawn, len(drawn), max(5.5, 3.6 * len(drawn)), 3.8, lettered=False)[0]


def rungs_panel(place: Axes, rows: Sequence[RungRow]) -> None:
    """Of one bracket: a line for each configuration, its mean over seeds at the end of every rung."""
    for own in grouped(rows, lambda row: row.trial).values():
        course = grouped(own, lambda row: row.steps)
        steps, dropped = sorted(course), any(row.reason for row in own)
        means = np.array([np.mean([row.values[0] for row in course[step]]) for step in steps])
        means = np.where(np.isfinite(means), means, np.nan)
        colour = "#a8a8a8" if dropped else OKABE_ITO[1]
        place.plot(steps, means, "o-", ms=2.5, lw=0.9, color=colour, zorder=2 if dropped else 3)
        if dropped:
            place.plot(steps[-1], means[-1], "x", ms=4, color="#777777")
    place.set_xscale("log")
    at = sorted({row.steps for row in rows})
    place.set_xticks(at, [str(one) for one in at], minor=False)
    place.set_xticks([], minor=True)
    log_where_wide(place, "y", np.array([row.values[0] for row in rows]))


def pareto_figure(sheet: Sheet, found: Searched, metrics: Sequence[str], signs: Floats) -> Figure | None:
    """Every pair of metrics, the front in colour; None of a single metric."""
    if len(metrics) < 2:
        return None
    best = found.front(signs)
    title = f"Pareto front: {len(best)} of {len(found.distinct)}"
    drawn = [
        Panel(partial(pareto_panel, found=found, best=best, x=x, y=y), title, plain(metrics[x]), plain(metrics[y]))
        for y, x in [(i, j) for i in range(len(metrics)) for j in range(i)][:3]
    ]
    return sheet.panels(drawn, len(drawn), max(5.5, 4.2 * len(drawn)), 4.0, lettered=False)[0]


def pareto_panel(place: Axes, found: Searched, best: Sequence[int], x: int, y: int) -> None:
    """Every configuration by two metrics, those at the positions `best` in colour; of two metrics as steps."""
    place.plot(found.values[:, x], found.values[:, y], "o", ms=3.5, color="#b0b0b0", mew=0)
    chosen = found.values[best]
    chosen = chosen[np.argsort(chosen[:, x])]
    style = "o-" if found.values.shape[1] == 2 else "o"
    place.plot(chosen[:, x], chosen[:, y], style, drawstyle="steps-post", ms=4.5, lw=1.2, color=OKABE_ITO[1])
    log_where_wide(place, "x", found.values[:, x])
    log_where_wide(place, "y", found.values[:, y])
