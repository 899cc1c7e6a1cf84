"""From run folders to a report: find, read, group, tabulate, draw, write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fanin.errors import counted
from fanin.record.atomic_files import alone
from fanin.record.overrides import display
from fanin.record.run_files import RunFiles
from fanin.record.summary import rewrite_summary, rows_of, write_summary
from fanin.report import Report
from fanin.report.claim import Judged, judge, only, table_of, write_claims
from fanin.report.figures.confusion import confusion_figure
from fanin.report.figures.init_figure import has_theory, study_figure
from fanin.report.figures.movement import movement_figure
from fanin.report.figures.style import Sheet, look, save
from fanin.report.figures.training import curves_figure
from fanin.report.read.configurations import REPLICATES, Configuration, canonical, group_runs, short_keys
from fanin.report.read.folders import Run, find_runs, grid_of, read_runs, task_of, titled
from fanin.report.read.reuse import drawn_before, fingerprint, forget, remember
from fanin.report.read.series import Metrics, Profiles, read_metrics, read_profiles
from fanin.report.theory_events import write_tensorboard
from fanin.report.write.page import write_page
from fanin.report.write.tables import study_table, write_table_csv, write_table_markdown

# What a setting tells in words of its own, see RunConfig.setting.
TOLD = (
    "data", "model.depth", "model.width", "activation", "normalization", "optimizer", "optimizer.lr",
    "trainer.batch_size",
)  # fmt: skip


PATIENCE = 600.0
"""Seconds to wait for another report in the same place."""


def compose(folders: Sequence[Path], out: Path | None, group_by: Sequence[str] | None, *, redraw: bool) -> Report:
    """See write_report. Of two at once the second reads after the first has written: the last word is the newest."""
    grid, _ = grid_of(folders)
    report_folder = grid / "report" if out is None else out.resolve()
    report_folder.mkdir(parents=True, exist_ok=True)
    with alone(report_folder / ".lock", PATIENCE):
        return _compose(folders, report_folder, group_by, redraw=redraw, explicit=out is not None)


def _compose(
    folders: Sequence[Path], report_folder: Path, group_by: Sequence[str] | None, *, redraw: bool, explicit: bool
) -> Report:
    grid, found = grid_of(folders)
    runs = read_runs(found, grid)
    configurations = group_runs(runs, group_by)
    runs, configurations = _in_table_order(runs, configurations)

    profiles, metrics = read_profiles(runs), read_metrics(runs)
    sheet = Sheet(titled(runs), _setting(runs, configurations), configurations)
    studies, notes = judge(runs, profiles, metrics)
    claims = [claim for one in studies for claim in one.claims]
    mark = fingerprint(runs, [*(group_by or ()), *(one.source for one in studies)])
    figures = None if redraw else drawn_before(report_folder, mark)
    if figures is None:
        forget(report_folder)
        figures = _draw(sheet, runs, profiles, metrics, studies, report_folder)
        remember(report_folder, mark, figures)
    study, table = study_table(runs, configurations), table_of(studies, runs, configurations)
    tables = [report_folder / "table.csv", report_folder / "table.md"]
    write_table_csv(tables[0], study)
    write_table_markdown(tables[1], sheet.title, study, table, claims, task_of(runs))
    tables += _write_claims(report_folder / "claims.csv", studies)
    rows = rows_of([run.files for run in runs], grid)
    summary_path = _write_summary([run.files for run in runs], found, grid, report_folder, explicit=explicit)
    write_tensorboard(report_folder, configurations, profiles, figures)
    notes += [note for one in studies for note in one.notes]
    notes += dict.fromkeys(f"{run.name}: {note}" for run in runs for note in _notes(run))
    report = Report(
        title=sheet.title, setting=sheet.setting, grid=grid, out=report_folder, summary=pd.DataFrame(rows),
        summary_path=summary_path, study=study, table=table, claims=claims,
        captions={one.experiment: one.study.caption for one in studies}, tables=tables, figures=figures,
        index=report_folder / "index.html", notes=notes,
    )  # fmt: skip
    write_page(report, runs, theory=has_theory(profiles))
    return report


def _in_table_order(runs: list[Run], configurations: list[Configuration]) -> tuple[list[Run], list[Configuration]]:
    """Runs in the order of their configurations and seeds, with the configurations' positions to match."""
    order = [position for one in configurations for position in one.members]
    start = 0
    for one in configurations:
        one.members = list(range(start, start + len(one.members)))
        start += len(one.members)
    return [runs[position] for position in order], configurations


def _setting(runs: Sequence[Run], configurations: Sequence[Configuration]) -> str:
    """What all runs share, then the names of what varies between them, and how many seeds and folds there are."""
    ended = [run for run in runs if run.config.config] or runs

    def shared(key: str) -> bool:
        return len({canonical(run.value(key)) for run in ended}) == 1

    overrides = dict.fromkeys(key for run in runs for key in run.files.overrides if key not in REPLICATES)
    varying = [key for key in dict.fromkeys((*TOLD, *overrides)) if not shared(key)]
    words = ended[0].config.setting(varying)
    # A single configuration is named by what it sets: the heading of the table is its label.
    others = [key for key in overrides if key not in (*TOLD, *varying)] if len(configurations) > 1 else []
    short = short_keys([*others, *varying])
    words += [f"{short[key]} {display(ended[0].value(key))}" for key in others]
    told = [", ".join(words)] if words else []
    told += [f"different {', '.join(short[key] for key in varying)}"] if varying else []
    counts = [counted(len({canonical(run.seed) for run in runs}), "seed")]
    counts += [counted(one, "fold") for one in [max((each.folds or 0 for each in configurations), default=0)] if one]
    return "; ".join([*told, ", ".join(counts)])


def _write_claims(path: Path, studies: Sequence[Judged]) -> list[Path]:
    """claims.csv where there are claims; that of an earlier report is removed where there are none."""
    if not any(one.claims for one in studies):
        path.unlink(missing_ok=True)
        return []
    write_claims(path, studies)
    return [path]


def _draw(
    sheet: Sheet, runs: Sequence[Run], profiles: Profiles, metrics: Metrics, studies: Sequence[Judged], out: Path
) -> list[Path]:
    """Draw what there is data for, studies' own figures first."""
    study = only(studies, runs)
    usual = study is None or study.study.profiles
    with look():
        drawn = {one.experiment: one.draw(_setting, out) for one in studies}
        figures = {
            "study": study_figure(sheet, runs, profiles, metrics) if usual else None,
            "movement": movement_figure(sheet, runs, profiles),
            "curves": curves_figure(sheet, runs, metrics),
            "confusion": confusion_figure(sheet, runs),
        }
        drawn |= {name: save(figure, out, name) for name, figure in figures.items() if figure is not None}
    return [path for paths in drawn.values() for path in paths]


def _write_summary(runs: Sequence[RunFiles], found: Sequence[Path], grid: Path, out: Path, *, explicit: bool) -> Path:
    """Write summary.csv into the grid folder if the report covers all of it, else beside the report.

    A grid folder that cannot be written is no obstacle to a report that goes elsewhere.
    """
    path = grid / "summary.csv"
    whole = {folder.parent for folder in found} == {grid} and set(find_runs([grid])) == set(found)
    if whole:
        try:
            rewrite_summary(grid, runs)
            return path
        except PermissionError:
            if not explicit:
                raise
    write_summary(out / "summary.csv", rows_of(runs, grid))
    return out / "summary.csv"


def _notes(run: Run) -> list[str]:
    """The run's notes, led by what ended or holds it."""
    progress = f" at {run.progress}" if run.progress else ""
    if run.state == "failed":
        return [f"failed{progress}: {run.files.error or 'no error recorded'}", *run.notes]
    if run.state in ("running", "interrupted"):
        updated = run.files.status.get("updated")
        since = f", last update {updated}" if run.state == "running" and updated else ""
        return [f"{run.state}{progress}{since}", *run.notes]
    return run.notes
