"""A request: one run on its way, from the plan of a grid to its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from omegaconf import DictConfig

from fanin.record.run_folder import RunFolder
from fanin.run.identity import Identity
from fanin.run.make_option import Options

ONCE = "dim yellow"
"""Style of a line that all runs of a grid share, and that is shown once."""


class Viewer(Protocol):
    """Shows the progress of a run: on a progress bar, or to the process that waits for it."""

    def step(self, step: int, steps: int, loss: float, error: float) -> None:
        """Where the run is."""

    def ended(self, result: dict[str, Any]) -> None:
        """It ended, with this content of result.json."""

    def line(self, text: str, style: str = "") -> None:
        """Anything else there is to say of it."""


class Unseen:
    """A viewer that shows nothing."""

    def step(self, step: int, steps: int, loss: float, error: float) -> None:
        """Does nothing."""

    def ended(self, result: dict[str, Any]) -> None:
        """Does nothing."""

    def line(self, text: str, style: str = "") -> None:
        """Does nothing."""


@dataclass
class Request:
    """What is to be run, what it is called, where its files go and who shows its progress.

    Args:
        cfg: the composed configuration, without its hydra node, or the same as plain values, resolved.
        identity: the run's name, its hash and what it varies.
        folder: where its files go.
        viewer: told how the run goes.
    """

    cfg: DictConfig | dict[str, Any]
    identity: Identity
    folder: RunFolder
    viewer: Viewer = field(default_factory=Unseen)

    @cached_property
    def options(self) -> Options:
        """What the configuration says, as plain values."""
        return Options(self.cfg)

    @property
    def name(self) -> str:
        """Of the run."""
        return self.identity.name

    @property
    def force(self) -> bool:
        """Whether the run is run whatever has been run before."""
        return bool(self.cfg.get("force"))

    def prepare(self) -> None:
        """Called once the folder is owned by this process and there is something to run."""

    @property
    def finished(self) -> bool:
        """Whether the run has been run to its end, or to where it is to pause, and is not to be run again."""
        return not self.force and self.folder.over(self.identity.config_hash, self.cfg.get("pause_at"))
