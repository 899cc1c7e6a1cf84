"""What was searched: its axes cut into bins, and the place and the values of every configuration on them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanin.record.overrides import display
from fanin.record.search_files import RungRow, grouped, read_rungs, read_search
from fanin.report.read.folders import Run
from fanin.report.search.pareto import front

BINS = 16
"""That an interval is cut into, evenly on its own scale; an interval of fewer integers has a bin for each."""

ABSENT = "–"
"""The label of configurations that do not have an axis."""


@dataclass(frozen=True)
class Axis:
    """One axis in bins.

    Attributes:
        name: as it is typed.
        labels: of the bins.
        weights: the share of the axis that each bin is, 1 in sum.
        ordered: whether neighbours are near each other.
        log: whether its scale is logarithmic.
        ends: of an interval.
    """

    name: str
    labels: tuple[str, ...]
    weights: NDArray[np.float64]
    ordered: bool
    log: bool = False
    ends: tuple[float, float] | None = None


@dataclass(frozen=True)
class Searched:
    """The configurations of a search on one budget of steps.

    Attributes:
        axes: d of them.
        trials: numbers of the n configurations.
        places: [n, d], the bin of each on each axis.
        values: [n, metrics], means over seeds; nan where one of them is not finite.
        settings: what each has on each axis, for people and for scales: a number, a word, or None.
        steps: at which they were measured.
    """

    axes: list[Axis]
    trials: list[int]
    places: NDArray[np.intp]
    values: NDArray[np.float64]
    settings: list[list[Any]]
    steps: int

    @property
    def distinct(self) -> list[int]:
        """Rows of the first trial of each configuration: a search may try one twice."""
        return [*{repr(one): row for row, one in reversed([*enumerate(self.settings)])}.values()][::-1]

    def front(self, signs: NDArray[np.float64]) -> list[int]:
        """Rows of the configurations on the Pareto front, each once; `signs` are -1 where large is good."""
        rows = self.distinct
        return [rows[place] for place in front(self.values[rows] * signs)]


def searched(grid: Path, runs: Sequence[Run]) -> tuple[Mapping[str, Any], list[RungRow], Searched] | None:
    """What a grid's folder says of its search: search.json, rungs.csv, and the configurations on their axes.

    Configurations that were measured at different steps cannot be compared: those at the number of steps count that
    most were measured at, of several the largest.

    Args:
        grid: its folder.
        runs: in it.

    Returns:
        None where there was no search, or nothing came of it.
    """
    said, rows = read_search(grid), read_rungs(grid)
    if said is None or not rows or not said.get("axes"):
        return None
    by_steps = {steps: len({row.trial for row in own}) for steps, own in grouped(rows, lambda row: row.steps).items()}
    shared = said.get("budget") != "none"  # else one that diverged or stopped early has fewer steps, and counts
    steps = max(by_steps, key=lambda one: (by_steps[one], one)) if shared else max(by_steps)
    by_name = {run.folder.name: run for run in runs}
    counting = [row for row in rows if (row.steps == steps or not shared) and row.run in by_name]
    of = grouped(counting, lambda row: row.trial)
    trials = sorted(of)
    if not trials:
        return None
    keys = [str(axis["key"]) for axis in said["axes"]]
    there = [[_value(by_name[of[trial][0].run], axis) for axis in said["axes"]] for trial in trials]
    columns = [[row[index] for row in there] for index in range(len(keys))]
    axes, places = zip(
        *(_binned(axis, column) for axis, column in zip(said["axes"], columns, strict=True)), strict=True
    )
    values = np.array([np.mean([row.values for row in of[trial]], axis=0) for trial in trials])
    values = np.where(np.isfinite(values), values, np.nan)
    return said, rows, Searched(list(axes), trials, np.array(places).T, values, there, steps)


def _value(run: Run, axis: Mapping[str, Any]) -> Any:
    """A run's value on an axis, None where it does not have it."""
    condition = axis.get("condition") or []
    words = condition.split() if isinstance(condition, str) else condition
    for word in words:
        key, _, wanted = str(word).partition("=")
        if display(run.value(key)) != wanted:
            return None
    return run.value(str(axis["key"]))


def _binned(axis: Mapping[str, Any], column: Sequence[Any]) -> tuple[Axis, list[int]]:
    """An axis of search.json, and the bin of each value."""
    name, condition = str(axis["key"]), axis.get("condition")
    name += f" if {condition if isinstance(condition, str) else ' '.join(condition)}" if condition else ""
    ends = None
    if axis["kind"] == "choice":
        labels = [_plain(choice) for choice in axis["choices"]]
        known = {label: place for place, label in enumerate(labels)}
        places = [-1 if value is None else known.get(_plain(display(value)), -1) for value in column]
    else:
        low, high, log = float(axis["low"]), float(axis["high"]), bool(axis.get("log"))
        ends = low, high
        whole = axis["kind"] == "int" and high - low < BINS and not log
        count = round(high - low) + 1 if whole else BINS
        edges = np.geomspace(low, high, count + 1) if log else np.linspace(low, high, count + 1)
        labels = [f"{low + i:g}" if whole else f"{edges[i]:.3g} to {edges[i + 1]:.3g}" for i in range(count)]
        numbers = [math.nan if not isinstance(value, (int, float)) else float(value) for value in column]
        if whole:
            places = [-1 if math.isnan(one) else min(max(round(one - low), 0), count - 1) for one in numbers]
        else:
            inner = edges[1:-1]
            places = [-1 if math.isnan(one) else int(np.searchsorted(inner, one, side="right")) for one in numbers]
    weights = np.full(len(labels), 1 / len(labels))
    if absent := sum(place < 0 for place in places) / len(places):
        labels.append(ABSENT)
        weights = np.append(weights * (1 - absent), absent)
        places = [len(labels) - 1 if place < 0 else place for place in places]
    ordered = ends is not None and ABSENT not in labels
    return Axis(name, tuple(labels), weights, ordered, bool(axis.get("log")), ends), places


def _plain(text: object) -> str:
    return str(text).strip("'\"").replace(" ", "")
