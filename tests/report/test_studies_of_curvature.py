"""The claims of the studies of curvature, on run folders whose numbers are made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fanin.report.read.folders import read_runs
from fanin.report.read.series import Metrics, Profiles
from fanin.report.studies.base import Claim, Evidence, Study
from fanin.report.studies.edge_of_stability import EdgeOfStabilityStudy

Write = Callable[..., Path]
RISING = (7.0, 4.0, 6.0, 8.0, 9.5, 10.0, 10.0, 10.0, 10.0)
"""Sharpness at the steps 0, 50, 100, ...: from below to 10."""


def run_with(place: Path, write: Write, experiment: str, choices: dict[str, Any], looks: Sequence[float]) -> None:
    """One run of seed 0 with these sharpnesses, and rows that are no sharpness of the whole model."""
    folder = write(place, seed=0, depth=2, width=4, count=2, last=10, experiment=experiment, overrides=choices)
    rows = [f"{50 * at},,sharpness,,{value!r}\n{50 * at},linear_1,sharpness,,99\n" for at, value in enumerate(looks)]
    (folder / "curvature.csv").write_text("step,layer,quantity,index,value\n" + "".join(rows))


def claims(place: Path, study: Study) -> dict[str, Claim]:
    """As the report judges them, by their texts."""
    runs = read_runs(sorted(place.iterdir()), place)
    return {claim.text: claim for claim in study.claims(Evidence(runs, [], Profiles(runs), Metrics(runs)))}


@pytest.mark.parametrize(
    ("rate", "momentum", "looks", "holds"),
    [
        (0.2, None, RISING, True),  # 2/0.2 = 10
        (0.22, None, RISING, False),  # 2/0.22 = 9.1
        (0.2, None, (*RISING[:-1], 12.0), False),  # does not stay
        (0.2, None, (*RISING[:4], *[8.0] * 5), False),  # stops below
        (0.2, None, (*RISING[:4], 8.2, 8.4, 8.3, 8.5, 8.2), False),  # stops below, and does not rise
        (0.3, 0.5, RISING, True),  # 3/0.3
        (0.35, 0.5, RISING, False),  # 3/0.35 = 8.6
    ],
)
def test_sharpness_has_to_rise_to_the_line_and_stay(
    tmp_path: Path, write_run: Write, rate: float, momentum: float | None, looks: Sequence[float], *, holds: bool
) -> None:
    name = "gd" if momentum is None else "momentum"
    choices = {"optimizer": name, "optimizer.lr": rate} | ({"optimizer.momentum": momentum} if momentum else {})
    run_with(tmp_path, write_run, "edge_of_stability_study", choices, looks)
    (claim,) = [
        one
        for text, one in claims(tmp_path, EdgeOfStabilityStudy()).items()
        if "stays there" in text and one.holds is not None
    ]
    assert (claim.holds, claim.text.startswith({"gd": "gradient descent", "momentum": "momentum"}[name])) == (
        holds,
        True,
    )


@pytest.mark.parametrize(("end", "holds"), [(7.9, True), (8.1, False)])
def test_small_batches_stay_a_fifth_below(tmp_path: Path, write_run: Write, end: float, *, holds: bool) -> None:
    choices = {"optimizer": "sgd", "optimizer.lr": 0.2}
    run_with(tmp_path, write_run, "edge_of_stability_study", choices, [*[5.0] * 8, end])
    (claim,) = [one for text, one in claims(tmp_path, EdgeOfStabilityStudy()).items() if one.holds is not None]
    assert (claim.text, claim.holds) == ("small batches keep sharpness below 2/lr", holds)


def test_a_run_on_its_way_does_not_count(tmp_path: Path, write_run: Write) -> None:
    """It is below the line and still rises; the other has risen from 0.8 of its own line, 2/0.4 = 5."""
    run_with(tmp_path, write_run, "edge_of_stability_study", {"optimizer": "gd", "optimizer.lr": 0.1}, RISING[:5])
    slow = [7.0, 4.0, 6.0, 8.0, 8.5, 8.6, 8.7, 8.8, 8.9]
    run_with(tmp_path, write_run, "edge_of_stability_study", {"optimizer": "gd", "optimizer.lr": 0.2}, slow)
    found = claims(tmp_path, EdgeOfStabilityStudy())
    (at,) = [claim for text, claim in found.items() if text.startswith("gradient descent")]
    rises = found["where training starts below the line of full-batch steps, sharpness rises to it"]
    assert (at.holds, rises.holds) == (None, False)
    risen = [4.0, 4.0, 4.5, 5.0, *[5.0] * 5]
    run_with(tmp_path, write_run, "edge_of_stability_study", {"optimizer": "gd", "optimizer.lr": 0.4}, risen)
    found = claims(tmp_path, EdgeOfStabilityStudy())
    (at,) = [claim for text, claim in found.items() if text.startswith("gradient descent")]
    rises = found["where training starts below the line of full-batch steps, sharpness rises to it"]
    assert (at.holds, rises.holds) == (True, True)
    assert "1 of 2 runs have arrived" in at.evidence
