"""The schedule that follows training, against torch's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ReduceLROnPlateau

from fanin.errors import OptionError
from fanin.parts.schedules import Plateau

LOSSES = st.lists(st.one_of(st.floats(0.5, 3), st.just(float("nan"))), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(
    losses=LOSSES,
    factor=st.floats(0.1, 0.9),
    patience=st.integers(0, 4),
    cooldown=st.integers(0, 3),
    threshold=st.floats(0, 0.3),
    low=st.floats(0, 0.5),
    split=st.integers(0, 40),
)
def test_is_torchs(
    losses: list[float], factor: float, patience: int, cooldown: int, threshold: float, low: float, split: int
) -> None:
    """At every evaluation, and where a run was interrupted between two of them."""
    words = {"factor": factor, "patience": patience, "cooldown": cooldown, "threshold": threshold}
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.7)
    theirs = ReduceLROnPlateau(optimizer, min_lr=low, eps=0, **words)  # type: ignore[arg-type]
    ours = Plateau(monitor="val_error", min=low, **words)  # type: ignore[arg-type]
    for place, loss in enumerate(losses):
        if place == split:
            state = ours.state_dict()
            ours = Plateau(monitor="val_error", min=low, **words)  # type: ignore[arg-type]
            ours.load_state_dict(state)
        theirs.step(loss)
        ours.follow({"val_error": loss, "val_loss": -1.0})
        # torch multiplies rate by rate: a rounding of 2^-53 at each of 40 at most
        assert ours(place, 0.7) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-14)


def test_rows_without_the_monitored_number_do_not_count() -> None:
    schedule = Plateau(patience=0, factor=0.5)
    for row in ({"val_loss": 1.0}, {"val_loss": None}, {"batch_loss": 5.0}, {"val_loss": 1.0}):
        schedule.follow(row)
    assert schedule(9, 1.0) == 0.5


def test_a_rate_below_min_stays() -> None:
    schedule = Plateau(patience=0, factor=0.5, min=0.3)
    rates = []
    for _ in range(4):
        schedule.follow({"val_loss": 1.0})
        rates.append((schedule(0, 1.0), schedule(0, 0.2)))
    assert rates == [(1.0, 0.2), (0.5, 0.2), (0.3, 0.2), (0.3, 0.2)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Plateau(factor=1), "factor=1: must be a finite number > 0 and < 1"),
        (lambda: Plateau(patience=-1), "patience=-1: must be an integer >= 0"),
        (lambda: Plateau(cooldown=0.5), "cooldown=0.5: must be an integer >= 0"),  # type: ignore[arg-type]
        (lambda: Plateau(threshold=1), "threshold=1: must be a finite number >= 0 and < 1"),
    ],
)
def test_bad_values_give_one_line(make: Callable[[], Plateau], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        make()
    assert str(caught.value) == message
