"""Finding run folders below given paths, and what belongs to a run beside its numbers."""

from __future__ import annotations

import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanin.errors import UserError, did_you_mean
from fanin.record.outcome import TASKS, Task
from fanin.record.run_files import RunFiles, read_into

PAGE = Path("report", "run.html")
"""A run's own page in its folder, where one was asked for."""


@dataclass(eq=False)
class Run(RunFiles):
    """What a run's files say; every reader adds a note here instead of failing.

    Attributes:
        name: the folder's path below the folder common to all runs.
        experiment: the experiment's name.
    """

    name: str = ""
    experiment: str = ""

    @property
    def seed(self) -> Any:
        """The run's seed; the folder itself where no file tells, so that such runs count one by one."""
        seed = self.value("seed")
        return str(self.folder) if seed is None else seed

    @property
    def verdict_of_both(self) -> str:
        """The verdict on its initialization, of both passes where they differ; nothing where there is none."""
        forward, backward = self.verdicts
        return f"forward {forward}, backward {backward}" if backward and forward != backward else self.verdict

    @property
    def page(self) -> Path | None:
        """Its own page, where one was written."""
        page = self.folder / PAGE
        return page if page.is_file() else None

    @property
    def progress(self) -> str:
        """How far it has come, e.g. "step 120 of 1000"."""
        step, steps = self.status.get("step"), self.status.get("steps")
        return "" if step is None else f"step {step}" + (f" of {steps}" if steps is not None else "")

    def final(self, name: str) -> float:
        """A finite number of its result; nan where there is none, or it was not trained to its end."""
        value = self.numbers.get(name, math.nan) if self.state == "done" else math.nan
        return value if math.isfinite(value) else math.nan

    def judged(self, name: str, sign: float = 1.0) -> float:
        """The same times a sign; inf of a run that diverged, which is worse than any number."""
        return math.inf if self.state == "diverged" else sign * self.final(name)


def find_runs(paths: Iterable[Path]) -> list[Path]:
    """The run folders at or below the given paths, each once, sorted; nothing is looked for inside a run.

    Raises:
        UserError: a path does not exist, is no folder or cannot be read.
    """
    found: dict[str, None] = {}
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path}: " + ("not a folder" if path.exists() else "no such folder"))
        if not os.access(path, os.R_OK | os.X_OK):
            raise UserError(f"{path}: no permission to read")
        found |= dict.fromkeys(_runs_below(str(path.resolve())))
    return sorted(map(Path, found), key=lambda folder: folder.parts)


def _runs_below(place: str) -> Iterator[str]:
    """The run folders at or below one, as texts: of thousands, making objects of them takes longer than looking."""
    folders = [place]
    while folders:
        place = folders.pop()
        try:
            with os.scandir(place) as there:
                entries = {one.name: one for one in there}
        except OSError:
            continue
        recorded = ".hydra" in entries and os.path.isfile(f"{place}/.hydra/config.yaml")  # noqa: PTH113
        if recorded or any(name in entries and not entries[name].is_dir() for name in ("status.json", "result.json")):
            yield place
            continue
        inner = (one for name, one in entries.items() if not name.startswith("."))
        folders += [one.path for one in inner if one.is_dir(follow_symlinks=False)]


def grid_of(paths: Sequence[Path]) -> tuple[Path, list[Path]]:
    """The folder common to all runs at or below the given paths, and the runs' folders.

    Of a single run it is the grid folder that was asked for, or the run's own.

    Raises:
        UserError: no runs, or as find_runs.
    """
    found = find_runs(paths)
    if not found:
        raise UserError(f"{', '.join(map(str, paths))}: no runs here; a run's folder holds a status.json")
    if len(found) > 1:
        return Path(os.path.commonpath([found[0], found[-1]])), found  # of sorted ones what these share all do
    (run,) = found
    return run if any(path.resolve() == run for path in paths) else run.parent, found


def titled(runs: Sequence[Run]) -> str:
    """The experiment's name, or those of several."""
    return ", ".join(sorted({run.experiment for run in runs if run.experiment})) or "runs"


def check_metric(runs: Iterable[Run], metric: str | None) -> list[str]:
    """The numbers that any of these runs has; the metric that was asked for must be one of them.

    Raises:
        UserError: it is none.
    """
    known = sorted({name for run in runs for name in run.numbers})
    if metric is not None and metric not in known:
        fix = did_you_mean(metric, known) or f"they have {', '.join(known) or 'none'}"
        raise UserError(f"--metric {metric}: none of these runs has it; {fix}")
    return known


def task_of(runs: Iterable[Run]) -> Task:
    """What the losses of all these runs are about, in whose words their numbers are told; of several that of most."""
    tasks = Counter(task for run in runs if (task := str(run.result.get("task"))) in TASKS)
    return TASKS[tasks.most_common(1)[0][0] if tasks else "classification"]


def error_unit(runs: Sequence[Run]) -> str:
    """The unit of the error where it is that of estimates of a number, in words; "" for others, and of two units."""
    if task_of(runs) is not TASKS["regression"]:
        return ""
    scaled = {run.value("data.standardize_target") for run in runs}
    return {(True,): "standard deviations of the target", (False,): "the target's unit"}.get(tuple(scaled), "")


def read_runs(folders: Sequence[Path], root: Path) -> list[Run]:
    """The runs in these folders, by their paths below `root`; a run without a result has its siblings' experiment."""
    return name_runs([read_into(Run(folder)) for folder in folders], root)


def name_runs(runs: list[Run], root: Path) -> list[Run]:
    """The same runs with their names and experiments."""
    known: dict[Path, Counter[str]] = defaultdict(Counter)
    for run in runs:
        within = run.folder.parent != root and run.folder != root
        run.name = run.folder.relative_to(root).as_posix() if within else run.folder.name
        run.experiment = str(run.result.get("experiment") or "")
        known[run.folder.parent].update([run.experiment] if run.experiment else [])
    for run in runs:
        siblings = known[run.folder.parent].most_common(1) or [(run.folder.parent.name, 0)]
        run.experiment = run.experiment or siblings[0][0]
    return runs
