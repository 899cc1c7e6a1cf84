"""What Hydra runs for every composed configuration, in this process or, sent by a launcher, in another."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fanin.output import forgive_output


class Task:
    """Runs one configuration; sent to another process, it makes that one like the command's own before anything else.

    Args:
        sent: whether it came from another process, and so shares the terminal with others.
    """

    def __init__(self, *, sent: bool = False) -> None:
        self.sent = sent

    def __call__(self, cfg: Any) -> float:
        """Run one configuration; its objective is returned, whatever goes wrong, for sweepers that search."""
        from fanin.record.run_folder import RunFolder
        from fanin.run.objective import objective_of
        from fanin.sweep.job import run_job

        outcome = run_job(cfg, bar=not self.sent)
        return objective_of(RunFolder(Path(outcome["folder"])).result, cfg.get("objective"))

    def __reduce__(self) -> tuple[Callable[[str], Task], tuple[str]]:
        return receive, (str(Path.cwd()),)


def receive(folder: str) -> Task:
    """The task in another process, which works from now on where the command was typed.

    Relative paths (hydra.sweep.dir, data.root) mean that folder; the workers of a running Ray cluster stand elsewhere.
    """
    os.chdir(folder)
    forgive_output()
    prepare_process()
    return Task(sent=True)


def prepare_process() -> None:
    """What every process needs that composes configurations: resolvers, the user's own modules, some silence."""
    from fanin.cli.resolvers import register_resolvers

    register_resolvers()
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # where a user's own my_module.Net lies
    warnings.filterwarnings("error", r"provider=hydra\.searchpath .* is not available")
    # Hydra checks conf/hydra/launcher/NAME.yaml against the plugin's own entry of that name, which is what we want.
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema")
