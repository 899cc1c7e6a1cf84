"""data=csv on the command line: a regression against scikit-learn's, fused as alone, resumed, and its report."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from command_line import end, fanin, read, runs, start, table, untimed
from fanin.parts.data import Csv
from fanin.report.read.folders import error_unit, read_runs

TYPED = ("data=csv", "data.path=table.csv", "loss=squared", "preprocess=standardize", "trainer.device=cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with scikit-learn's diabetes data as table.csv."""
    bundle = load_diabetes()
    with (tmp_path / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*bundle.feature_names, "progression"])
        writer.writerows([*map(float, x), float(y)] for x, y in zip(bundle.data, bundle.target, strict=True))
    return tmp_path


def test_a_newton_step_of_a_linear_model_is_the_least_squares_fit(folder: Path) -> None:
    said = fanin(
        folder, *TYPED, "model=linear", "optimizer=newton", "optimizer.lr=1", "optimizer.damping=0", "trainer.steps=1",
        "trainer.batch_size=all", "trainer.precision=float64", "probe=off", "data.val_size=0",
    )  # fmt: skip
    assert said.code == 0, said.err
    (run,) = runs(folder / "outputs" / "runs").values()
    result = read(run / "result.json")
    data = Csv(path=str(folder / "table.csv"), val_size=0).load()
    mean, std = data.target_scale
    fit = LinearRegression().fit(data.train_x.double().numpy(), data.train_y.double().numpy())
    estimates = fit.predict(data.test_x.double().numpy()) * std + mean
    true = data.test_y.double().numpy() * std + mean
    kept = table(run / "residuals.csv")
    # float32 inputs: the columns are correlated, and the condition number of X^T X is some hundreds
    np.testing.assert_allclose([float(row["target"]) for row in kept], true, rtol=1e-6)
    np.testing.assert_allclose([float(row["estimate"]) for row in kept], estimates, rtol=1e-4)
    np.savetxt(folder / "new.csv", data.test_x.numpy(), delimiter=",")
    told = end(start(folder, str(run), "new.csv", module="fanin.cli.predict"))
    assert told.code == 0, told.err
    again = [float(row["output_0"]) for row in table(folder / "new-answers.csv")]
    np.testing.assert_allclose(again, [float(row["estimate"]) for row in kept], rtol=1e-6)
    assert result["task"] == "regression"
    assert result["evaluation"]["test"]["r2"] == pytest.approx(r2_score(true, estimates), abs=1e-4)
    assert result["chance_loss"] == pytest.approx(1.0, abs=1e-6)  # the target's variance is divided out
    assert result["metrics"]["train_loss"] == pytest.approx(1 - fit.score(data.train_x, data.train_y), abs=1e-5)


@pytest.mark.slow
def test_fused_runs_are_those_alone_and_their_report_draws_residuals(folder: Path) -> None:
    small = (*TYPED, "model.depth=2", "model.width=8", "trainer.steps=20", "trainer.batch_size=40", "probe.redraws=8")
    said = fanin(folder, "-m", *small, "seed=0,1", "hydra.launcher.n_jobs=1")
    assert said.code == 0, said.err
    together = runs(folder / "outputs" / "runs")
    for seed, run in enumerate(together.values()):
        assert fanin(folder, *small, f"seed={seed}", f"hydra.sweep.dir=alone{seed}").code == 0
        (alone,) = runs(folder / f"alone{seed}").values()
        pairs = zip(table(run / "residuals.csv"), table(alone / "residuals.csv"), strict=True)
        for one, other in pairs:
            assert float(one["estimate"]) == pytest.approx(float(other["estimate"]), rel=1e-4, abs=1e-2)
    shown = end(start(folder, "outputs/runs", module="fanin.report.cli", figures=True))
    assert shown.code == 0, shown.err
    report = folder / "outputs" / "runs" / "report"
    assert (report / "residuals.png").stat().st_size > 10_000
    summary = table(folder / "outputs" / "runs" / "summary.csv")
    wanted = [read(run / "result.json")["evaluation"]["test"]["r2"] for run in together.values()]
    assert sorted(float(row["r2"]) for row in summary) == pytest.approx(sorted(wanted))
    places = {scaled: folder / f"outputs/{scaled}" for scaled in ("true", "false")}
    for scaled, place in places.items():
        said = fanin(folder, *small, f"data.standardize_target={scaled}", f"hydra.run.dir={place}")
        assert said.code == 0, said.err
    found = {scaled: read_runs([place], place.parent) for scaled, place in places.items()}
    assert error_unit(found["true"]) == "standard deviations of the target"
    assert error_unit(found["false"]) == "the target's unit"
    assert error_unit([*found["true"], *found["false"]]) == ""


@pytest.mark.slow
def test_a_paused_regression_goes_on_as_if_it_had_not(folder: Path) -> None:
    small = (*TYPED, "model.depth=2", "model.width=8", "trainer.steps=12", "trainer.batch_size=40", "probe=off")
    assert fanin(folder, *small, "hydra.sweep.dir=whole").code == 0
    assert fanin(folder, *small, "hydra.sweep.dir=parts", "pause_at=5").code == 0
    assert fanin(folder, *small, "hydra.sweep.dir=parts").code == 0
    (whole,), (parts,) = (list(runs(folder / name).values()) for name in ("whole", "parts"))
    assert (whole / "residuals.csv").read_text() == (parts / "residuals.csv").read_text()
    first, second = (untimed(run)[2]["metrics"] for run in (whole, parts))
    assert first == second


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (("loss=cross_entropy",), "loss=cross_entropy: compares with classes, and the targets are numbers"),
        (("regularizer=label_smoothing",), "regularizer=label_smoothing: the targets are numbers and no classes"),
        (("data.random_labels=0.5",), "data.random_labels=0.5: must be 0 with loss=squared"),
    ],
)
def test_what_has_no_meaning_for_numbers_is_refused(folder: Path, typed: tuple[str, ...], line: str) -> None:
    said = fanin(folder, *TYPED, *typed, "trainer.batch_size=40")
    assert said.code == 1
    assert len(said.err) == 1
    assert line in said.err[0]
    assert not (folder / "outputs").exists()
