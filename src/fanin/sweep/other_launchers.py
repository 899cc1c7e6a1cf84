"""Launchers that are not fanin's own: Hydra's basic one and the plugins for joblib, submitit, Slurm and Ray."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from fanin.errors import OptionError, UserError, file_line
from fanin.process import is_there
from fanin.record.run_folder import FolderBusy, RunFolder
from fanin.sweep.plan import Plan
from fanin.sweep.signals import interrupt_on_signal

PATIENCE = 10.0
"""Seconds that workers are given to end."""

PROCESSES = Path("/proc")
"""Where Linux shows what each process has open."""


class LauncherFailed(UserError):
    """The launcher itself failed; the files of the runs so far stay."""


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
    folders = [RunFolder(folder) for folder in plan.folders]
    here = not _on_slurm(launcher)  # what a queue has taken runs without this command
    try:
        with interrupt_on_signal(partial(_ask_to_stop, folders) if here else lambda: None):
            for batch in _unfinished(plan, batches):
                returns.extend(launcher.launch(batch, initial_job_idx=len(returns)))
        for job in returns:
            if job.status is JobStatus.FAILED:
                raise job.return_value
    except KeyboardInterrupt:
        if ray := sys.modules.get("ray"):
            ray.shutdown()  # its workers, which do not hear of Ctrl-C, end with it
        if here:
            _mark_dead(folders)
        else:
            print("the queue keeps its jobs; scancel stops them", file=sys.stderr)
        raise
    except Exception as error:
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), "").rstrip(":")
        if isinstance(error, OSError) and error.errno is not None:
            raise LauncherFailed(f"hydra/launcher={name}: {file_line(error)} (the same command resumes)") from error
        more = "HYDRA_FULL_ERROR=1 shows more, the same command resumes"
        raise LauncherFailed(f"hydra/launcher={name}: {type(error).__name__}: {said} ({more})") from error
    return returns


def _ask_to_stop(folders: Sequence[RunFolder]) -> None:
    """Ask the processes that run something in these folders to stop, and wait while they write checkpoints."""
    asked = {pid for folder in folders if (pid := _owner(folder)) not in (None, os.getpid())}
    for pid in asked if sys.platform != "win32" else ():  # where that would end it; Ctrl-C reaches all of a console
        with suppress(OSError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and any(_owner(folder) in asked for folder in folders):
        time.sleep(0.05)


def _owner(folder: RunFolder) -> int | None:
    """The process of this machine that runs something in a folder: the one that has its lock open."""
    status = folder.status
    if status.get("state") != "running" or not isinstance(pid := status.get("pid"), int):
        return None
    return pid if _has_open(pid, folder) else None


def _has_open(pid: int, folder: RunFolder) -> bool:
    """Whether a process of this machine has the lock of a folder open."""
    if not PROCESSES.is_dir():  # macOS, Windows: that it lives and somebody has the lock is all that can be known
        try:
            with folder.owned():
                return False
        except FolderBusy:
            return is_there(pid)
        except OSError:
            return False
    lock = str((folder.path / ".lock").resolve())
    try:
        return any(os.readlink(one) == lock for one in (PROCESSES / str(pid) / "fd").iterdir())  # noqa: PTH115
    except OSError:  # another machine's process, or another user's
        return False


def _mark_dead(folders: Sequence[RunFolder]) -> None:
    """Mark the runs whose processes have ended; the run of a process that goes on keeps its status."""
    deadline, left = time.monotonic() + PATIENCE, list(folders)
    while left and time.monotonic() < deadline:
        for folder in list(left):
            if folder.status.get("state") == "running":
                try:
                    with folder.owned():
                        folder.mark_dead("interrupted", "stopped by the user at once")
                except FolderBusy:
                    continue
                except OSError:  # it cannot be written
                    pass
            left.remove(folder)
        time.sleep(0.1 if left else 0)


def _on_slurm(launcher: Launcher) -> bool:
    """Whether a launcher sends its jobs to Slurm; the word is submitit's."""
    return getattr(launcher, "_EXECUTOR", None) == "slurm"


def check_launcher(name: str, launcher: Launcher) -> None:
    """Refuse a launcher that cannot work on this machine.

    Raises:
        OptionError: Slurm's commands are not there.
    """
    if not _on_slurm(launcher):
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
