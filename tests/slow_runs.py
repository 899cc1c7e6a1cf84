"""Runs that take their time, for tests that kill and interrupt them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from command_line import read, runs, table

NAP = "0.03"
"""Seconds that each of the two activations of a step sleeps: a run of 60 steps takes 4 s and no processor."""

OWN = """
import os, time
from torch import nn

class Slow(nn.ReLU):
    def forward(self, x):
        if self.training:
            time.sleep(float(os.environ.get("NAP", 0)))
            if "EXIT" in os.environ and os.path.exists("exit"):
                os.unlink("exit")
                os._exit(3)
        return super().forward(x)
"""


def own_parts(folder: Path) -> Path:
    """Put an activation that takes its time where NAP says so, and exits where EXIT does, into a folder."""
    (folder / "own" / "activation").mkdir(parents=True)
    (folder / "own" / "activation" / "slow.yaml").write_text("# slow\n_target_: slow.Slow\n_partial_: true\n")
    (folder / "slow.py").write_text(OWN)
    return folder


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
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
