"""A grid's folder: the files that a grid writes beside its runs, and a check that existing ones come from a grid."""

from __future__ import annotations

from pathlib import Path

from fanin.record.columns import SUMMARY_FIRST, names

SUMMARY, LOCK, MULTIRUN, REPORT = "summary.csv", ".summary.lock", "multirun.yaml", "report"
START = ",".join(names(SUMMARY_FIRST)).encode()
REPORT_FILES = (".figures.json", "index.html", "table.csv")
"""Every report has one of these, also one that was interrupted."""


def stranger(grid: Path) -> str | None:
    """The first file that a grid would overwrite and that no grid has written; None if there is none.

    Other files in the folder do not matter: a grid writes nothing but these and the folders of its runs.

    Raises:
        OSError: the folder cannot be looked into.
    """
    if (grid / LOCK).exists():  # made by the first run that ended here
        return None
    checks = {SUMMARY: _is_summary, MULTIRUN: _is_multirun, REPORT: _is_report}
    return next((name for name, ours in checks.items() if (grid / name).exists() and not ours(grid / name)), None)


def has_header(path: Path) -> bool:
    """Whether a file begins with the header of summary.csv."""
    with path.open("rb") as file:
        return file.read(len(START)) == START


def _is_summary(path: Path) -> bool:
    return has_header(path) or not path.read_bytes().strip()


def _is_multirun(path: Path) -> bool:
    content = path.read_bytes()
    return not content.strip() or b"fanin" in content


def _is_report(path: Path) -> bool:
    there = {one.name for one in path.iterdir()}
    return not there or not there.isdisjoint(REPORT_FILES)
