"""From run folders to a report: find, read, group, tabulate, draw, write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from fanin.errors import UserError
from fanin.record.atomic_files import alone
from fanin.record.columns import IN_USE, IN_USE_FILE, names
from fanin.record.csv_file import write_table
from fanin.record.report_columns import CLAIMS
from fanin.record.summary import Row, rewrite_summary, rows_of, write_summary
from fanin.report.answers.answer import answers_of
from fanin.report.answers.words import told, write_answers
from fanin.report.claim import judge, only, table_of
from fanin.report.figures.roles import Asked, values_of
from fanin.report.figures.together import Job, drawing
from fanin.report.read.configurations import group_runs, setting
from fanin.report.read.folders import Run, find_runs, grid_of, task_of, titled
from fanin.report.read.in_use import forms_below, table_of_forms
from fanin.report.read.kept import Reader
from fanin.report.read.reuse import Drawn, drawn_before, fingerprint, forget, noted, remember
from fanin.report.read.where import chosen, where_of
from fanin.report.search.told import search_told
from fanin.report.tensorboard_events import write_means, write_tensorboard
from fanin.report.write.formats import formats_there, replace_table, write_formats
from fanin.report.write.page import Report, write_page
from fanin.report.write.tables import INITIALIZATION, interval_words, metric_table, study_rows
from fanin.report.write.templates import write_template

PATIENCE = 600.0
"""Seconds to wait for another report in the same place."""

MANY = 50
"""Runs from which on figures are worth processes of their own."""


def write_report(
    folders: Sequence[Path],
    out: Path | None = None,
    group_by: Sequence[str] | None = None,
    *,
    formats: Sequence[str] = (),
    redraw: bool = True,
    style: str = "screen",
    run_pages: bool = False,
    reader: Reader | None = None,
    numbers_only: bool = False,
    by: Asked | None = None,
    where: Sequence[str] = (),
    processes: int = 1,
) -> Report:
    """Read all runs at or below the folders and write the report; an earlier one in its place is replaced.

    Of two at once the second reads after the first has written: the last word is the newest.

    Args:
        folders: run folders or folders that hold some, at any depth.
        out: where to write; by default `report` in the folder common to all runs.
        group_by: configuration keys whose values make a configuration; by default all overrides but seed and fold.
        formats: of the table beside CSV and Markdown, see write.formats; one that is there already is written again.
        redraw: draw the figures also where they are there and no run's file has changed since.
        style: of the figures, see figures.paper.
        run_pages: write the page of every run, too; that of a folder that is a run's own is written in any case.
        reader: reads the runs' files; by default all of them anew.
        by: what panels and colours of the figures go by; None for what the sweep suggests.
        where: of the runs those that have these values, "key=value,value" each.
        numbers_only: leave figures and TensorBoard's files as an earlier report has drawn them.
        processes: that draw figures and pages of runs at once, at most, see figures.together.

    Raises:
        UserError: no runs, a path that is no folder, an unknown key to group by, or of `by` or `where`.
        OSError: a folder that cannot be written.
    """
    explicit = out is not None
    out = grid_of(folders)[0] / "report" if out is None else out.resolve()
    reader, by, redraw = reader or Reader(), by or Asked(), redraw and not numbers_only
    with _alone_in(out):
        grid, found = grid_of(folders)
        runs = chosen(reader.runs(found, grid), where_of(where))
        whole = len(runs) == len(found) and [folder.resolve() for folder in folders] == [grid]
        found, notes_before = [run.folder for run in runs], noted(runs)
        configurations = group_runs(runs, group_by)
        runs = [runs[position] for one in configurations for position in one.members]  # in the order of the table
        places = iter(range(len(runs)))
        for one in configurations:
            one.members = [next(places) for _ in one.members]

        profiles, metrics = reader.profiles(runs), reader.metrics(runs)
        values, follows = values_of(runs, configurations, by.metric), by if by.axes or style != "paper" else None
        if follows and style == "paper":  # a column is too narrow for panels side by side
            follows = replace(by, facet="none")
        title, told_setting = titled(runs), setting(runs, configurations)
        if by.x != "step" and not metrics.has(by.x):
            raise UserError(
                f"--x {by.x}: no run here has it in its metrics.csv; force=true runs them again, and then it is"
            )
        studies, notes = judge(runs, profiles, metrics)
        claims = [(one.experiment, claim) for one in studies for claim in one.claims]
        search = search_told(grid, runs, configurations, by.metric)
        sources, sought = [one.source for one in studies], search.sought if search is not None else None
        answers = []
        if search is None or len(search.metrics) == 1 or by.metric is not None:  # several have a front, and no best
            without = {one.experiment for one in studies}
            answers = answers_of(runs, configurations, by.metric, without, sought)
        best = None  # where the answer says of the search which one that is, so that it is said once
        if len(answers) == 1 and sought is not None and answers[0].metric.name == sought[0]:
            best = runs[configurations[answers[0].contest.best.place].members[0]].folder.name
        searched = search.lines(best) if search is not None else []
        before = drawn_before(out, None) if numbers_only else None
        mark = "" if before else fingerprint(runs, [*searched, style, repr(by), *(group_by or ()), *sources])
        if before is None and not redraw and (out / "tensorboard").is_dir():
            before = drawn_before(out, mark)
        jobs: dict[str, Job] = {}
        drawn, theory = (list(before.figures), before.theory) if before else ([], "")
        if before is None or numbers_only:  # matplotlib is imported where something is drawn, or would be
            from fanin.report.figures.depth import theory_words
            from fanin.report.figures.style import Sheet, look
            from fanin.report.pictures import pictures

            sheet = Sheet(title, told_setting, configurations, values, follows)
            theory = theory_words(sheet, profiles)
        if before is None:
            forget(out)
            profiles.read()
            metrics.read()
            with look(style):  # what a study says of its figure is for the page
                drawn += [path for one in studies for path in one.draw(out)]
            jobs = pictures(sheet, runs, profiles, metrics, studies, out, style, search, answers, by.x)
        with drawing(jobs, processes if len(runs) >= MANY else 1) as finished:
            said, forms = told(answers), forms_below(grid)
            rows = study_rows(runs, configurations)
            table = table_of(rows, only(studies, runs), runs, configurations)
            tables = [out / "table.csv", out / "table.md"]
            write_table(tables[0], list(rows[0]), [list(row.values()) for row in rows])
            metrics_told, judged = metric_table(rows, task_of(runs)), [claim for _, claim in claims]
            write_template(
                tables[1], "table.md", title=title, answers=said, claims=judged, table=table,
                initialization=INITIALIZATION, metrics=metrics_told, words=interval_words(rows),
            )  # fmt: skip
            said_of = [(experiment, claim.verdict, claim.text, claim.evidence) for experiment, claim in claims]
            claim_rows = [dict(zip(names(CLAIMS), one, strict=True)) for one in said_of]
            tables += replace_table(out / "claims.csv", names(CLAIMS), claim_rows)
            shown = [table, *([metrics_told] if metrics_told else []), *(own for one in said for own in one.tables)]
            tables += write_formats({*formats, *formats_there(out, "table")}, out, "table", shown, rows)
            tables += [*write_answers(out, answers), *replace_table(out / IN_USE_FILE, names(IN_USE), forms)]
            tables += search.tables(out) if search is not None else []
            summary_path, summary = _write_summary(runs, found, grid, out, whole=whole, explicit=explicit)
            if before is None:
                write_means(out, configurations, values, metrics, profiles)
            drawn += finished()
        if before is None:
            write_tensorboard(out, configurations, profiles, drawn)
            remember(out, mark if noted(runs) == notes_before else "", Drawn(drawn, theory))
        notes += [note for one in studies for note in one.notes]
        notes += dict.fromkeys(f"{run.name}: {note}" for run in runs for note in _notes(run))
        report = Report(
            title=title, setting=told_setting, grid=grid, out=out, summary=pd.DataFrame(summary),
            summary_path=summary_path, study=pd.DataFrame(rows, dtype=object), table=table,
            claims=judged, captions={one.experiment: one.study.caption for one in studies},
            tables=tables, figures=drawn, index=out / "index.html", notes=notes, answers=said, search=searched,
            rungs=search.rungs() if search is not None else None,
            in_use=table_of_forms(forms, grid) if forms else None,
        )  # fmt: skip
        if runs[0].folder == grid:  # the run that was asked for
            from fanin.report.run_pages import write_run_page

            report = replace(
                report, run_page=write_run_page(runs[0], style, back=report.index, folder=out if explicit else None)
            )
        elif run_pages:
            pages = {str(run.folder): partial(_page, run, style, report.index) for run in runs}
            with drawing(pages, processes) as finished:
                finished()
        write_page(report, rows, runs, theory=theory)
        return report


@contextmanager
def _alone_in(place: Path) -> Iterator[None]:
    """Make a folder and hold its lock; of a user's mistake, before which nothing was written, no new folder is left."""
    new = not place.exists()
    place.mkdir(parents=True, exist_ok=True)
    try:
        with alone(place / ".lock", PATIENCE):
            yield
    except UserError:
        if new and {one.name for one in place.iterdir()} <= {".lock"}:
            (place / ".lock").unlink(missing_ok=True)
            place.rmdir()
        raise


def _page(run: Run, style: str, back: Path) -> list[Path]:
    from fanin.report.run_pages import write_run_page

    return [write_run_page(run, style, back=back)]


def _write_summary(
    runs: Sequence[Run], found: Sequence[Path], grid: Path, out: Path, *, whole: bool, explicit: bool
) -> tuple[Path, list[Row]]:
    """Write summary.csv into the grid folder if the report covers all of it, else beside the report; and its rows.

    A grid folder that cannot be written is no obstacle to a report that goes elsewhere.
    """
    if {folder.parent for folder in found} == {grid} and (whole or set(find_runs([grid])) == set(found)):
        try:
            return grid / "summary.csv", rewrite_summary(grid, runs)
        except PermissionError:
            if not explicit:
                raise
    rows = rows_of(runs, grid)
    write_summary(out / "summary.csv", rows)
    return out / "summary.csv", rows


def _notes(run: Run) -> list[str]:
    """The run's notes, led by what ended or holds it."""
    said = f"{run.state} at {run.progress}" if run.progress else run.state
    if run.state == "failed":
        return [f"{said}: {run.error or 'no error recorded'}", *run.notes]
    if run.state == "running" and (updated := run.status.get("updated")):
        said += f", last update {updated}"
    return [said, *run.notes] if run.state in ("running", "interrupted") else run.notes
