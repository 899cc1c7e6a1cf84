"""Hydra's launcher for a pool of processes: `hydra/launcher=pool`, the default of fanin."""

# No `from __future__ import annotations`: Hydra executes this module before it is in sys.modules, where a
# dataclass would look its own annotations up.
from collections.abc import Sequence
from dataclasses import dataclass
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
    """

    _target_: str = "hydra_plugins.fanin.pool_launcher.PoolLauncher"
    n_jobs: Optional[int] = None  # noqa: UP045 (OmegaConf)
    jobs_per_gpu: int = 1


ConfigStore.instance().store(group="hydra/launcher", name="pool", node=PoolLauncherConf, provider="fanin")


class PoolLauncher(Launcher):
    """Runs jobs in worker processes that fail apart; see fanin.sweep.pool."""

    def __init__(self, n_jobs: Optional[int] = None, jobs_per_gpu: int = 1) -> None:  # noqa: UP045
        self.n_jobs, self.jobs_per_gpu = n_jobs, jobs_per_gpu

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Remember what Hydra gives."""
        self.config, self.hydra_context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Compose and run jobs given by their overrides, for sweepers that are not fanin's own."""
        from fanin.sweep.plan import plan_grid

        plan = plan_grid(self.config, self.hydra_context.config_loader, job_overrides)
        states = {name: {"run": name, "state": "skipped"} for name in plan.runs}
        states |= {outcome["run"]: outcome for outcome in self.launch_runs(list(plan.runs.values()))}
        returns = []
        for overrides, planned in zip(job_overrides, plan.per_job, strict=True):
            outcome = states[planned]
            status = JobStatus.FAILED if outcome["state"] == "failed" else JobStatus.COMPLETED
            result = JobReturn(overrides=list(overrides), status=status)
            result.return_value = RuntimeError(outcome["error"]) if status is JobStatus.FAILED else outcome
            returns.append(result)
        return returns

    def warm_up(self) -> None:
        """Start what takes time to start."""
        from fanin.sweep.pool import warm_up

        warm_up()

    def launch_runs(self, runs: list[Any]) -> list[dict[str, Any]]:
        """Run what fanin's sweeper has planned."""
        from fanin.sweep.pool import pool_size, run_pool

        if all(run.finished for run in runs):  # not even torch is needed
            return []
        size, devices = pool_size(
            self.n_jobs, self.jobs_per_gpu, [run.composed.plain["trainer"]["device"] for run in runs]
        )
        return run_pool([[run] for run in runs if not run.finished], size, devices)
