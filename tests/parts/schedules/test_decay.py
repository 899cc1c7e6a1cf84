"""Schedules of any length against their closed forms, and torch's where it has the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedules.against_torch import ours, torchs
from torch.optim import lr_scheduler as theirs

from fanin.errors import OptionError
from fanin.parts.schedules import Exponential, InverseTime, NaturalExponential, Piecewise, Schedule, Step

RATES = st.floats(1e-4, 10)
STEPS = 60
# Each of at most 60 steps rounds torch's recursion once or twice: 120 times 1.1e-16.
TOLERANCE = 2e-14


@given(st.dictionaries(st.integers(1, STEPS), st.floats(0.01, 2), max_size=5), RATES)
@settings(max_examples=20, deadline=None)
def test_piecewise_multiplies_the_factors_that_were_passed(drops: dict[int, float], lr: float) -> None:
    milestones = sorted(drops)
    schedule = Piecewise(milestones=milestones, factors=[drops[milestone] for milestone in milestones])
    rate = lr
    for step in range(STEPS):
        rate *= drops.get(step, 1.0)
        assert schedule(step, lr) == pytest.approx(rate, rel=TOLERANCE)


@given(st.sets(st.integers(1, STEPS), max_size=5), st.floats(0.1, 1.5), RATES)
@settings(max_examples=10, deadline=None)
def test_piecewise_with_one_factor_is_multi_step(milestones: set[int], gamma: float, lr: float) -> None:
    schedule = Piecewise(milestones=sorted(milestones), factors=[gamma] * len(milestones))
    same = torchs(lambda o: theirs.MultiStepLR(o, list(milestones), gamma), STEPS, lr)
    assert ours(schedule, STEPS, lr) == pytest.approx(same, rel=TOLERANCE)


@given(st.integers(1, 40), st.floats(0.1, 1.5), RATES)
@settings(max_examples=10, deadline=None)
def test_step(size: int, gamma: float, lr: float) -> None:
    same = torchs(lambda o: theirs.StepLR(o, size, gamma), STEPS, lr)
    assert ours(Step(size=size, gamma=gamma), STEPS, lr) == pytest.approx(same, rel=TOLERANCE)


@given(st.floats(0.5, 1.1), RATES)
@settings(max_examples=15, deadline=None)
def test_exponential(beta: float, lr: float) -> None:
    rates = ours(Exponential(beta=beta), STEPS, lr)
    assert rates == pytest.approx([lr * math.exp(t * math.log(beta)) for t in range(STEPS)], rel=TOLERANCE)
    assert rates == pytest.approx(torchs(lambda o: theirs.ExponentialLR(o, beta), STEPS, lr), rel=TOLERANCE)


@given(st.floats(0, 2), RATES)
@settings(max_examples=15, deadline=None)
def test_natural_exponential_loses_the_same_share_at_each_step(beta: float, lr: float) -> None:
    rates = ours(NaturalExponential(beta=beta), STEPS, lr)
    assert rates[0] == lr
    share = math.exp(-beta)
    # the product beta t, up to 120, is rounded before exp magnifies it
    same = torchs(lambda o: theirs.ExponentialLR(o, share), STEPS, lr)
    assert rates == pytest.approx(same, rel=TOLERANCE + 120 * 2.3e-16)


@given(st.floats(0, 5), RATES)
@settings(max_examples=15, deadline=None)
def test_inverse_time(beta: float, lr: float) -> None:
    rates = ours(InverseTime(beta=beta), STEPS, lr)
    same = torchs(lambda o: theirs.LambdaLR(o, lambda t: 1 / (1 + beta * t)), STEPS, lr)
    assert rates == pytest.approx(same, rel=4e-16)
    # 1/alpha grows by beta/a a step
    gaps = [1 / later - 1 / earlier for earlier, later in pairwise(rates)]
    assert gaps == pytest.approx([beta / lr] * (STEPS - 1), rel=1e-12, abs=1e-13 / lr * (1 + 60 * beta))


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        (InverseTime(beta=0.001), 1000, 0.05),
        (NaturalExponential(beta=0.001), 1000, 0.1 / math.e),
        (Exponential(beta=0.5), 10, 0.1 / 1024),
        (Piecewise(milestones=[3, 7], factors=[0.5, 0.1]), 2, 0.1),
        (Piecewise(milestones=[3, 7], factors=[0.5, 0.1]), 3, 0.05),
        (Piecewise(milestones=[3, 7], factors=[0.5, 0.1]), 7, 0.005),
        (Piecewise(milestones=[], factors=[]), 7, 0.1),
        # beyond what a float holds: the run diverges instead of ending in an error of arithmetic
        (Exponential(beta=1.5), 10_000, math.inf),
        (Step(size=1, gamma=2.0), 2000, math.inf),
        (Exponential(beta=0.5), 10_000, 0.0),
        (NaturalExponential(beta=1.0), 10_000, 0.0),
    ],
)
def test_by_hand(schedule: Schedule, step: int, expected: float) -> None:
    assert schedule(step, 0.1) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Piecewise(milestones=[5, 5]), "milestones=[5, 5]: must be steps that rise"),
        (lambda: Piecewise(milestones=[9, 5]), "milestones=[9, 5]: must be steps that rise"),
        (lambda: Piecewise(milestones=[0, 5]), "milestones=0: must be an integer >= 1"),
        (lambda: Piecewise(milestones=100), "milestones=100: must be a list; write milestones=[100]"),  # type: ignore[arg-type]
        (lambda: Piecewise(factors=[0.1]), "factors=[0.1]: must be 2 numbers, one for each milestone"),
        (lambda: Piecewise(factors=[0.1, -1]), "factors=-1: must be a finite number > 0"),
        (lambda: InverseTime(beta=-1), "beta=-1: must be a finite number >= 0"),
        (lambda: Exponential(beta=0), "beta=0: must be a finite number > 0"),
        (lambda: NaturalExponential(beta=-0.1), "beta=-0.1: must be a finite number >= 0"),
        (lambda: Exponential(warmup_steps=-1), "warmup_steps=-1: must be an integer >= 0"),
        (lambda: Piecewise(warmup_steps=-1), "warmup_steps=-1: must be an integer >= 0"),
    ],
)
def test_bad_values_give_one_line(make: Callable[[], Schedule], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        make()
    assert str(caught.value) == message
