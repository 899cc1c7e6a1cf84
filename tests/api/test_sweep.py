"""fanin.sweep: grids from hosts that have no guard, by a process beside them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from host_state import changes, snapshot

import fanin
from command_line import environment, read, table, untimed
from fanin.errors import UserError
from slow_runs import wait_for

TINY = ["data.image_size=8", "data.limit=300", "model.depth=3", "model.width=8", "trainer.steps=6"]


@pytest.mark.slow
def test_a_grid_from_a_function(host: Path) -> None:
    """What was run before is not run again, the others are those of fanin.run, to the bit; the table is summary.csv."""
    first = fanin.run([*TINY, "seed=1"])
    before = snapshot()
    grid = fanin.sweep([*TINY, "seed=0,1"], launcher="pool")
    assert changes(before, snapshot()) == []
    assert (len(grid), grid.status, grid.error) == (2, {"done": 2}, None)
    assert grid.folder == host / "outputs" / "runs"
    assert [(run.result["overrides"]["seed"], run.skipped) for run in grid] == [(0, False), (1, True)]
    assert grid[1].folder == first.folder
    assert untimed(grid[0].folder) == untimed(fanin.run([*TINY, "seed=0"], folder="alone").folder)
    summary = {row["run"]: row for row in table(grid.folder / "summary.csv")}
    assert [float(summary[name]["test_loss"]) for name in grid.result["run"]] == grid.result["test_loss"].tolist()
    for rows in (grid.metrics, grid.profiles):
        assert (
            rows[rows["run"] == first.name]
            .drop(columns="run")
            .reset_index(drop=True)
            .equals(first.metrics if rows is grid.metrics else first.profiles)
        )
    assert grid.report.is_file()


@pytest.mark.slow
def test_ctrl_c_stops_a_grid(host: Path) -> None:
    """A notebook's kernel alone gets the signal, as the host does here; the runs are kept, and the host goes on."""
    done = threading.Event()

    def interrupt() -> None:
        while not done.is_set() and not any(read(one)["step"] for one in host.glob("grid/*/status.json")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    before = snapshot()
    watching = threading.Thread(target=interrupt)
    watching.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            fanin.sweep([*TINY[:-1], "trainer.steps=1000000", "seed=0,1"], folder="grid")
    finally:
        done.set()
        watching.join()
    assert changes(before, snapshot()) == []
    states = [read(one)["state"] for one in sorted(host.glob("grid/*/status.json"))]
    assert states
    assert set(states) == {"interrupted"}
    assert list(host.glob("grid/*/checkpoints/last.pt"))


WRONG: list[tuple[list[str], dict[str, Any], str]] = [
    (["model.depht=3"], {}, r"unknown key model.depht: .*did you mean model.depth\?"),
    (["seed=0,1", "optimizer.lr=-1"], {}, r"optimizer.lr=-1: must be a finite number >= 0"),
    (["seed=0"], {"launcher": "nope"}, r"hydra/launcher=nope: must be one of auto, basic"),
    (["seed=0"], {"launcher": 3}, r"launcher=3: must be the name of a launcher"),
    (["hydra/launcher=pool"], {}, r"hydra/launcher=pool: from Python it is launcher=NAME"),
    (["hydra.sweep.dir=there"], {}, r"hydra.sweep.dir=there: from Python it is folder=DIR"),
]


@pytest.mark.parametrize(("overrides", "keywords", "line"), WRONG[3:])
def test_wrong_uses_are_one_line(host: Path, overrides: list[str], keywords: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        fanin.sweep(overrides, **keywords)
    assert list(host.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("overrides", "keywords", "line"), WRONG[:3])
def test_wrong_grids_are_one_line(host: Path, overrides: list[str], keywords: dict[str, Any], line: str) -> None:
    """What only the process of the grid finds out; nothing is written."""
    before = snapshot()
    with pytest.raises(UserError, match=line) as told:
        fanin.sweep(overrides, **keywords)
    assert "\n" not in str(told.value)
    assert changes(before, snapshot()) == []
    assert list(host.iterdir()) == []


@pytest.mark.slow
def test_runs_that_fail_are_told(host: Path) -> None:
    (host / "nets_of_a_grid.py").write_text(
        "import torch\n\nclass Broken(torch.nn.Linear):\n    def __init__(self, in_features, out_features):\n"
        "        super().__init__(in_features, out_features)\n        self.passes = 0\n\n    def forward(self, x):\n"
        "        self.passes += 1\n        if self.passes > 3:\n            raise RuntimeError('planted')\n"
        "        return super().forward(x.flatten(1))\n"
    )
    words = [*TINY[:2], "trainer.steps=20", "~model.depth", "~model.width", "~model.bias"]
    words += ["model._target_=nets_of_a_grid.Broken", "seed=0,1"]
    grid = fanin.sweep(words)
    assert grid.status == {"failed": 2}
    assert "2 of 2 runs failed" in str(grid.error)
    assert all("planted" in str(run.error) for run in grid)
    with pytest.raises(UserError, match="2 of 2 runs failed"):
        fanin.sweep(words, check=True)


CELL = f"""
import fanin
grid = fanin.sweep({[*TINY, "seed=0,1"]!r}, launcher="pool")
print(grid.status, len(grid.metrics["run"].unique()))
"""
KERNEL = f"""
import asyncio, sys

async def kernel():
    main = sys.modules["__main__"]
    del main.__file__
    exec(compile({CELL!r}, "<cell 1>", "exec"), vars(main))

asyncio.run(kernel())
"""


@pytest.mark.slow
@pytest.mark.parametrize("code", [CELL, KERNEL], ids=["script", "kernel"])
def test_hosts_without_a_guard(tmp_path: Path, code: str) -> None:
    """A script whose first line runs a grid, and a kernel that runs cells in a loop, with a `__main__` of no file."""
    (tmp_path / "host.py").write_text(code)
    said = subprocess.run(
        [sys.executable, "host.py"], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120
    )
    assert (said.stdout, said.stderr) == ("{'done': 2} 2\n", "")


@pytest.mark.slow
def test_a_grid_does_not_outlive_its_host(tmp_path: Path) -> None:
    words = [*TINY[:-1], "trainer.steps=1000000", "seed=0,1"]
    (tmp_path / "host.py").write_text(f"import fanin\nfanin.sweep({words!r}, folder='grid')\n")
    with subprocess.Popen([sys.executable, "host.py"], cwd=tmp_path, env=environment()) as process:
        wait_for(lambda: any(read(one)["step"] for one in tmp_path.glob("grid/*/status.json")))
        process.kill()
    wait_for(lambda: {read(one)["state"] for one in tmp_path.glob("grid/*/status.json")} == {"interrupted"})
