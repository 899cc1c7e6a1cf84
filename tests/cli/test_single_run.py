"""One run: the files of its folder, column by column and key by key, and what makes it be run again."""

from __future__ import annotations

import math
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from command_line import MEASURED, TINY, Said, fanin, read, runs, table
from fanin import __version__
from fanin.streams import stream_seed

NAME = "data.limit=300,model.depth=3,model.width=16,seed=0,trainer.steps=6"
METRICS = (
    "step,epoch,lr,batch_loss,batch_error,train_loss,train_error,val_loss,val_error,test_loss,test_error,"
    "examples,gradients,flops,seconds"
)
PROFILES = (
    "snapshot,axis,index,layer,quantity,value,theory,band_low,band_high,source,redraw_median,redraw_low,redraw_high"
)
MODULES = ["input", "linear_1", "relu_1", "linear_2", "relu_2", "linear_3"]
WEIGHTS = ["linear_1", "linear_2", "linear_3"]


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> tuple[Said, Path]:
    """What the command said, and the folder it was typed in."""
    folder = tmp_path_factory.mktemp("single")
    return fanin(folder, *TINY, fresh=True), folder


@pytest.fixture(scope="module")
def run(single: tuple[Said, Path]) -> Path:
    """The folder of the run."""
    return single[1] / "outputs" / "runs" / NAME


def test_the_command_says_one_line_and_leaves_one_folder(single: tuple[Said, Path], run: Path) -> None:
    said, folder = single
    assert (said.code, said.err) == (0, [])
    assert len(said.out) == 1
    metrics = read(run / "result.json")["metrics"]
    assert f"{NAME}  " in said.out[0]
    assert f"test loss {metrics['test_loss']:.4f} error {metrics['test_error']:.1%}" in said.out[0]
    assert [path.name for path in (folder / "outputs").iterdir()] == ["runs"]
    grid = folder / "outputs" / "runs"
    assert {path.name for path in grid.iterdir() if not path.name.startswith(".")} == {NAME, "summary.csv"}
    files = {re.sub(r"tfevents\..*", "tfevents", path.name) for path in run.iterdir()}
    assert files - {".lock"} == {
        ".hydra", "status.json", "result.json", "metrics.csv", "profiles.csv", "events.out.tfevents", "checkpoints",
        "run.log",
    }  # fmt: skip


def test_status_and_result(run: Path) -> None:
    status, result = read(run / "status.json"), read(run / "result.json")
    assert set(status) == {"state", "step", "steps", "epoch", "started", "updated", "seconds", "error", "pid"}
    assert {key: status[key] for key in ("state", "step", "steps", "epoch", "error")} == {
        "state": "done", "step": 6, "steps": 6, "epoch": 2.0, "error": None,
    }  # fmt: skip
    assert datetime.fromisoformat(status["started"]) <= datetime.fromisoformat(status["updated"])
    expected = {"run": NAME, "experiment": "runs", "state": "done", "steps": 6, "epochs": 2.0, "diverged": None}
    assert expected.items() <= result.items()
    assert result["seconds"] == status["seconds"] > 0
    assert result["overrides"] == {
        "data.limit": 300, "model.depth": 3, "model.width": 16, "seed": 0, "trainer.steps": 6,
    }  # fmt: skip
    assert re.fullmatch("[0-9a-f]{16}", result["config_hash"])
    assert result["parameters"] == 784 * 16 + 16 * 16 + 16 * 10 + 16 + 16 + 10
    assert result["seeds"]["run"] == 0
    assert len(set(result["seeds"].values())) == len(result["seeds"])
    assert result["seeds"]["init"] == stream_seed(0, "init")
    assert result["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert result["versions"]["fanin"] == __version__
    assert result["device"] in ("cpu", "cuda")
    loss = result["metrics"]["train_loss"]
    assert result["outcome"] == ("learns" if loss <= 0.98 * math.log(10) else "no progress")


def test_metrics_has_a_row_at_the_first_step_and_after_each_epoch(run: Path) -> None:
    assert (run / "metrics.csv").read_text().splitlines()[0] == METRICS
    rows = table(run / "metrics.csv")
    # 300 examples, 3 batches an epoch; log_every=10 is never reached, the last row holds the test part.
    assert [(row["step"], float(row["epoch"])) for row in rows] == [("1", 1 / 3), ("3", 1), ("6", 2), ("6", 2)]
    filled = [{key for key, value in row.items() if value} for row in rows]
    base, train = {"step", "epoch", "examples", "gradients", "flops", "seconds"}, {"lr", "batch_loss", "batch_error"}
    val, ends = {"val_loss", "val_error"}, {"train_loss", "train_error", "test_loss", "test_error"}
    assert filled == [base | train, base | train | val, base | train | val, base | ends]
    assert {row["lr"] for row in rows[:3]} == {"0.01"}
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)
    final = read(run / "result.json")["metrics"]
    ended = {key: float(rows[-1 if key in ends else -2][key]) for key in val | ends}
    assert {key: value for key, value in final.items() if key != "generalization_gap"} == ended
    assert final["generalization_gap"] == ended["test_error"] - ended["train_error"]


def test_profiles_hold_two_snapshots_of_both_axes(run: Path) -> None:
    assert (run / "profiles.csv").read_text().splitlines()[0] == PROFILES
    rows = table(run / "profiles.csv")
    assert list(dict.fromkeys(row["snapshot"] for row in rows)) == ["init", "final"]

    def column(snapshot: str, axis: str, quantity: str, key: str = "value") -> list[Any]:
        place = {"snapshot": snapshot, "axis": axis, "quantity": quantity}
        found = [row for row in rows if place.items() <= row.items()]
        assert [row["index"] for row in found] == [str(index) for index in range(1, len(found) + 1)]
        return [row[key] for row in found]

    for snapshot in ("init", "final"):
        assert column(snapshot, "module", "activation_norm", "layer") == MODULES
        for quantity in ("activation_norm", "gradient_norm", "weight_norm", "weight_variance", "weight_movement"):
            assert column(snapshot, "weight", quantity, "layer") == WEIGHTS
        blocks = column(snapshot, "module", "activation_norm")
        assert column(snapshot, "weight", "activation_norm") == [blocks[2], blocks[4], blocks[5]]
    assert column("init", "weight", "weight_movement") == ["0", "0", "0"]
    assert all(0 < float(value) < 1 for value in column("final", "weight", "weight_movement"))
    # Theory: at init only, He's variance 2 / fan_in; biases start at 0 and leave the activations' law as it is.
    assert [float(c) for c in column("init", "weight", "weight_variance", "theory")] == pytest.approx([2, 2, 2])
    assert "" not in column("init", "weight", "activation_norm", "theory")
    squares = [row for row in rows if row["quantity"] == "activation_norm_mean_square"]
    assert squares
    assert {(row["snapshot"], row["value"]) for row in squares} == {("init", "")}
    assert {row["theory"] for row in rows if row["snapshot"] == "final"} == {""}
    init = read(run / "result.json")["init"]
    first, *_, last = column("init", "weight", "activation_norm")
    assert (init["activation_first"], init["activation_last"]) == (float(first), float(last))
    first, *_, last = column("init", "weight", "gradient_norm")
    assert (init["gradient_first"], init["gradient_last"]) == (float(first), float(last))
    assert init["theory_factor"] == 1
    assert init["verdict"] in ("vanishing", "critical", "exploding")


def test_the_configuration_the_log_and_the_checkpoints_can_be_read(run: Path) -> None:
    cfg = OmegaConf.load(run / ".hydra" / "config.yaml")
    assert (cfg.model.depth, cfg.model.width, cfg.data.limit, cfg.trainer.steps, cfg.seed) == (3, 16, 300, 6, 0)
    assert "hydra" not in cfg
    choices = OmegaConf.load(run / ".hydra" / "hydra.yaml").hydra.runtime.choices
    assert (choices.model, choices.optimizer, choices.data) == ("mlp", "sgd", "digits")
    log = (run / "run.log").read_text()
    assert read(run / "result.json")["config_hash"] in log
    assert "done after 6 steps" in log
    last, best = (torch.load(run / "checkpoints" / f"{name}.pt", weights_only=True) for name in ("last", "best"))
    assert last["step"] == 6
    shapes = {name: tuple(value.shape) for name, value in last["model"].items()}
    assert shapes == {
        "linear_1.weight": (16, 784), "linear_1.bias": (16,), "linear_2.weight": (16, 16), "linear_2.bias": (16,),
        "linear_3.weight": (10, 16), "linear_3.bias": (10,),
    }  # fmt: skip
    assert {name: tuple(value.shape) for name, value in best["model"].items()} == shapes
    written = [float(row["value"]) for row in table(run / "profiles.csv") if row["snapshot"] == "final"
               and row["quantity"] == "weight_norm"]  # fmt: skip
    norms = [last["model"][f"{name}.weight"].double().norm().item() for name in WEIGHTS]
    assert written == pytest.approx(norms, rel=1e-6)  # a float32 sum of 12544 squares


def test_tensorboard_shows_metrics_over_steps_and_profiles_over_depth(run: Path) -> None:
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    losses = [(event.step, event.value) for event in events.Scalars("batch/loss")]
    rows = [row for row in table(run / "metrics.csv") if row["batch_loss"]]
    assert [step for step, _ in losses] == [int(row["step"]) for row in rows]
    written = [float(row["batch_loss"]) for row in rows]
    assert [value for _, value in losses] == pytest.approx(written, rel=2**-24)  # events hold float32
    assert [event.step for event in events.Scalars("profile_init_module/activation_norm")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in events.Scalars("layers/gradient_norm/1_linear_1")] == [*range(6)], (
        "a short run has a point a step"
    )


def test_the_summary_has_the_runs_row(single: tuple[Said, Path], run: Path) -> None:
    (row,) = table(single[1] / "outputs" / "runs" / "summary.csv")
    result = read(run / "result.json")
    assert (row["run"], row["state"], row["outcome"]) == (NAME, "done", result["outcome"])
    assert (row["model.depth"], row["seed"], row["steps"], row["error"]) == ("3", "0", "6", "")
    assert float(row["test_loss"]) == result["metrics"]["test_loss"]


def test_the_same_configuration_is_the_same_run(single: tuple[Said, Path], run: Path) -> None:
    folder = single[1]
    before = read(run / "result.json")
    again = fanin(folder, *reversed(TINY), "optimizer=sgd", "optimizer.lr=1e-2", "trainer.epochs=5.0", "seed=0")
    assert (again.code, again.err) == (0, [])
    assert len(again.out) == 1
    assert again.out[0].endswith(f"{NAME}  done before, not run again (force=true does)")
    assert read(run / "result.json") == before
    assert fanin(folder, *TINY, "force=true").code == 0
    after = read(run / "result.json")
    assert after["seconds"] != before["seconds"]  # measured anew; nothing else may change
    assert after | dict.fromkeys(MEASURED) == before | dict.fromkeys(MEASURED)
    assert len(list(run.glob("events.out.tfevents.*"))) == 1
    assert list(runs(folder / "outputs" / "runs")) == [NAME]
    assert len(table(folder / "outputs" / "runs" / "summary.csv")) == 1


def test_a_run_elsewhere_keeps_the_contract_and_another_configuration_has_another_name(
    tmp_path: Path,
) -> None:
    elsewhere = tmp_path / "else where"
    said = fanin(tmp_path, *TINY, f"hydra.sweep.dir={elsewhere}", "regularizer=[l2,dropout]", "trainer.steps=0")
    assert said.code == 0
    name = "data.limit=300,model.depth=3,model.width=16,regularizer=dropout+l2,seed=0,trainer.steps=0"
    assert list(runs(elsewhere)) == [name]
    assert not (tmp_path / "outputs").exists()
    result = read(elsewhere / name / "result.json")
    assert (result["state"], result["outcome"], result["steps"]) == ("done", "init only", 0)
    assert set(result["metrics"].values()) == {None}
    assert (elsewhere / name / "metrics.csv").read_text() == METRICS + "\n"
    assert {row["snapshot"] for row in table(elsewhere / name / "profiles.csv")} == {"init"}
    assert [row["run"] for row in table(elsewhere / "summary.csv")] == [name]


@pytest.mark.slow
def test_a_model_that_says_what_it_trains_with_says_it_where_something_else_went_wrong(tmp_path: Path) -> None:
    """The line is right: with what it says, five epochs of 300 examples are enough."""
    small = ("model=lstm", "data.image_size=8", "data.limit=300", "probe=off", "trainer.epochs=5")
    said = fanin(tmp_path, *small)
    typed = "optimizer=adam optimizer.lr=0.01"
    assert "no progress" in said.out[-2]
    assert said.out[-1].endswith(f"  lstm trains with {typed}; this was optimizer=sgd")
    better = fanin(tmp_path, *small, *typed.split())
    assert len(better.out) == 1
    assert "learns" in better.out[0]


@pytest.mark.parametrize("mode", ["--run", "-m"])
def test_a_studys_batch_size_that_does_not_count_is_told_once(tmp_path: Path, mode: str) -> None:
    small = ["optimizer=gd", "data.limit=500", "trainer.steps=0", "schedule=constant"]
    said = fanin(tmp_path, mode, "experiment=schedule_study", *small, *(["seed=0,1"] if mode == "-m" else []))
    assert said.code == 0, said.err
    (told,) = [line for line in said.err if "batch_size" in line]
    assert told.startswith("trainer.batch_size=50 does not count: ")
