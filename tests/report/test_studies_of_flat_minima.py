"""The claims of flat_minima_study, on run folders whose numbers are made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fanin.record.landscape_files import FOLDER, Landscape
from fanin.report.read.folders import Run, read_runs
from fanin.report.read.series import Metrics, Profiles
from fanin.report.studies.base import Claim, Evidence
from fanin.report.studies.flat_minima import FlatMinimaStudy
from fanin.report.studies.flat_minima.ends import FACTORS, asked_of, flat_and_sharp, noise_of

Write = Callable[..., Path]
Rule = Callable[[float, float, bool], float]
"""A number of a run by its rate, its batch (100 for all) and whether it has sam."""


def usual(rate: float, batch: float, sam: bool) -> float:
    """Falls as batches get smaller, rates larger, and with sam."""
    return (0.7 if sam else 1.0) * (batch / rate) ** 0.2


def made(place: Path, write: Write, sharpness: Rule = usual, gap: Rule = usual, seeds: int = 3) -> list[Run]:
    """The study's grid: two rates, batches of 8, 50 and all, with sam and without."""
    for seed in range(seeds):
        for rate in (0.05, 0.15):
            for batch in (8, 50, "all"):
                for sam in (False, True):
                    size = batch if isinstance(batch, int) else 100
                    choices = {
                        "optimizer.lr": rate, "trainer.batch_size": batch, "regularizer": "sam" if sam else "none",
                        "activation": "relu",
                    }  # fmt: skip
                    at = (1 + 0.01 * seed) * sharpness(rate, size, sam)
                    test = 0.1 + 0.01 * (1 + 0.1 * seed) * gap(rate, size, sam)
                    folder = write(
                        place, seed=seed, depth=2, width=4, count=2, last=10, experiment="flat_minima_study",
                        overrides=choices, metrics={"train_loss": 0.1, "test_loss": test},
                    )  # fmt: skip
                    looks = f"0,,sharpness,,99\n10,,sharpness,,{at!r}\n10,linear_1,sharpness,,{0.3 * at!r}\n"
                    (folder / "curvature.csv").write_text("step,layer,quantity,index,value\n" + looks)
    return read_runs(sorted(path for path in place.iterdir() if path.name != FOLDER), place)


def claims(runs: list[Run]) -> list[Claim]:
    """As the report judges them, in their order."""
    return list(FlatMinimaStudy().claims(Evidence(runs, [], Profiles(runs), Metrics(runs))))


def held(runs: list[Run]) -> list[bool | None]:
    return [claim.holds for claim in claims(runs)]


def test_what_falls_as_it_should_holds_and_lines_that_are_missing_are_not_judged(
    tmp_path: Path, write_run: Write
) -> None:
    runs = made(tmp_path, write_run)
    found = claims(runs)
    assert [claim.holds for claim in found] == [True] * 6 + [None] * 2
    least, most = (8 / 100) ** 0.2, 3**-0.2
    assert found[0].evidence.startswith(f"{least:.3g} of the sharpness with batches of 8 in place of all; 6 of 6 pairs")
    assert found[1].evidence.startswith(f"{most:.3g} of the sharpness with lr 0.15 in place of 0.05; 3 of 3 pairs")
    assert found[3].evidence.startswith("0.7 of the sharpness with sam; 18 of 18 pairs")
    assert sorted({noise_of(run) for run in runs}) == pytest.approx([0, 0.001, 0.003, 0.05 / 8, 0.15 / 8])


@pytest.mark.parametrize(
    ("sharpness", "wanted"),
    [
        (lambda rate, batch, sam: (0.96 if sam else 1.0) * (batch / rate) ** 0.2, [True, True, True, False]),
        (lambda rate, batch, sam: (0.7 if sam else 1.0) * batch**0.2, [True, False, True, True]),
        (lambda rate, batch, sam: (0.7 if sam else 1.0) * (batch / rate) ** -0.2, [False, False, False, True]),
    ],
)
def test_each_claim_about_sharpness_can_fail(
    tmp_path: Path, write_run: Write, sharpness: Rule, wanted: list[bool]
) -> None:
    assert held(made(tmp_path, write_run, sharpness))[:4] == wanted


@pytest.mark.parametrize(
    ("gap", "wanted"),
    [
        (lambda rate, batch, sam: batch**0.2, [True, False]),
        (lambda rate, batch, sam: 0.9 if sam else 1.0, [False, True]),
    ],
)
def test_each_claim_about_the_gap_can_fail(tmp_path: Path, write_run: Write, gap: Rule, wanted: list[bool]) -> None:
    assert held(made(tmp_path, write_run, gap=gap))[4:6] == wanted


def test_two_seeds_say_nothing_about_the_gap(tmp_path: Path, write_run: Write) -> None:
    assert held(made(tmp_path, write_run, seeds=2))[4:6] == [None, None]


@pytest.mark.parametrize(
    ("rounded", "power", "wanted"),
    [
        (1e-15, 2.0, [True, True]),
        (1e-10, 2.0, [False, True]),  # not the same function
        (0.0, 2.2, [False, True]),  # sharper than theory allows, for small a
        (0.0, 1.0, [False, True]),  # flatter than it allows, but at a = 0.1 still sharper than the other
        (0.0, 0.0, [False, False]),
    ],
)
def test_the_rescaled_network_is_held_against_theory(
    tmp_path: Path, write_run: Write, rounded: float, power: float, wanted: list[bool]
) -> None:
    """The first layer's block has 0.3 of the sharpness, and so 0.3/a^2 at the least."""
    runs = made(tmp_path, write_run)
    sharpness = {run.name: usual(0.15, 8 if run.value("trainer.batch_size") == 8 else 100, sam=False) for run in runs}
    pairs = flat_and_sharp(runs)
    assert [[run.value("trainer.batch_size") for run in pair] for pair in pairs] == [[8, "all"]] * 3
    assert all(run.value("optimizer.lr") == 0.15 and run.value("regularizer") == "none" for run in sum(pairs, ()))
    for run in (run for pair in pairs for run in pair):
        for a in FACTORS:
            asked = asked_of(run, a)
            told = (1 + 0.01 * int(run.seed)) * sharpness[run.name] * max(a**-power, a / 3)
            about = {
                "rescaled_loss": 0.2 * (1 + rounded), "unscaled_loss": 0.2, "eigenvalues": [told], "lengths": [1.0],
            }  # fmt: skip
            line = np.array([[0.3, 0.2, 0.3]])
            Landscape(np.array([-1.0, 0.0, 1.0]), np.zeros(1), line, line, about).write(tmp_path / FOLDER, asked.name)
    assert set(FlatMinimaStudy().landscapes(runs)) == {
        asked_of(run, a) for pair in pairs for run in pair for a in FACTORS
    }
    assert held(runs)[6:] == wanted
