"""What Hydra runs for every composed configuration, in this process or, sent by a launcher, in another."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.api.application import prepare_process
from fanin.output import forgive_output
from fanin.process import is_there

if TYPE_CHECKING:
    from fanin.run.hydra_private import App


def start(app: App, name: str, overrides: list[str], *, grid: bool) -> None:
    """Run one configuration or a grid of them, checked as a whole before anything is written.

    Args:
        app: composes.
        name: of the configuration.
        overrides: as they were read.
        grid: whether they are a grid's.

    Raises:
        UserError: they cannot be run, or runs of a grid failed.
    """
    from fanin.sweep.grid import ended_with_a_report
    from fanin.sweep.plan import plan_run

    app.check, app.around = plan_run, ended_with_a_report
    (app.multirun if grid else app.run)(name, Task(), overrides)


def rehearse(app: App, name: str, overrides: list[str], *, grid: bool) -> None:
    """Print what `start` would run, and run nothing; the arguments are the same.

    Raises:
        UserError: they cannot be run, or the sweeper does not know beforehand what it will run.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from fanin.errors import OptionError
    from fanin.sweep.dry_run import rehearse_run

    cfg = app.compose_config(name, overrides, RunMode.MULTIRUN if grid else RunMode.RUN)
    if not grid:
        HydraConfig.instance().set_config(cfg)  # ${hydra:...} in what is checked
        rehearse_run(cfg)
        return
    sweeper = app.sweeper(cfg, Task())
    if (dry_run := getattr(sweeper, "dry_run", None)) is None:
        chosen = cfg.hydra.runtime.choices.get("hydra/sweeper")
        raise OptionError("hydra/sweeper", chosen, "grid or search with --dry-run: others run jobs as they come")
    dry_run(list(cfg.hydra.overrides.task))


class Task:
    """Runs one configuration; sent to another process, it makes that one like the command's own before anything else.

    Args:
        sender: the process that it came from, with which it shares the terminal; None for the command's own.
    """

    def __init__(self, sender: Sender | None = None) -> None:
        self.sender = sender

    def __call__(self, cfg: Any) -> float:
        """Run one configuration; its objective is returned, whatever goes wrong, for sweepers that search."""
        from hydra.core.hydra_config import HydraConfig

        from fanin.process import typed_in
        from fanin.record.run_folder import RunFolder
        from fanin.run.objective import objective_of
        from fanin.sweep.job import run_job

        hydra_cfg = HydraConfig.get()
        with typed_in(Path(hydra_cfg.runtime.cwd)) if hydra_cfg.job.chdir else nullcontext():
            outcome = run_job(cfg) if self.sender is None else run_job(cfg, bar=False, abandoned=self.sender.gone)
        return objective_of(RunFolder(Path(outcome["folder"])).result, cfg.get("objective"))

    def __reduce__(self) -> tuple[Callable[[str, str, int], Task], tuple[str, str, int]]:
        sender = self.sender or Sender(platform.node(), os.getpid())  # one that is queued again is the first's
        return receive, (str(Path.cwd()), sender.node, sender.pid)


class Sender:
    """The command that has sent a task and waits for its end.

    Args:
        node: the machine's name in the network.
        pid: of its process.
    """

    def __init__(self, node: str, pid: int) -> None:
        self.node, self.pid = node, pid
        # A queue's jobs run without the command that queued them; another machine's processes are not seen.
        self._seen = node == platform.node() and "SLURM_JOB_ID" not in os.environ
        self._asked = 0.0
        self._gone = False

    def gone(self) -> bool:
        """Whether it is gone; asked before every step, and looked at twice a second."""
        now = time.monotonic()
        if self._seen and now - self._asked > 0.5:
            self._asked, self._gone = now, not is_there(self.pid)
        return self._gone


def receive(folder: str, node: str, pid: int) -> Task:
    """The task in another process, which works from now on where the command was typed.

    Relative paths (hydra.sweep.dir, data.root) mean that folder; the workers of a running Ray cluster stand elsewhere.
    """
    os.chdir(folder)
    forgive_output()
    prepare_process()
    return Task(Sender(node, pid))
