"""A worker's side of the pool: it receives requests, runs them, and sends their progress and outcomes."""

from __future__ import annotations

import gc
import os
import select
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from fanin.output import forgive_output
from fanin.run.request import Request
from fanin.sweep.composer import Plain, write_record
from fanin.sweep.job import execute_together
from fanin.sweep.run_view import ending
from fanin.sweep.signals import obey_in_worker

PATIENCE = 0.5
"""Seconds after which an idle worker checks whether it was asked to end."""


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
        self._incoming, self._outgoing = select.poll(), select.poll()
        self._incoming.register(connection.fileno(), select.POLLIN)
        self._outgoing.register(connection.fileno(), select.POLLOUT)

    def send(self, *message: Any) -> None:
        """Send a message; a parent that is gone is remembered."""
        try:
            self.connection.send(message)
        except OSError:
            self.orphaned = True

    @property
    def free(self) -> bool:
        """Whether a message can be sent without waiting, because the parent reads."""
        return bool(self._outgoing.poll(0))

    @property
    def hung_up(self) -> bool:
        """Whether the parent is gone or has closed its end, asked while no request is expected from it."""
        return self.orphaned or bool(self._incoming.poll(0))


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


def visible_device(device: int, visible: str | None) -> str:
    """What CUDA_VISIBLE_DEVICES is to be for a device alone, counted among those that it names now."""
    return visible.split(",")[device].strip() if visible else str(device)


def work(connection: Connection, device: int | None, prepare_process: Callable[[], None]) -> None:
    """Run requests until the parent closes its end, or the system asks this process to end.

    Args:
        connection: to the parent.
        device: its CUDA device, None for the CPU.
        prepare_process: called before anything else.
    """
    asked = obey_in_worker()
    forgive_output()
    line = Line(connection)
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible_device(device, os.environ.get("CUDA_VISIBLE_DEVICES"))
    try:
        prepare_process()
        while not line.orphaned and not asked():
            if not connection.poll(PATIENCE):
                continue
            try:
                task: list[Posted] = connection.recv()
            except (EOFError, OSError):
                return
            line.send("taken")
            for one in task:
                one.viewer = Remote(line, one.name)
            line.send("outcomes", execute_together(task, lambda: asked() or line.hung_up))
            if len(task) > 1:
                gc.collect()  # the tensors of many runs, before the next ones are made
    except Exception as error:  # the parent prints it, without the traceback
        with suppress(Exception):
            line.send("broken", f"{type(error).__name__}: {error}".strip().splitlines()[0])
        os._exit(1)
