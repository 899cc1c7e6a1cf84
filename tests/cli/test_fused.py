"""The launchers `fused` and `auto`: the folders that the pool would have written, and nobody harmed by a neighbour."""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from command_line import Said, end, fanin, read, runs, start, table
from slow_runs import own_parts, states, steps_of, wait_for

GRID = (
    "-m", "initializer=variance_scaling", "initializer.c=2,3000", "seed=0,1", "optimizer.lr=0.01,0.05",
    "model.depth=6", "model.width=16", "data.limit=300", "trainer.steps=12", "trainer.log_every=2", "probe.every=5",
    "trainer.device=cpu", "model.bias=false",
)  # fmt: skip
PAIR = ("initializer.c=2", "seed=0", "probe.every=0")  # two learning rates


@pytest.fixture(scope="module")
def grids(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Said, Path]]:
    """The same grid by two launchers."""
    place = tmp_path_factory.mktemp("grids")
    said = {}
    for launcher in ("pool", "auto"):
        said[launcher] = (
            fanin(place, *GRID, f"hydra/launcher={launcher}", f"hydra.sweep.dir={launcher}"),
            place / launcher,
        )
    return said


@pytest.mark.slow
def test_the_folders_are_those_of_the_pool(grids: dict[str, tuple[Said, Path]]) -> None:
    (alone, pool), (together, fused) = grids["pool"], grids["auto"]
    assert (alone.code, together.code) == (0, 0)
    assert sorted(runs(pool)) == sorted(runs(fused))
    for name, run in runs(pool).items():
        other = fused / name
        assert {path.name for path in run.rglob("*") if "events" not in path.name} == {
            path.name for path in other.rglob("*") if "events" not in path.name
        }
        ours, theirs = read(other / "result.json"), read(run / "result.json")
        for key in ("state", "outcome", "steps", "diverged", "overrides", "config_hash", "seeds", "parameters"):
            assert ours[key] == theirs[key]
        for a, b in zip(table(run / "metrics.csv"), table(other / "metrics.csv"), strict=True):
            assert_close(
                {key: a[key] for key in a if key != "seconds"}, {key: b[key] for key in b if key != "seconds"}, 1e-4
            )
        for a, b in zip(table(run / "profiles.csv"), table(other / "profiles.csv"), strict=True):
            if a["snapshot"] == "init":  # the same weights, the same examples: rounding alone
                assert_close(a, b, 1e-5)
        assert (other / ".hydra" / "config.yaml").read_text() == (run / ".hydra" / "config.yaml").read_text()
    assert {row["run"]: row["state"] for row in table(pool / "summary.csv")} == {
        row["run"]: row["state"] for row in table(fused / "summary.csv")
    }
    assert "diverged" in states(fused).values()
    assert "done" in states(fused).values()


def assert_close(one: dict[str, str], other: dict[str, str], relative: float) -> None:
    """Equal words; numbers to a relative tolerance, as float32 sums in another order give."""
    for key, word in one.items():
        try:
            number = float(word)
        except ValueError:
            assert other[key] == word
            continue
        if math.isfinite(number):
            assert float(other[key]) == pytest.approx(number, rel=relative, abs=1e-7)
        else:
            assert other[key] == word


def test_what_differs_in_structure_goes_to_the_pool(tmp_path: Path) -> None:
    place = own_parts(tmp_path)
    words = ("-m", "--config-dir=own", "activation=slow,relu", "seed=0,1", "model.depth=3", "model.width=8")
    said = fanin(place, *words, "data.limit=300", "trainer.steps=4", "hydra/launcher=fused")
    assert said.code == 0
    assert "2 of 4 runs cannot be fused and go to the pool" in said.err
    logs = {name: (run / "run.log").read_text() for name, run in runs(place / "outputs" / "runs").items()}
    # One worker a core, so two runs of one structure are one group on one core, and one each on two.
    together = [name for name, log in logs.items() if "trained together" in log]
    assert all("slow" not in name for name in together)
    assert set(states(place / "outputs" / "runs").values()) == {"done"}


@pytest.mark.slow
def test_a_group_whose_process_is_killed_is_tried_run_by_run(tmp_path: Path) -> None:
    words = [*GRID, *PAIR, "trainer.steps=400", "hydra/launcher=fused", "hydra.launcher.n_jobs=1"]
    process = start(tmp_path, *words)
    grid = tmp_path / "outputs" / "runs"
    wait_for(lambda: sum(step > 10 for step in steps_of(grid).values()) == 2)
    pids = {read(run / "status.json")["pid"] for run in runs(grid).values()}
    assert len(pids) == 1  # both in one process
    os.kill(pids.pop(), signal.SIGKILL)
    said = end(process, 120)
    assert said.code == 0
    assert set(states(grid).values()) == {"done"}
    assert len(runs(grid)) == 2


@pytest.mark.slow
def test_what_fused_runs_began_the_pool_finishes(tmp_path: Path) -> None:
    words = [*GRID, *PAIR, "trainer.steps=300", "trainer.checkpoint_every=10"]
    process = start(tmp_path, *words, "hydra/launcher=fused", "hydra.launcher.n_jobs=1")
    grid = tmp_path / "outputs" / "runs"
    wait_for(lambda: sum(step > 20 for step in steps_of(grid).values()) == 2)
    process.kill()
    assert end(process).code == -signal.SIGKILL  # the worker has gone too: nobody has its streams any more
    before = {name: untimed_rows(run) for name, run in runs(grid).items()}
    assert set(states(grid).values()) == {"interrupted"}
    said = fanin(tmp_path, *words)
    assert (said.code, said.err) == (0, ["2 runs in outputs/runs"])
    assert set(states(grid).values()) == {"done"}
    for name, run in runs(grid).items():
        (step,) = re.findall(r"going on from .* at step (\d+)", (run / "run.log").read_text())
        rows = untimed_rows(run)
        kept = [row for row in before[name] if int(row["step"]) <= int(step)]
        assert len(kept) > 10
        assert rows[: len(kept)] == kept
    # Where the same runs were trained apart from the start, rounding alone makes a difference.
    assert fanin(tmp_path, *words, "hydra.sweep.dir=alone").code == 0
    for name, run in runs(tmp_path / "alone").items():
        rows, ours = untimed_rows(run), untimed_rows(grid / name)
        assert [row["step"] for row in ours] == [row["step"] for row in rows]
        assert_close(rows[-1], ours[-1], 1e-2)


@pytest.mark.slow
def test_a_fused_grid_that_was_interrupted(tmp_path: Path) -> None:
    """In the same programs as at first it is the undisturbed one to the last bit, in others up to rounding."""
    words = ["hydra/launcher=fused", "hydra.launcher.n_jobs=1", "trainer.steps=200", "trainer.checkpoint_every=0"]
    grid = [*GRID, "initializer.c=2", "probe.every=0", "trainer.log_every=10", *words]  # two seeds, two rates
    assert fanin(tmp_path, *grid, "hydra.sweep.dir=whole").code == 0
    process = start(tmp_path, *grid, "hydra.sweep.dir=same")
    wait_for(lambda: sum(step > 20 for step in steps_of(tmp_path / "same").values()) == 4)
    process.send_signal(signal.SIGINT)
    assert end(process).code == 130
    assert set(states(tmp_path / "same").values()) == {"interrupted"}
    shutil.copytree(tmp_path / "same", tmp_path / "others")
    assert fanin(tmp_path, *grid, "hydra.sweep.dir=same").code == 0
    assert fanin(tmp_path, *grid, "hydra.sweep.dir=others", "hydra.launcher.max_fused=2").code == 0
    for name, run in runs(tmp_path / "whole").items():
        assert untimed_rows(tmp_path / "same" / name) == untimed_rows(run)
        assert "as one of 2 runs" in (tmp_path / "others" / name / "run.log").read_text()
        for row, other in zip(untimed_rows(run), untimed_rows(tmp_path / "others" / name), strict=True):
            assert_close(row, other, 1e-3)


def untimed_rows(run: Path) -> list[dict[str, str]]:
    """metrics.csv without the clock."""
    return [row | {"seconds": ""} for row in table(run / "metrics.csv")]


@pytest.mark.parametrize(
    ("typed", "allowed"),
    [("n_jobs=0", "null or an integer >= 1"), ("jobs_per_gpu=0", "an integer >= 1"),
     ("max_fused=0", "auto or an integer >= 1"), ("max_fused=all", "auto or an integer >= 1"),
     ("start_method=fork", "one of auto, forkserver, spawn")],
)  # fmt: skip
def test_a_wrong_option_of_the_launcher_is_one_line_and_no_file(tmp_path: Path, typed: str, allowed: str) -> None:
    said = fanin(tmp_path, *GRID, "hydra/launcher=fused", f"hydra.launcher.{typed}")
    assert (said.code, said.err) == (1, [f"fanin: hydra.launcher.{typed}: must be {allowed}"])
    assert list(tmp_path.iterdir()) == []
