"""Schedules that come back up, at every step of their first cycles."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedules.against_torch import ours, torchs
from torch.optim import lr_scheduler as theirs

from fanin.errors import OptionError
from fanin.parts.schedules import Schedule, Triangular, WarmRestarts

RATES = st.floats(0.1, 10)
HALVES = st.integers(1, 30)
LOWS = st.floats(0, 0.1)


@given(HALVES, LOWS, RATES)
@settings(max_examples=20, deadline=None)
def test_triangular_is_torchs(half: int, low: float, lr: float) -> None:
    steps = 4 * half + 1
    same = torchs(lambda o: theirs.CyclicLR(o, low, lr, step_size_up=half, cycle_momentum=False), steps, lr)
    # torch takes the position in the cycle as a float near 2: errors of some 1e-16 of it, times half a cycle
    from_lr, of_its_own = Triangular(half_cycle=half, min=low), Triangular(half_cycle=half, min=low, max=lr)
    assert ours(from_lr, steps, lr) == pytest.approx(same, rel=1e-12, abs=1e-13 * lr)
    assert ours(of_its_own, steps, 77.0) == pytest.approx(same, rel=1e-12, abs=1e-13 * lr)


@given(HALVES, RATES)
@settings(max_examples=10, deadline=None)
def test_peaks_that_halve_are_torchs_triangular2(half: int, lr: float) -> None:
    def make(optimizer: object) -> theirs.LRScheduler:
        return theirs.CyclicLR(optimizer, 0.0, lr, half, mode="triangular2", cycle_momentum=False)  # type: ignore[arg-type]

    steps = 6 * half + 1
    rates = ours(Triangular(half_cycle=half, decay=0.5), steps, lr)
    assert rates == pytest.approx(torchs(make, steps, lr), rel=1e-12, abs=1e-13 * lr)


@given(HALVES, LOWS, st.floats(0.3, 1), RATES)
@settings(max_examples=20, deadline=None)
def test_triangular_walks_up_and_down_in_equal_steps(half: int, low: float, decay: float, lr: float) -> None:
    expected = []
    peak = lr
    for _ in range(3):
        slope = (max(peak, low) - low) / half
        expected += [low + slope * up for up in range(half)] + [low + slope * down for down in range(half, 0, -1)]
        peak *= decay
    rates = ours(Triangular(half_cycle=half, min=low, decay=decay), 6 * half, lr)
    assert rates == pytest.approx(expected, rel=1e-12, abs=1e-13 * lr)


def test_peaks_do_not_fall_below_min() -> None:
    schedule = Triangular(half_cycle=2, min=0.3, max=1.0, decay=0.5)
    rates = ours(schedule, 16, 9.0)
    assert [rates[peak] for peak in (2, 6, 10, 14)] == pytest.approx([1.0, 0.5, 0.3, 0.3])
    assert min(rates) == 0.3


@given(st.integers(1, 12), st.integers(1, 3), LOWS, RATES)
@settings(max_examples=25, deadline=None)
def test_warm_restarts_are_torchs(first: int, factor: int, low: float, lr: float) -> None:
    steps = first * (1 + factor + factor**2) + 1
    rates = ours(WarmRestarts(T0=first, T_mult=factor, min=low), steps, lr)
    same = torchs(lambda o: theirs.CosineAnnealingWarmRestarts(o, first, factor, low), steps, lr)
    assert rates == pytest.approx(same, rel=1e-12)


@given(st.integers(1, 12), st.integers(1, 3), LOWS, RATES)
@settings(max_examples=15, deadline=None)
def test_warm_restarts_cycle_by_cycle(first: int, factor: int, low: float, lr: float) -> None:
    expected: list[float] = []
    for cycle in range(3):
        length = first * factor**cycle
        # cos^2 of the half angle, another form of the same curve
        expected += [low + (lr - low) * math.cos(math.pi * t / (2 * length)) ** 2 for t in range(length)]
    rates = ours(WarmRestarts(T0=first, T_mult=factor, min=low), len(expected) + 1, lr)
    assert rates == pytest.approx([*expected, lr], rel=1e-12)


@given(st.integers(1, 12), st.floats(1, 2.5), st.floats(0.3, 1), LOWS, RATES)
@settings(max_examples=15, deadline=None)
def test_warm_restarts_of_any_factor_and_falling_maxima(
    first: int, factor: float, decay: float, low: float, lr: float
) -> None:
    expected: list[float] = []
    top = lr
    for cycle in range(4):
        length = round(first * factor**cycle)
        expected += [low + (top - low) * math.cos(math.pi * t / (2 * length)) ** 2 for t in range(length)]
        top = max(top * decay, low)
    rates = ours(WarmRestarts(T0=first, T_mult=factor, decay=decay, min=low), len(expected) + 1, lr)
    assert rates == pytest.approx([*expected, top], rel=1e-12)
    lengths = [round(first * factor**cycle) for cycle in range(4)]
    listed = ours(WarmRestarts(lengths=lengths, decay=decay, min=low), len(expected) + 2 * lengths[-1], lr)
    assert listed[: len(rates)] == rates
    last = listed[len(expected) : len(expected) + lengths[-1]], listed[len(expected) + lengths[-1] :]
    assert (last[0][0], last[1][0]) == pytest.approx((top, max(top * decay, low)), rel=1e-12)


@given(HALVES, st.lists(st.tuples(LOWS, RATES), min_size=1, max_size=3))
@settings(max_examples=15, deadline=None)
def test_each_cycle_has_a_min_and_a_max(half: int, ends: list[tuple[float, float]]) -> None:
    schedule = Triangular(half_cycle=half, min=[low for low, _ in ends], max=[high for _, high in ends])
    cycles = [*ends, ends[-1], ends[-1]]
    expected = [low + (high - low) * min(t, 2 * half - t) / half for low, high in cycles for t in range(2 * half)]
    assert ours(schedule, len(expected), 7.0) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_a_long_run_of_short_cycles() -> None:
    assert WarmRestarts(T0=3)(3_000_001, 1.0) == pytest.approx(0.75)  # (1 + cos(pi/3)) / 2
    # the cycle of length 3 * 2^k begins at 3 (2^k - 1)
    assert WarmRestarts(T0=3, T_mult=2)(3 * (2**40 - 1), 0.7) == 0.7
    assert WarmRestarts(T0=3, T_mult=2)(3 * (2**40 - 1) - 1, 0.7) == pytest.approx(0, abs=1e-15)
    assert Triangular(half_cycle=2)(4_000_001, 1.0) == 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Triangular(min=-1), "min=-1: must be a finite number >= 0"),
        (lambda: Triangular(min=0.1, max=0.01), "max=0.01: must be a finite number >= 0.1"),
        (lambda: Triangular(half_cycle=0), "half_cycle=0: must be an integer >= 1"),
        (lambda: Triangular(decay=0), "decay=0: must be a finite number > 0 and <= 1"),
        (lambda: Triangular(decay=1.5), "decay=1.5: must be a finite number > 0 and <= 1"),
        (lambda: WarmRestarts(T0=0), "T0=0: must be an integer >= 1"),
        (lambda: Triangular(min=[0.1, 0.3], max=[0.2, 0.25]), "max=0.25: must be a finite number >= 0.3"),
        (lambda: Triangular(min=[]), "min=[]: must be a number, or a list of one for each cycle"),
        (lambda: Triangular(min=[0, -1]), "min[1]=-1: must be a finite number >= 0"),
        (
            lambda: Triangular(max=[1], decay=0.5),
            "decay=0.5: must be 1 where max is a list, which says the peak of each cycle",
        ),
        (lambda: WarmRestarts(T_mult=0.5), "T_mult=0.5: must be a finite number >= 1"),
        (lambda: WarmRestarts(lengths=[]), "lengths=[]: must be null or a list of integers >= 1"),
        (lambda: WarmRestarts(lengths=[3, 0]), "lengths[1]=0: must be an integer >= 1"),
        (lambda: WarmRestarts(decay=0), "decay=0: must be a finite number > 0 and <= 1"),
        (lambda: WarmRestarts(min=-1), "min=-1: must be a finite number >= 0"),
        (lambda: WarmRestarts(warmup_factor=0), "warmup_factor=0: must be a finite number > 0 and <= 1"),
    ],
)
def test_bad_values_give_one_line(make: Callable[[], Schedule], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        make()
    assert str(caught.value) == message
