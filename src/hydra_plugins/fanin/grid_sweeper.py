"""Hydra's sweeper for grids: `hydra/sweeper=grid`."""

# No `from __future__ import annotations`: Hydra executes this module before it is in sys.modules, where a
# dataclass would look its own annotations up.
from dataclasses import dataclass, field
from typing import Any, Optional

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf


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


class GridSweeper(BasicSweeper):
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

    def sweep(self, arguments: list[str]) -> Any:
        """Check all jobs, launch them, report; see fanin.sweep.grid."""
        from fanin.sweep.grid import run_grid

        assert self.config is not None
        assert self.launcher is not None
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        typed = parser.parse_overrides([*self._parse_config(), *arguments])
        batches = self.split_arguments(typed, self.max_batch_size)  # type: ignore[no-untyped-call]
        return run_grid(self.config, self.hydra_context.config_loader, self.launcher, batches)

    def split_arguments(self, overrides, max_batch_size):  # type: ignore[no-untyped-def, override]
        """The jobs of the grid in batches, each a list of overrides with those that go with its choices."""
        batches = super().split_arguments(overrides, max_batch_size)
        assert self.config is not None
        entries = OmegaConf.to_container(self.config.hydra.sweeper.params or OmegaConf.create(), resolve=False)
        assert isinstance(entries, dict)
        tied = {tuple(str(key).split()): str(text).split() for key, text in entries.items() if "=" in str(key)}
        return [[_with_settings(job, tied) for job in batch] for batch in batches] if tied else batches

    def _parse_config(self) -> list[str]:
        """The axes, which are no conditions."""
        return [f"{key}={value}" for key, value in (self.params or {}).items() if "=" not in key]


def _with_settings(job: list[str], tied: dict[tuple[str, ...], list[str]]) -> list[str]:
    """A job's overrides with the settings that go with its choices in front."""
    settings = dict(one.split("=", 1) for choices, texts in tied.items() if {*choices} <= {*job} for one in texts)
    typed = {one.key_or_group for one in OverridesParser.create().parse_overrides(job)}
    return [f"{key}={_quoted(value)}" for key, value in settings.items() if key not in typed] + job


def _quoted(value: str) -> str:
    """A value as the command line takes it: an interpolation with others inside needs quotes there."""
    return f"'{value}'" if "${" in value else value
