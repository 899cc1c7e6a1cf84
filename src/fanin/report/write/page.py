"""The page of a report: study table, figures, runs with their states, notes; one file, no network."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd
from markupsafe import Markup, escape

from fanin.record.columns import STATES
from fanin.record.outcome import metric_words
from fanin.record.overrides import display
from fanin.record.summary import METRICS
from fanin.report.answers.words import Told
from fanin.report.read.configurations import canonical, short_keys
from fanin.report.read.folders import PAGE, Run, task_of
from fanin.report.studies.base import Claim
from fanin.report.write.tables import INITIALIZATION, Row, Table, interval_words
from fanin.report.write.templates import by_ending, href, write_template

LARGEST_INLINE = 200_000
"""Bytes of a figure that stands in the page itself; of a larger one the page shows the PNG."""

MOST_PICTURED = 6
"""Answers that have pictures, of as many experiments and data sets."""

MOST_KEYS = 12
"""Of what varies, columns in the table of runs."""


@dataclass(frozen=True)
class Report:
    """What a report consists of.

    Attributes:
        title, setting: the experiment; what all its runs share, and the names of what varies.
        grid, out: the folder that holds all the runs, and the report's own.
        summary: a row per run, with the columns of summary.csv, which is at summary_path.
        study: a row per configuration, with the columns of table.csv; None is what there is not.
        table: the table for people.
        claims, captions: of the experiments that are studies: judged; of their own figures, by the experiment's name.
        tables, figures, index: the files written, and the page.
        search: what it says of a search, a line each.
        rungs: a table of the search's rungs, where there are several.
        in_use: a table of the pruned, quantized and exported forms of its networks, where there are some.
        notes: what is not as it should be, a line each, beginning with the name of the run or the experiment.
        answers: what the sweep says, of each experiment and data set that is no study.
        run_page: of the run whose folder was asked for.
    """

    title: str
    setting: str
    grid: Path
    out: Path
    summary: pd.DataFrame
    summary_path: Path
    study: pd.DataFrame
    table: Table
    claims: list[Claim]
    captions: dict[str, str]
    tables: list[Path]
    figures: list[Path]
    index: Path
    notes: list[str]
    answers: list[Told] = field(default_factory=list)
    run_page: Path | None = None
    search: Sequence[str] = ()
    rungs: Table | None = None
    in_use: Table | None = None


def write_page(report: Report, rows: Sequence[Row], runs: Sequence[Run], *, theory: str) -> None:
    """Write index.html beside the figures and tables; every text from outside is escaped.

    Args:
        report: what it consists of.
        rows, runs: of the table, and all runs in its order.
        theory: what the study figure shows of it, as the end of a sentence.
    """
    metrics = [name for name in METRICS if any(run.metric(name) is not None for run in runs)]
    figures = by_ending(report.figures)

    drawn = {name: svg for name, paths in figures.items() if (svg := inline(paths.get(".svg"), name))}
    filters: dict[str, Callable[..., str]] = {"words": metric_words, "titled": titled}
    keys = keys_of(runs)
    write_template(
        report.index, "page.html", filters, report=report, figures=figures,
        states={state: count for state in STATES if (count := sum(run.state == state for run in runs))},
        theory=theory, initialization=INITIALIZATION, intervals=interval_words(rows), metrics=metrics,
        task=task_of(runs), keys=keys, drawn=drawn, name_of=name_of,
        run_rows=[run_row(run, list(keys), metrics, report.index) for run in runs],
    )  # fmt: skip


def run_row(run: Run, keys: Sequence[str], metrics: Sequence[str], page: Path) -> Markup:
    """The row of a run in the page's last table; made once as long as it and its files stay as they are.

    Args:
        run: it.
        keys, metrics: the configuration's and the metrics that have a column.
        page: to which its links are relative.
    """
    folder = str(run.folder)
    files = [f"{folder}/{name}" for name in (PAGE.as_posix(), "run.log")]
    there = [os.path.isfile(file) for file in files]  # noqa: PTH113 (asked of thousands of runs at each report)
    return run.once(
        "row of the page", (run.name, keys, metrics, page, there), partial(_row, run, keys, metrics, page, there)
    )


def _row(run: Run, keys: Sequence[str], metrics: Sequence[str], page: Path, there: Sequence[bool]) -> Markup:
    own = href(run.folder / PAGE, page) if there[0] else f"{href(run.folder, page)}/"
    log = f' <a class="small" href="{href(run.folder / "run.log", page)}">log</a>' if there[1] else ""
    values = [run.value(key) for key in keys]
    texts = [escape("" if value is None else display(value)) for value in values]
    outcome = run.outcome or run.progress
    if run.diverged:
        outcome = f"diverged at step {run.diverged.get('step')} ({run.diverged.get('layer')})"
    texts += [
        Markup(f'<span class="badge {run.state}">{run.state}</span>'),
        escape(outcome),
        escape(run.verdict_of_both),
    ]
    numbers = [run.init("factor_per_layer"), *map(run.metric, metrics)]
    cells = [f'<a href="{own}">{escape(run.name)}</a>{log}', *texts]
    told = "".join(f"<td>{text}</td>" for text in cells)
    told += "".join(f'<td class="n">{"" if number is None else f"{number:.4g}"}</td>' for number in numbers)
    return Markup(f"<tr>{told}</tr>")  # each text from outside is escaped above, and href quotes


def name_of(picture: str, number: int) -> str:
    """Of the picture of one answer of several, from 1: best, best_2, ..."""
    return picture if number == 1 else f"{picture}_{number}"


def keys_of(runs: Sequence[Run]) -> dict[str, str]:
    """The keys in which runs differ, with their short names; the seed the last."""
    keys = dict.fromkeys(key for run in runs for key in run.overrides)
    varying = [key for key in keys if len({canonical(run.value(key)) for run in runs}) > 1]
    return short_keys(sorted(varying, key=lambda key: key == "seed")[-MOST_KEYS:])


def inline(path: Path | None, name: str) -> str | None:
    """A small figure as a part of the page: its element `svg`, ids led by the figure's name; None of another file."""
    if path is None or not path.is_file() or path.stat().st_size > LARGEST_INLINE:
        return None
    text = path.read_bytes().decode(errors="replace")
    start = text.find("<svg")
    if start < 0:
        return None
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text[start:], flags=re.DOTALL)
    return re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", text)


def titled(svg: str, title: str, text: str) -> Markup:
    """A figure with what a screen reader says of it."""
    head = Markup("<title>{}</title><desc>{}</desc>").format(title, text)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1).replace(">", f">{head}", 1))
