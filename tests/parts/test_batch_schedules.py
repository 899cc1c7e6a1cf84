"""Batch sizes in exact fractions, and their sums step by step."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanin.errors import OptionError
from fanin.parts.batch_schedules import Constant, Growing
from fanin.parts.lr_scaling import Linear, NoScaling, Sqrt

FACTORS = st.integers(100, 300).map(lambda percent: percent / 100)  # 1.15 is not 1.15 in binary


def exact(step: int, base: int, cap: int, factor: float, every: int) -> int:
    """The size with the factor taken as the decimal number that was typed."""
    return min(cap, math.floor(base * Fraction(str(factor)) ** (step // every)))


@settings(max_examples=25, deadline=None)
@given(
    factor=FACTORS,
    every=st.integers(1, 40),
    most=st.none() | st.integers(1, 500),
    base=st.integers(1, 300),
    examples=st.integers(1, 2000),
    steps=st.lists(st.integers(0, 300), min_size=1, max_size=5),
)
def test_sizes_and_their_sums(
    factor: float, every: int, most: int | None, base: int, examples: int, steps: list[int]
) -> None:
    schedule, cap = Growing(factor=factor, every=every, max=most), min(most or examples, examples)
    for step in steps:  # in any order: a resumed run asks for a late step first
        assert schedule.seen(step, base, examples) == sum(exact(s, base, cap, factor, every) for s in range(step))
        assert schedule.size(step, base, examples) == exact(step, base, cap, factor, every)


def test_two_training_sets_do_not_mix() -> None:
    schedule = Growing(factor=2, every=1)
    assert [schedule.seen(4, 1, examples) for examples in (100, 3, 100)] == [1 + 2 + 4 + 8, 1 + 2 + 3 + 3, 15]
    assert schedule.seen(4, 2, 100) == 2 + 4 + 8 + 16


def test_far_steps_are_the_cap_and_cost_nothing() -> None:
    schedule, far = Growing(factor=1.5, every=3), 10**12
    # 10, 15, 22, 33, 50, then 60 for good; each 3 times
    assert schedule.size(far, 10, 60) == 60
    assert schedule.seen(far, 10, 60) == 3 * (10 + 15 + 22 + 33 + 50) + (far - 15) * 60


def test_a_factor_of_1_grows_nothing_and_constant_neither() -> None:
    for schedule in (Growing(factor=1, every=7), Constant()):
        assert [schedule.size(step, 32, 1000) for step in (0, 5, 500)] == [32] * 3
        assert schedule.seen(500, 32, 1000) == 16000
        assert (schedule.size(3, 32, 20), schedule.seen(3, 32, 20)) == (20, 60)


@settings(max_examples=15, deadline=None)
@given(base=st.integers(1, 1000), times=st.integers(1, 50), lr=st.floats(1e-4, 1))
def test_scaled_learning_rates(base: int, times: int, lr: float) -> None:
    """Linear: one large step goes as far as `times` small ones; sqrt: the noise of a step, a^2 / B, stays the same."""
    batch = base * times
    assert NoScaling().factor(batch) == 1
    assert lr * Linear(base_batch_size=base).factor(batch) == pytest.approx(math.fsum([lr] * times), rel=1e-14)
    scaled = lr * Sqrt(base_batch_size=base).factor(batch)
    assert scaled**2 / batch == pytest.approx(lr**2 / base, rel=1e-14)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Growing(factor=0.9), "factor=0.9: must be a finite number >= 1"),
        (lambda: Growing(every=0), "every=0: must be an integer >= 1"),
        (lambda: Growing(max=0), "max=0: must be null or an integer >= 1"),
        (lambda: Growing(max=True), "max=true: must be null or an integer >= 1"),
        (lambda: Linear(base_batch_size=0), "base_batch_size=0: must be an integer >= 1"),
        (lambda: Sqrt(base_batch_size=1.5), "base_batch_size=1.5: must be an integer >= 1"),  # type: ignore[arg-type]
    ],
)
def test_bad_values_give_one_line(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OptionError) as caught:
        make()
    assert str(caught.value) == message
