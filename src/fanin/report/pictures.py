"""The figures of a report, each drawn by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fanin.report.answers.answer import Answer
from fanin.report.claim import Judged, only
from fanin.report.figures.best import best_figure
from fanin.report.figures.by_axis import axes_figure
from fanin.report.figures.confusion import confusion_figure
from fanin.report.figures.curvature import sharpness_figure
from fanin.report.figures.depth import movement_figure, study_figure
from fanin.report.figures.residuals import residuals_figure
from fanin.report.figures.saving import save
from fanin.report.figures.steps import curves_figure
from fanin.report.figures.style import Sheet, look
from fanin.report.figures.surface import surfaces_figure
from fanin.report.figures.together import Job
from fanin.report.read.folders import Run
from fanin.report.read.series import Metrics, Profiles
from fanin.report.search.told import SearchTold
from fanin.report.write.page import MOST_PICTURED, name_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pictures(
    sheet: Sheet,
    runs: Sequence[Run],
    profiles: Profiles,
    metrics: Metrics,
    studies: Sequence[Judged],
    out: Path,
    style: str,
    search: SearchTold | None,
    answers: Sequence[Answer],
    x: str,
) -> dict[str, Job]:
    """What draws the figures there may be data for, beside studies' own, each by itself."""
    study = only(studies, runs)
    usual = study is None or study.study.profiles

    def job(name: str, figure: Callable[[], Figure | None]) -> list[Path]:
        with look(style):
            drawn = figure()
            return [] if drawn is None else save(drawn, out, name)

    figures: dict[str, Callable[[], Figure | None]] = {}
    for number, one in enumerate(answers[:MOST_PICTURED], 1):
        figures[name_of("best", number)] = partial(best_figure, sheet, one)
        figures[name_of("axes", number)] = partial(axes_figure, sheet, one)
    with look(style):
        curvature = sharpness_figure(sheet, runs, metrics)  # reads files, and notes in the runs what it cannot
    figures |= {
        **(search.figures(sheet) if search is not None else {}),
        "study": lambda: study_figure(sheet, runs, profiles, metrics) if usual else None,
        "movement": lambda: movement_figure(sheet, runs, profiles),
        "curves": lambda: curves_figure(sheet, runs, metrics, x),
        "surfaces": lambda: surfaces_figure(sheet, runs, profiles),
        "curvature": lambda: curvature,
        "confusion": lambda: confusion_figure(sheet, runs),
        "residuals": lambda: residuals_figure(sheet, runs),
    }
    return {name: partial(job, name, figure) for name, figure in figures.items()}
