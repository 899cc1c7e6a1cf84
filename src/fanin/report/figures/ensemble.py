"""The figure of an ensemble: its error over the number of its members."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fanin.report.figures.saving import save
from fanin.report.figures.style import OKABE_ITO, look, panel


def draw_ensemble(found: Sequence[Any], folder: Path, part: str) -> list[Path]:
    """Write ensemble.png and ensemble.svg: error and loss over members, the mean over ensembles of a size.

    Args:
        found: rows of ensemble.csv.
        folder: where to.
        part: of the data.
    """
    with look():
        figure = Figure(figsize=(8.6, 3.6), layout="constrained")
        error, loss = figure.subplots(1, 2)
        members = [one.members for one in found]
        ends = [[one.error - one.low for one in found], [one.high - one.error for one in found]]
        error.errorbar(
            members, [one.error for one in found], ends, color=OKABE_ITO[0], marker="o", ms=4, capsize=3,
            label="95 % interval over examples",
        )  # fmt: skip
        error.fill_between(
            members, [one.least for one in found], [one.most for one in found], color=OKABE_ITO[1], alpha=0.25, lw=0,
            label="from the best ensemble to the worst",
        )  # fmt: skip
        error.yaxis.set_major_formatter(PercentFormatter(1.0))
        error.legend(fontsize=8)
        loss.plot(members, [one.loss for one in found], color=OKABE_ITO[0], marker="o", ms=4)
        for place, letter, what in ((error, "a", "error"), (loss, "b", "loss")):
            place.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel(place, letter, f"{part} {what}", "members", "")
        return save(figure, folder, "ensemble")
