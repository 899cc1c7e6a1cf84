"""The runs of a rung: composed, checked, launched by whichever launcher was typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from fanin.errors import UserError
from fanin.record.grid_folder import stranger
from fanin.record.run_folder import RunFolder
from fanin.search.random_proposals import Job
from fanin.sweep.composer import Composed, Composer
from fanin.sweep.hydra_keys import check_folders, check_pool
from fanin.sweep.other_launchers import check_launcher, launch
from fanin.sweep.plan import InvalidRuns, Plan, Planned
from fanin.sweep.pool import PROCESS


@dataclass
class RungPlan:
    """What is to be run on a rung.

    Args:
        plan: its runs.
        names: the run of each trial and seed.
        refused: the trials whose configuration cannot be run, with the reason.
        jobs: the overrides of each run, in the order of the plan's `per_job`.
    """

    plan: Plan
    names: dict[tuple[int, int], str] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    jobs: list[list[str]] = field(default_factory=list)

    @property
    def left(self) -> list[str]:
        """The runs that have not come as far as the rung goes now: stopped on their way, or never begun."""
        return [name for name, run in self.plan.runs.items() if not _over(run)]


class Runs:
    """Composes and launches runs for a search.

    Args:
        master: the configuration of the multirun, with its hydra node.
        loader: composes.
        launcher: any of Hydra's.

    Raises:
        OptionError, UserError: the launcher or the folder cannot be used.
    """

    def __init__(self, master: DictConfig, loader: ConfigLoader, launcher: Launcher) -> None:
        self.master, self.launcher = master, launcher
        self.ours = getattr(launcher, "launch_runs", None)
        if self.ours is not None:
            launcher.check_options()  # type: ignore[attr-defined]
        self.name = str(master.hydra.runtime.choices.get("hydra/launcher"))
        check_launcher(self.name, launcher)
        check_folders(master.hydra, grid=True)
        self.grid = Path(master.hydra.sweep.dir)
        if name := stranger(self.grid):
            raise UserError(
                f"hydra.sweep.dir={self.grid}: {name} is there and no grid's, and a search would write over it; "
                "choose another folder"
            )
        self.composer = Composer(loader, master)
        self.lengths: dict[str, int] = {}
        self.folders: dict[str, tuple[Path, bool]] = {}

    def length(self, composed: Composed) -> int:
        """The updates of a whole run."""
        from fanin.run.length import length_key, updates_of  # torch
        from fanin.run.make_option import Options

        options = Options(composed.task)
        if (key := length_key(options)) not in self.lengths:
            self.lengths[key] = updates_of(options)
        return self.lengths[key]

    def first_length(self, jobs: Sequence[Job]) -> int:
        """The updates of the first of some configurations that can be run.

        Raises:
            InvalidRuns: none of them can, with the mistakes of the first.
        """
        mistakes: list[str] = []
        for job in jobs:
            composed = self.composer([*job, "seed=0"])
            if self.ours is not None:
                check_pool(composed.record)
            trial = Plan(self.grid)
            trial.add(composed)
            if not trial.mistakes and not trial.refused:
                return self.length(composed)
            mistakes.append("\n".join([*trial.mistakes, *trial.refused[:1]]))
        raise InvalidRuns(mistakes[0])

    def plan(self, jobs: Mapping[int, Job], seeds: Sequence[int], share: Fraction) -> RungPlan:
        """Plan the runs of some configurations at some seeds, up to a share of their steps.

        Raises:
            InvalidRuns: a folder holds something else.
        """
        found = RungPlan(Plan(self.grid))
        for trial, job in jobs.items():
            if mistake := self.mistake(job, seeds[0]):
                found.refused[trial] = mistake
                continue
            for seed in seeds:
                overrides = [*job, f"seed={seed}"]
                if share < 1:
                    steps = self.length(self.composer(overrides))
                    overrides.append(f"pause_at={max(1, round(steps * share))}")
                found.names[trial, seed] = found.plan.add(self.composer(overrides)).name
                found.jobs.append(overrides)
        found.plan.mistakes.clear()  # a configuration that can be run at one seed can at all
        found.plan.refuse_mistakes()
        return found

    def mistake(self, job: Job, seed: int) -> str:
        """Why a configuration cannot be run, "" where it can."""
        trial = Plan(self.grid)
        trial.add(self.composer([*job, f"seed={seed}"]))
        return next(iter(trial.mistakes), "")

    def launch(self, rung: RungPlan) -> None:
        """Run what is not over.

        Raises:
            KeyboardInterrupt: the user asked to stop.
            LauncherFailed: the launcher itself failed.
        """
        for name, run in rung.plan.runs.items():
            if name not in self.folders or not run.finished:
                self.folders[name] = (run.folder, run.finished)
        if not rung.jobs:
            return
        self.once(rung)
        if any(_killed(run) for run in rung.plan.runs.values()):  # the system's doing and not the configuration's
            for run in rung.plan.runs.values():
                run.finished = not _killed(run)
            self.once(rung)

    def once(self, rung: RungPlan) -> None:
        """Run what is not over, each run once."""
        if self.ours is not None:
            self.launcher.warm_up()  # type: ignore[attr-defined]
            self.ours(list(rung.plan.runs.values()))
        else:
            launch(self.name, self.launcher, rung.plan, [rung.jobs])


def _over(run: Planned) -> bool:
    """Whether a run has come as far as it is to, or failed."""
    folder = RunFolder(run.folder)
    over = folder.over(run.identity.config_hash, run.composed.plain.get("pause_at"))
    return over or folder.status.get("state") == "failed"


def _killed(run: Planned) -> bool:
    """Whether a run failed because its process was ended from outside."""
    status = RunFolder(run.folder).status
    return status.get("state") == "failed" and str(status.get("error")).startswith(PROCESS)
