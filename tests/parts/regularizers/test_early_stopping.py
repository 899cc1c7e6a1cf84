"""Early stopping on sequences worked out by hand."""

from __future__ import annotations

import math

import pytest

from fanin.errors import OptionError
from fanin.parts.regularizers import EarlyStopping, Patience

NAN = math.nan


def stops(patience: Patience, values: list[float]) -> list[bool]:
    return [patience.update(value) for value in values]


def test_stops_after_patience_evaluations_without_improvement() -> None:
    patience = EarlyStopping(patience=2).new()
    assert stops(patience, [3.0, 2.0, 2.5, 1.0, 1.0, 1.2]) == [False, False, False, False, False, True]
    assert patience.best == 1.0


def test_a_fall_of_min_delta_is_no_improvement() -> None:
    patience = EarlyStopping(patience=2, min_delta=0.5).new()
    # 1.5 falls by exactly min_delta, 1.6 by less; both are measured from the best, 2
    assert stops(patience, [2.0, 1.5, 1.6]) == [False, False, True]
    assert patience.best == 2.0


def test_small_falls_add_up_to_an_improvement() -> None:
    patience = EarlyStopping(patience=3, min_delta=0.5).new()
    assert stops(patience, [2.0, 1.75, 1.25, 1.25, 1.25, 1.25]) == [False] * 5 + [True]


def test_nan_and_infinity_are_no_improvement() -> None:
    patience = EarlyStopping(patience=3).new()
    assert stops(patience, [NAN, math.inf, 1.0, NAN, 0.5, NAN, math.inf, NAN]) == [False] * 7 + [True]
    assert patience.best == 0.5


def test_nan_from_the_start_stops_too() -> None:
    assert stops(EarlyStopping(patience=2).new(), [NAN, NAN]) == [False, True]


def test_patience_resumes_where_it_was() -> None:
    settings = EarlyStopping(patience=3)
    first, second = settings.new(), settings.new()
    stops(first, [1.0, 2.0, 2.0])
    second.load_state_dict(first.state_dict())
    assert second.best == 1.0
    assert second.update(2.0)


def test_each_run_counts_for_itself() -> None:
    settings = EarlyStopping(patience=2)
    stops(settings.new(), [1.0, 1.0])
    assert stops(settings.new(), [1.0, 1.0]) == [False, False]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EarlyStopping(patience=0), "patience=0: must be an integer >= 1"),
        (lambda: EarlyStopping(min_delta=-1), "min_delta=-1: must be a finite number >= 0"),
        (
            lambda: EarlyStopping(monitor="val_los"),
            "monitor=val_los: must be one of val_loss, val_error, batch_loss, batch_error, train_loss, train_error; "
            "did you mean val_loss?",
        ),
    ],
)
def test_bad_values_give_one_line(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OptionError) as caught:
        make()
    assert str(caught.value) == message
