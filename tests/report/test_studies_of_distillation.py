"""The claims about batch sizes, teachers, starts and the errors of seeds, on run folders whose numbers are made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fanin.report.read.folders import read_runs
from fanin.report.read.series import Metrics, Profiles
from fanin.report.studies.base import Claim, Evidence, Study
from fanin.report.studies.batch import BatchStudy
from fanin.report.studies.distillation import DistillationStudy
from fanin.report.studies.minima import chi_square
from fanin.report.studies.transfer import TransferStudy

Write = Callable[..., Path]


def judged(place: Path, study: Study) -> list[Claim]:
    """Its claims, from the runs that are there."""
    runs = read_runs(sorted(path for path in place.iterdir() if path.is_dir()), place)
    return list(study.claims(Evidence(runs, [], Profiles(runs), Metrics(runs))))


def written(place: Path, write: Write, overrides: dict[str, Any], seed: int = 0, **metrics: float) -> Path:
    """One run that ended with these numbers."""
    return write(place, seed=seed, depth=2, width=4, count=2, last=10, overrides=overrides, metrics=metrics)


def batches(place: Path, write: Write, losses: dict[str, Sequence[float]], sizes: Sequence[int]) -> None:
    for rule, values in losses.items():
        for size, loss in zip(sizes, values, strict=True):
            written(place, write, {"lr_scaling": rule, "trainer.batch_size": size}, train_loss=loss, test_error=0.1)


@pytest.mark.parametrize(
    ("changed", "broken"),
    [
        ({}, None),
        ({"linear": (1.0, 0.4, 4.0, 9.0)}, 0),  # no longer the same at 20 times the smallest batch
        ({"linear": (1.0, 1.1, 1.9, 9.0)}, 1),  # the rule still holds at 50 times
        ({"none": (1.0, 5.0, 4.9, 20.0)}, 2),
        ({"sqrt": (1.0, 0.9, 2.5, 6.0)}, 3),
        ({"sqrt": (1.0, 2.0, 5.0, 9.5)}, 4),
    ],
)
def test_each_claim_about_batch_sizes_can_fail(
    tmp_path: Path, write_run: Write, changed: dict[str, Sequence[float]], broken: int | None
) -> None:
    losses = {"linear": (1.0, 1.1, 4.0, 9.0), "sqrt": (1.0, 2.0, 5.0, 6.0), "none": (1.0, 5.0, 8.0, 20.0)}
    batches(tmp_path, write_run, losses | changed, (10, 200, 500, 1500))
    assert [claim.holds for claim in judged(tmp_path, BatchStudy())] == [place != broken for place in range(5)]


def test_batch_sizes_of_one_rule_leave_the_others_unjudged(tmp_path: Path, write_run: Write) -> None:
    batches(tmp_path, write_run, {"linear": (1.0, 1.1)}, (10, 200))
    assert [claim.holds for claim in judged(tmp_path, BatchStudy())] == [True, None, None, None, None]


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


FEW, MANY = 20, 700
STARTS: dict[str, dict[str, Any]] = {
    "scratch": {},
    "near frozen": {"initializer.path": "near", "initializer.freeze": ["*"]},
    "near tuned": {"initializer.path": "near", "initializer.freeze": []},
    "far frozen": {"initializer.path": "far", "initializer.freeze": ["*"]},
    "far tuned": {"initializer.path": "far", "initializer.freeze": []},
}
TRANSFERRED = {
    "scratch": {FEW: 0.3, MANY: 0.02}, "near frozen": {FEW: 0.25, MANY: 0.02}, "near tuned": {FEW: 0.28, MANY: 0.02},
    "far frozen": {FEW: 0.3, MANY: 0.1}, "far tuned": {FEW: 0.3, MANY: 0.02},
}  # fmt: skip


@pytest.mark.parametrize(
    ("start", "examples", "error", "loss", "broken"),
    [
        ("scratch", FEW, 0.3, 1e-3, ()),
        ("near frozen", FEW, 0.28, 0.3, (0,)),
        ("near tuned", MANY, 0.005, 1e-3, (1,)),
        ("far tuned", FEW, 0.34, 1e-3, (2,)),
        ("far frozen", MANY, 0.03, 0.3, (3,)),
        ("far frozen", FEW, 0.3, 1e-4, (4,)),
        ("near frozen", MANY, 0.02, 1e-4, (4,)),
    ],
)
def test_each_claim_about_starts_can_fail(
    tmp_path: Path, write_run: Write, start: str, examples: int, error: float, loss: float, broken: Sequence[int]
) -> None:
    for source, classes in (("near", [0, 1, 5, 6]), ("far", [0, 1])):
        made = written(tmp_path, write_run, {"data.classes": classes, "data.limit": 1500}, test_error=0.01)
        made.rename(tmp_path / source)
    for name, settings in STARTS.items():
        for count, usual in TRANSFERRED[name].items():
            one = {"test_error": usual, "train_loss": 0.3 if "frozen" in name else 1e-3}
            if (name, count) == (start, examples):
                one = {"test_error": error, "train_loss": loss}
            written(tmp_path, write_run, {"data.classes": [5, 6], "data.limit": count, **settings}, seed=0, **one)
    found = judged(tmp_path, TransferStudy(target=[5, 6]))
    assert [claim.holds for claim in found] == [place not in broken for place in range(5)]


def test_the_chi_square_of_errors_is_that_of_a_table_of_counts() -> None:
    """Pearson's statistic of a 2 x S table of right and wrong answers."""
    from scipy.stats import chi2_contingency

    wrong, examples = [7, 3, 12, 5], 297
    table = [wrong, [examples - one for one in wrong]]
    expected = chi2_contingency(table, correction=False).statistic
    assert chi_square([one / examples for one in wrong], examples) == pytest.approx(expected)
