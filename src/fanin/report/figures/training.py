"""The training figure: loss and error over steps, mean over seeds with its 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fanin.report.figures.encoding import GREY
from fanin.report.figures.lines import mark_handles
from fanin.report.figures.loss import metric_panel
from fanin.report.figures.style import Sheet, panel
from fanin.report.read.folders import Run, task_of
from fanin.report.read.series import Metrics

PARTS = {"batch": "training", "val": "validation"}


def curves_figure(sheet: Sheet, runs: Sequence[Run], metrics: Metrics) -> Figure | None:
    """Loss left, error right; training above, validation below; a panel for each that was evaluated, or None."""

    def evaluated(column: str) -> bool:
        return any(len(metrics.series(i, column)[0]) > 1 for i in range(len(runs)))

    columns = [f"{part}_{what}" for part in PARTS for what in ("loss", "error") if evaluated(f"{part}_{what}")]
    if not columns:
        return None
    rows = (len(columns) + 1) // 2
    figure, axes = sheet.figure(rows, min(2, len(columns)), 10.0, 1.0 + 3.1 * rows)
    for place, letter, column in zip(axes, "abcd", columns, strict=False):
        metric_panel(place, sheet, runs, metrics, column, band=True)
        part, _, what = column.partition("_")
        word = getattr(task_of(runs), what)
        panel(place, letter, f"{PARTS[part]}{':' * (' ' in word)} {word}", "step", word)
    for place in axes[len(columns) :]:
        place.remove()
    drawn = axes[: len(columns)]
    banded = any(isinstance(one, PolyCollection) for place in drawn for one in place.collections)
    over = "folds" if any(one.folds for one in sheet.configurations) else "seeds"
    band = [Patch(color=GREY, alpha=0.25, lw=0, label=f"95 % interval over {over}")] if banded else []
    sheet.legend(figure, drawn, [*band, *mark_handles(drawn)])
    return figure
