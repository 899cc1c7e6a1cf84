"""Ctrl-C, kill -9, a broken checkpoint and two commands at once: the run that comes out is the undisturbed one."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from command_line import Said, Started, end, environment, fanin, read, runs, start, table, untimed
from slow_runs import own_parts, slowly, steps_of, wait_for

STEPS = 60
# 3 batches an epoch; every stream and every kind of state that a run has.
COMMAND = (
    "--config-dir=own", "activation=slow", "model.depth=3", "model.width=16", "data.limit=300",
    f"trainer.steps={STEPS}",
    "trainer.log_every=2", "trainer.checkpoint_every=7", "optimizer=adam", "schedule=cosine", "normalization=batch",
    "regularizer=[dropout,l2]", "trainer.device=cpu", "probe.steps=[20]",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all commands are typed; the current folder is on the path of `python -m`."""
    return own_parts(tmp_path_factory.mktemp("interrupt"))


@pytest.fixture(scope="module")
def undisturbed(place: Path) -> Path:
    """The run as it is when nothing happens."""
    assert fanin(place, *COMMAND, "hydra.sweep.dir=undisturbed").code == 0
    (run,) = runs(place / "undisturbed").values()
    assert read(run / "status.json")["state"] == "done"
    return run


def started(place: Path, grid: str, past: int, *, fresh: bool = False) -> tuple[Started, Path]:
    """A run on its way, past a step; and its folder."""
    process = start(place, *COMMAND, f"hydra.sweep.dir={grid}", fresh=fresh)
    wait_for(lambda: process.poll() is not None or any(step > past for step in steps_of(place / grid).values()))
    assert process.poll() is None, process.communicate(timeout=1)
    (run,) = runs(place / grid).values()
    return process, run


def assert_undisturbed(run: Path, undisturbed: Path) -> None:
    """Equal to the last bit in everything but the clock."""
    assert run.name == undisturbed.name
    assert untimed(run) == untimed(undisturbed)
    ours, theirs = (
        torch.load(path / "checkpoints" / "last.pt", weights_only=True)["model"] for path in (run, undisturbed)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.fixture(scope="module")
def interrupted(place: Path) -> tuple[Said, Path]:
    """A run that got a SIGINT past step 20, and what its command said."""
    with slowly(place):
        process, run = started(place, "interrupted", past=20, fresh=True)
        wait_for(lambda: read(run / "status.json")["step"] > 0)  # written once a second
        status = read(run / "status.json")
        assert (status["state"], status["steps"], status["pid"]) == ("running", STEPS, process.pid)
        process.send_signal(signal.SIGINT)
        return end(process), run


@pytest.mark.slow
def test_ctrl_c_keeps_everything_and_the_same_command_goes_on(
    place: Path, interrupted: tuple[Said, Path], undisturbed: Path
) -> None:
    said, stopped = interrupted
    assert (said.code, said.err) == (130, [])
    assert len(said.out) == 1
    assert said.out[0].endswith("interrupted; the same command resumes it")
    status = read(stopped / "status.json")
    assert status["state"] == "interrupted"
    assert 20 < status["step"] < STEPS
    assert not (stopped / "result.json").exists()
    step = torch.load(stopped / "checkpoints" / "last.pt", weights_only=True)["step"]
    assert step - 1 <= status["step"] <= step  # rows are logged every two steps
    (row,) = table(stopped.parent / "summary.csv")
    assert (row["state"], row["steps"]) == ("interrupted", str(status["step"]))
    # The undisturbed run's rows and profiles, up to there.
    metrics, profiles, _ = untimed(undisturbed)
    ours = [{key: value for key, value in row.items() if key != "seconds"} for row in table(stopped / "metrics.csv")]
    assert ours == metrics[: len(ours)]
    assert profiles.startswith((stopped / "profiles.csv").read_text())
    copy = shutil.copytree(stopped.parent, place / "resumed") / stopped.name
    said = fanin(place, *COMMAND, "hydra.sweep.dir=resumed")
    assert (said.code, said.err) == (0, [])
    assert f"last.pt at step {step}" in (copy / "run.log").read_text()
    assert_undisturbed(copy, undisturbed)
    assert [row["state"] for row in table(copy.parent / "summary.csv")] == ["done"]


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["truncated", "foreign"])
def test_a_checkpoint_that_does_not_fit_is_left_aside(
    place: Path, interrupted: tuple[Said, Path], undisturbed: Path, damage: str
) -> None:
    run = shutil.copytree(interrupted[1].parent, place / damage) / interrupted[1].name
    last = run / "checkpoints" / "last.pt"
    if damage == "truncated":
        last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    else:
        torch.save(torch.load(last, weights_only=True) | {"config_hash": "0" * 16}, last)
    assert fanin(place, *COMMAND, f"hydra.sweep.dir={damage}").code == 0
    log = (run / "run.log").read_text()
    assert "last.pt is left aside" in log
    assert "starting afresh" in log
    assert_undisturbed(run, undisturbed)


@pytest.mark.slow
def test_a_kill_at_any_moment_costs_only_time(place: Path, undisturbed: Path) -> None:
    with slowly(place):
        process, run = started(place, "killed", past=random.randrange(STEPS // 2))
        time.sleep(random.uniform(0, 0.3))
        process.kill()
        assert end(process).code == -signal.SIGKILL
    assert read(run / "status.json")["state"] == "running"
    assert fanin(place, *COMMAND, "hydra.sweep.dir=killed").code == 0
    assert_undisturbed(run, undisturbed)


@pytest.mark.slow
def test_two_commands_at_once_make_one_run(place: Path, undisturbed: Path) -> None:
    with slowly(place):
        two = [start(place, *COMMAND, "hydra.sweep.dir=twice") for _ in "ab"]
        wait_for(lambda: any(process.poll() is not None for process in two))
    both = [end(process) for process in two]
    assert [(said.err, len(said.out)) for said in both] == [([], 1), ([], 1)]
    # The other found the folder owned, and has nothing to show, or, on a slow machine, the run finished.
    busy = ["is being run by another process" in said.out[0] for said in both]
    assert [said.code for said in both] == [int(one) for one in busy]
    idle = ("is being run by another process", "done before, not run again (force=true does)")
    assert [said.out[0].endswith(idle) for said in both].count(True) == 1
    (run,) = runs(place / "twice").values()
    assert_undisturbed(run, undisturbed)
    assert (run / "run.log").read_text().count("configuration ") == 1
    assert len(table(run.parent / "summary.csv")) == 1


def test_ctrl_c_ends_a_grid_and_the_same_command_finishes_it(place: Path, undisturbed: Path) -> None:
    grid = ("-m", *COMMAND, "seed=0,1", "hydra.sweep.dir=grid")
    (place / "interrupt").write_text(str(random.randrange(5, STEPS)))
    said = fanin(place, *grid, "hydra/launcher=basic")  # whose jobs run in the process that is interrupted
    assert (said.code, said.err) == (130, ["2 runs in grid"])
    (run,) = runs(place / "grid").values()
    assert (run.name, read(run / "status.json")["state"]) == (undisturbed.name, "interrupted")
    assert [row["state"] for row in table(place / "grid" / "summary.csv")] == ["interrupted"]
    assert (place / "grid" / "report" / "index.html").exists()
    said = fanin(place, *grid)
    assert (said.code, said.err) == (0, ["2 runs in grid"])
    assert [read(run / "status.json")["state"] for run in runs(place / "grid").values()] == ["done", "done"]
    assert_undisturbed(run, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.2, 0.5, 1.0, 1.5, 2.0, 3.0])
def test_ctrl_c_in_the_first_seconds_says_nothing_but_its_code(tmp_path: Path, seconds: float) -> None:
    """It reaches the fork server too, which is importing torch."""
    command = [sys.executable, "-m", "fanin.cli.main", "-m", "seed=0,1", "trainer.steps=0", "hydra.sweep.dir=grid"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    said = end(process)
    assert said.code in (130, -signal.SIGINT)  # before there was a program, Python itself ends
    assert not any("fork" in line or "preload" in line for line in said.err)
    assert said.code != 130 or not any("Traceback" in line for line in said.out + said.err)
