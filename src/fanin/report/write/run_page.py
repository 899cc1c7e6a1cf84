"""The page of one run: what it was told, what became of it, what was measured, its log and its files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from fanin.record import columns
from fanin.report.read.curvature import verdict_words
from fanin.report.read.differences import command_of, differences, typed_in
from fanin.report.read.folders import PAGE, Run
from fanin.report.write.templates import by_ending, href, write_template

MOST_LINES = 200  # of the log, its last
MOST_BYTES = 1 << 20
DESCRIBED = (*columns.FINAL, *columns.EVALUATION, *columns.INIT)


def page_of_run(run: Run, folder: Path, figures: Sequence[Path], *, back: Path | None) -> Path:
    """Write run.html into a folder, where its figures are; every text from outside is escaped.

    Args:
        run: as it was read.
        folder: where the page goes.
        figures: of this run, called run_<name>.
        back: the page of all runs, where there is one.
    """
    page = folder / PAGE.name
    named = {stem.removeprefix("run_"): paths for stem, paths in by_ending(figures).items()}
    told = [(one, run.numbers.get(one.name)) for one in DESCRIBED]
    different = [(Markup("<code>{}</code>").format(one.key), one.value, one.default) for one in differences(run)]
    link = Markup('<a href="{}">{}</a>')
    write_template(
        page, "run_page.html", run=run, figures=named, title=run.experiment, back=back,
        numbers=[(one.name, f"{value:.6g}", one.meaning) for one, value in told if value is not None],
        point=verdict_words(run.result.get("curvature")),
        different=different, command=command_of(run), cwd=typed_in(run), log=_log(run.folder / "run.log"),
        files=[(link.format(href(path, page), name), size) for path, name, size in files_of(run.folder)],
    )  # fmt: skip
    return page


def files_of(folder: Path) -> list[tuple[Path, str, int]]:
    """The files of a run: path, name below the run's folder, bytes; what a report has written there is left out."""
    found = []
    for place, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if Path(place, name) != folder / PAGE.parent)
        for name in sorted(names):
            path = Path(place, name)
            if name != ".lock" and path.is_file():
                found.append((path, path.relative_to(folder).as_posix(), path.stat().st_size))
    return found


def _log(path: Path) -> str | None:
    """The last lines of the log; None where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - MOST_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    left = len(lines) - MOST_LINES
    return "\n".join([*([f"... {left} lines before, see {path.name}"] if left > 0 else []), *lines[-MOST_LINES:]])
