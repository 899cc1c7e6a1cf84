"""A run's folder: who owns it, what state it is in, what can be kept of an earlier attempt."""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fanin.record.atomic_files import read_json, write_atomically, write_json
from fanin.record.columns import FINISHED


class FolderBusy(Exception):
    """Another process is running this very configuration."""


class RunFolder:
    """The folder of one run: its status, its result and its ownership.

    status.json goes running -> done | diverged | failed | interrupted | pruned. result.json is written last, so a
    folder with a result is complete. A process that dies leaves "running" behind; its lock dies with it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self._started = ""
        self._position: dict[str, Any] = {"step": 0, "steps": None, "epoch": 0.0, "seconds": 0.0}
        self._written = 0.0

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Own the folder while the block runs; the system gives the lock back when its owner dies.

        Raises:
            FolderBusy: another process owns it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise FolderBusy(str(self.path)) from None
        try:
            yield
        finally:
            lock.release()

    @property
    def status(self) -> dict[str, Any]:
        """What status.json says, or {} where there is none."""
        return read_json(self.path / "status.json") or {}

    @property
    def result(self) -> dict[str, Any] | None:
        """What result.json says, or None while the run is not complete."""
        return read_json(self.path / "result.json")

    def finished(self, config_hash: str) -> bool:
        """Whether this very configuration has been run to its end here."""
        result = self.result
        return self.status.get("state") in FINISHED and result is not None and result.get("config_hash") == config_hash

    def write_status(self, state: str, *, at_most_every: float = 0.0, **fields: Any) -> None:
        """Write status.json; with `at_most_every` (seconds) a call soon after the last one writes nothing.

        `fields`: where the run is (step, steps, epoch, seconds), by default where it was; its error, by default none.
        """
        self._position |= {key: value for key, value in fields.items() if key != "error"}
        now = time.monotonic()
        if at_most_every and now - self._written < at_most_every:
            return
        self._written = now
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        self._started = self._started or stamp
        content = {
            "state": state,
            "started": self._started,
            "updated": stamp,
            "error": fields.get("error"),
            "pid": os.getpid(),
        }
        write_json(self.path / "status.json", content | self._position)

    def mark_dead(self, state: str, error: str) -> None:
        """Say of a run whose process is gone what became of it; when it started and where it was stay as it said.

        One that was complete stays complete: of runs that are trained together some end before the others.
        """
        said = self.status
        if said.get("state") in FINISHED and self.result is not None:
            return
        self._started = str(said.get("started", ""))
        self.write_status(state, error=error, **{key: said[key] for key in self._position if key in said})

    def write_result(self, result: dict[str, Any]) -> None:
        """Write result.json: the run is complete."""
        write_json(self.path / "result.json", result)

    def clear(self) -> None:
        """Remove what an earlier attempt left; Hydra's record and the log of what was said stay."""
        for name in ("result.json", "metrics.csv", "profiles.csv", "trajectory.csv"):
            (self.path / name).unlink(missing_ok=True)
        for events in self.path.glob("events.out.tfevents.*"):
            events.unlink()
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def save(self, name: str, write: Callable[[Any], object]) -> Path:
        """Write a checkpoint atomically; `write` gets an open binary file."""
        self.checkpoints.mkdir(exist_ok=True)
        path = self.checkpoints / f"{name}.pt"
        # In memory first: on a full disk torch's own writer says something about containers, this says what is wrong.
        content = io.BytesIO()
        write(content)
        write_atomically(path, lambda file: file.write(content.getbuffer()))
        return path
