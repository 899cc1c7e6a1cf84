"""Keeping a report current while its runs go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from fanin.report.figures.roles import Asked
from fanin.report.make import write_report
from fanin.report.read.folders import find_runs
from fanin.report.read.kept import KeepingReader
from fanin.report.read.reuse import stamp
from fanin.report.write.page import Report

PAUSE = 0.2
"""Seconds between two looks at the runs' files, at least: where there are many, four times as long as a look takes."""

FIGURES = 10.0
"""Figures are drawn again after so many times the seconds that it took the last time, or as soon as nothing changes."""


def watch(
    folders: Sequence[Path],
    out: Path | None,
    group_by: Sequence[str],
    formats: Sequence[str],
    style: str,
    *,
    by: Asked | None = None,
    where: Sequence[str] = (),
    first: Callable[[Report], object],
    tell: Callable[[str], object],
) -> None:
    """Write a report, and again whenever a file of a run has changed, until the user stops it (KeyboardInterrupt).

    Page and tables follow at once: only runs that have changed are read again. Figures, which take longer, follow as
    soon as nothing changes any more, and now and then before.

    Args:
        folders, out, group_by, formats, style, by, where: see `write_report`; the folders may be empty as yet.
        first: told of the first report.
        tell: told in a line of each further one.
    """
    reader = KeepingReader()
    known: dict[Path, list[str]] | None = None
    drawn, took, stale, told = 0.0, 0.0, False, False  # when figures were drawn, how long, whether runs changed since
    while True:
        looked = time.monotonic()
        found = find_runs([folder for folder in folders if folder.is_dir()])
        if not found and not told:
            told = True
            tell(f"no runs yet in {', '.join(map(str, folders))}")
        marks = {folder: stamp(folder) for folder in found}
        pause = max(PAUSE, 4 * (time.monotonic() - looked))
        changed = bool(found) and marks != known
        if changed or stale:
            began = time.monotonic()
            figures = known is None or not changed or began - drawn > FIGURES * took
            report = write_report(
                folders, out, group_by, formats=formats, redraw=False, style=style, reader=reader,
                numbers_only=not figures, by=by, where=where,
            )  # fmt: skip
            if figures:
                drawn, took = time.monotonic(), time.monotonic() - began
            if known is None:
                first(report)
            elif changed:
                tell(_line(report))
            known, stale = marks, not figures
        time.sleep(pause)


def _line(report: Report) -> str:
    """How many runs there are by now, in which states."""
    counts = report.summary["state"].value_counts()
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    return f"{datetime.now():%H:%M:%S} {len(report.summary)} runs: {states}"
