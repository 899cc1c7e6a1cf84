"""The loop's settings: what they count, and what they refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine import clouds, recipe
from fanin.errors import OptionError
from fanin.run.execute import batches_of, steps_of
from fanin.train.settings import Trainer


@pytest.mark.parametrize(
    ("epochs", "steps", "per_epoch", "expected"),
    [
        (5, None, 14, 70),
        (2.5, None, 10, 25),
        (0.5, None, 600, 300),
        (0.01, None, 10, 1),  # a run trains at least once, however small the share of an epoch
        (8, 0, 600, 0),
        (8, 17, 600, 17),
    ],
)
def test_updates_of_a_run(epochs: float, steps: int | None, per_epoch: int, expected: int) -> None:
    data = clouds(examples=30 + 3 * per_epoch, val_size=30)
    made = recipe(trainer={"epochs": epochs, "steps": steps, "batch_size": 3})
    assert steps_of(made, batches_of([made], data)) == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 0),
        ("epochs", -1),
        ("epochs", float("inf")),
        ("epochs", "5"),
        ("epochs", True),
        ("steps", -1),
        ("steps", 1.0),
        ("batch_size", 0),
        ("batch_size", 2.5),
        ("batch_size", None),
        ("log_every", 0),
        ("eval_every", 0),
        ("eval_train", "yes"),
        ("checkpoint_every", -1),
        ("target_error", -0.1),
        ("target_error", 5),
        ("target_window", 0),
        ("stop_when_diverged", "yes"),
        ("stop_when_diverged", 1),
        ("precision", "float16"),
        ("device", "gpu"),
        ("device", "cuda:0"),
        ("threads", 0),
        ("progress", None),
    ],
)
def test_refuses(key: str, value: Any) -> None:
    with pytest.raises(OptionError) as caught:
        Trainer(**{key: value})
    shown = json.dumps(value) if value is None or value is True else value
    assert str(caught.value).startswith(f"{key}={shown}: must be ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "accepted",
    [
        {"epochs": 0.5},
        {"steps": 0},
        {"eval_every": 1},
        {"checkpoint_every": 0},
        {"target_error": 0},
        {"threads": None},
        {"target_window": None},
    ],
    ids=str,
)
def test_the_ends_of_the_ranges_are_allowed(accepted: dict[str, Any]) -> None:
    ((key, value),) = accepted.items()
    assert getattr(Trainer(**accepted), key) == value


def test_a_batch_may_be_the_whole_training_set_but_no_more() -> None:
    assert Trainer(batch_size=50).batch(50) == Trainer(batch_size="all").batch(50) == 50
    with pytest.raises(OptionError, match="batch_size=51: must be at most the 50 training examples"):
        Trainer(batch_size=51).batch(50)
