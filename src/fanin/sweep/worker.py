"""A worker's side of the pool: it receives requests, runs them, and sends their progress and outcomes."""

from __future__ import annotations

import gc
import os
import selectors
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from fanin.output import forgive_output
from fanin.run.request import Request
from fanin.run.shared_cache import learn, news
from fanin.sweep.composer import Plain, write_record
from fanin.sweep.job import execute_together
from fanin.sweep.run_view import ending
from fanin.sweep.signals import obey_in_worker

PATIENCE = 0.5
"""Seconds after which an idle worker checks whether it was asked to end."""

PACE = 0.1
"""Seconds between two messages of a run's progress, where the system does not tell whether the parent reads."""


@dataclass(kw_only=True)
class Posted(Request):
    """A request as it is sent to a worker, with the content of Hydra's record of it.

    Args:
        config: the configuration as plain values, interpolations unresolved.
        overrides: the job's own, as typed.
        record: Hydra's node.
    """

    config: Plain
    overrides: list[str]
    record: dict[str, Any]

    def prepare(self) -> None:
        """Write Hydra's record."""
        write_record(self.folder.path, self.config, self.overrides, self.record)


class Line:
    """A worker's connection to its parent; when the parent is gone, the run stops.

    Args:
        connection: to the parent.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection, self.orphaned = connection, False
        self._incoming = self._outgoing = None
        self._sent = 0.0
        if isinstance(connection, Connection):  # a socket; on Windows a pipe, which nothing can wait to write to
            self._incoming, self._outgoing = selectors.DefaultSelector(), selectors.DefaultSelector()
            self._incoming.register(connection, selectors.EVENT_READ)
            self._outgoing.register(connection, selectors.EVENT_WRITE)

    def send(self, *message: Any) -> None:
        """Send a message; a parent that is gone is remembered."""
        try:
            self.connection.send(message)
        except OSError:
            self.orphaned = True

    @property
    def free(self) -> bool:
        """Whether a message can be sent without waiting, because the parent reads.

        Where the system does not tell, messages are sent a tenth of a second apart.
        """
        if self._outgoing is not None:
            return bool(self._outgoing.select(0))
        now = time.monotonic()
        if now - self._sent < PACE:
            return False
        self._sent = now
        return True

    @property
    def hung_up(self) -> bool:
        """Whether the parent is gone or has sent its last word, asked while no request is expected from it."""
        if self._incoming is not None:
            return self.orphaned or bool(self._incoming.select(0))
        try:
            return self.orphaned or self.connection.poll(0)
        except OSError:
            return True


@dataclass
class Remote:
    """The viewer of a run in a worker: it sends everything to the parent."""

    line_to_parent: Line
    name: str

    def step(self, step: int, steps: int, loss: float, error: float) -> None:
        """Send the progress, unless the parent is busy: a slow terminal does not slow the run down."""
        if self.line_to_parent.free:
            self.line_to_parent.send("step", self.name, step, steps, loss, error)

    def ended(self, result: dict[str, Any]) -> None:
        """Send the result."""
        self.line_to_parent.send("line", self.name, *ending(result))

    def line(self, text: str, style: str = "") -> None:
        """Send any other line."""
        self.line_to_parent.send("line", self.name, text, style)


def work(connection: Connection, device: int | None, prepare_process: Callable[[], None]) -> None:
    """Run requests until the parent says its last word or is gone, or the system asks this process to end.

    Args:
        connection: to the parent.
        device: its GPU, None for the CPU.
        prepare_process: called before anything else.
    """
    asked = obey_in_worker()
    forgive_output()
    line = Line(connection)
    from fanin.devices import VISIBLE, accelerator, visible_device  # torch: not in the parent

    if device is not None and (variable := VISIBLE.get(accelerator(there=False) or "")):
        os.environ[variable] = visible_device(device, os.environ.get(variable))
    try:
        prepare_process()
        while not line.orphaned and not asked():
            if not connection.poll(PATIENCE):
                continue
            try:
                message: tuple[list[Posted], list[bytes]] | None = connection.recv()
            except (EOFError, OSError):
                return
            if message is None:  # the parent's last word
                return
            task, told = message
            line.send("taken")
            for news_of_another in told:
                learn(news_of_another)
            for one in task:
                one.viewer = Remote(line, one.name)
            outcomes = execute_together(task, lambda: asked() or line.hung_up)
            line.send("outcomes", outcomes, news())
            if len(task) > 1:
                gc.collect()  # the tensors of many runs, before the next ones are made
    except Exception as error:  # the parent prints it, without the traceback
        with suppress(Exception):
            line.send("broken", f"{type(error).__name__}: {error}".strip().splitlines()[0])
        os._exit(1)
