"""The residual figure: estimates of a number against the truth, a row of panels for each configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from fanin.errors import counted
from fanin.record.columns import RESIDUALS, names
from fanin.report.figures.encoding import GREY, OKABE_ITO, plain
from fanin.report.figures.style import Sheet, panel
from fanin.report.read.folders import Run
from fanin.report.read.series import read_rows
from fanin.report.statistics import Floats, mean_interval

MOST_ROWS = 3
MOST_POINTS = 4000
"""Of a panel; of more, every so many-th is drawn."""


class Estimates(NamedTuple):
    """Of all runs of a configuration: what was to be estimated, what was said, how many runs, their mean R^2."""

    targets: Floats
    estimates: Floats
    runs: int
    r2: float


def residuals_figure(sheet: Sheet, runs: Sequence[Run]) -> Figure | None:
    """Estimates over targets and residuals over estimates of the test part, of the configurations with the best R^2.

    Estimates lie on the diagonal where they are right; residuals that fan out, bend or lie to one side say what the
    network or the loss has missed. None if no finished run has residuals.csv.
    """
    found = {i: kept for i, one in enumerate(sheet.configurations) if (kept := _of([runs[k] for k in one.members]))}
    if not found:
        return None
    best = sorted(sorted(found, key=lambda i: (-found[i].r2, i))[:MOST_ROWS])
    figure, axes = sheet.figure(len(best), 2, 9.4, 0.9 + 3.7 * len(best))
    for row, i in enumerate(best):
        one, (left, right) = found[i], axes[2 * row : 2 * row + 2]
        some = slice(None, None, 1 + len(one.targets) // MOST_POINTS)
        targets, estimates = one.targets[some], one.estimates[some]
        ends = [float(targets.min()), float(targets.max())]
        left.plot(targets, estimates, "o", ms=3, mew=0, alpha=0.5, color=OKABE_ITO[0])
        left.plot(ends, ends, color=GREY, lw=0.9)
        right.plot(estimates, estimates - targets, "o", ms=3, mew=0, alpha=0.5, color=OKABE_ITO[0])
        right.axhline(0, color=GREY, lw=0.9)
        label = plain(sheet.configurations[i].label, 60)
        title = f"{label}\nR² {one.r2:.4g}, {counted(one.runs, 'run')}"
        panel(left, "ace"[row], title, "target", "estimate")
        panel(right, "bdf"[row], "residuals of the test part", "estimate", "estimate minus target")
    return figure


def _of(runs: Sequence[Run]) -> Estimates | None:
    """What the finished ones among some runs have kept, together."""
    found = [(table, run.numbers.get("r2", np.nan)) for run in runs if (table := residuals_of(run)) is not None]
    if not found:
        return None
    both = np.concatenate([table for table, _ in found])
    return Estimates(both[:, 0], both[:, 1], len(found), mean_interval(share for _, share in found).mean)


def residuals_of(run: Run) -> Floats | None:
    """Targets and estimates of a finished run's test part, [N, 2]; None where it has none that are finite."""
    path = run.folder / "residuals.csv"
    if run.state != "done" or not path.is_file():
        return None
    found = np.array(read_rows(path, run.notes, lambda row: [float(row[name]) for name in names(RESIDUALS)]))
    return found if len(found) and np.isfinite(found).all() else None
