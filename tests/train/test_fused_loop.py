"""Whole runs trained together: the rows, files and results that each would have written alone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from engine import begun, clouds, recipe, rows, trained
from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.parts.averaging import Ema
from fanin.parts.clipping import ClipNorm
from fanin.parts.data import Dataset
from fanin.parts.initializers import VarianceScaling
from fanin.parts.losses import CrossEntropy
from fanin.parts.normalization import BatchNorm, LayerNorm
from fanin.parts.optimizers import Adam, Momentum
from fanin.parts.regularizers import L1, L2, Dropout, EarlyStopping, MaxNorm, WeightDecay
from fanin.parts.schedules import Cosine, Plateau, Step
from fanin.probes import Probe
from fanin.probes.probe import QUANTITIES
from fanin.record.run_folder import RunFolder
from fanin.run.execute import RequestedRun, assemble, batches_of, run_together
from fanin.run.identity import Identity
from fanin.run.recipe import Recipe
from fanin.run.request import Request, Unseen
from fanin.train.fused_learner import FusedLearner
from fanin.train.loop import Interrupted, Loop
from fanin.train.run_state import Run
from fanin.train.step import Method
from together import close

PROBE = Probe(every=3, steps=[4], batch_size=30, curves=QUANTITIES)
ROUNDED = {"rel": 1e-8, "abs": 1e-12}  # float64 runs of some dozen steps
SINGLE = {"rel": 2e-3, "abs": 1e-5}  # float32 ones


def clouds_of(made: Recipe, **changes: Any) -> Dataset:
    """Clouds in the precision of a recipe."""
    return clouds(**changes).to(torch.device("cpu"), made.dtype)


def fused(place: Path, recipes: Sequence[Recipe], data: Dataset) -> tuple[Loop[RequestedRun], list[RequestedRun]]:
    """The loop of some runs, each in a folder named by its number, after its training; and its runs."""
    members = []
    for number, made in enumerate(recipes):
        (place / str(number)).mkdir(parents=True)
        members.append(begun(RunFolder(place / str(number)), made))
    loop = assemble(members, data, batches_of(recipes, data))
    assert isinstance(loop.learner, FusedLearner)
    runs = list(loop.runs)
    loop.train()
    for one in runs:
        one.recorder.close(one.state)
    return loop, runs


def assert_same_table(path: Path, other: Path, rel: float, abs: float) -> None:
    """Rows of a CSV file: the same words, and numbers up to a tolerance; times apart."""
    ours, theirs = rows(path), rows(other)
    assert len(ours) == len(theirs) > 0
    for mine, its in zip(ours, theirs, strict=True):
        for key in mine.keys() - {"seconds"}:
            assert same_word(mine[key], its[key], rel, abs), (key, mine, its)


def same_word(mine: str, its: str, rel: float, abs: float) -> bool:
    try:
        return bool(float(mine) == pytest.approx(float(its), rel=rel, abs=abs, nan_ok=True))
    except ValueError:
        return mine == its


def assert_same_runs(
    place: Path, recipes: Sequence[Recipe], data: Dataset, tolerance: dict[str, float] = ROUNDED
) -> list[Run]:
    """Train the recipes together and each alone, and compare all that they leave; returns the runs."""
    _, runs = fused(place / "fused", recipes, data)
    for number, (made, one) in enumerate(zip(recipes, runs, strict=True)):
        alone = trained(place / "alone" / str(number), made, data).first
        for name in ("state", "stopped_by", "step"):
            assert getattr(one, name) == getattr(alone, name), name
        assert (one.diverged, one.best) == (alone.diverged, pytest.approx(alone.best, rel=tolerance["rel"]))
        folders = [place / kind / str(number) for kind in ("fused", "alone")]
        assert_same_table(*[folder / "metrics.csv" for folder in folders], **tolerance)
        if made.probe.profile_due(0):
            assert_same_table(*[folder / "profiles.csv" for folder in folders], **tolerance)
        names, expected = ({path.name for path in (folder / "checkpoints").glob("*")} for folder in folders)
        assert names == expected
        for name in names:
            mine, its = (torch.load(folder / "checkpoints" / name, weights_only=True) for folder in folders)
            for state in (mine, its):
                state.pop("seconds", None)
                state.pop("window", None)  # losses, compared above
                state.pop("best", None)
            assert close(mine, its, tolerance["rel"], tolerance["abs"]), name
    return runs


def several(count: int = 4, **changes: Any) -> list[Recipe]:
    """Runs in float64 with seeds, variances and learning rates of their own."""
    trainer = {"precision": "float64", **changes.pop("trainer", {})}
    lr = changes.pop("lr", 0.05)
    return [
        recipe(
            seed=run, initializer=VarianceScaling(c=1.0 + run / 3), lr=lr * (1 + run), trainer=trainer, **dict(changes)
        )
        for run in range(count)
    ]


# ---- loops


def test_runs_with_everything_that_has_a_memory(tmp_path: Path) -> None:
    """Each with a schedule, penalties, bounds and a patience of its own; they stop early, each at its own step."""
    settings = {
        "optimizer": Momentum,
        "model": {"normalization": BatchNorm(), "depth": 4},
        "probe": PROBE,
        "trainer": {"steps": 40, "log_every": 4, "eval_every": 3},
    }
    made = [
        replace(
            one,
            schedule=(Cosine(warmup_steps=2 * run), Step(size=5 + run, gamma=0.7), Plateau(patience=0))[run % 3],
            method=Method(
                smoothed=CrossEntropy().smoothed(0.05),
                penalties=[L2(strength=0.01 * run), L1(strength=0.001 / (1 + run))],
                decays=[WeightDecay(rate=0.002 * run)],
                bounds=[MaxNorm(bound=2.5 + 0.1 * run)],
                clipping=ClipNorm(bound=2.0),
                averaging=Ema(decay=0.8),
            ),
            early_stopping=EarlyStopping(patience=2 + run, monitor=("val_loss", "batch_loss")[run % 2]),
        )
        for run, one in enumerate(several(**settings, dropout=Dropout(p=0.2, input_p=0.1)))
    ]
    runs = assert_same_runs(tmp_path, made, clouds_of(made[0], separation=0.5))
    assert {one.stopped_by for one in runs} >= {"early_stopping"}
    assert len({one.step for one in runs}) > 2


def test_runs_that_reach_their_target_leave_one_by_one(tmp_path: Path) -> None:
    trainer = {"steps": 100, "log_every": 3, "target_error": 0.2, "target_window": 4}
    made = several(5, lr=0.01, trainer=trainer, probe=PROBE)
    runs = assert_same_runs(tmp_path, made, clouds_of(made[0], separation=6.0))
    assert {one.stopped_by for one in runs} == {"target_error"}
    assert len({one.step for one in runs}) > 2


@pytest.mark.parametrize("stops", [True, False], ids=["stops", "goes on"])
def test_runs_that_diverge_do_so_at_their_step_and_layer(tmp_path: Path, stops: bool) -> None:
    trainer = {"steps": 20, "log_every": 6, "stop_when_diverged": stops}
    made = several(4, trainer=trainer, probe=PROBE)
    made[1] = replace(made[1], lr=1e200)
    made[3] = replace(made[3], initializer=VarianceScaling(c=3e38))
    runs = assert_same_runs(tmp_path, made, clouds_of(made[0]))
    assert [one.state for one in runs] == ["done", "diverged", "done", "diverged"]
    assert [one.step for one in runs] == [20, runs[1].diverged[0], 20, runs[3].diverged[0]] if stops else [20] * 4  # type: ignore[index]
    assert runs[1].diverged != runs[3].diverged


@pytest.mark.parametrize("steps", [0, 1])
def test_profiles_at_init_of_many_runs(tmp_path: Path, steps: int) -> None:
    made = several(6, trainer={"steps": steps}, probe=Probe(every=0, batch_size=40))
    data = clouds_of(made[0])
    _, runs = fused(tmp_path / "fused", made, data)
    for number, one in enumerate(made):
        trained(tmp_path / "alone" / str(number), one, data)
        ours, theirs = (tmp_path / kind / str(number) / "profiles.csv" for kind in ("fused", "alone"))
        assert_same_table(ours, theirs, 1e-12, 1e-14)
        assert {row["snapshot"] for row in rows(ours)} == ({"init", "final"} if steps else {"init"})
    assert {one.state for one in runs} == {"done"}


@pytest.mark.parametrize("curve_batch", ["train", "fixed"])
@pytest.mark.parametrize("settings", [{"optimizer": Adam}, {"model": {"normalization": LayerNorm()}}], ids=str)
def test_float32_runs(tmp_path: Path, settings: dict[str, Any], curve_batch: str) -> None:
    probe = Probe(every=2, batch_size=30, curves=("activation_norm", "gradient_norm"), curve_batch=curve_batch)
    made = several(4, lr=0.01, trainer={"precision": "float32", "steps": 15}, probe=probe, **settings)
    assert_same_runs(tmp_path, made, clouds_of(made[0]), SINGLE)


# ---- configurations, with their folders

OVERRIDES = (
    "data=gaussian", "data.examples=230", "data.features=12", "data.val_size=30", "data.test_size=50", "model.width=16",
    "model.depth=3", "initializer=variance_scaling", "optimizer=momentum", "regularizer=[l2,dropout,early_stopping]",
    "regularizer.early_stopping.patience=2", "trainer.batch_size=20", "trainer.steps=40", "trainer.log_every=4",
    "trainer.eval_every=5", "trainer.precision=float64", "trainer.threads=null", "probe.every=5",
)  # fmt: skip


@lru_cache
def configuration(number: int) -> DictConfig:
    """Of one member."""
    own = (
        f"seed={number}", f"initializer.c={1 + number / 2}", f"optimizer.lr={0.05 * (1 + 3 * number)}",
        f"optimizer.momentum={0.3 * number}", f"regularizer.l2.strength={0.01 * number}",
        f"regularizer.dropout.p={0.1 + 0.1 * number}",
    )  # fmt: skip
    register_resolvers()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return compose("config", [*OVERRIDES, *own])


class Told(Unseen):
    """Remembers the names of the runs that ended."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def ended(self, result: dict[str, Any]) -> None:
        self.names.append(result["run"])


def member(place: Path, number: int) -> Request:
    """A configuration, its identity and its folder."""
    folder = place / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    identity = Identity("runs", f"seed={number}", {"seed": number}, f"{number:016x}", {"seed": number})
    return Request(configuration(number), identity, RunFolder(folder))


def together(place: Path, numbers: Sequence[int], stop: Callable[[], bool] = lambda: False) -> list[str]:
    """Run some of the members together; returns the names of those that ended, in that order."""
    ended: list[str] = []
    run_together([replace(member(place, number), viewer=Told(ended)) for number in numbers], stop)
    return ended


def alone(place: Path, numbers: Sequence[int], stops: Sequence[int] = ()) -> None:
    """Run some of the members one by one, each until its step in `stops` if there is one."""
    for place_of, number in enumerate(numbers):
        if stops:
            with pytest.raises(Interrupted):
                run_together([member(place, number)], stop_at(stops[place_of]))
        else:
            run_together([member(place, number)])


def stop_at(step: int) -> Callable[[], bool]:
    asked = iter(range(1000))
    return lambda: next(asked) == step


def content(folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, list[tuple[int, float]]]]:
    """The result and the status of a run without their times, and all that TensorBoard shows of it."""
    result, status = (json.loads((folder / f"{name}.json").read_text()) for name in ("result", "status"))
    times = {"seconds", "started", "updated", "peak_memory"}
    seen = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    events = {tag: sorted((e.step, e.value) for e in seen.Scalars(tag)) for tag in seen.Tags()["scalars"]}
    return *({key: value for key, value in one.items() if key not in times} for one in (result, status)), events  # type: ignore[return-value]


def alike(first: Any, second: Any) -> bool:
    """Whether two nested structures are equal, numbers up to rounding."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(alike(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(alike, first, second))
    if isinstance(first, float) and not math.isnan(first):
        return bool(first == pytest.approx(second, rel=1e-6, abs=1e-9))  # TensorBoard keeps float32
    return bool(first == second) or (first != first and second != second)


def assert_same_folders(first: Path, second: Path, numbers: Sequence[int]) -> None:
    for number in numbers:
        one, other = first / str(number), second / str(number)
        names = [
            {str(path.relative_to(folder)) for path in folder.rglob("*") if "events" not in path.name}
            for folder in (one, other)
        ]
        assert names[0] == names[1]
        for mine, its in zip(content(one), content(other), strict=True):
            assert alike(mine, its)
        for name in ("metrics.csv", "profiles.csv"):
            assert_same_table(one / name, other / name, **ROUNDED)


NUMBERS = [0, 1, 3]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of the members, each run alone."""
    place = tmp_path_factory.mktemp("alone")
    alone(place, NUMBERS)
    return place


def test_runs_together_write_the_folders_that_they_write_alone(undisturbed: Path, tmp_path: Path) -> None:
    ended = together(tmp_path, NUMBERS)
    assert sorted(ended) == [f"seed={number}" for number in NUMBERS]
    assert_same_folders(tmp_path, undisturbed, NUMBERS)
    steps = [json.loads((tmp_path / str(n) / "result.json").read_text())["steps"] for n in NUMBERS]
    assert len(set(steps)) > 1, "some were stopped early"


@pytest.mark.parametrize("step", [1, 13])
def test_runs_interrupted_together_go_on_together_or_alone(undisturbed: Path, tmp_path: Path, step: int) -> None:
    with pytest.raises(Interrupted):
        together(tmp_path, NUMBERS, stop_at(step))
    for number in NUMBERS:
        assert json.loads((tmp_path / str(number) / "status.json").read_text())["state"] == "interrupted"
        saved = torch.load(tmp_path / str(number) / "checkpoints" / "last.pt", weights_only=True)
        assert saved["step"] == step
    together(tmp_path, NUMBERS[:2])
    alone(tmp_path, NUMBERS[2:])
    assert_same_folders(tmp_path, undisturbed, NUMBERS)


def test_runs_interrupted_alone_go_on_together(undisturbed: Path, tmp_path: Path) -> None:
    alone(tmp_path, NUMBERS, [7] * 3)
    assert len(together(tmp_path, NUMBERS)) == 3
    assert_same_folders(tmp_path, undisturbed, NUMBERS)
