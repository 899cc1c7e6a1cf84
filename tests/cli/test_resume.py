"""A run that was stopped, however often and wherever, ends as if nothing had happened. In one process, step by step."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from command_line import read, untimed
from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.record.atomic_files import write_json
from fanin.record.run_folder import RunFolder
from fanin.run.execute import run_together
from fanin.run.identity import identify, without_hydra
from fanin.run.request import Request
from fanin.train.loop import Interrupted

SMALL = (
    "model.depth=3", "model.width=16", "data.limit=300", "data.val_size=50", "trainer.batch_size=50",
    "trainer.steps=20", "probe.every=3", "trainer.device=cpu", "trainer.checkpoint_every=5",
)  # fmt: skip
RECIPES = {
    "plain": [],
    "rows that span a stop, in float64": ["trainer.precision=float64", "trainer.log_every=7"],
    "all streams and states": [
        "regularizer=[dropout,l2]", "normalization=batch", "optimizer=adam", "schedule=cosine", "trainer.log_every=7",
    ],
    "early stopping": [
        "regularizer=early_stopping", "regularizer.early_stopping.patience=3", "trainer.eval_every=2",
        "optimizer.lr=0.5", "trainer.steps=60",
    ],
    "a target": [
        "trainer.target_error=0.6", "trainer.target_window=3", "trainer.steps=200", "trainer.log_every=4",
        "optimizer=adam", "optimizer.lr=0.01",
    ],
    "divergence": [
        "initializer=variance_scaling", "initializer.c=3000", "model.depth=5", "optimizer.lr=10", "trainer.log_every=4",
    ],
    "on after divergence": [
        "initializer=variance_scaling", "initializer.c=1e5", "model.depth=8", "trainer.stop_when_diverged=false",
        "trainer.log_every=4",
    ],
    "curvature": [
        "probe.curvature.quantities=[sharpness,critical_sharpness,noise_scale]", "probe.curvature.every=3",
    ],
    "profiles at chosen steps": ["probe.steps=[4,5,6]", "trainer.checkpoint_every=2"],
}  # fmt: skip
QUICK = ("rows that span a stop, in float64", "all streams and states", "divergence", "curvature")
"""Recipes whose stops are tried in the quick tests."""
STOPS = ([0, 0], [1], [5], [3, 4, 9], [-1, -4], [0, -2, 6], [-7, -7, -6], [4, -9])
"""Steps after which an attempt is stopped: politely, or (negative) killed, which writes no checkpoint."""


class Killed(BaseException):
    """Stands for kill -9: nothing of fanin's catches it."""


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    """Hydra, ready to compose fanin's configuration."""
    register_resolvers()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        yield


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Torch's number of threads as it was: runs set it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def attempts(overrides: list[str]) -> Callable[..., dict[str, Any]]:
    """Makes attempts at a run, each in a folder of the caller's choice."""
    cfg = compose("config", [*SMALL, *overrides], return_hydra_config=True)
    task, identity = without_hydra(cfg), identify(without_hydra(cfg), cfg.hydra)

    def attempt(path: Path, stop: Callable[[], bool] = lambda: False) -> dict[str, Any]:
        path.mkdir(parents=True, exist_ok=True)
        run_together([Request(task, identity, RunFolder(path))], stop)
        return read(path / "result.json")

    return attempt


def stopping(step: int) -> Callable[[], bool]:
    """Asked before each step: stop an attempt after so many of them, or kill it there."""
    asked = count()

    def stop() -> bool:
        due = next(asked) >= abs(step)
        if due and step < 0:
            raise Killed
        return due

    return stop


def weights(path: Path) -> dict[str, torch.Tensor]:
    """The last weights of a run, NaN as 0."""
    model = torch.load(path / "checkpoints" / "last.pt", weights_only=True)["model"]
    return {name: value.nan_to_num() for name, value in model.items()}


def assert_equal_runs(path: Path, other: Path) -> None:
    """Equal to the last bit in everything but the clock."""
    assert untimed(path) == untimed(other)
    looks = [(one / "curvature.csv").read_text() for one in (path, other) if (one / "curvature.csv").exists()]
    assert looks == [] or looks[0] == looks[1]
    theirs = weights(other)
    assert all(torch.equal(value, theirs[name]) for name, value in weights(path).items())


@pytest.mark.parametrize(
    "overrides",
    [pytest.param(typed, id=name, marks=() if name in QUICK else pytest.mark.slow) for name, typed in RECIPES.items()],
)
def test_stops_leave_no_trace(tmp_path: Path, overrides: list[str]) -> None:
    attempt = attempts(overrides)
    attempt(tmp_path / "undisturbed")
    for number, stops in enumerate(STOPS):
        path = tmp_path / str(number)
        for stop in stops:
            with suppress(Interrupted, Killed):
                attempt(path, stopping(stop))
                break
        else:
            state = "running" if stops[-1] < 0 else "interrupted"
            assert read(path / "status.json")["state"] == state
            attempt(path)
        assert_equal_runs(path, tmp_path / "undisturbed")


@pytest.mark.parametrize("name", ["plain", "early stopping", "a target", "divergence"])
def test_a_kill_after_the_last_step_leaves_no_trace(tmp_path: Path, name: str) -> None:
    attempt = attempts(RECIPES[name])
    attempt(tmp_path / "undisturbed")
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path / "undisturbed", killed)
    # What such a kill leaves: the checkpoint of the end, a run that says it is running, and no result.
    (killed / "result.json").unlink()
    write_json(killed / "status.json", read(killed / "status.json") | {"state": "running"})
    attempt(killed)
    assert_equal_runs(killed, tmp_path / "undisturbed")


def test_tensorboard_shows_one_run_after_a_stop(tmp_path: Path) -> None:
    # A stop at step 5 with more modules than that: TensorBoard's step of a profile is the index of its module.
    attempt = attempts(["model.depth=9"])
    attempt(tmp_path / "undisturbed")
    with pytest.raises(Interrupted):
        attempt(tmp_path / "stopped", stopping(5))
    attempt(tmp_path / "stopped")
    points = []
    for name in ("undisturbed", "stopped"):
        events = EventAccumulator(str(tmp_path / name), size_guidance={"scalars": 0})
        events.Reload()
        tags = events.Tags()["scalars"]
        points.append({tag: sorted((event.step, event.value) for event in events.Scalars(tag)) for tag in tags})
    assert len(points[0]["profile_init_module/activation_norm"]) == 18
    assert repr(points[1]) == repr(points[0])  # repr: nan is nan
