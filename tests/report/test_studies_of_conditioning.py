"""The claims of conditioning_study, on run folders whose numbers are made up, and the factor that losses tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanin.report.read.folders import read_runs
from fanin.report.read.series import Metrics, Profiles
from fanin.report.studies.base import Claim, Evidence
from fanin.report.studies.conditioning import ConditioningStudy
from fanin.report.studies.conditioning.descent import factor_of

Write = Callable[..., Path]
BASE: dict[str, Any] = {
    "preprocess": "center", "initializer.c": 2, "model.depth": 3, "normalization": "none", "optimizer": "gd",
}  # fmt: skip
HEADER = "step,epoch,lr,batch_loss,batch_error,train_loss,train_error,val_loss,val_error,test_loss,test_error,seconds\n"


def test_the_factor_of_a_quadratic_is_that_of_its_slowest_mode() -> None:
    """Two modes of the best rate's factor, 9/11, with signs of their own, and one that dies out faster."""
    bends, rate = np.array([1.0, 4.0, 10.0]), 2 / 11
    steps = np.arange(60)
    modes = (1 - rate * bends) ** (2 * steps[:, None])
    losses = (0.5 * bends * np.array([3.0, 1.0, 0.2]) * modes).sum(1)
    measured = factor_of(losses, -np.diff(losses))
    assert measured == pytest.approx(9 / 11, rel=1e-4)
    assert factor_of(losses[:10], -np.diff(losses[:10])) is None  # too few steps


def net(
    place: Path, write: Write, spectra: dict[str, Sequence[float]], losses: Sequence[float] = (), **more: Any
) -> None:
    """One run with these spectra at the start, and these losses at the steps from 1."""
    changed = {key.replace("__", "."): value for key, value in more.items()}
    folder = write(
        place, seed=0, depth=2, width=4, count=2, last=10, experiment="conditioning_study", overrides=BASE | changed
    )
    rows = [f"0,,{name},{at},{value!r}\n" for name, values in spectra.items() for at, value in enumerate(values, 1)]
    (folder / "curvature.csv").write_text("step,layer,quantity,index,value\n" + "".join(rows))
    if losses:
        told = [f"{step},0,0.1,{float(loss)!r},0,,,,,,,1\n" for step, loss in enumerate(losses, 1)]
        (folder / "metrics.csv").write_text(HEADER + "".join(told))


def gauss_newton(over_median: float) -> dict[str, Sequence[float]]:
    return {"gauss_newton_eigenvalue_largest": [over_median, 1.0, 0.5]}


def claim(place: Path, words: str) -> Claim:
    """The one claim with these words, as the report judges it."""
    runs = read_runs(sorted(place.iterdir()), place)
    evidence = Evidence(runs, [], Profiles(runs), Metrics(runs))
    (found,) = [one for one in ConditioningStudy().claims(evidence) if words in one.text]
    return found


@pytest.mark.parametrize(("scaled", "holds"), [(10.0, True), (80.0, False)])
def test_each_step_of_preprocessing_has_to_narrow_the_spectrum(
    tmp_path: Path, write_run: Write, scaled: float, *, holds: bool
) -> None:
    net(tmp_path, write_run, gauss_newton(1000.0), preprocess="none")
    net(tmp_path, write_run, gauss_newton(100.0))
    assert claim(tmp_path, "centring the inputs").holds is True  # of the two that are there
    net(tmp_path, write_run, gauss_newton(scaled), preprocess="standardize")
    found = claim(tmp_path, "centring the inputs")
    assert found.holds is holds
    assert found.evidence == f"largest over median, preprocess none: 1e+03, center: 100, standardize: {scaled:g}"


@pytest.mark.parametrize(("batch", "holds"), [(40.0, True), (60.0, False)])
def test_batch_normalization_has_to_halve_the_spread(
    tmp_path: Path, write_run: Write, batch: float, *, holds: bool
) -> None:
    net(tmp_path, write_run, gauss_newton(100.0))
    net(tmp_path, write_run, gauss_newton(batch), normalization="batch")
    assert claim(tmp_path, "batch normalization").holds is holds


@pytest.mark.parametrize(("factor", "holds"), [(9 / 11, True), (0.8, False)])
def test_the_linear_model_has_to_converge_at_its_rate(
    tmp_path: Path, write_run: Write, factor: float, *, holds: bool
) -> None:
    """kappa = 10 at the rate 2/11."""
    spectra = {"eigenvalue_largest": [10.0, 4.0, 1.0]}
    losses = 1 + factor ** (2 * np.arange(60))
    net(tmp_path, write_run, spectra, losses.tolist(), model__depth=1, optimizer__lr=2 / 11)
    found = claim(tmp_path, "on the linear model gradient descent converges")
    assert found.holds is holds
    assert found.evidence == f"kappa 10: {factor:.5f} measured, 0.81818 in theory"
