"""Runs that take their time, for tests that kill and interrupt them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from command_line import read, runs, table

OWN = """
import os, signal, time
from pathlib import Path
from torch import nn

steps = 0

class Slow(nn.ReLU):
    def forward(self, x):
        global steps
        if self.training and x.ndim > 1:  # theory asks it for numbers, too
            if os.path.exists("slow"):
                time.sleep(0.03)
            for file in ("exit", "interrupt"):
                try:
                    at = int(Path(file).read_text())
                    steps += 0.5
                    if steps >= at:
                        os.unlink(file)  # one process alone
                        os._exit(3) if file == "exit" else signal.raise_signal(signal.SIGINT)
                except FileNotFoundError:
                    pass
        return super().forward(x)
"""


def own_parts(folder: Path) -> Path:
    """Put an activation into a folder that is told what to do by files beside it; a model of depth 3 has two.

    While a file `slow` is there, each sleeps for 0.03 s: a run of 60 steps then takes 4 s and no processor.
    Where `exit` or `interrupt` hold a number of steps, the first process that has taken so many takes the file away and
    exits with code 3, or sends itself a SIGINT.
    """
    (folder / "own" / "activation").mkdir(parents=True)
    (folder / "own" / "activation" / "slow.yaml").write_text("# slow\n_target_: slow.Slow\n_partial_: true\n")
    (folder / "slow.py").write_text(OWN)
    return folder


@contextmanager
def slowly(folder: Path) -> Iterator[None]:
    """Runs in a folder are slow while the block runs."""
    (folder / "slow").touch()
    try:
        yield
    finally:
        (folder / "slow").unlink()


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Look every few milliseconds until something is so."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "what was waited for did not come"
        time.sleep(0.02)


def steps_of(grid: Path) -> dict[str, int]:
    """The runs that say they are running, and how far they have come by metrics.csv."""
    found = {}
    for name, run in runs(grid).items():
        rows = table(run / "metrics.csv") if (run / "metrics.csv").exists() else []
        if read(run / "status.json")["state"] == "running" and rows and rows[-1]["step"]:
            found[name] = int(rows[-1]["step"])
    return found


def states(grid: Path) -> dict[str, str]:
    """The state of every run."""
    return {name: read(run / "status.json")["state"] for name, run in runs(grid).items()}


def living(place: Path) -> dict[int, int]:
    """The processes that work in a folder, and the parent of each: commands, fork servers, workers, trackers."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone, or another user's
            if (process / "cwd").readlink() == place:
                found[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    return found
