"""Hydra's launchers of fanin's own: `hydra/launcher=pool` (the default), `fused` and `auto`."""

# No `from __future__ import annotations`: Hydra executes this module before it is in sys.modules, where a
# dataclass would look its own annotations up.
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class PoolLauncherConf:
    """Settings of the launcher.

    Args:
        n_jobs: runs at a time; None for as many as there are cores, or GPUs.
        jobs_per_gpu: where runs compute on GPUs, how many share one.
        fuse: never (pool); always (fused), saying what cannot be; or auto, where possible.
        max_fused: runs that are trained as one program, or "auto" for what fits into the memory.
        start_method: of the workers: forkserver, spawn, or auto for spawn on macOS and Windows, forkserver elsewhere.
    """

    _target_: str = "hydra_plugins.fanin.pool_launcher.PoolLauncher"
    n_jobs: Optional[int] = None  # noqa: UP045 (OmegaConf)
    jobs_per_gpu: int = 1
    fuse: str = "never"
    max_fused: Any = "auto"
    start_method: str = "auto"


for name, fuse in (("pool", "never"), ("fused", "always"), ("auto", "auto")):
    entry = PoolLauncherConf(fuse=fuse)
    ConfigStore.instance().store(group="hydra/launcher", name=name, node=entry, provider="fanin")


class PoolLauncher(Launcher):
    """Runs jobs in worker processes that fail apart, several as one program if asked to; see fanin.sweep.pool."""

    def __init__(
        self,
        n_jobs: Optional[int] = None,  # noqa: UP045
        jobs_per_gpu: int = 1,
        fuse: str = "never",
        max_fused: Any = "auto",
        start_method: str = "auto",
    ) -> None:
        self.n_jobs, self.jobs_per_gpu, self.fuse, self.max_fused = n_jobs, jobs_per_gpu, fuse, max_fused
        self.start_method = start_method

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Remember what Hydra gives."""
        self.config, self.hydra_context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Compose and run jobs given by their overrides, for sweepers that are not fanin's own; returns objectives."""
        from fanin.record.run_folder import RunFolder
        from fanin.run.objective import objective_of
        from fanin.sweep.job import outcomes
        from fanin.sweep.plan import plan_grid

        self.check_options()
        plan = plan_grid(self.config, self.hydra_context.config_loader, job_overrides)
        runs = list(plan.runs.values())
        outcomes += [
            {"run": run.identity.name, "folder": str(run.folder), "state": "skipped"} for run in runs if run.finished
        ]
        outcomes += self.launch_runs(runs)
        returns = []
        for overrides, name in zip(job_overrides, plan.per_job, strict=True):
            run = plan.runs[name]
            result = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
            result.return_value = objective_of(RunFolder(Path(run.folder)).result, run.composed.plain["objective"])
            returns.append(result)
        return returns

    def check_options(self) -> None:
        """Refuse what the launcher cannot be given, before anything is written.

        Raises:
            OptionError: a number that is not at least 1, a start method that is not there.
        """
        from fanin.errors import OptionError, integer, told_of
        from fanin.sweep.worker_process import start_method

        with told_of("hydra.launcher"):
            allowed = {"n_jobs": (None, "null or "), "jobs_per_gpu": (1, ""), "max_fused": ("auto", "auto or ")}
            for name, (word, said) in allowed.items():
                value = getattr(self, name)
                try:
                    if value != word:
                        integer(name, value, 1)
                except OptionError as error:
                    raise OptionError(name, value, said + error.allowed, error.fix) from None
            start_method(self.start_method)

    def warm_up(self) -> None:
        """Start what takes time to start."""
        from fanin.sweep.worker_process import warm_up

        warm_up(self.start_method)

    def launch_runs(self, runs: list[Any]) -> list[dict[str, Any]]:
        """Run what fanin's sweeper has planned."""
        from fanin.api.application import prepare_process
        from fanin.sweep.pool import run_pool

        if not (waiting := [run for run in runs if not run.finished]):  # not even torch is needed
            return []
        groups, size, devices, alone = self.grouped(runs)
        if alone and self.fuse == "always":
            print(f"{alone} of {len(waiting)} runs cannot be fused and go to the pool", file=sys.stderr)
        return run_pool(groups, size, devices, prepare_process, self.start_method)

    def grouped(self, runs: list[Any]) -> tuple[list[list[Any]], int, list[Any], int]:
        """How runs are trained, of which some are not finished: the programs, in the order in which they start.

        Returns:
            the programs, how many there are at a time, the devices, how many runs cannot be fused.
        """
        from fanin.sweep.pool import pool_size

        waiting = [run for run in runs if not run.finished]
        wanted = [run.composed.plain["trainer"]["device"] for run in waiting]
        size, devices = pool_size(self.n_jobs, self.jobs_per_gpu, wanted)
        if self.fuse == "never":
            return [[run] for run in waiting], size, devices, 0
        from fanin.sweep.fused_groups import fuse

        groups, alone = fuse(runs, self.max_fused, size, gpu=devices != [None])
        return groups, size, devices, alone
