"""lr_range: the interval of a loss whose course is known, and the study as it is typed."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from command_line import fanin, read, runs, table
from fanin.report.studies.lr_range import Course, course, covered, same_for_seeds


def known(seed: int, *, broken_from: float = math.inf, noise: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    """Rates from 1e-5 to 10, and ln loss: 1 up to 1e-3, then 0.5 less for each factor 10 up to 0.1, then 2 more."""
    rates = np.geomspace(1e-5, 10, 600)
    place = np.log10(rates)
    logs = 1 - 0.5 * np.clip(place + 3, 0, 2) + 2 * np.clip(place + 1, 0, None)
    logs += noise * np.random.default_rng(seed).standard_normal(600)
    return rates, np.where(rates < broken_from, np.exp(logs), np.nan)


def of(*curves: tuple[np.ndarray, np.ndarray]) -> tuple[Any, list[Any]]:
    """Evidence of runs with these rates and losses."""
    members = [SimpleNamespace(state="done", at=at) for at in range(len(curves))]
    read = {"lr": 0, "batch_loss": 1}
    return SimpleNamespace(curve=lambda run, name: (None, curves[run.at][read[name]])), members


def found(*curves: tuple[np.ndarray, np.ndarray]) -> Course:
    made = course(*of(*curves))
    assert made is not None
    return made


def test_the_interval_is_where_the_known_loss_falls() -> None:
    """A tenth of the fall is done at 10^-2.8, the smallest loss at 0.1; a mean over 30 steps is up to 10^0.3 late."""
    low, high = found(known(1), known(2), known(3)).interval
    late = 10 ** (30 * 6 / 599)
    assert 10**-2.8 / 1.2 <= low <= 10**-2.8 * late
    assert 0.05 / 1.2 <= high <= 0.05 * late


def test_a_range_that_ends_before_the_loss_rises_is_told() -> None:
    whole = found(known(1), known(2))
    rates, losses = known(1)
    short = found((rates[:380], losses[:380]))
    assert (covered("", whole).holds, covered("", short).holds) == (True, False)
    assert covered("", found(known(1, broken_from=0.5))).holds


def test_seeds_that_end_elsewhere_are_told() -> None:
    one, (rates, losses) = known(1), known(2)
    mean = found(one, known(2))
    assert same_for_seeds("", mean, [found(one), found(known(2))]).holds
    assert same_for_seeds("", mean, [found(one), found((rates / 10, losses))]).holds is False
    assert same_for_seeds("", mean, [found(one)]).holds is None


def test_a_loss_that_never_falls_suggests_nothing() -> None:
    rates = np.geomspace(1e-5, 10, 600)
    assert course(*of((rates, rates))) is None


@pytest.mark.slow
def test_the_study_tries_every_rate_and_suggests_some(tmp_path: Path) -> None:
    small = ("data=digits", "data.limit=300", "model.depth=3", "model.width=16", "trainer.steps=80")
    said = fanin(tmp_path, "experiment=lr_range", *small, "seed=0,1", "hydra.launcher.n_jobs=1")
    assert said.code == 0, said
    grid = tmp_path / "outputs" / "lr_range"
    for run in runs(grid).values():
        rates = [float(row["lr"]) for row in table(run / "metrics.csv") if row["lr"]]
        assert rates == pytest.approx(np.geomspace(1e-4, 10, 80)[: len(rates)].tolist())
        assert read(run / "result.json")["steps"] == len(rates)
    told = [row["evidence"] for row in table(grid / "report" / "claims.csv")]
    assert "suggested: " in told[0]
