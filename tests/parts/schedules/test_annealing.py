"""Schedules with an end against torch's, and what they do beyond it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from schedules.against_torch import ours, torchs
from torch.optim import lr_scheduler as theirs

from fanin.errors import OptionError
from fanin.parts.schedules import Cosine, ExponentialRise, Linear, OneCycle, Polynomial, Schedule

RATES = st.floats(1e-3, 10)
TOTALS = st.integers(2, 60)
LOWS = st.floats(0, 0.05)


@given(TOTALS, st.floats(0.25, 4), RATES)
@settings(max_examples=20, deadline=None)
def test_polynomial_to_zero_is_torchs(total: int, power: float, lr: float) -> None:
    rates = ours(Polynomial(total_steps=total, power=power), 2 * total, lr)
    same = torchs(lambda o: theirs.PolynomialLR(o, total, power), 2 * total, lr)
    # torch's recursion takes (1 - x)/(1 - y) once a step: 60 steps, each some roundings
    assert rates == pytest.approx(same, rel=1e-12, abs=1e-300)


@given(TOTALS, LOWS, RATES)
@settings(max_examples=20, deadline=None)
def test_linear_is_torchs(total: int, low: float, lr: float) -> None:
    assume(low <= lr)
    rates = ours(Linear(total_steps=total, min=low), 2 * total, lr)
    same = torchs(lambda o: theirs.LinearLR(o, 1.0, low / lr, total), 2 * total, lr)
    # torch's recursion adds up roundings of numbers up to lr
    assert rates == pytest.approx(same, rel=1e-12, abs=1e-13 * lr)
    assert rates[total:] == [low] * total


@given(TOTALS, LOWS, RATES)
@settings(max_examples=20, deadline=None)
def test_cosine_is_torchs_over_its_length(total: int, low: float, lr: float) -> None:
    rates = ours(Cosine(total_steps=total, min=low), total + 1, lr)
    same = torchs(lambda o: theirs.CosineAnnealingLR(o, total, low), total + 1, lr)
    assert rates == pytest.approx(same, rel=1e-9, abs=1e-12 * lr)


@given(TOTALS, LOWS, RATES)
@settings(max_examples=20, deadline=None)
def test_a_cyclic_cosine_is_torchs_beyond_its_length_too(total: int, low: float, lr: float) -> None:
    rates = ours(Cosine(total_steps=total, min=low, cyclic=True), 5 * total, lr)
    same = torchs(lambda o: theirs.CosineAnnealingLR(o, total, low), 5 * total, lr)
    # torch goes from each rate to the next by a factor, whose rounding errors of some 1e-16 add up over the steps
    assert rates == pytest.approx(same, rel=1e-9, abs=1e-12 * lr)


@given(TOTALS, st.floats(0.25, 4), LOWS, RATES)
@settings(max_examples=20, deadline=None)
def test_polynomial_between_a_and_min(total: int, power: float, low: float, lr: float) -> None:
    rates = ours(Polynomial(total_steps=total, power=power, min=low), 2 * total, lr)
    # a convex combination of the two ends
    expected = []
    for t in range(total):
        weight = math.exp(power * math.log1p(-t / total))
        expected.append(weight * lr + (1 - weight) * low)
    assert rates == pytest.approx(expected + [low] * total, rel=1e-12)


@given(TOTALS, st.floats(0.02, 0.98), st.floats(1, 50), st.floats(1, 1e5), RATES)
@settings(max_examples=40, deadline=None)
def test_one_cycle_is_torchs(total: int, share: float, start: float, end: float, lr: float) -> None:
    assume(abs(share * total - 1) > 1e-6)  # torch divides by it

    def make(optimizer: object) -> theirs.LRScheduler:
        return theirs.OneCycleLR(
            optimizer,  # type: ignore[arg-type]
            lr,
            total_steps=total,
            pct_start=share,
            div_factor=start,
            final_div_factor=end,
            cycle_momentum=False,
        )

    schedule = OneCycle(total_steps=total, peak_share=share, start_factor=start, end_factor=end)
    rates = ours(schedule, 2 * total, lr)
    # differences from a, rounded, near an end that is smaller by up to 5e6
    assert rates[:total] == pytest.approx(torchs(make, total, lr), rel=1e-12, abs=1e-14 * lr)
    assert rates[total:] == [lr / start / end] * total


def test_one_cycle_by_hand() -> None:
    schedule = OneCycle(total_steps=21, peak_share=11 / 21, start_factor=4, end_factor=10)
    rates = ours(schedule, 22, 1.0)
    # up in 10 steps, down in 10: half-way through each the mean of its ends
    assert [rates[t] for t in (0, 5, 10, 15, 20, 21)] == pytest.approx([0.25, 0.625, 1, 0.5125, 0.025, 0.025])


@pytest.mark.parametrize(
    ("share", "total", "expected"),
    [
        (0.1, 10, [1.0]),  # the peak is the first step
        (0.0, 3, [0.01 + 0.99 * 0.75, 0.01 + 0.99 * 0.25, 0.01]),  # the peak was one step before the first
        (1.0, 3, [0.1, 0.55, 1.0, 0.01]),  # the peak is the last step
        (0.3, 1, [0.01, 0.01]),
        (1.0, 1, [1.0, 0.01]),
    ],
)
def test_one_cycle_with_its_peak_at_an_end(share: float, total: int, expected: list[float]) -> None:
    schedule = OneCycle(total_steps=total, peak_share=share, start_factor=10, end_factor=10)
    assert ours(schedule, len(expected), 1.0) == pytest.approx(expected)


@pytest.mark.parametrize("kind", [Linear, Polynomial, OneCycle, Cosine])
def test_the_length_is_the_runs_where_it_is_not_given(kind: type[Cosine]) -> None:
    fitted = kind(warmup_steps=5)
    fitted.set_length(25)
    assert ours(fitted, 30, 0.3) == ours(kind(total_steps=20, warmup_steps=5), 30, 0.3)
    given_length = kind(total_steps=7)
    given_length.set_length(1000)
    assert ours(given_length, 20, 0.3) == ours(kind(total_steps=7), 20, 0.3)
    with pytest.raises(OptionError, match="total_steps=null: must be an integer >= 1; or call set_length"):
        kind()(0, 0.3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Linear(total_steps=0), "total_steps=0: must be an integer >= 1"),
        (lambda: Linear(min=-1), "min=-1: must be a finite number >= 0"),
        (lambda: Polynomial(power=0), "power=0: must be a finite number > 0"),
        (lambda: Polynomial(min=None), "min=null: must be a finite number >= 0"),  # type: ignore[arg-type]
        (lambda: OneCycle(peak_share=1.1), "peak_share=1.1: must be a finite number >= 0 and <= 1"),
        (lambda: OneCycle(start_factor=0.5), "start_factor=0.5: must be a finite number >= 1"),
        (lambda: OneCycle(end_factor=0), "end_factor=0: must be a finite number >= 1"),
        (lambda: OneCycle(warmup="cos"), "warmup=cos: must be one of linear, cosine, constant"),
    ],
)
def test_bad_values_give_one_line(make: Callable[[], Schedule], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        make()
    assert str(caught.value).startswith(message)


@given(st.floats(1e-6, 1e-2), st.floats(0.1, 10), st.integers(2, 60))
@settings(max_examples=15, deadline=None)
def test_an_exponential_rise_is_evenly_spaced_in_the_logarithm(low: float, lr: float, steps: int) -> None:
    schedule = ExponentialRise(low=low)
    schedule.set_length(steps)
    rates = [schedule(step, lr) for step in range(steps + 2)]
    assert rates[:steps] == pytest.approx(np.geomspace(low, lr, steps).tolist(), rel=1e-12)
    assert rates[steps - 1 :] == [lr] * 3
