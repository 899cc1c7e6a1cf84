"""Launchers that are not fanin's own: Hydra's basic one and the plugins for joblib, submitit, Slurm and Ray."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from fanin.errors import OptionError, UserError
from fanin.record.run_folder import FolderBusy, RunFolder
from fanin.sweep.plan import Plan

PATIENCE = 10.0
"""Seconds that workers are given to end."""


class LauncherFailed(UserError):
    """The launcher itself gave up; what the runs did until then stays."""


def launch(name: str, launcher: Launcher, plan: Plan, batches: Sequence[Sequence[Sequence[str]]]) -> list[JobReturn]:
    """Have a launcher run what is not finished.

    Args:
        name: as it was typed.
        launcher: any of Hydra's; it composes the jobs once more, where it runs them.
        plan: of all jobs.
        batches: the overrides of each job, in the batches to launch.

    Returns:
        What the launcher returned for each job that it ran.

    Raises:
        LauncherFailed: it raised, or a job did that had not come as far as its run: a run returns its failure.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a new Ray cluster tells nobody of itself
    returns: list[JobReturn] = []
    try:
        for batch in _unfinished(plan, batches):
            returns.extend(launcher.launch(batch, initial_job_idx=len(returns)))
        for job in returns:
            if job.status is JobStatus.FAILED:
                raise job.return_value
    except KeyboardInterrupt:
        if ray := sys.modules.get("ray"):
            ray.shutdown()  # its workers, which do not hear of Ctrl-C, end with it
            _mark_dead([RunFolder(folder) for folder in plan.folders])
        raise
    except Exception as error:
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), "").rstrip(":")
        more = "HYDRA_FULL_ERROR=1 shows more, the same command goes on"
        raise LauncherFailed(f"hydra/launcher={name}: {type(error).__name__}: {said} ({more})") from error
    return returns


def _mark_dead(folders: Sequence[RunFolder]) -> None:
    """Mark the runs whose processes end now, each as soon as it is gone; one that lives on keeps its status."""
    deadline, left = time.monotonic() + PATIENCE, list(folders)
    while left and time.monotonic() < deadline:
        for folder in list(left):
            if folder.status.get("state") == "running":
                try:
                    with folder.owned():
                        folder.mark_dead("interrupted", "stopped by the user at once")
                except FolderBusy:
                    continue
            left.remove(folder)
        time.sleep(0.1)


def check_launcher(name: str, launcher: Launcher) -> None:
    """Refuse a launcher that cannot work on this machine.

    Raises:
        OptionError: Slurm's commands are not there.
    """
    if getattr(launcher, "_EXECUTOR", None) != "slurm":  # submitit's name for where it sends jobs
        return
    for command in ("sbatch", "srun"):
        if shutil.which(command) is None:
            raise OptionError(
                "hydra/launcher", name, f"typed on a machine of a Slurm cluster ({command} is not found here)",
                "hydra/launcher=submitit_local runs the same on this machine",
            )  # fmt: skip


def _unfinished(plan: Plan, batches: Sequence[Sequence[Sequence[str]]]) -> Iterator[list[Sequence[str]]]:
    """The batches without the jobs whose run is finished, each run once."""
    names = iter(plan.per_job)
    wanted = {name for name, run in plan.runs.items() if not run.finished}
    for batch in batches:
        left = []
        for job in batch:
            name = next(names)
            if name in wanted:
                wanted.remove(name)
                left.append(job)
        if left:
            yield left
