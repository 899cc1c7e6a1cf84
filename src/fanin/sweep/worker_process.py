"""The processes of the pool's workers, as their parent starts, watches and ends them."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from fanin.errors import OptionError, UserError, choice
from fanin.process import own_sockets
from fanin.sweep.plan import Planned
from fanin.sweep.signals import without_signals
from fanin.sweep.structure import drawn_key
from fanin.sweep.worker import work

METHODS = ("auto", "forkserver", "spawn")
"""How a worker may be started: forked from a server that has imported torch, or as a new process that imports it."""

PATIENCE = 5.0
"""Seconds that a worker is given to end."""

LOST = 255
"""Exit code that multiprocessing gives for a process whose fork server has died."""


class NoWorkers(UserError):
    """Not one worker could be started."""


@dataclass
class Group:
    """What a worker takes at a time: one run, or several that are trained as one program.

    Args:
        runs: of the grid.
        tries: workers that died before they had begun it.
    """

    runs: Sequence[Planned]
    tries: int = 0

    @cached_property
    def recipes(self) -> set[str]:
        """Equal for those of which the same is expected, see `drawn_key`."""
        keys = (drawn_key(run.composed.resolved) for run in self.runs)
        return {key for key in keys if key is not None}


@dataclass
class Worker:
    """A worker process as its parent sees it.

    Args:
        process: as multiprocessing knows it.
        connection: to it.
        device: its GPU, or None for the CPU.
        group: its work, None while it is idle.
        begun: whether it has confirmed that it took the group.
        reason: why it ended, as it said itself.
        watched: whether the system reports its death; it does not once the fork server has died.
        untold: what other workers have worked out since its last group.
    """

    process: BaseProcess
    connection: Connection
    device: int | None
    group: Group | None = None
    begun: bool = False
    reason: str = ""
    watched: bool = True
    untold: list[bytes] = field(default_factory=list)

    @property
    def sources(self) -> list[Any]:
        """What is ready when there is news of it."""
        return [self.connection, self.process.sentinel] if self.watched else [self.connection]

    @property
    def end(self) -> str:
        """ "was killed by SIGKILL" or "exited with code 3", of a process that has ended."""
        if self.reason:
            return f"ended: {self.reason}"
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        if code in (None, LOST):
            return "is gone"
        return f"exited with code {code}"

    @property
    def died(self) -> bool:
        """Whether the system reports that it is dead."""
        if self.watched and not self.process.is_alive():
            if self.process.exitcode != LOST:
                return True
            self.watched = False  # the fork server may have died: from now on only the connection tells
        return False

    def end_process(self, patience: float = PATIENCE) -> bool:
        """Wait so many seconds for its end, then kill it; returns whether that was needed."""
        self.process.join(patience)
        if not self.process.is_alive():
            return False
        self.process.kill()
        self.process.join(PATIENCE)
        return True


def start_method(wanted: str = "auto") -> str:
    """The start method of multiprocessing that is meant by one of METHODS.

    By default workers are forked; not on macOS, whose own libraries do not outlive a fork, nor on Windows, which has
    none.

    Raises:
        OptionError: there is no such method, or not on this system.
    """
    there = ("auto", *(one for one in METHODS if one in multiprocessing.get_all_start_methods()))
    choice("start_method", wanted, METHODS)
    if wanted not in there:
        raise OptionError("start_method", wanted, " or ".join(there), "this system forks no processes")
    if wanted == "auto":
        return "forkserver" if "forkserver" in there and sys.platform != "darwin" else "spawn"
    return wanted


def warm_up(method: str = "auto") -> None:
    """Start the fork server, which imports torch while the parent plans."""
    if start_method(method) != "forkserver":
        return
    from multiprocessing import forkserver, resource_tracker

    own_sockets()
    multiprocessing.get_context("forkserver").set_forkserver_preload(["fanin.sweep.preload"])
    resource_tracker.ensure_running()  # which the server wants first, and which lets all signals through
    with without_signals():  # for good: the server ends when its parent does
        forkserver.ensure_running()


def start_worker(device: int | None, prepare_process: Callable[[], None], method: str = "auto") -> Worker:
    """A worker that waits for its first group.

    Args:
        device: its GPU, None for the CPU.
        prepare_process: called in it before anything else; importable.
        method: how it is started, one of METHODS.

    Raises:
        NoWorkers: the system starts no process.
    """
    context: Any = multiprocessing.get_context(start_method(method))
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, device, prepare_process), daemon=True)
    try:
        with without_signals():
            process.start()
    except (OSError, EOFError) as error:
        ours.close()
        fix = "hydra/launcher=basic needs none"
        raise NoWorkers(f"no worker process could be started ({error}); {fix}") from error
    finally:
        theirs.close()
    return Worker(process, ours, device)
