"""Keeping a report current while its runs go on."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path

from fanin.record.atomic_files import alone, read_json
from fanin.report.make import PATIENCE
from fanin.report.read.folders import find_runs
from fanin.report.read.kept import KeepingReader
from fanin.report.read.reuse import RECORD, forget, stamp
from fanin.report.write.page import Report

PAUSE = 0.2
"""Seconds between two looks at the runs' files, at least: where there are many, four times as long as a look takes."""

FIGURES = 10.0
"""Figures are drawn again after so many times the seconds that it took the last time, or as soon as nothing changes."""

FOLDER = ".figures"
"""In the report's own, where they are drawn."""


def watch(
    folders: Sequence[Path],
    write: Callable[..., Report],
    *,
    words: Sequence[str] = (),
    first: Callable[[Report], object],
    tell: Callable[[str], object],
) -> None:
    """Write a report, and again whenever a file of a run has changed, until the user stops it (KeyboardInterrupt).

    Page and tables follow at once: only runs that have changed are read again. Figures, which take longer, are drawn by
    a process of their own, as soon as nothing changes any more, and now and then before.

    Args:
        folders: that hold the runs; they may be empty as yet.
        write: `write_report` of these folders, with what else was asked for.
        words: what was typed, for the process that draws.
        first: told of the first report.
        tell: told in a line of each further one.
    """
    stops: list[int] = []

    def stop(number: int, frame: object) -> None:
        stops.append(number)  # an interrupt within a destructor is printed and forgotten
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    known: dict[Path, list[str]] | None = None
    drawing: Drawing | None = None
    report: Report | None = None
    drawn, took, stale, told = 0.0, 0.0, False, False  # when figures were drawn, how long, whether runs changed since
    write = partial(write, redraw=False, reader=KeepingReader())
    try:
        while not stops:
            looked = time.monotonic()
            found = find_runs([folder for folder in folders if folder.is_dir()])
            if not found and not told:
                told = True
                tell(f"no runs yet in {', '.join(map(str, folders))}")
            marks = {folder: stamp(folder) for folder in found}
            pause = max(PAUSE, 4 * (time.monotonic() - looked))
            changed = bool(found) and marks != known
            if changed:
                report = write(numbers_only=known is not None)
                if known is None:
                    first(report)
                    drawn, took = time.monotonic(), time.monotonic() - looked
                else:
                    tell(_line(report))
                stale, known = known is not None, marks
            if drawing is not None and drawing.ended:
                drawn, took = time.monotonic(), time.monotonic() - drawing.began
                if drawing.take_over():
                    report = write(numbers_only=True)
                drawing = None
            due = not changed or time.monotonic() - drawn > FIGURES * took
            if stale and due and drawing is None and report is not None:
                drawing, stale = Drawing(words, report.out), False
            time.sleep(pause)
        raise KeyboardInterrupt
    finally:
        signal.signal(signal.SIGINT, before)
        if drawing is not None:
            drawing.stop()


def _line(report: Report) -> str:
    """How many runs there are by now, in which states."""
    counts = report.summary["state"].value_counts()
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    return f"{datetime.now():%H:%M:%S} {len(report.summary)} runs: {states}"


class Drawing:
    """A whole report on its way in a hidden folder of the report's own, of which figures are taken over.

    Args:
        words: what was typed behind fanin-report, without what makes it watch.
        place: the report's folder.
    """

    def __init__(self, words: Sequence[str], place: Path) -> None:
        self.place, self.folder, self.began = place, place / FOLDER, time.monotonic()
        shutil.rmtree(self.folder, ignore_errors=True)
        command = [sys.executable, "-m", "fanin.report.cli", *words, "--out", str(self.folder)]
        null = subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdin=null, stdout=null, stderr=null)

    @property
    def ended(self) -> bool:
        """Whether it has ended, well or not."""
        return self.process.poll() is not None

    def take_over(self) -> bool:
        """Put its figures and TensorBoard's files in the place of the report's; whether there were some."""
        record = read_json(self.folder / RECORD)
        if self.process.returncode != 0 or record is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            return False
        with alone(self.place / ".lock", PATIENCE):
            forget(self.place)
            shutil.rmtree(self.place / "tensorboard", ignore_errors=True)
            for name in (*record["figures"], RECORD, "tensorboard"):
                with suppress(FileNotFoundError):
                    (self.folder / name).replace(self.place / name)
        shutil.rmtree(self.folder, ignore_errors=True)
        return True

    def stop(self) -> None:
        """End it, and leave nothing of it."""
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
