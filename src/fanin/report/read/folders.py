"""Finding run folders below given paths, and what belongs to a run beside its numbers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fanin.errors import UserError
from fanin.record.outcome import TASKS, Task
from fanin.record.overrides import RunConfig
from fanin.record.run_files import RunFiles, read_run


class Run:
    """A run's folder with what its files say; every reader adds a note here instead of failing.

    Attributes:
        files: what status.json and result.json say.
        name: the folder's path below the folder common to all runs.
        experiment: the experiment's name.
    """

    def __init__(self, files: RunFiles, name: str) -> None:
        self.files, self.name = files, name
        self.folder = files.folder
        self.experiment = str(files.result.get("experiment") or "")

    @property
    def config(self) -> RunConfig:
        """Its configuration."""
        return self.files.config

    @property
    def state(self) -> str:
        """One of columns.STATES."""
        return self.files.state

    @property
    def notes(self) -> list[str]:
        """One line for each thing that is not as it should be."""
        return self.files.notes

    def value(self, key: str) -> Any:
        """The run's value of a configuration key: among its overrides, else from its composed configuration."""
        return self.files.value(key)

    @property
    def seed(self) -> Any:
        """The run's seed; the folder itself where no file tells, so that such runs count one by one."""
        seed = self.value("seed")
        return str(self.folder) if seed is None else seed

    @property
    def task(self) -> str:
        """What its loss is about, one of outcome.TASKS; nothing where result.json does not tell."""
        return str(self.files.result.get("task") or "")

    @property
    def verdict(self) -> str:
        """The verdict on its initialization, of both passes where they differ; nothing where there is none."""
        forward, backward = self.files.verdicts
        both = f"forward {forward}, backward {backward}"
        return both if backward and forward != backward else self.files.verdict

    @property
    def progress(self) -> str:
        """How far an unfinished run has come, e.g. "step 120 of 1000"."""
        step, steps = self.files.status.get("step"), self.files.status.get("steps")
        if step is None:
            return ""
        return f"step {step}" + (f" of {steps}" if steps is not None else "")


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return (folder / "status.json").is_file() or (folder / ".hydra" / "config.yaml").is_file()


def find_runs(paths: Iterable[Path]) -> list[Path]:
    """The run folders at or below the given paths, each once, sorted; nothing is looked for inside a run.

    Raises:
        UserError: a path does not exist, is no folder or cannot be read.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path}: " + ("not a folder" if path.exists() else "no such folder"))
        if not os.access(path, os.R_OK | os.X_OK):
            raise UserError(f"{path}: no permission to read")
        for place, below, files in os.walk(path.resolve()):
            folder = Path(place)
            if not {"status.json", "result.json"}.isdisjoint(files) or (".hydra" in below and is_run(folder)):
                found[folder] = None
                below.clear()
            below[:] = [name for name in below if not name.startswith(".")]
    return sorted(found)


def grid_of(paths: Sequence[Path]) -> tuple[Path, list[Path]]:
    """The folder common to all runs at or below the given paths, and the runs' folders.

    Of a single run it is the grid folder that was asked for, or the run's own.

    Raises:
        UserError: no runs, or as find_runs.
    """
    found = find_runs(paths)
    if not found:
        raise UserError(f"{', '.join(map(str, paths))}: no runs here; a run's folder holds a status.json")
    common = common_parent(found)
    if len(found) == 1 and all(path.resolve() != common for path in paths):
        return common.parent, found
    return common, found


def titled(runs: Sequence[Run]) -> str:
    """The experiment's name, or those of several."""
    return ", ".join(sorted({run.experiment for run in runs if run.experiment})) or "runs"


def task_of(runs: Iterable[Run]) -> Task:
    """What the losses of all these runs are about, in whose words their numbers are told; of several that of most."""
    tasks = Counter(run.task for run in runs if run.task in TASKS)
    return TASKS[tasks.most_common(1)[0][0] if tasks else "classification"]


def read_runs(folders: Sequence[Path], root: Path) -> list[Run]:
    """The runs in these folders, named by their paths below `root`."""
    runs = []
    for folder in folders:
        name = folder.name if folder == root else folder.relative_to(root).as_posix()
        runs.append(Run(read_run(folder), name))
    # A run without a result belongs to the experiment of its siblings.
    known: dict[Path, Counter[str]] = {}
    for run in runs:
        if run.experiment:
            known.setdefault(run.folder.parent, Counter())[run.experiment] += 1
    for run in runs:
        if not run.experiment:
            siblings = known.get(run.folder.parent)
            run.experiment = siblings.most_common(1)[0][0] if siblings else run.folder.parent.name
    return runs


def common_parent(folders: Sequence[Path]) -> Path:
    """The deepest folder that holds all run folders; of a single run its own folder."""
    return Path(os.path.commonpath(folders)) if len(folders) > 1 else folders[0]
