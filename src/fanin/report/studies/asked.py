"""What a study asks for beside the runs of its grid: runs that start from others, prunings, lines and planes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from fanin.errors import UserError
from fanin.record.prunings import FOLDER as PRUNINGS
from fanin.report.read.folders import grid_of, read_runs
from fanin.report.studies import study_of
from fanin.report.studies.base import Study


def asked_of(folders: Sequence[Path], what: Literal["followers", "prunings", "landscapes"]) -> list[Any]:
    """What the study of these runs asks for, of those that are done; [] where there is no study, or none that asks.

    A study that cannot be made is told by the report.

    Args:
        folders: of runs, or above them; what was pruned is none of a grid's runs.
        what: the method of Study that is asked.
    """
    try:
        grid, found = grid_of(folders)
    except UserError:
        return []
    found = [folder for folder in found if PRUNINGS not in folder.relative_to(grid).parts]
    if not found:
        return []
    (first,) = read_runs(found[:1], grid)
    try:
        study = study_of(first.experiment, [first])
    except Exception:
        return []
    if study is None or getattr(type(study), what) is getattr(Study, what):
        return []
    return list(getattr(study, what)([run for run in read_runs(found, grid) if run.state == "done"]))
