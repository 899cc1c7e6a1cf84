"""The study on real MNIST: what the lecture's figures show. Needs the files, in the folder that FANIN_DATA names."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
from scipy.special import polygamma

from command_line import fanin, read, runs, table

DATA = os.environ.get("FANIN_DATA", "")
pytestmark = pytest.mark.skipif(not DATA, reason="needs real MNIST: set FANIN_DATA")

PUBLISHED = {
    1: {2: 34.7, 10: 7.9, 30: 0.27, 50: 0.0068},
    2: {2: 49, 10: 45, 30: 50, 50: 39},
    3: {2: 60, 10: 124, 30: 1037, 50: 6261},
}
"""Activation norm by c and module: the lecture's first figure, of one seed that is not known."""

FLAT = 4
"""Factor within which the gradient norms of the layers 2 to 50 lie."""


def one_sigma(module: int) -> float:
    """Standard deviation of ln ||z|| behind `module`, a linear layer, at width 100: a random walk.

    4 Var = Var ln chi2_100 + (l - 1) * 0.051940, where the constant is Var ln r of a hidden layer with its ReLU.
    """
    return 0.5 * math.sqrt(float(polygamma(1, 50)) + (module / 2 - 1) * 0.051940)


def by_c(grid: Path) -> dict[float, Path]:
    """The runs of a grid of one seed by their variance."""
    return {read(run / "result.json")["overrides"]["initializer.c"]: run for run in runs(grid).values()}


def profile(run: Path, snapshot: str, axis: str, quantity: str) -> dict[int, dict[str, float]]:
    """Rows of a profile by index: {"value", "theory", "band_low", "band_high"}."""
    place = {"snapshot": snapshot, "axis": axis, "quantity": quantity}
    columns = ("value", "theory", "band_low", "band_high")
    return {
        int(row["index"]): {key: float(row[key] or "nan") for key in columns}
        for row in table(run / "profiles.csv")
        if place.items() <= row.items()
    }


def values(run: Path, snapshot: str, quantity: str) -> list[float]:
    """A quantity of the weight layers, first to last."""
    return [row["value"] for row in profile(run, snapshot, "weight", quantity).values()]


@pytest.mark.slow
def test_the_first_figure_and_the_first_steps(tmp_path: Path) -> None:
    said = fanin(tmp_path, "experiment=init_study", "data=mnist", f"data.root={DATA}", "seed=0", "trainer.steps=30")
    assert (said.code, said.err) == (0, ["3 runs in outputs/init_study"])
    study = by_c(tmp_path / "outputs" / "init_study")
    assert sorted(study) == [1, 2, 3]
    deviations = []
    for c, published in PUBLISHED.items():
        norms = profile(study[c], "init", "module", "activation_norm")
        assert list(norms) == list(range(1, 101))
        for module, figure in published.items():
            at, sigma = norms[module], one_sigma(module)
            # The band of a batch, around its median: no wider than one example's, for not all examples stray alike.
            band = math.log(at["band_high"] / at["theory"])
            assert 0 < band <= sigma
            assert math.log(at["theory"] / at["band_low"]) == pytest.approx(band, rel=0.02)
            assert abs(math.log(at["value"] / at["theory"])) < 3 * sigma
            assert abs(math.log(at["value"] / figure)) < 3 * sigma
            deviations.append((module, math.log(at["value"] / at["theory"]) / sigma))
        # Deep down the images point one way, and the batch strays as one example does.
        assert math.log(norms[100]["band_high"] / norms[100]["theory"]) == pytest.approx(one_sigma(100), rel=0.05)
        gradients = values(study[c], "init", "gradient_norm")
        assert len(gradients) == 50
        assert max(gradients[1:]) < FLAT * min(gradients[1:])
        # sqrt(784 / 100) = 2.8 up to a layer's forward and a layer's backward ratio, 3 * sqrt(2 * 0.0519 / 4) = 0.48.
        assert abs(math.log(gradients[0] / gradients[1] / 2.8)) < 0.48
    # The runs of a seed are copies of one draw: they deviate alike.
    assert [z for _, z in deviations[4:8]] == pytest.approx([z for _, z in deviations[:4]], abs=1e-3)
    assert [z for _, z in deviations[8:]] == pytest.approx([z for _, z in deviations[:4]], abs=1e-3)
    verdicts = {c: read(run / "result.json")["init"]["verdict"] for c, run in study.items()}
    assert verdicts == {1: "vanishing", 2: "critical", 3: "exploding"}
    orders = {c: values(run, "init", "gradient_norm")[25] for c, run in study.items()}
    assert 1e-9 < orders[1] < 1e-6 < 0.05 < orders[2] < 5 < 1e3 < orders[3] < 1e6

    still = read(study[1] / "result.json")
    assert (still["state"], still["outcome"], still["steps"]) == ("done", "no progress", 30)
    losses = [float(row["batch_loss"]) for row in table(study[1] / "metrics.csv") if row["batch_loss"]]
    assert losses == pytest.approx([math.log(10)] * 4, abs=1e-3)
    assert max(values(study[1], "final", "weight_movement")) < 1e-4
    gone = read(study[3] / "result.json")
    assert (gone["state"], gone["outcome"]) == ("diverged", "diverged")
    assert gone["diverged"]["step"] <= 10
    assert not math.isfinite(values(study[3], "final", "activation_norm")[-1])


def trained(folder: Path, *command: str) -> dict[float, dict[str, Any]]:
    """The results of a long grid by c, "folder" added."""
    said = fanin(folder, *command, "data=mnist", "seed=0", FANIN_DATA=DATA, seconds=900)
    assert said.code == 0
    (grid,) = (folder / "outputs").iterdir()
    return {c: read(run / "result.json") | {"folder": run} for c, run in by_c(grid).items()}


@pytest.mark.slow
def test_only_c_2_learns(tmp_path: Path) -> None:
    results = trained(tmp_path, "experiment=init_study", "trainer.epochs=8", "trainer.steps=null")
    assert {c: result["outcome"] for c, result in results.items()} == {1: "no progress", 2: "learns", 3: "diverged"}
    assert (results[1]["epochs"], results[2]["epochs"]) == (8, 8)
    assert results[1]["metrics"]["train_loss"] == pytest.approx(math.log(10), abs=2e-3)
    assert 0.04 < results[2]["metrics"]["train_error"] < 0.09


@pytest.mark.slow
def test_no_learning_rate_rescues_c_1_or_c_3(tmp_path: Path) -> None:
    grid = ("experiment=init_study", "initializer.c=1,3", "trainer.epochs=1", "trainer.steps=null")
    for rate in (0.001, 0.1):
        (tmp_path / str(rate)).mkdir()
        results = trained(tmp_path / str(rate), *grid, f"optimizer.lr={rate}")
        assert {c: result["outcome"] for c, result in results.items()} == {1: "no progress", 3: "diverged"}


@pytest.mark.slow
def test_what_the_initializer_set_persists(tmp_path: Path) -> None:
    (result,) = trained(tmp_path, "experiment=init_persistence", "initializer.c=2").values()
    run = result["folder"]
    assert (result["state"], result["stopped_by"]) == ("done", "target_error")
    assert 2000 <= result["steps"] <= 8000
    assert result["metrics"]["train_error"] <= 0.1, "of the last weights; the batches' mean was 0.05"
    moved = values(run, "final", "weight_movement")
    assert 0.02 < sum(moved) / len(moved) < 0.10
    before, after = values(run, "init", "weight_variance"), values(run, "final", "weight_variance")
    changes = [abs(b - a) for b, a in zip(before, after, strict=True)]
    assert max(changes[1:-1]) < 0.02
    # The layers that touch data and labels move most: 0.032 and 0.020 with seed 0.
    assert max(changes) < 0.05
    assert sum(changes) / len(changes) < 0.02
