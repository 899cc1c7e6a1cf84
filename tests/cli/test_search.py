"""Searches as they are typed: rungs that change nothing, files that say what was done, kills, mistakes."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from command_line import Said, fanin, read, runs, start, table, untimed
from slow_runs import living, own_parts, slowly, states, wait_for

SEARCH = ("-m", "hydra/sweeper=search", "model.depth=2", "model.width=8", "data.limit=200", "probe=norms")
SPACE = ("optimizer.lr=tag(log,interval(1e-3,1))", "activation=relu,tanh")
HALVING = (*SEARCH, *SPACE, "trainer.steps=9", "hydra.sweeper.budget=halving", "hydra.sweeper.trials=9",
           "schedule=cosine", "optimizer=adam", "trainer.log_every=2")  # fmt: skip


def rungs(grid: Path) -> list[dict[str, str]]:
    return table(grid / "search" / "rungs.csv")


def search(place: Path, name: str, *words: str, **more: Any) -> Said:
    return fanin(place, *words, f"hydra.sweep.dir={name}", **more)


@pytest.mark.slow
def test_rungs_change_nothing_and_are_written_down(tmp_path: Path) -> None:
    said = search(tmp_path, "grid", *HALVING, "hydra.sweeper.seeds=2", "hydra.launcher.n_jobs=2")
    assert said.code == 0
    grid = tmp_path / "grid"
    rows = rungs(grid)
    trials = {rung: {row["trial"] for row in rows if row["rung"] == rung} for rung in "012"}
    assert [len(trials[rung]) for rung in "012"] == [9, 3, 1]
    assert {(row["rung"], row["steps"], row["state"]) for row in rows} == {
        ("0", "1", "paused"), ("1", "3", "paused"), ("2", "9", "done"),
    }  # fmt: skip
    assert {row["seed"] for row in rows} == {"0", "1"}
    for rung, keep in (("0", 3), ("1", 1)):  # the best by the mean over the seeds, ties to the earlier trial
        means = {
            trial: sum(float(row["value"]) for row in rows if (row["rung"], row["trial"]) == (rung, trial)) / 2
            for trial in trials[rung]
        }
        order = sorted(means, key=lambda trial: (means[trial], int(trial)))
        assert trials[str(int(rung) + 1)] == set(order[:keep])
        for place, trial in enumerate(order, 1):
            (reason,) = {row["reason"] for row in rows if (row["rung"], row["trial"]) == (rung, trial)}
            assert bool(reason) == (place > keep)
            assert not reason or reason.startswith(f"rank {place} of {len(order)} at step")
    states = {name: read(folder / "status.json")["state"] for name, folder in runs(grid).items()}
    assert sorted(states.values()) == ["done"] * 2 + ["paused"] * 16
    summary = {row["run"]: row for row in table(grid / "summary.csv")}
    for row in rows:
        told = summary[row["run"]]
        last = max(other["rung"] for other in rows if other["run"] == row["run"])
        reasons = {other["reason"] for other in rows if other["run"] == row["run"]} - {""}
        assert (told["trial"], told["rung"], told["dropped"]) == (row["trial"], last, "".join(reasons))
    written = read(grid / "search" / "search.json")
    assert (written["budget"], written["seeds"], written["steps"]) == ("halving", [0, 1], 9)
    assert [axis["key"] for axis in written["axes"]] == ["optimizer.lr", "activation"]
    # A run that was paused twice is to the bit what it is without a search.
    for name in [name for name, state in states.items() if state == "done"][1:]:
        words = [word for word in read_overrides(grid / name) if not word.startswith("pause_at")]
        assert fanin(tmp_path, *words, "hydra.sweep.dir=alone").code == 0
        assert untimed(tmp_path / "alone" / name) == untimed(grid / name)
    # The same command has nothing left to do; another space is refused, and nothing is touched.
    before = {path: path.read_bytes() for path in grid.glob("search/*")}
    assert search(tmp_path, "grid", *HALVING, "hydra.sweeper.seeds=2").code == 0
    other = [word.replace("1e-3", "1e-2") for word in HALVING]
    said = search(tmp_path, "grid", *other, "hydra.sweeper.seeds=2", "hydra.sweeper.eta=2")
    assert said.code == 1
    (line,) = said.err
    assert "eta was 3, is 2; optimizer.lr was tag(log,interval(0.001,1)), is tag(log,interval(0.01,1))" in line
    assert {path: path.read_bytes() for path in grid.glob("search/*")} == before


def read_overrides(run: Path) -> list[str]:
    return [line[2:].strip("'\"") for line in (run / ".hydra" / "overrides.yaml").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["fused", "basic", "auto", "joblib"])
def test_every_launcher_climbs_the_same_rungs(launcher: str, tmp_path: Path) -> None:
    words = [word for word in HALVING if "trials" not in word] + ["hydra.sweeper.trials=3", "hydra.sweeper.min_steps=3"]
    assert search(tmp_path, "pool", *words).code == 0
    said = search(tmp_path, "other", *words, f"hydra/launcher={launcher}")
    assert said.code == 0, said
    expected, found = rungs(tmp_path / "pool"), rungs(tmp_path / "other")
    assert len(found) == 4
    for row, other in zip(expected, found, strict=True):
        # Programs of several runs round their sums in another order: an error of 40 images may move by one of them.
        assert abs(float(row["value"]) - float(other["value"])) <= (0 if launcher in ("basic", "joblib") else 0.06)
        assert {**row, "value": ""} == {**other, "value": ""} or launcher in ("fused", "auto")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["pool", "basic", "fused", "joblib", "submitit_local"])
def test_a_timeout_stops_runs_within_their_rung_and_nothing_is_lost(launcher: str, tmp_path: Path) -> None:
    """Each run sleeps for as long as the command may run; its seconds double until a run is stopped on its way."""
    place = own_parts(tmp_path)
    words = (*SEARCH, "--config-dir=own", "activation=slow", "model.depth=3", "optimizer.lr=0.01,0.1", "seed=3",
             "trainer.steps=400", "trainer.checkpoint_every=0", f"hydra/launcher={launcher}")  # fmt: skip
    grid, limit = place / "grid", 4
    with slowly(place):
        while not any(0 < step < 400 for step in steps_stopped(grid)):
            assert limit < 200, "no run has stopped within its rung"
            said = search(place, "grid", *words, f"hydra.sweeper.timeout={limit}", seconds=600)
            told = [line for line in said.out if "timeout" in line]
            assert (said.code, told) == (
                0,
                [f"timeout={limit} s is over after 0 configurations, 2 of 2 runs of a rung not over; "
                 "the same command goes on"],
            )  # fmt: skip
            limit *= 2
    assert "running" not in states(grid).values()
    assert rungs(grid) == []
    seconds = {name: column(run, "seconds") for name, run in runs(grid).items() if (run / "metrics.csv").exists()}
    assert any(seconds.values())
    assert search(place, "grid", *words, "hydra.sweeper.timeout=3600").code == 0
    for name, before in seconds.items():  # the clock's readings stay: nothing was trained twice
        assert column(grid / name, "seconds")[: len(before)] == before
    assert search(place, "whole", *words).code == 0
    assert rungs(grid) == rungs(place / "whole")
    assert [row["state"] for row in rungs(grid)] == ["done"] * 2
    for name, run in runs(place / "whole").items():
        assert untimed(grid / name) == untimed(run)


def column(run: Path, name: str) -> list[str]:
    return [row[name] for row in table(run / "metrics.csv")]


def steps_stopped(grid: Path) -> list[int]:
    """How far the runs have come that were stopped."""
    told = [read(run / "status.json") for run in runs(grid).values()] if grid.is_dir() else []
    return [status["step"] for status in told if status["state"] == "interrupted"]


def test_what_went_wrong_has_the_worst_value_and_is_told_apart(tmp_path: Path) -> None:
    words = (*SEARCH, "optimizer.lr=0.1,1e30", "model.depth=2,-1", "trainer.steps=4", "trainer.log_every=1")
    said = search(tmp_path, "grid", *words, "hydra.sweeper.direction=maximize")
    assert said.code == 0
    told = {row["state"]: row for row in rungs(tmp_path / "grid")}
    assert {state: row["value"] for state, row in told.items() if state != "done"} == {
        "diverged": "-inf", "refused": "-inf",
    }  # fmt: skip
    assert told["refused"]["reason"].startswith("model.depth=-1: must be")
    assert told["diverged"]["reason"].startswith("diverged at step")
    assert float(told["done"]["value"]) > 0
    assert any(f"best of 4: trial {told['done']['trial']}," in line for line in said.out)


WRONG = {
    ("optimizer.lr=choice()",): "optimizer.lr=choice(): holds no value",
    ("optimizer.lr=interval(0,1),2",): "optimizer.lr=interval(0,1),2: an interval or a range stands alone",
    (*SPACE, "hydra.sweeper.metric=val_eror"): "did you mean val_error?",
    (*SPACE, "hydra.sweeper.metric=a,b"): "a list is typed KEY=[a,b]",
    (*SPACE, "optimizer.lrr=1,2"): "unknown key optimizer.lrr",
}
MORE_WRONG = {
    ("optimizer.lr=tag(log,interval(0,1))",): "a logarithm needs LOW > 0; without the tag log, or from 1e-6 say",
    ("optimizer.lr=",): "a search needs an axis: several values, an interval or a range",
    ("optimizer.lr=interval(1,0.1)",): "must be interval(LOW,HIGH) of finite numbers, the first below the second",
    ("optimizer.lr=interval(a,1)",): "optimizer.lr=interval(a,1): must be interval(LOW,HIGH) of two numbers",
    ("optimizer.lr=interval(1e-3,inf)",): "must be interval(LOW,HIGH) of finite numbers, the first below the second",
    ("optimizer.lr=tag(logg,interval(1e-3,1))",): "the tag logg is not known; there are log and int",
    ("model.depth=range(5,5)",): "model.depth=range(5,5): holds no value",
    ("activation=interval(0,1)",): "activation=interval(0,1): must be one of elu, ",
    (*SPACE, "hydra.sweeper.seeds=0"): "hydra.sweeper.seeds=0: must be an integer >= 1",
    (*SPACE, "hydra.sweeper.budget=halving", "hydra.sweeper.eta=1"): "hydra.sweeper.eta=1: must be an integer >= 2",
    (*SPACE, "hydra.sweeper.trials=1.5"): "hydra.sweeper.trials=1.5: must be null or an integer >= 1",
    (*SPACE, "hydra.sweeper.timeout=-1"): "hydra.sweeper.timeout=-1: must be a finite number > 0",
    (*SPACE, "hydra.sweeper.timeout=soon"): "hydra.sweeper.timeout=soon: must be a finite number > 0",
    (*SPACE, "hydra.sweeper.methd=tpe"): "unknown key hydra.sweeper.methd: ",
    (*SPACE, "seed=0,1", "hydra.sweeper.seeds=3"): "must be left out, or the 2 that seed=... lists",
}


@pytest.mark.parametrize("words", [*WRONG, *(pytest.param(words, marks=pytest.mark.slow) for words in MORE_WRONG)])
def test_a_mistake_is_one_line_and_nothing_is_written(words: tuple[str, ...], tmp_path: Path) -> None:
    said = fanin(tmp_path, *SEARCH, "trainer.steps=3", *words)
    assert said.code == 1
    assert len(said.err) == 1
    assert (WRONG | MORE_WRONG)[words] in said.err[0]
    assert not list(tmp_path.iterdir())


def test_a_metric_that_no_run_has_is_told_with_those_there_are(tmp_path: Path) -> None:
    said = fanin(tmp_path, *SEARCH, "optimizer.lr=0.1,0.2", "trainer.steps=3", "hydra.sweeper.metric=init.f2")
    assert said.code == 1
    assert "hydra.sweeper.metric=init.f2: must be a number that the runs have: accuracy," in said.err[-1]


@pytest.mark.slow
def test_without_optuna_methods_that_need_it_are_refused_and_others_work(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    text = "import sys\nsys.modules['optuna'] = None\nimport importlib.util as u\nfound = u.find_spec\n"
    text += "u.find_spec = lambda name, *more: None if name == 'optuna' else found(name, *more)\n"
    (hidden / "sitecustomize.py").write_text(text)
    more = {"PYTHONPATH": str(hidden), "fresh": True}
    said = search(tmp_path, "grid", *SEARCH, *SPACE, "hydra.sweeper.method=tpe", **more)
    assert (said.code, said.err) == (
        1,
        ["fanin: hydra.sweeper.method=tpe: needs an extra; pip install 'fanin[search]'"],
    )
    said = search(tmp_path, "grid", *SEARCH, *SPACE, "trainer.steps=2", "hydra.sweeper.trials=2", **more)
    assert said.code == 0
    assert sorted(path.name for path in (tmp_path / "grid" / "search").iterdir()) == [
        ".lock",
        "rungs.csv",
        "search.json",
    ]


def assert_as_undisturbed(grid: Path, whole: Path) -> None:
    """Equal in everything but times and processes."""
    assert (grid / "search" / "rungs.csv").read_text() == (whole / "search" / "rungs.csv").read_text()
    assert list(runs(grid)) == list(runs(whole))
    for name, run in runs(whole).items():
        status, other = read(grid / name / "status.json"), read(run / "status.json")
        assert [status[key] for key in ("state", "step", "steps")] == [other[key] for key in ("state", "step", "steps")]
        if status["state"] == "done":
            assert untimed(grid / name) == untimed(run)
    studies = [
        [json.loads(line) for line in (one / "search" / "study.log").read_text().splitlines()] for one in (grid, whole)
    ]
    told = [
        [{key: value for key, value in line.items() if not key.startswith(("worker", "datetime"))} for line in study]
        for study in studies
    ]
    assert sorted(map(str, told[0])) == sorted(map(str, told[1]))


def torment(place: Path, command: tuple[str, ...], kills: int, seed: int, *, fresh: bool) -> None:
    """Kill the command, now and then a worker, until there have been so many kills; the same command goes on."""
    began = time.monotonic()
    assert search(place, "whole", *command, fresh=fresh, seconds=1200).code == 0
    seconds, chance = time.monotonic() - began, random.Random(seed)
    number = 0
    while kills > 0:
        process = start(place, *command, f"hydra.sweep.dir=grid{number}", fresh=fresh)
        until = time.monotonic() + chance.uniform(0, seconds)
        wait_for(lambda: process.poll() is not None or time.monotonic() > until, 900)  # noqa: B023 (it is called here)
        if process.poll() is None:
            there = living(place)
            workers = sorted(pid for pid, parent in there.items() if there.get(parent) == process.pid)
            victim = chance.choice([process.pid, process.pid, *workers[:1]])
            os.kill(victim, signal.SIGKILL)
            kills -= 1
            if victim == process.pid:
                process.wait()
                wait_for(lambda: not living(place))
        code = process.wait()
        if code == 0:
            assert_as_undisturbed(place / f"grid{number}", place / "whole")
            number += 1
    assert search(place, f"grid{number}", *command, fresh=fresh, seconds=1200).code == 0
    assert_as_undisturbed(place / f"grid{number}", place / "whole")


KILLED = (*SEARCH, *SPACE, "trainer.device=cpu", "hydra.launcher.n_jobs=2", "trainer.log_every=5",
          "trainer.checkpoint_every=20", "optimizer=adam", "hydra.sweeper.budget=hyperband")  # fmt: skip


@pytest.mark.slow
def test_a_search_that_is_killed_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    words = (*KILLED, "trainer.steps=9", "hydra.sweeper.min_steps=3")
    torment(tmp_path, words, kills=3, seed=2, fresh=False)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_fifty_kills(tmp_path: Path, seed: int) -> None:
    words = (*KILLED, "trainer.steps=180", "hydra.sweeper.min_steps=20", "hydra.sweeper.method=tpe")
    torment(tmp_path, words, kills=10, seed=seed, fresh=True)
