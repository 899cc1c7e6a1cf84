"""Output that nobody reads or takes: it decides nothing of what is run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import TINY, environment, read, runs
from slow_runs import states

SHY = """
from torch import nn


class Shy(nn.ReLU):
    def forward(self, x):
        print("working", flush=True)
        return super().forward(x)
"""


# Each command has an interpreter of its own, for the streams are Python's.


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.slow
def test_a_grid_whose_output_cannot_be_written_is_run_and_says_so_by_its_code(tmp_path: Path) -> None:
    """Neither a line of the command's own nor one of a user's part, in a worker, ends anything."""
    (tmp_path / "own" / "activation").mkdir(parents=True)
    (tmp_path / "own" / "activation" / "shy.yaml").write_text("_target_: shy.Shy\n_partial_: true\n")
    (tmp_path / "shy.py").write_text(SHY)
    typed = ("-m", "--config-dir=own", "activation=shy", *TINY, "trainer.device=cpu", "seed=0,1")
    command = [sys.executable, "-m", "fanin.cli.main", *typed]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=tmp_path, env=environment(), stdout=full, stderr=full, timeout=120)
    assert done.returncode == 120
    grid = tmp_path / "outputs" / "runs"
    assert list(states(grid).values()) == ["done", "done"]
    assert [read(run / "result.json")["steps"] for run in runs(grid).values()] == [6, 6]
    page = grid / "report" / "index.html"
    page.unlink()
    command = [sys.executable, "-m", "fanin.report.cli", "outputs/runs"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=tmp_path, env=environment(), stdout=full, stderr=full, timeout=120)
    assert done.returncode == 120
    assert page.exists()


def test_a_run_whose_reader_goes_away_is_done(tmp_path: Path) -> None:
    """As `fanin ... | head -1` leaves it: its last line cannot be printed, and its result stays."""
    ours, theirs = os.pipe()
    command = [sys.executable, "-m", "fanin.cli.main", *TINY]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=theirs, stderr=subprocess.PIPE, text=True
    )
    os.close(ours)
    os.close(theirs)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (120, "")
    (run,) = runs(tmp_path / "outputs" / "runs").values()
    assert read(run / "status.json")["state"] == "done"
    assert read(run / "result.json")["steps"] == 6
