"""result.json of runs whose answers are known: constant ones, and those of a checkpoint recomputed by plain torch."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from engine import metrics
from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.parts.data import Dataset, Digits
from fanin.record.columns import GENERALIZATION, names
from fanin.record.run_folder import RunFolder
from fanin.run.execute import run_together
from fanin.run.identity import Identity
from fanin.run.request import Request
from fanin.sweep.run_view import ending

SIZE = {"image_size": 10, "limit": 200, "val_size": 50}
BASE = ("model.depth=3", "model.width=16", "trainer.batch_size=50", "trainer.device=cpu", "probe=off",
        *(f"data.{key}={value}" for key, value in SIZE.items()))  # fmt: skip


def result(folder: Path, *typed: str) -> dict[str, Any]:
    """result.json of a run on 200 small digits, in batches of 50."""
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        cfg = compose("config", [*BASE, *typed])
    folder.mkdir(parents=True, exist_ok=True)
    run_together([Request(cfg, Identity("runs", folder.name, {}, "hash", {}), RunFolder(folder))])
    read: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return read


@pytest.fixture(scope="module")
def data() -> Dataset:
    return Digits(**SIZE).load()  # type: ignore[arg-type]


def share(labels: torch.Tensor) -> float:
    """Of class 0."""
    return float((labels == 0).double().mean())


@pytest.mark.parametrize("averaging", ["none", "ema"])
def test_a_network_that_answers_0_to_everything(tmp_path: Path, data: Dataset, averaging: str) -> None:
    """Weights of 0 and a learning rate of 0: scores are equal, and of equal ones the first class is the answer."""
    found = result(tmp_path, "initializer=zeros", "optimizer.lr=0", "trainer.steps=4", f"averaging={averaging}")
    right, counts = share(data.test_y), data.test_y.bincount(minlength=10)
    evaluation = found["evaluation"]["test"]
    assert list(found["evaluation"]) == ["test"]
    assert evaluation["confusion"] == [[int(counts[label])] + [0] * 9 for label in range(10)]
    assert evaluation["accuracy"] == pytest.approx(right, rel=1e-14)
    assert evaluation["error"] == pytest.approx(1 - right, rel=1e-14)
    assert evaluation["recall"] == pytest.approx(1 / 10, rel=1e-14)  # 1 of class 0, 0 of the nine others
    assert evaluation["precision"] == pytest.approx(right / 10, rel=1e-14)  # 0/0 counts as 0
    assert evaluation["f1"] == pytest.approx(2 * right / (1 + right) / 10, rel=1e-14)
    assert evaluation["roc_auc"] == 0.5  # all scores are equal
    numbers = found["metrics"]
    for part, labels in (("train", data.train_y), ("val", data.val_y), ("test", data.test_y)):
        assert numbers[f"{part}_loss"] == pytest.approx(2.302585092994046, rel=1e-6)  # ln 10 in float32
        assert numbers[f"{part}_error"] == pytest.approx(1 - share(labels), rel=1e-14)
    gap = (1 - right) - (1 - share(data.train_y))  # the four batches are the training set
    assert numbers["generalization_gap"] == pytest.approx(gap, abs=1e-15)
    assert (found["outcome"], found["state"]) == ("no progress", "done")


def test_what_the_network_and_a_step_of_it_cost(tmp_path: Path) -> None:
    """100 -> 16 -> 16 -> 10: its weights and biases; products of matrices forward, and twice that backward."""
    found = result(tmp_path, "trainer.steps=1")
    products = 100 * 16 + 16 * 16 + 16 * 10
    assert found["parameters"] == products + 16 + 16 + 10
    assert found["flops_per_step"] == 2 * 50 * (3 * products - 100 * 16)  # inputs need no gradient
    assert (found["gradient_bytes"], found["optimizer_bytes"]) == (4 * found["parameters"], 0)
    assert found["peak_memory"] > 2**25  # an interpreter with torch in it


N, B, WIDTHS = 200, 50, (100, 16, 16, 10)
FORWARD = 2 * sum(a * b for a, b in pairwise(WIDTHS))  # of one example
STEP = 3 * FORWARD - 2 * 100 * 16  # and backward: the gradients of weights and of all inputs but the first


@pytest.mark.parametrize(
    ("typed", "gradients", "flops", "floats"),
    [
        (["optimizer=momentum"], 5 * B, 5 * B * STEP, 1),
        (["optimizer=adam", "regularizer=sam"], 2 * 5 * B, 2 * 5 * B * STEP, 2),
        # 4 batches an epoch: snapshots at steps 0 and 4, the other three steps take a second gradient
        (["optimizer=svrg"], (5 + 3) * B + 2 * N, ((5 + 3) * B + 2 * N) * STEP, 2),
        # a table of N gradients at the start, and an example's gradient again at each step, beside the batch's
        pytest.param(
            ["optimizer=saga"], 2 * 5 * B + N, (2 * 5 * B + N) * STEP, N + 2, marks=pytest.mark.slow
        ),  # torch.func's first use takes seconds
    ],
    ids=["momentum", "sam", "svrg", "saga"],
)
def test_what_a_training_takes(tmp_path: Path, typed: list[str], gradients: int, flops: int, floats: int) -> None:
    """Passes counted by hand; the optimizer keeps so many numbers for each parameter."""
    found = result(tmp_path, *typed, "trainer.steps=5")
    assert (found["examples"], found["gradients"], found["flops"]) == (5 * B, gradients, flops)
    assert found["optimizer_bytes"] == 4 * floats * found["parameters"]
    rows = metrics(tmp_path)
    assert [rows[-1][name] for name in ("examples", "gradients", "flops")] == [5 * B, gradients, flops]


def test_second_order_passes_are_counted(tmp_path: Path) -> None:
    """One layer, s = W x: a product with the Hessian takes twice a matrix product."""
    small = ("model.depth=1", "data.image_size=3", "trainer.steps=2", "optimizer=newton")
    found = result(tmp_path, *small)
    parameters = 10 * 9 + 10
    assert found["parameters"] == parameters
    # the batch's gradient, again with its graph, and a product for each row of the matrix
    assert found["gradients"] == 2 * B * (2 + parameters)
    matrix = 2 * 9 * 10  # of one example, s = x W^T: forward, and backward g^T x
    # (g^T x) v by W: x v^T is the change of g, which goes through the softmax, and then again s^T x
    assert found["flops"] == 2 * B * (2 * 2 * matrix + parameters * 2 * matrix)


def test_numbers_of_a_trained_network(tmp_path: Path, data: Dataset) -> None:
    """The checkpoint's weights by plain torch, on every part."""
    typed = ("trainer.steps=42", "trainer.log_every=1", "optimizer.lr=0.2", "trainer.eval_train=true")
    found = result(tmp_path, *typed)
    state = torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)["model"]

    def scores(inputs: torch.Tensor) -> torch.Tensor:
        h = inputs.flatten(1).double()
        for layer in (1, 2, 3):
            h = h @ state[f"linear_{layer}.weight"].double().T + state[f"linear_{layer}.bias"].double()
            h = h.clamp(min=0) if layer < 3 else h
        return h

    numbers, table = found["metrics"], metrics(tmp_path)
    for part, x, y in (("test", data.test_x, data.test_y), ("val", data.val_x, data.val_y)):
        outputs = scores(x)
        # float32 against float64, three layers
        assert numbers[f"{part}_loss"] == pytest.approx(F.cross_entropy(outputs, y).item(), rel=1e-5)
        assert numbers[f"{part}_error"] == pytest.approx((outputs.argmax(1) != y).double().mean().item(), rel=1e-14)
        assert table[-1 if part == "test" else -2][f"{part}_error"] == numbers[f"{part}_error"]
    full = F.cross_entropy(scores(data.train_x), data.train_y).item()
    assert table[-2]["train_loss"] == numbers["train_loss"] == pytest.approx(full, rel=1e-5)
    answers, counts = scores(data.test_x).argmax(1).tolist(), [[0] * 10 for _ in range(10)]
    for truth, answer in zip(data.test_y.tolist(), answers, strict=True):
        counts[truth][answer] += 1
    evaluation = found["evaluation"]["test"]
    assert evaluation["confusion"] == counts
    assert evaluation["error"] == pytest.approx(numbers["test_error"], rel=1e-14)
    recalls = [counts[label][label] / sum(counts[label]) for label in range(10)]
    assert evaluation["recall"] == pytest.approx(sum(recalls) / 10, rel=1e-12)
    training_error = (scores(data.train_x).argmax(1) != data.train_y).double().mean().item()
    assert numbers["train_error"] == pytest.approx(training_error, rel=1e-14)
    assert numbers["generalization_gap"] == numbers["test_error"] - numbers["train_error"]
    assert found["outcome"] == "learns"
    of_risk, apart = found["generalization"], scores(data.train_x)
    assert tuple(of_risk) == names(GENERALIZATION)
    right = apart.gather(1, data.train_y[:, None]).squeeze(1)
    margins = (right - apart.scatter(1, data.train_y[:, None], -torch.inf).amax(1)).numpy()
    norms = [np.linalg.norm(state[f"linear_{layer}.weight"].double().numpy(), 2) for layer in (1, 2, 3)]
    assert of_risk["spectral_norm_product"] == pytest.approx(np.prod(norms), rel=1e-12)
    assert of_risk["normalized_margin_mean"] == pytest.approx(margins.mean() / np.prod(norms), rel=1e-5)
    assert of_risk["margin_decile"] == pytest.approx(np.quantile(margins, 0.1), rel=1e-5, abs=1e-5)
    each = F.cross_entropy(scores(data.test_x), data.test_y, reduction="none")
    middle, half = (of_risk["test_loss_high"] + of_risk["test_loss_low"]) / 2, each.std() / len(each) ** 0.5
    assert middle == pytest.approx(numbers["test_loss"], rel=1e-5)
    assert of_risk["test_loss_high"] - middle == pytest.approx(1.968 * float(half), rel=1e-3)  # t at 296 degrees
    assert of_risk["test_error_low"] < numbers["test_error"] < of_risk["test_error_high"]
    hoeffding = (np.log(2 / 0.05) / (2 * len(each))) ** 0.5
    assert of_risk["gap_high"] == pytest.approx(numbers["generalization_gap"] + hoeffding, rel=1e-12)
    assert of_risk["vc_bound"] > 1  # 2,058 weights on 200 examples


@pytest.mark.parametrize("stopping", [[], ["regularizer=early_stopping"]], ids=["to its end", "early stopping"])
def test_a_training_that_overfits_says_from_which_step(tmp_path: Path, stopping: list[str]) -> None:
    """By metrics.csv: the lowest of its validation losses. Early stopping ends with the weights of that step."""
    found = result(tmp_path, "optimizer=adam", "optimizer.lr=0.02", "model.width=64", "trainer.epochs=40", *stopping)
    rows = [row for row in metrics(tmp_path) if row["val_loss"] and row["batch_loss"]]
    lowest, last = min(rows, key=lambda row: row["val_loss"]), rows[-1]
    assert last["val_loss"] > 1.1 * lowest["val_loss"]  # of 200 examples
    assert last["batch_loss"] < lowest["batch_loss"]
    assert found["overfits_from"] == (None if stopping else lowest["step"])
    assert found["outcome"] == "learns"
    word = "learns" if stopping else f"learns, overfits from step {lowest['step']:.0f}"
    assert ending(found)[0].startswith(f"{word}: step {found['steps']}, train loss ")


def test_evaluation_is_of_the_average_where_there_is_one(tmp_path: Path, data: Dataset) -> None:
    found = result(tmp_path, "averaging=polyak", "optimizer.lr=0.3", "trainer.steps=20")
    state = torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)
    errors = {}
    for name, tensors in (("average", state["average"]["tensors"]), ("iterate", state["model"])):
        h = data.test_x.flatten(1)
        for layer in (1, 2, 3):
            h = F.linear(h, tensors[f"linear_{layer}.weight"], tensors[f"linear_{layer}.bias"])
            h = h.relu() if layer < 3 else h
        errors[name] = (h.argmax(1) != data.test_y).double().mean().item()
    assert errors["average"] != errors["iterate"]
    assert found["evaluation"]["test"]["error"] == pytest.approx(errors["average"], rel=1e-14)
    assert found["metrics"]["test_error"] == pytest.approx(errors["average"], rel=1e-14)


@pytest.mark.parametrize(
    ("typed", "outcome"),
    [
        (["trainer.steps=0"], "init only"),
        (["trainer.steps=9", "optimizer.lr=1e30"], "diverged"),
        (["trainer.steps=9", "loss=reconstruction", "model=autoencoder"], "improves"),
    ],
    ids=["no steps", "diverged", "no classes"],
)
def test_without_answers_there_is_no_evaluation(tmp_path: Path, typed: list[str], outcome: str) -> None:
    found = result(tmp_path, *typed)
    assert found["evaluation"] is None
    assert found["outcome"] == outcome
    assert set(found["metrics"].values()) == {None} or outcome != "init only"
