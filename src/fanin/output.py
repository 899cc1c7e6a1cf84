"""What is printed: it decides nothing. A terminal that is gone or a full disk never ends what a command does."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import Any, TextIO

PATIENCE = 5.0
"""Seconds that a reader who does not read is waited for, where its pipe does not wait itself."""

LOST = 120
"""Exit code where all went well but for output that could not be written: Python's own."""


class _Forgiving(io.FileIO):
    """A file that takes everything: what cannot be written is lost, and that is remembered."""

    lost = False
    stuck = False

    def write(self, data: Any) -> int:
        """Write what can be written; says that it was all."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            try:
                count = None if self.stuck else super().write(view[done:])
            except (OSError, ValueError):
                self.lost = True
                break
            if count is None and (self.stuck or not select.select([], [self], [], PATIENCE)[1]):
                self.lost = self.stuck = True  # nobody reads: waited for once, not for every line
                break
            done += count or 0
        return len(view)


def forgive_output() -> None:
    """From now on whatever this process prints, by whichever library, never raises; see `lost`.

    A stream that somebody has put in the place of Python's own stays. One that was closed before the process began
    goes nowhere: its number would be given to the next file that is opened.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None or stream is not getattr(sys, f"__{name}__") or not isinstance(stream, io.TextIOWrapper):
            continue
        if not isinstance(getattr(stream.buffer, "raw", stream.buffer), io.FileIO):
            continue  # the terminal of Windows, which takes letters, not bytes
        raw = _Forgiving(stream.fileno(), "w", closefd=False)
        try:
            stream.flush()
        except OSError:
            raw.lost = True
        errors = "replace" if stream.errors == "strict" else stream.errors  # a letter that the terminal has not
        line_buffering = stream.line_buffering
        file = io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, errors, line_buffering=line_buffering)
        setattr(sys, name, file)


def lost() -> bool:
    """Whether something that this process has printed could not be written."""
    found = False
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            found = True
        found = found or getattr(getattr(getattr(stream, "buffer", None), "raw", None), "lost", False)
    return found
