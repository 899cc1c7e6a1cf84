"""A run that is stopped or killed, and goes on, is bit by bit the run that was left in peace."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from engine import clouds, loop, metrics, recipe, rows, same
from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.parts import activations
from fanin.parts.normalization import BatchNorm
from fanin.parts.optimizers import Adam, Momentum
from fanin.parts.regularizers import L2, Dropout, EarlyStopping
from fanin.parts.schedules import Cosine, Plateau
from fanin.probes import Probe
from fanin.record.run_folder import RunFolder
from fanin.run.execute import RequestedRun, run_together
from fanin.run.identity import Identity
from fanin.run.recipe import Recipe
from fanin.run.request import Request
from fanin.train.loop import Interrupted, Loop

STEPS = 60


class Killed(BaseException):
    """What a kill is to a test: nothing below catches it."""


def eventful(seed: int, **trainer: Any) -> Recipe:
    """A run in which everything that has a memory takes part, stopped early by its patience after some 40 steps."""
    return recipe(
        seed=seed,
        optimizer=(Momentum, Adam)[seed % 2],
        lr=(0.2, 0.05)[seed % 2],
        schedule=(Cosine(warmup_steps=5), Plateau(warmup_steps=5, patience=0, factor=0.8))[seed % 2],
        dropout=Dropout(p=0.3, input_p=0.1),
        model={"normalization": BatchNorm(), "bias": True, "activation": activations.tanh, "depth": 4},
        penalties=[L2(strength=0.01)],
        early_stopping=EarlyStopping(patience=3),
        probe=Probe(steps=[4, 20, 31], every=3, batch_size=30),
        trainer={"steps": STEPS, "log_every": 4, "eval_every": 3, **trainer},
    )


def asked_at(*steps: int, answer: Callable[[], bool] = lambda: True) -> Callable[[int], Callable[[], bool]]:
    """For a run from step `start`: says no before each step until one of `steps`, then `answer`."""

    def from_step(start: int) -> Callable[[], bool]:
        asked = iter(range(start, STEPS))
        return lambda: answer() if next(asked) in steps else False

    return from_step


def kill() -> bool:
    raise Killed


def attempt(folder: Path, made: Recipe, stop: Callable[[int], Callable[[], bool]]) -> tuple[Loop[RequestedRun], bool]:
    """One process's part: from the checkpoint, where there is one, to the end or to where it is stopped."""
    path = folder / "checkpoints" / "last.pt"
    state = torch.load(path, weights_only=True) if path.exists() else None
    step = 0 if state is None else state["step"]
    one, _ = loop(folder, made, clouds(separation=1.5), resume_step=step if state else None, stop_requested=stop(step))
    try:
        one.train(0 if state is None else one.resume([state]))
    except (Interrupted, Killed):
        return one, False
    finally:
        one.first.recorder.close()
    return one, True


def events(folder: Path) -> dict[str, list[tuple[int, object]]]:
    """Every scalar that TensorBoard shows, by tag; NaN as a word, so that it equals itself."""
    seen = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        tag: sorted((event.step, event.value if event.value == event.value else "nan") for event in seen.Scalars(tag))
        for tag in seen.Tags()["scalars"]
    }


def assert_same_run(
    first: Path, one: Loop[RequestedRun], second: Path, other: Loop[RequestedRun], *, killed: bool = False
) -> None:
    assert same(other.learner.state(0), one.learner.state(0))
    table, expected = ([row | {"seconds": None} for row in metrics(folder)] for folder in (second, first))
    assert table == expected
    assert (second / "profiles.csv").read_text() == (first / "profiles.csv").read_text()
    points, expected_points = events(second), events(first)
    if killed:  # a point that a killed run had got to may be there twice, both times with the same value
        points, expected_points = ({tag: set(p) for tag, p in table.items()} for table in (points, expected_points))  # type: ignore[misc]
    assert points == expected_points
    best = [torch.load(folder / "checkpoints" / "best.pt", weights_only=True) for folder in (first, second)]
    assert same(*best)
    fields = ("state", "stopped_by", "step", "best", "diverged")
    assert [getattr(other.first, name) for name in fields] == [getattr(one.first, name) for name in fields]
    assert list(other.first.window) == list(one.first.window)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))])
def test_interrupted_at_random_steps(tmp_path: Path, seed: int) -> None:
    """Stopped three times, each time at a step of its own, also when nothing has been done yet."""
    made = eventful(seed)
    one, ended = attempt(tmp_path / "whole", made, asked_at())
    assert ended
    assert one.first.stopped_by == "early_stopping"
    last = one.first.step
    steps = sorted(random.Random(seed).sample(range(last), 3))
    for step in steps:
        other, ended = attempt(tmp_path / "parts", made, asked_at(step))
        assert not ended
        assert torch.load(tmp_path / "parts" / "checkpoints" / "last.pt", weights_only=True)["step"] == step
    other, ended = attempt(tmp_path / "parts", made, asked_at())
    assert ended
    assert_same_run(tmp_path / "whole", one, tmp_path / "parts", other)


@pytest.mark.parametrize("seed", [6, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(7, 20))])
@pytest.mark.parametrize("every", [1, 7, 10])
def test_killed_at_random_steps(tmp_path: Path, seed: int, every: int) -> None:
    """It goes on from the last checkpoint, or afresh; no row that was written after that is there twice."""
    made = eventful(seed, checkpoint_every=every)
    one, _ = attempt(tmp_path / "whole", made, asked_at())
    for step in sorted(random.Random(seed).sample(range(1, one.first.step), 3)):
        _, ended = attempt(tmp_path / "parts", made, asked_at(step, answer=kill))
        assert not ended
        assert (tmp_path / "parts" / "checkpoints" / "last.pt").exists() == (step >= every)
    other, _ = attempt(tmp_path / "parts", made, asked_at())
    assert_same_run(tmp_path / "whole", one, tmp_path / "parts", other, killed=True)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 9])
def test_a_run_that_goes_on_after_it_broke(tmp_path: Path, step: int) -> None:
    """The step at which it broke is remembered, and so is the layer."""
    made = recipe(lr=1e30, trainer={"steps": 12, "log_every": 4, "stop_when_diverged": False})
    parts = {}
    for name, stops in (("whole", []), ("parts", [step])):
        for stop in [*stops, None]:
            parts[name], _ = attempt(tmp_path / name, made, asked_at() if stop is None else asked_at(stop))
    whole, resumed = (parts[name].first.diverged for name in ("whole", "parts"))
    assert whole is not None
    assert whole[0] == 2
    assert resumed == whole
    assert [row["step"] for row in metrics(tmp_path / "parts")] == [row["step"] for row in metrics(tmp_path / "whole")]


@pytest.mark.parametrize(("seconds", "written"), [(0.0, 10), (math.inf, None)])
def test_a_checkpoint_an_epoch_unless_the_last_is_young(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, written: int | None
) -> None:
    monkeypatch.setattr("fanin.train.checkpoints.LEAST_SECONDS", seconds)  # the clock starts with the loop
    attempt(tmp_path, eventful(0), asked_at(13, answer=kill))  # 10 steps an epoch
    path = tmp_path / "checkpoints" / "last.pt"
    assert (torch.load(path, weights_only=True)["step"] if path.exists() else None) == written


def test_no_checkpoint_but_at_the_end_when_asked_for_none(tmp_path: Path) -> None:
    made = eventful(0, checkpoint_every=0)
    attempt(tmp_path, made, asked_at(9, answer=kill))
    assert not (tmp_path / "checkpoints" / "last.pt").exists()
    one, _ = attempt(tmp_path, made, asked_at())
    saved = torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)
    assert same(saved["model"], one.learner.best_weights(0))


# ---- through the run of a configuration, with its folder's status

IDENTITY = Identity("runs", "seed=0", {"seed": 0}, "0123456789abcdef", {"seed": 0})


def config(*overrides: str) -> DictConfig:
    register_resolvers()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return compose(
            "config",
            [
                "data=gaussian", "data.examples=230", "data.features=12", "data.val_size=30", "data.test_size=50",
                "model.width=16", "model.depth=3", "optimizer=momentum", "optimizer.lr=0.1", "regularizer=[l2,dropout]",
                "trainer.batch_size=20", "trainer.steps=30", "trainer.log_every=4", "probe.every=5", *overrides,
            ],
        )  # fmt: skip


def stop_at(step: int) -> Callable[[], bool]:
    asked = iter(range(1000))
    return lambda: next(asked) == step


def run(
    cfg: DictConfig, identity: Identity, folder: RunFolder, stop_requested: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Train one configuration in a folder; returns the content of result.json."""
    run_together([Request(cfg, identity, folder)], stop_requested)
    assert folder.result is not None
    return folder.result


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in ("seconds", "peak_memory")}


@pytest.mark.parametrize("stop", [0, 1, 13, 29])
def test_an_interrupted_run_says_so_and_goes_on(tmp_path: Path, stop: int) -> None:
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = run(config(), IDENTITY, RunFolder(tmp_path / "whole"))
    folder = RunFolder(tmp_path / "parts")
    with pytest.raises(Interrupted):
        run(config(), IDENTITY, folder, stop_at(stop))
    assert (folder.status["state"], folder.result) == ("interrupted", None)
    assert not folder.finished(IDENTITY.config_hash)
    resumed = run(config(), IDENTITY, RunFolder(tmp_path / "parts"))
    assert without_times(resumed) == without_times(whole)
    assert resumed["init"] is not None, (
        "the verdict on the initialization is there, though it was seen by another process"
    )
    assert (folder.status["state"], folder.status["step"]) == ("done", 30)
    assert folder.finished(IDENTITY.config_hash)
    assert (tmp_path / "parts" / "profiles.csv").read_text() == (tmp_path / "whole" / "profiles.csv").read_text()
    assert [r["batch_loss"] for r in rows(tmp_path / "parts" / "metrics.csv")] == [
        r["batch_loss"] for r in rows(tmp_path / "whole" / "metrics.csv")
    ]


def prepared(tmp_path: Path) -> RunFolder:
    """A folder whose run was interrupted at step 13."""
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    with pytest.raises(Interrupted):
        run(config(), IDENTITY, folder, stop_at(13))
    return RunFolder(folder.path)


def steps_taken(folder: RunFolder, identity: Identity, *overrides: str) -> int:
    """How many steps a run takes in a folder: it is asked before each whether to stop."""
    asked: list[int] = []
    run(config(*overrides), identity, folder, lambda: bool(asked.append(1)))  # type: ignore[func-returns-value]
    return len(asked)


@pytest.mark.parametrize("state", ["interrupted", "running", "failed"])
def test_a_run_that_did_not_end_goes_on(tmp_path: Path, state: str) -> None:
    folder = prepared(tmp_path)
    folder.write_status(state)
    assert steps_taken(folder, IDENTITY) == 17


def test_a_run_that_ended_starts_afresh(tmp_path: Path) -> None:
    """Whoever runs it again wants it again; its last checkpoint is the end."""
    folder = prepared(tmp_path)
    assert steps_taken(folder, IDENTITY) == 17
    assert steps_taken(folder, IDENTITY) == 30
    folder.write_status("running")  # killed after its last checkpoint, before it said that it was done
    assert steps_taken(folder, IDENTITY) == 30
    assert [row["step"] for row in metrics(folder.path)][-2:] == [30, 30]


def test_force_starts_afresh(tmp_path: Path) -> None:
    assert steps_taken(prepared(tmp_path), IDENTITY, "force=true") == 30


@pytest.mark.parametrize("damage", ["other configuration", "cut short", "not a checkpoint"])
def test_a_checkpoint_that_does_not_fit_is_left_aside(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = prepared(tmp_path)
    path, identity = folder.checkpoints / "last.pt", IDENTITY
    if damage == "other configuration":
        identity = Identity("runs", "seed=0", {"seed": 0}, "fedcba9876543210", {"seed": 0})
    elif damage == "cut short":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        torch.save({"step": 13}, path)
    with caplog.at_level(logging.WARNING):
        assert steps_taken(folder, identity) == 30
    assert "starting afresh" in caplog.text
    assert [row["step"] for row in metrics(folder.path)] == [1, 4, 8, 10, 12, 16, 20, 24, 28, 30, 30]
