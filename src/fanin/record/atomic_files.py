"""Writing and reading the small files of a run so that a kill or a full disk never leaves half of one."""

from __future__ import annotations

import glob
import json
import math
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from fanin import process
from fanin.process import lock

PATIENCE = 2.0
"""Seconds to wait until readers have closed a file, on systems where an open file cannot be replaced."""

LONGEST_INTEGER = 300
"""Digits of the longest integer that is read as one; the largest float has 309."""

LONG_INTEGER = re.compile(rb"\d{%d}" % LONGEST_INTEGER)


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file beside its place and move it there: readers see the old file or the new one, never a part.

    Temporary files that killed writers have left beside it are removed.
    """
    _remove_leftovers(path)
    handle, temporary = _new_file_beside(path)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.chmod(temporary, 0o666 & ~_umask())  # noqa: PTH101 (mkstemp's 0600 would hide results from a group)
            if process.OPEN_FILES_MOVE:
                os.replace(temporary, path)  # noqa: PTH105
        if not process.OPEN_FILES_MOVE:
            _replace_once_closed(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write these bytes atomically."""
    write_atomically(path, lambda file: file.write(content))


def _replace_once_closed(temporary: str, path: Path) -> None:
    """Move a file to its place once no reader has the old file open."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            os.replace(temporary, path)  # noqa: PTH105
            return
        except PermissionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def alone(lock: Path, patience: float) -> Iterator[None]:
    """A lock between processes: at most one at a time runs a block with this lock file.

    Args:
        lock: the file, which has no other use.
        patience: seconds to wait for the lock.

    Raises:
        TimeoutError: another process has held the lock for that long.
        OSError: the lock file cannot be made.
    """
    held = FileLock(lock)
    try:
        held.acquire(timeout=patience)
    except Timeout:
        raise TimeoutError(f"another process has held {lock} for {patience:g} seconds") from None
    try:
        yield
    finally:
        held.release()


def _new_file_beside(path: Path) -> tuple[int, str]:
    """A new temporary file, locked while this process has it open: one without a lock was left by a killed writer."""
    while True:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with suppress(OSError):  # a file system without locks
            lock(handle, wait=True)
        if os.fstat(handle).st_nlink:
            return handle, temporary
        os.close(handle)  # another writer removed it as a leftover before it was locked


def _remove_leftovers(path: Path) -> None:
    """Remove what killed writers of a file have left beside it."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'?' * 8}"):
        with suppress(OSError):
            with left.open("r+b") as file:
                lock(file.fileno(), wait=False)
                if process.OPEN_FILES_MOVE:
                    left.unlink()
            if not process.OPEN_FILES_MOVE:
                left.unlink()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON atomically; NaN and infinities, which JSON lacks, as "nan", "inf" and "-inf"."""
    text = json.dumps(jsonable(content), indent=1, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> dict[str, Any] | None:
    """The content of a JSON file, or None if it is missing or broken."""
    try:
        content = loaded(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def loaded(text: bytes) -> Any:
    """JSON as values; an integer of hundreds of digits, which no float can hold, as an infinite one.

    Raises:
        ValueError: it is no JSON.
    """
    if not LONG_INTEGER.search(text):
        return json.loads(text)  # four times as fast as with a function for each integer
    return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < LONGEST_INTEGER else float(digits))


def jsonable(value: Any) -> Any:
    """The value with every float that is not finite as a word."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    return value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
