"""What is to be run where, and every mistake in it, before anything is written."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Timer

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig
from rich.console import Console

from fanin.catalogue import GROUPS
from fanin.errors import OptionError, UserError, counted
from fanin.record.grid_folder import stranger
from fanin.record.run_folder import RunFolder
from fanin.run.identity import Identity, identify, without_hydra
from fanin.sweep.composer import Composed, Composer, as_config, as_plain
from fanin.sweep.hydra_keys import check_folders, check_pool

PATIENCE = 1.0
"""Seconds after which a grid that is still being checked says so."""


class InvalidRuns(UserError):
    """Some jobs cannot be run; one line per mistake."""


@dataclass
class Planned:
    """One run: its configuration, its folder, and whether it is finished."""

    composed: Composed
    identity: Identity
    folder: Path
    finished: bool
    number: int


@dataclass
class Plan:
    """The runs of a grid, in order and each once, by name; `per_job` names the run of every job.

    Attributes:
        mistakes: why some cannot be run, a line each.
        notes: what is no mistake, and yet to be told, a line each.
    """

    grid: Path
    runs: dict[str, Planned] = field(default_factory=dict)
    mistakes: dict[str, None] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    per_job: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _checked: set[str] = field(default_factory=set)

    @property
    def folders(self) -> list[Path]:
        """Of all runs."""
        return [run.folder for run in self.runs.values()]

    @property
    def finished(self) -> int:
        """How many runs are finished."""
        return sum(run.finished for run in self.runs.values())

    @property
    def edited(self) -> dict[str, int]:
        """The user's own files that have changed since finished runs, with the number of these."""
        finished = [run for run in self.runs.values() if run.finished and run.identity.code]
        return dict(Counter(name for run in finished for name in RunFolder(run.folder).edited(run.identity.code)))

    def add(self, composed: Composed, folder: Path | None = None) -> Identity:
        """Take in one job, in a folder of its own or that of its name; its mistakes are kept for later."""
        identity = identify(composed.resolved, composed.record)
        self.per_job.append(identity.name)
        if identity.name in self.runs:
            return identity
        folder = folder or self.grid / identity.name
        over = RunFolder(folder).over(identity.config_hash, composed.plain.get("pause_at"))
        finished = over and not composed.plain.get("force")
        self.runs[identity.name] = Planned(composed, identity, folder, finished, len(self.runs))
        if not finished:
            refusal = RunFolder(folder).refusal(identity.config_hash, force=bool(composed.plain.get("force")))
            self.refused += [refusal] if refusal else []
            self.mistakes |= dict.fromkeys(map(str, _lists(composed.overrides)))
            self._check(composed)
        return identity

    def _check(self, composed: Composed) -> None:
        """Find the mistakes in a configuration; those of one that differs in its seed alone are the same."""
        seed = composed.resolved.get("seed")
        good = isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0
        text = repr(composed.resolved | {"seed": None if good else repr(seed)})
        if text not in self._checked:
            from fanin.run.build import check  # torch: not before there is something to run

            self._checked.add(text)
            self.mistakes |= dict.fromkeys(map(str, check(composed.task, composed.overrides, self.notes)))

    def refuse_mistakes(self) -> None:
        """Raise InvalidRuns, with all mistakes, if there are any."""
        if self.refused:
            more = f" ({len(self.refused)} folders are so)" if len(self.refused) > 1 else ""
            self.mistakes[self.refused[0] + more] = None
        if self.mistakes:
            raise InvalidRuns("\n".join(self.mistakes))


def _lists(overrides: Sequence[str]) -> Iterator[OptionError]:
    """Lists typed for groups of one option: Hydra would lay their options over one another."""
    for override in overrides:
        group, _, value = override.lstrip("+").partition("=")
        if value.startswith("[") and group in GROUPS and not GROUPS[group].several:
            yield OptionError(group, value, "one option, not a list", f"-m {group}={value.strip('[]')} tries each")


def plan_run(cfg: DictConfig) -> Planned:
    """A single run, as planned from its configuration, hydra node included.

    Raises:
        InvalidRuns: it cannot be run.
    """
    check_folders(cfg.hydra, grid=False)
    plan = Plan(Path(cfg.hydra.sweep.dir))
    plain = as_plain(without_hydra(cfg))
    record = as_plain(cfg.hydra)
    composed = Composed(plain, partial(as_config, plain), cfg.hydra, record, list(cfg.hydra.overrides.task), "")
    identity = plan.add(composed, Path(cfg.hydra.run.dir))
    plan.refuse_mistakes()
    tell(plan.notes)
    return plan.runs[identity.name]


def plan_grid(
    master: DictConfig, loader: ConfigLoader, jobs: Sequence[Sequence[str]], *, own_launcher: bool = True
) -> Plan:
    """The plan of a grid.

    Args:
        master: the configuration of the multirun, with its hydra node.
        loader: composes the jobs.
        jobs: the overrides of each.
        own_launcher: whether one of fanin's launchers runs them; of Hydra's own keys those follow fewer.

    Raises:
        InvalidRuns: some of its jobs cannot be run.
        OptionError: one of Hydra's own keys cannot be followed.
    """
    check_folders(master.hydra, grid=True)
    composer = Composer(loader, master)
    plan = Plan(Path(master.hydra.sweep.dir))
    if name := stranger(plan.grid):
        plan.mistakes[
            f"hydra.sweep.dir={plan.grid}: {name} is there and no grid's, and a grid would write over it; choose "
            "another folder"
        ] = None
    with _told_after(PATIENCE, f"checking {counted(len(jobs), 'run')}"):
        for overrides in jobs:
            composed = composer(overrides)
            if own_launcher:
                check_pool(composed.record)
            plan.add(composed)
    plan.refuse_mistakes()
    return plan


def tell(notes: Iterable[str]) -> None:
    """Print what is to be known of a plan before it is carried out."""
    for note in notes:
        Console(highlight=False, stderr=True).print(note, soft_wrap=True, style="yellow")


@contextmanager
def _told_after(seconds: float, line: str) -> Iterator[None]:
    """Print a line on a terminal if the block takes longer than some seconds."""
    if not sys.stderr.isatty():
        yield
        return
    timer = Timer(seconds, lambda: print(line, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
