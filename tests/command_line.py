"""How the tests type commands and read what they leave."""

from __future__ import annotations

import csv
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nursery import send

TINY = ("model.depth=3", "model.width=16", "data.limit=300", "trainer.steps=6")
"""The smallest recipe that does everything: 3 batches an epoch, 2 epochs."""


@dataclass(frozen=True)
class Said:
    """What a command answered: its exit code, and the lines of its two streams."""

    code: int
    out: list[str]
    err: list[str]


def environment(**more: str) -> dict[str, str]:
    """This process's environment with one thread, without what would change a command's answer."""
    kept = {name: value for name, value in os.environ.items() if name not in ("HYDRA_FULL_ERROR", "FANIN_DATA")}
    return kept | {"OMP_NUM_THREADS": "1", "COLUMNS": "160"} | more


class Command:
    """A command on its way, in a process that the nursery has forked; used like a subprocess.Popen."""

    _nursery: ClassVar[tuple[socket.socket, subprocess.Popen[bytes]] | None] = None

    def __init__(self, module: str, folder: Path, arguments: Sequence[str], given: dict[str, str], *, figures: bool):
        self.returncode: int | None = None
        ends = [os.pipe() for _ in ("out", "err", "told")]
        self._out, self._err, self._told = (os.fdopen(end, "rb", buffering=0) for end, _ in ends)
        grid = any(one == "-m" or one.startswith(("--multirun", "experiment=")) for one in arguments)
        request = {"module": module, "folder": str(folder), "arguments": list(arguments), "environment": given}
        send(self._nursery_of_this_process(), request | {"grid": grid, "figures": figures}, [end for _, end in ends])
        for _, end in ends:
            os.close(end)
        self.pid = int(self._told.readline())

    @classmethod
    def _nursery_of_this_process(cls) -> socket.socket:
        """The connection to it; with this process it ends."""
        if cls._nursery is None:
            ours, theirs = socket.socketpair()
            command = [sys.executable, str(Path(__file__).with_name("nursery.py")), str(theirs.fileno())]
            null = subprocess.DEVNULL
            server = subprocess.Popen(command, env=environment(), stdin=null, stdout=null, pass_fds=[theirs.fileno()])
            theirs.close()
            cls._nursery = ours, server
        return cls._nursery[0]

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, or minus the signal that ended it."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("fanin", timeout or 0)
            self.returncode = int(self._told.readline())
        return self.returncode

    def poll(self) -> int | None:
        """The same, or None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def send_signal(self, number: int) -> None:
        """Send it a signal, as long as it is there."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait for its end and for all that was said, by it and by whoever else has its streams."""
        said = {self._out.fileno(): b"", self._err.fileno(): b""}
        until, still = time.monotonic() + timeout, list(said)
        while still:
            ready = select.select(still, [], [], max(0, until - time.monotonic()))[0]
            if not ready:
                raise subprocess.TimeoutExpired("fanin", timeout)
            for one in ready:
                more = os.read(one, 1 << 16)
                said[one] += more
                if not more:
                    still.remove(one)
        self.wait(max(0, until - time.monotonic()))
        out, err = (text.decode() for text in said.values())
        return out, err


Started = Command | subprocess.Popen[str]


def start(
    folder: Path,
    *arguments: str,
    module: str = "fanin.cli.main",
    fresh: bool = False,
    figures: bool = False,
    **more: str,
) -> Started:
    """A command, started in a folder and not waited for.

    Args:
        folder: where it is typed.
        arguments: what is typed.
        module: the program, `python -m module`.
        fresh: by an interpreter of its own, as a user starts it; else by the nursery.
        figures: whether the nursery's command draws the figures of a report or leaves them white.
        more: variables of its environment.
    """
    if not fresh:
        return Command(module, folder, arguments, environment(**more), figures=figures)
    command = [sys.executable, "-m", module, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment(**more), stdout=pipe, stderr=pipe, text=True)


def end(process: Started, seconds: float = 120) -> Said:
    """Wait for a command."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Said(process.wait(), out.splitlines(), err.splitlines())


def fanin(folder: Path, *arguments: str, seconds: float = 120, fresh: bool = False, **more: str) -> Said:
    """The command, run in a folder to its end; see `start`."""
    return end(start(folder, *arguments, fresh=fresh, **more), seconds)


def runs(grid: Path) -> dict[str, Path]:
    """The run folders of a grid by name."""
    return {path.parent.name: path.parent for path in sorted(grid.glob("*/status.json"))}


def read(path: Path) -> dict[str, Any]:
    """A JSON file."""
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


MEASURED = ("seconds", "peak_memory", "git")
"""What two results of the same command may differ in."""


def untimed(run: Path) -> tuple[list[dict[str, str]], str, dict[str, Any]]:
    """Everything in metrics.csv, profiles.csv and result.json but the clock, and the repository it was typed in."""
    metrics = [{key: value for key, value in row.items() if key != "seconds"} for row in table(run / "metrics.csv")]
    result = {key: value for key, value in read(run / "result.json").items() if key not in MEASURED}
    return metrics, (run / "profiles.csv").read_text(), result
