"""Grids whose processes are killed at any moment of their lives: the same command ends them as if nothing had been."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from command_line import Started, fanin, read, runs, start, table, untimed
from slow_runs import living, states, wait_for

COMMAND = (
    "-m", "model.depth=3", "model.width=16", "data.limit=300", "trainer.log_every=5", "trainer.checkpoint_every=20",
    "optimizer=adam", "regularizer=[l2,dropout]", "trainer.device=cpu", "hydra.launcher.n_jobs=2",
)  # fmt: skip
SMALL = (*COMMAND, "seed=0,1,2", "optimizer.lr=0.01", "trainer.steps=100")
LARGE = (*COMMAND, "seed=0,1,2,3,4,5", "optimizer.lr=0.01,0.001", "trainer.steps=400")


def progress(grid: Path) -> int:
    """Rows written so far, by all runs."""
    return sum(path.read_bytes().count(b"\n") for path in grid.glob("*/metrics.csv"))


def moment(grid: Path, whole: Path, chance: random.Random) -> Callable[[], bool]:
    """Whether a moment has come that is drawn from all that lies before a command: its start, the runs, the report."""
    here, begin, seconds = progress(grid), time.monotonic(), chance.uniform(0, 2.5)
    wanted = here + chance.random() * (progress(whole) - here)
    if chance.random() < 0.2:
        return lambda: time.monotonic() > begin + seconds
    if chance.random() < 0.8:
        return lambda: progress(grid) > wanted
    ended: list[float] = []

    def reporting() -> bool:
        if len(list(grid.glob("*/result.json"))) == len(runs(whole)) and not ended:
            ended.append(time.monotonic())
        return bool(ended) and time.monotonic() > ended[0] + seconds / 2

    return reporting


def strike(process: Started, place: Path, chance: random.Random) -> int:
    """End a worker, the fork server, the command or two of them, at once or by asking; how many were ended."""
    there = living(place)
    workers = sorted(pid for pid, parent in there.items() if there.get(parent) == process.pid)
    victims = chance.choice([["worker"], ["server"], ["command"], ["worker", "command"], ["command", "worker"]])
    if not workers:
        victims = ["command"]
    for victim in victims:
        pid = process.pid if victim == "command" else chance.choice(workers)
        pid = there[pid] if victim == "server" else pid
        with suppress(ProcessLookupError):
            os.kill(pid, chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
    return len(victims)


def torment(place: Path, command: tuple[str, ...], kills: int, seed: int, *, fresh: bool) -> None:
    """Run grids, each to its end by the same command again and again, and kill until there have been so many kills."""
    assert fanin(place, *command, "hydra.sweep.dir=whole", fresh=fresh).code == 0
    chance, number, whole = random.Random(seed), 0, place / "whole"
    while True:
        grid = place / f"grid_{number}"
        process = start(place, *command, f"hydra.sweep.dir={grid.name}", fresh=fresh)
        while kills > 0:
            now = moment(grid, whole, chance)
            wait_for(lambda: process.poll() is not None or now(), 900)  # noqa: B023 (it is called here)
            if process.poll() is not None:
                break
            kills -= strike(process, place, chance)
        code = process.wait()
        # 1: a worker was killed, and its run failed; 130: the command was asked to end, maybe before it could be.
        assert code in (0, 1, 130, -signal.SIGKILL, -signal.SIGTERM)
        if chance.random() < 0.5 or kills <= 0:  # else the next command meets the workers of this one
            wait_for(lambda: not living(place))
        if code == 0 and set(states(grid).values()) == {"done"} and not living(place):
            assert_undisturbed(grid, whole)
            number += 1
            if kills <= 0:
                return


def files(folder: Path) -> set[str]:
    """All files below a folder; an event file's name has the time and the process in it."""
    named = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return {re.sub(r"(events\.out\.tfevents).*", r"\1", name) for name in named}


def assert_undisturbed(grid: Path, whole: Path) -> None:
    """Equal in everything but times and processes, and nothing is left behind."""
    assert files(grid) == files(whole)
    assert list(runs(grid)) == list(runs(whole))
    for name, run in runs(whole).items():
        assert untimed(grid / name) == untimed(run)
        status, other = read(grid / name / "status.json"), read(run / "status.json")
        for key in ("state", "step", "steps", "epoch", "error"):
            assert status[key] == other[key]
    rows, others = ([row | {"seconds": ""} for row in table(one / "summary.csv")] for one in (grid, whole))
    assert sorted(rows, key=lambda row: row["run"]) == sorted(others, key=lambda row: row["run"])


@pytest.mark.slow
def test_a_grid_that_is_killed_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    torment(tmp_path, SMALL, kills=4, seed=1, fresh=False)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_fifty_kills(tmp_path: Path, seed: int) -> None:
    torment(tmp_path, LARGE, kills=10, seed=seed, fresh=True)
