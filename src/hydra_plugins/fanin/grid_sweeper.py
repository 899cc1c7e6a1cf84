"""Hydra's sweeper for grids: `hydra/sweeper=grid`."""

# No `from __future__ import annotations`: Hydra executes this module before it is in sys.modules, where a
# dataclass would look its own annotations up.
from dataclasses import dataclass, field
from typing import Any, Optional

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser


@dataclass
class GridSweeperConf:
    """Settings of the sweeper.

    Args:
        max_batch_size: jobs handed to the launcher at a time; None for all.
        params: {key: "value,value"}, the axes of an experiment; the command line replaces them key by key.
    """

    _target_: str = "hydra_plugins.fanin.grid_sweeper.GridSweeper"
    max_batch_size: Optional[int] = None  # noqa: UP045 (OmegaConf)
    params: dict[str, str] | None = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="grid", node=GridSweeperConf, provider="fanin")


class GridSweeper(BasicSweeper):
    """The product of all axes; every job is checked before the first one runs, and the grid ends in a report."""

    def sweep(self, arguments: list[str]) -> Any:
        """Check all jobs, launch them, report; see fanin.sweep.grid."""
        from fanin.sweep.grid import run_grid

        assert self.config is not None
        assert self.launcher is not None
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        typed = parser.parse_overrides([*self._parse_config(), *arguments])
        batches = self.split_arguments(typed, self.max_batch_size)
        return run_grid(self.config, self.hydra_context.config_loader, self.launcher, batches)
