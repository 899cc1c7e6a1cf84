"""Hydra's sweeper for grids: `hydra/sweeper=grid`."""

# No `from __future__ import annotations`: Hydra executes this module before it is in sys.modules, where a
# dataclass would look its own annotations up.
from dataclasses import dataclass, field
from typing import Any, Optional

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


@dataclass
class GridSweeperConf:
    """Settings of the sweeper.

    Args:
        max_batch_size: jobs handed to the launcher at a time; None for all.
        params: {key: "value,value"}, the axes of an experiment; the command line replaces them key by key. An entry
            whose key is a condition ties settings to choices: see `GridSweeper`.
    """

    _target_: str = "hydra_plugins.fanin.grid_sweeper.GridSweeper"
    max_batch_size: Optional[int] = None  # noqa: UP045 (OmegaConf)
    params: dict[str, str] | None = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="grid", node=GridSweeperConf, provider="fanin")


class GridSweeper(Sweeper):
    """The product of all axes; every job is checked before the first one runs, and the grid ends in a report.

    Settings can go with the choices that they are meant for, as each optimizer's learning rate: among the axes of an
    experiment stand entries whose key is a condition, one choice or several with spaces between, and whose value is
    the settings, with spaces between:

        hydra:
          sweeper:
            params:
              optimizer: gd,adam
              model.kind: quadratic,saddle
              optimizer=gd: optimizer.lr=0.1
              optimizer=gd model.kind=saddle: optimizer.lr=0.01

    A later entry outdoes an earlier one, and what is typed outdoes both. Interpolations are those of the job.
    """

    checks_and_reports = True
    """Others run jobs as they come: see fanin.sweep.grid.ended_with_a_report."""

    def __init__(self, max_batch_size: Any, params: Optional[dict[str, str]] = None) -> None:  # noqa: UP045
        self.max_batch_size, self.params = max_batch_size, params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Remember what Hydra gives, and make the launcher."""
        self.config, self.loader = config, hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Check all jobs, launch them, report; see fanin.sweep.grid."""
        from fanin.sweep.grid import run_grid
        from fanin.sweep.grid_axes import batches_of

        assert self.config is not None
        assert self.launcher is not None
        batches = batches_of(self.jobs(arguments), self.max_batch_size)
        return run_grid(self.config, self.loader, self.launcher, batches)

    def dry_run(self, arguments: list[str]) -> None:
        """Check all jobs and print what they are; see fanin.sweep.dry_run."""
        from fanin.sweep.dry_run import rehearse_grid

        assert self.config is not None
        assert self.launcher is not None
        rehearse_grid(self.config, self.loader, self.launcher, self.jobs(arguments))

    def jobs(self, arguments: list[str]) -> list[list[str]]:
        """The overrides of every job, with the settings that go with its choices."""
        from fanin.sweep.grid_axes import jobs_of, with_settings

        assert self.config is not None
        axes = [f"{key}={value}" for key, value in self.params.items() if "=" not in key]
        parser = OverridesParser.create(config_loader=self.loader)
        entries = OmegaConf.to_container(self.config.hydra.sweeper.params or OmegaConf.create(), resolve=False)
        assert isinstance(entries, dict)
        tied = {tuple(str(key).split()): str(text).split() for key, text in entries.items() if "=" in str(key)}
        jobs = jobs_of(parser.parse_overrides([*axes, *arguments]))
        return [with_settings(job, tied) for job in jobs] if tied else jobs
