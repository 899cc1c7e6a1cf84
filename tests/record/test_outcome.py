"""The outcome's word from final numbers that are made up, and from those of real commands."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from command_line import fanin, read
from fanin.record.outcome import Lowest, outcome, outcome_of

LN10 = math.log(10)


def classifier(first_loss: float = 2.3, examples: dict[str, int] | None = None, **metrics: float) -> str:
    """Of ten equally frequent classes, after 100 steps."""
    return outcome(
        "classification",
        metrics,
        steps=100,
        first_loss=first_loss,
        chance_loss=LN10,
        chance_error=0.9,
        examples=examples,
    )


@pytest.mark.parametrize(
    ("metrics", "word"),
    [
        ({"train_loss": 0.3, "train_error": 0.1}, "learns"),
        ({"train_loss": 2.30, "train_error": 0.9, "test_error": 0.90}, "no progress"),
        # 62 % of the test part wrong after one epoch, whose mean loss is still that of guessing
        ({"train_loss": 2.29, "train_error": 0.85, "test_error": 0.62}, "learns"),
        # large scores: a loss above guessing, and 46.5 % wrong
        ({"train_loss": 2.9, "train_error": 0.465}, "learns"),
        ({"train_loss": 9.9e21, "train_error": 0.88}, "explodes"),
        # scores that are far too large, but nearly all of them right
        ({"train_loss": 37.9, "train_error": 0.049}, "learns"),
        ({"train_loss": 9.9e21, "train_error": 0.6}, "explodes"),
        ({"train_loss": 22.9, "train_error": 0.9}, "no progress"),
        ({"train_loss": 23.1, "train_error": 0.9}, "explodes"),
        ({}, "no progress"),
    ],
)
def test_a_classifier(metrics: dict[str, float], word: str) -> None:
    assert classifier(**metrics) == word


def test_a_loss_that_was_as_large_at_the_start_has_not_exploded() -> None:
    """Weights of twice the critical variance start at 1e6."""
    assert classifier(first_loss=1e6, train_loss=1e5, train_error=0.9) == "no progress"
    assert classifier(first_loss=1e6, train_loss=1e5, train_error=0.5) == "learns"


@pytest.mark.parametrize(("wrong", "word"), [(0.78, "no progress"), (0.76, "learns")])
def test_few_examples_say_little(wrong: float, word: str) -> None:
    """Of 50: a standard error of guessing is sqrt(.9 * .1 / 50) = .042, three are .127."""
    assert classifier(train_loss=2.3, test_error=wrong, examples={"test": 50}) == word


@pytest.mark.parametrize(
    ("task", "loss", "word"),
    [
        ("descent", 1.0, "descends"),
        ("descent", 3.0, "climbs"),
        ("descent", 2.01, "stands still"),
        ("reconstruction", 1.0, "improves"),
        ("reconstruction", 3.0, "worsens"),
        ("reconstruction", 1.99, "no progress"),
        ("a user's own", 1.0, "improves"),
    ],
)
def test_other_tasks_compare_with_their_start(task: str, loss: float, word: str) -> None:
    assert outcome(task, {"train_loss": loss}, steps=9, first_loss=2.0) == word


@pytest.mark.parametrize(
    ("courses", "step"),
    [
        ([(1.0, 0.9), (0.5, 0.4), (0.56, 0.3)], 2),
        ([(1.0, 0.9), (0.5, 0.4), (0.54, 0.3)], None),  # 8 % above its lowest
        ([(1.0, 0.9), (0.5, 0.4), (0.9, 0.3), (0.49, 0.2)], None),  # it fell again
        ([(1.0, 0.9), (0.5, 0.4), (0.9, 0.5)], None),  # that of training rises, too: this is no overfitting
        ([(1.0, 0.9)], None),
        ([(math.nan, 0.9), (0.5, 0.4), (0.9, 0.3)], 2),
        ([(-3.0, 0.9), (-2.6, 0.3)], 1),  # a likelihood's density may be above 1
        ([], None),
    ],
)
def test_overfitting_by_the_courses_of_two_losses(courses: list[tuple[float, float]], step: int | None) -> None:
    lowest = Lowest()
    for at, (val, batch) in enumerate(courses, start=1):
        lowest.follow({"step": at, "val_loss": val, "batch_loss": batch})
        lowest.follow({"step": at, "val_loss": None, "batch_loss": 0.0})  # a row without an evaluation
    assert lowest.overfits_from == step


def test_a_run_of_an_older_version_is_judged_by_its_errors() -> None:
    """It said "no progress" of a loss above 98 % of ln 10; its test part has 40, 40 and 20 examples of 3 classes."""
    confusion = [[40, 0, 0], [40, 0, 0], [20, 0, 0]]
    old: dict[str, Any] = {"outcome": "no progress", "steps": 9, "evaluation": {"test": {"confusion": confusion}}}
    # guessing the most frequent class is wrong in 60 %, with a standard error of 4.9 %
    for wrong, word in ((0.62, "no progress"), (0.46, "no progress"), (0.44, "learns")):
        assert outcome_of(old | {"metrics": {"train_loss": 2.3, "test_error": wrong}}) == word
    assert outcome_of(old | {"task": "classification", "metrics": {"test_error": 0.1}}) == "no progress"
    assert outcome_of({"outcome": "no progress"}) == "no progress"
    assert outcome_of({"outcome": "learns"}) == "learns"
    assert outcome_of({}) == ""


@pytest.mark.parametrize(
    ("lr", "word", "told"),
    [("0.01", "descends", "descends: step 20, train value "), ("0.05", "climbs", "climbs: step 20, train value ")],
)
def test_a_surface_descends_or_climbs(tmp_path: Path, lr: str, word: str, told: str) -> None:
    """Gradient descent on curvatures 1 and 50: |1 - 50 * 0.05| = 1.5 a step, upwards."""
    typed = ("model=surface", "loss=value", "data=point", "optimizer=gd", "trainer.steps=20", "probe=off")
    said = fanin(tmp_path, *typed, f"optimizer.lr={lr}")
    assert said.code == 0, said.err
    line = next(line for line in said.out if word in line)
    assert told in line
    assert "share of the descent left" in line
    assert "error" not in line
    (path,) = tmp_path.glob("outputs/*/*/result.json")
    result = read(path)
    assert (result["outcome"], result["task"], result["chance_loss"]) == (word, "descent", None)
    assert (result["metrics"]["train_loss"] < result["first_loss"]) == (word == "descends")
