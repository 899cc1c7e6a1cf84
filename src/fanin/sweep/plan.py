"""What is to be run where, and every mistake in it, before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from fanin.errors import OptionError, UserError
from fanin.help import group_options
from fanin.identity import LISTS, Identity, identify, without_hydra
from fanin.record.folder import RunFolder
from fanin.sweep.compose import Composer


class InvalidRuns(UserError):
    """Some jobs cannot be run; one line per mistake."""


@dataclass
class Plan:
    """The folders of a grid, in order and each once, and how many of them are finished."""

    folders: list[Path] = field(default_factory=list)
    finished: int = 0
    mistakes: dict[str, None] = field(default_factory=dict)

    def add(self, cfg: DictConfig) -> Identity:
        """Take in one composed configuration, its hydra node included; its mistakes are kept for later."""
        task = without_hydra(cfg)
        identity = identify(task, cfg.hydra)
        path = Path(cfg.hydra.sweep.dir) / identity.name
        if path in self.folders:
            return identity
        self.folders.append(path)
        if RunFolder(path).finished(identity.config_hash) and not task.get("force"):
            self.finished += 1
            return identity
        from fanin.build import check  # torch: not before there is something to run

        self.mistakes |= dict.fromkeys(str(mistake) for mistake in [*_lists(cfg), *check(task)])
        return identity

    def refuse_mistakes(self) -> None:
        """Raise InvalidRuns, with all mistakes, if there are any."""
        if self.mistakes:
            raise InvalidRuns("\n".join(self.mistakes))


def _lists(cfg: DictConfig) -> Iterator[OptionError]:
    """Lists typed for groups of one option: Hydra would lay their options over one another."""
    for override in cfg.hydra.overrides.task:
        group, _, value = override.lstrip("+").partition("=")
        if value.startswith("[") and group not in LISTS and group_options(group):
            yield OptionError(group, value, "one option, not a list", f"-m {group}={value.strip('[]')} tries each")


def plan_run(cfg: DictConfig) -> Identity:
    """The identity of a single run.

    Raises:
        InvalidRuns: it cannot be run.
    """
    plan = Plan()
    identity = plan.add(cfg)
    plan.refuse_mistakes()
    return identity


def plan_grid(master: DictConfig, loader: ConfigLoader, jobs: Sequence[Sequence[str]]) -> Plan:
    """The plan of a grid, each job given by its overrides.

    Raises:
        InvalidRuns: some of its jobs cannot be run.
    """
    plan = Plan()
    composer = Composer(loader, master)
    for overrides in jobs:
        plan.add(composer(overrides))
    plan.refuse_mistakes()
    return plan
