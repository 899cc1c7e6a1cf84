"""A run's folder: who owns it, what state it is in, what can be kept of an earlier attempt."""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fanin.record.atomic_files import read_json, write_atomically, write_json
from fanin.record.checkpoint_file import sealed
from fanin.record.columns import CHECKPOINTS, FINISHED, RUN_FILES, SNAPSHOT, STATES

EVENTS = re.compile(r"events\.out\.tfevents\.\d+\..+\.\d+\.\d{6}")
"""The names of our event files; those of torch's SummaryWriter end in a number without leading zeros."""


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
        self.resumed = False  # whether this attempt resumed from a checkpoint

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Own the folder while the block runs; the system releases the lock when its owner dies.

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

    @property
    def complete(self) -> dict[str, Any] | None:
        """The result of a run that ended in this folder; status.json may be missing, as the result is written last."""
        result = self.result
        if result is None or not isinstance(result.get("config_hash"), str):
            return None
        said = self.status.get("state")
        return result if (said if said in tuple(STATES) else result.get("state")) in FINISHED else None

    def finished(self, config_hash: str) -> bool:
        """Whether a run of this configuration has ended in this folder."""
        return (self.complete or {}).get("config_hash") == config_hash

    def over(self, config_hash: str, pause_at: int | None) -> bool:
        """Whether nothing is left to do here: the run has ended or, if it is to pause, has come so far."""
        if self.finished(config_hash):
            return True
        said = self.status if pause_at is not None else {}
        return said.get("state") == "paused" and int(said.get("step") or 0) >= (pause_at or 0)

    def edited(self, code: Mapping[str, str]) -> list[str]:
        """The user's own files that have changed since the run in this folder ended.

        Args:
            code: the files that its configuration names parts of now, with their hashes.
        """
        before = (self.complete or {}).get("code")
        return [name for name, digest in code.items() if isinstance(before, dict) and before.get(name) != digest]

    def refusal(self, config_hash: str, *, force: bool) -> str | None:
        """Why a configuration must not be run here: what is here is not a run's, or another run's result.

        Raises:
            OSError: the folder cannot be looked into.
        """
        if stranger := self._stranger():
            return f"{self.path} is not empty and no run's folder: {stranger} is not a run's; choose another folder"
        complete = self.complete
        if complete is None or force or complete.get("config_hash") == config_hash:
            return None
        return (
            f"{self.path} holds the finished run of another configuration, or of another version's; it stays as it "
            f"is: force=true replaces it, another hydra.sweep.dir or hydra.run.dir leaves it"
        )

    def _stranger(self) -> str | None:
        """The name of something that no run has left here; None in a run's folder, whatever lies beside its files."""
        try:
            there = sorted(path.name for path in self.path.iterdir())
        except FileNotFoundError:
            return None
        if "status.json" in there:
            return None
        inner = [
            f"checkpoints/{path.name}" for path in self.checkpoints.glob("*") if not _is_ours(path.name, CHECKPOINTS)
        ]
        if (
            strangers := [name for name in there if not _is_ours(name, RUN_FILES) and not EVENTS.fullmatch(name)]
            + inner
        ):
            return strangers[0]
        begun = {"run.log", ".lock"} & set(there)  # Hydra's record alone is of the run that is about to begin
        return None if begun else next((name for name in there if name != ".hydra"), None)

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
        """Write the final state of a run whose process has died; its start and its position stay as they were written.

        A complete run stays complete: of runs that are trained together some end before the others.
        """
        if self.complete is not None:
            return
        said = self.status
        self._started = str(said.get("started", ""))
        self.write_status(state, error=error, **{key: said[key] for key in self._position if key in said})

    def write_result(self, result: dict[str, Any]) -> None:
        """Write result.json: the run is complete."""
        write_json(self.path / "result.json", result)

    def clear(self) -> None:
        """Remove the files of an earlier attempt; Hydra's record, the log and files that are not a run's stay."""
        tables = (
            "metrics.csv",
            "profiles.csv",
            "curvature.csv",
            "trajectory.csv",
            "histograms.csv",
            "gradient_check.csv",
            "scores.npz",
            "residuals.csv",
        )
        for name in ("result.json", *tables):
            (self.path / name).unlink(missing_ok=True)
        for path in self.path.glob("events.out.tfevents.*"):
            if EVENTS.fullmatch(path.name):
                path.unlink()
        for path in self.checkpoints.glob("*"):
            if _is_ours(path.name, CHECKPOINTS):
                path.unlink()
        with suppress(OSError):  # somebody else's files are in it
            self.checkpoints.rmdir()

    def save(self, name: str, write: Callable[[Any], object]) -> Path:
        """Write a checkpoint atomically; `write` gets an open binary file."""
        self.checkpoints.mkdir(exist_ok=True)
        path = self.checkpoints / f"{name}.pt"
        # In memory first: on a full disk torch's own writer complains of containers, this one says what is wrong.
        content = io.BytesIO()
        write(content)
        whole = sealed(content.getbuffer())
        write_atomically(path, lambda file: file.write(whole))
        return path


def _is_ours(name: str, ours: Collection[str]) -> bool:
    """Whether a file is one of ours, or what a killed writer has left of it (see `write_atomically`)."""
    names = (name, name[1:-9]) if name.startswith(".") else (name,)
    return any(one in ours or (ours is CHECKPOINTS and SNAPSHOT.fullmatch(one)) for one in names)
