"""The page of one run: what it was told, what became of it, what was measured, its log and its files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from fanin.record import columns
from fanin.report.read.curvature import verdict_words
from fanin.report.read.differences import command_of, differences, typed_in
from fanin.report.read.folders import PAGE, Run
from fanin.report.write.templates import write_template

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
    named: dict[str, dict[str, Path]] = {}
    for path in figures:
        named.setdefault(path.stem.removeprefix("run_"), {})[path.suffix] = path

    def href(path: Path) -> str:
        """The path relative to the page; a leading "./" keeps a name with a colon from reading as an address."""
        return quote("./" + Path(os.path.relpath(path, folder)).as_posix())

    numbers = [(one.name, value, one.meaning) for one in DESCRIBED if (value := run.numbers.get(one.name)) is not None]
    write_template(
        page, "run_page.html", {"href": href}, run=run, figures=named, title=run.experiment, back=back, numbers=numbers,
        point=verdict_words(run.result.get("curvature")),
        different=differences(run), command=command_of(run), cwd=typed_in(run), log=_log(run.folder / "run.log"),
        files=files_of(run.folder),
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
