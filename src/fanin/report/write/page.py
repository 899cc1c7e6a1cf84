"""The page of a report: study table, figures, runs with their states, notes; one file, no script, no network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader

from fanin.record.atomic_files import write_atomically
from fanin.record.columns import STATES
from fanin.record.summary import METRICS
from fanin.report.read.folders import Run, task_of
from fanin.report.write.tables import INITIALIZATION, interval_words, metric_words

if TYPE_CHECKING:
    from fanin.report import Report

CAPTIONS = {
    "study": "At initialization over depth, and the training loss. Thin: one seed; thick: mean over seeds",
    "movement": "Before (pale) and after training (dashed), and how far the weights of each layer moved.",
    "curves": "Mean with its 95 % t-interval, as long as half of the runs go on; of two runs both instead.",
    "confusion": "What the examples of each class were taken for, in percent of the class, over all finished runs.",
}
THEORY = {
    True: "; dashed: theory's median at this width, shaded: one standard deviation of a single seed around it; dotted: "
    "mean square.",
    False: ". There is no theory for this recipe.",
}


def write_page(report: Report, runs: Sequence[Run], *, theory: bool) -> None:
    """Write index.html beside the figures and tables; every text from outside is escaped.

    Args:
        report: what it consists of.
        runs: all runs, in the order of the table.
        theory: whether the study figure shows any.
    """
    metrics = [name for name in METRICS if any(run.files.metric(name) is not None for run in runs)]
    figures: dict[str, dict[str, Path]] = {}
    for path in report.figures:
        figures.setdefault(path.stem, {})[path.suffix] = path
    templates = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=False)

    def href(path: Path) -> str:
        """The path relative to the page; a leading "./" keeps a name with a colon from reading as an address."""
        return quote("./" + Path(os.path.relpath(path, report.out)).as_posix())

    templates.filters |= {"href": href, "words": metric_words}
    text = templates.get_template("page.html").render(
        report=report,
        states={state: count for state in STATES if (count := sum(run.state == state for run in runs))},
        figures=figures,
        captions=CAPTIONS | {"study": CAPTIONS["study"] + THEORY[theory]} | report.captions,
        initialization=INITIALIZATION,
        intervals=interval_words(report.study),
        metrics=metrics,
        task=task_of(runs),
        runs=[_run(run, metrics) for run in runs],
    )
    write_atomically(report.index, lambda file: file.write(text.encode(errors="replace")))


def _run(run: Run, metrics: Sequence[str]) -> dict[str, Any]:
    """A row of the table of runs."""
    log = run.folder / "run.log"
    outcome = run.files.outcome or run.progress
    if run.files.diverged:
        outcome = f"diverged at step {run.files.diverged.get('step')} ({run.files.diverged.get('layer')})"
    return {
        "folder": run.folder,
        "name": run.name,
        "log": log if log.is_file() else None,
        "state": run.state,
        "outcome": outcome,
        "verdict": run.verdict,
        "numbers": [run.files.init("factor_per_layer"), *(run.files.metric(name) for name in metrics)],
    }
