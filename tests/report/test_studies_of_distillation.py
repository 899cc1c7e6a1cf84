"""The claims about teachers and the errors of seeds, on run folders whose numbers are made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fanin.report.read.folders import read_runs
from fanin.report.read.series import Metrics, Profiles
from fanin.report.studies.base import Claim, Evidence, Study
from fanin.report.studies.distillation import DistillationStudy
from fanin.report.studies.minima import chi_square

Write = Callable[..., Path]


def judged(place: Path, study: Study) -> list[Claim]:
    """Its claims, from the runs that are there."""
    runs = read_runs(sorted(path for path in place.iterdir() if path.is_dir()), place)
    return list(study.claims(Evidence(runs, [], Profiles(runs), Metrics(runs))))


def written(place: Path, write: Write, overrides: dict[str, Any], seed: int = 0, **metrics: float) -> Path:
    """One run that ended with these numbers."""
    return write(place, seed=seed, depth=2, width=4, count=2, last=10, overrides=overrides, metrics=metrics)


ERRORS = {(100, 1): 0.29, (100, 4): 0.17, (100, 16): 0.08, (1500, 1): 0.02, (1500, 4): 0.02, (1500, 16): 0.02}


@pytest.mark.parametrize(
    ("changed", "broken"),
    [
        ({}, None),
        ({(100, 4): 0.285}, 0),
        ({(100, 16): 0.175}, 1),
        ({(100, 1): 0.2}, 2),
        ({(1500, 16): 0.005}, 3),
    ],
)
def test_each_claim_about_teachers_can_fail(
    tmp_path: Path, write_run: Write, changed: dict[tuple[int, int], float], broken: int | None
) -> None:
    written(tmp_path, write_run, {"model.width": 256, "data.limit": 1500}, test_error=0.01)
    for limit, error in ((100, 0.3), (1500, 0.02)):
        written(tmp_path, write_run, {"model.width": 32, "data.limit": limit}, test_error=error)
    for (limit, temperature), error in (ERRORS | changed).items():
        taught = {"loss": "distillation", "loss.teacher": "T", "loss.temperature": temperature, "loss.alpha": 0.5}
        written(tmp_path, write_run, {"model.width": 32, "data.limit": limit, **taught}, test_error=error)
    assert [claim.holds for claim in judged(tmp_path, DistillationStudy())] == [place != broken for place in range(4)]


def test_the_chi_square_of_errors_is_that_of_a_table_of_counts() -> None:
    """Pearson's statistic of a 2 x S table of right and wrong answers."""
    from scipy.stats import chi2_contingency

    wrong, examples = [7, 3, 12, 5], 297
    table = [wrong, [examples - one for one in wrong]]
    expected = chi2_contingency(table, correction=False).statistic
    assert chi_square([one / examples for one in wrong], examples) == pytest.approx(expected)
