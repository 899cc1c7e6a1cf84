"""Every schedule against its closed form at every step, and torch's own where it has the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.optim import lr_scheduler as theirs

from fanin.errors import OptionError
from fanin.parts.schedules import (
    Constant,
    Cosine,
    Exponential,
    InverseTime,
    Linear,
    NaturalExponential,
    OneCycle,
    Piecewise,
    Polynomial,
    Schedule,
    Step,
    Triangular,
    WarmRestarts,
)

LR = 0.3
DEFAULTS = (
    *(Constant, Cosine, Exponential, InverseTime, Linear, NaturalExponential),
    *(OneCycle, Piecewise, Polynomial, Step, Triangular, WarmRestarts),
)
SHORT = (
    Exponential(beta=0.9),
    InverseTime(beta=0.2),
    NaturalExponential(beta=0.1),
    Piecewise(milestones=[4, 9], factors=[0.5, 0.1]),
    Triangular(half_cycle=5, decay=0.5),
    WarmRestarts(T0=4, T_mult=2),
)


def ours(schedule: Schedule, steps: int) -> list[float]:
    return [schedule(step, LR) for step in range(steps)]


def torchs(make: Callable[[torch.optim.Optimizer], theirs.LRScheduler], steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_constant() -> None:
    assert ours(Constant(), 50) == [LR] * 50


@pytest.mark.parametrize(("size", "gamma"), [(1, 0.9), (7, 0.5), (10, 1.5)])
def test_step_is_a_staircase(size: int, gamma: float) -> None:
    rates = ours(Step(size=size, gamma=gamma), 40)
    expected = [LR * math.prod([gamma] * (t // size)) for t in range(40)]
    assert rates == pytest.approx(expected, rel=1e-13)
    assert rates == pytest.approx(torchs(lambda o: theirs.StepLR(o, size, gamma), 40), rel=1e-12)


@pytest.mark.parametrize(("total", "low"), [(1, 0.0), (20, 0.0), (33, 0.05)])
def test_cosine_falls_to_min_and_stays(total: int, low: float) -> None:
    rates = ours(Cosine(total_steps=total, min=low), 2 * total)
    # cos^2 of the half angle, another form of the same curve
    expected = [low + (LR - low) * math.cos(math.pi * t / (2 * total)) ** 2 for t in range(total)]
    assert rates == pytest.approx(expected + [low] * total, rel=1e-12, abs=1e-15)
    # torch's recursion loses digits near 0; beyond T it rises again, so only the first half is compared
    same = torchs(lambda o: theirs.CosineAnnealingLR(o, total, low), total)
    assert rates[:total] == pytest.approx(same, rel=1e-9, abs=1e-12)


def test_cosine_takes_its_length_from_the_run() -> None:
    fitted = Cosine(warmup_steps=5)
    fitted.set_length(25)
    assert ours(fitted, 30) == ours(Cosine(total_steps=20, warmup_steps=5), 30)
    assert fitted(25, LR) == 0
    assert fitted(24, LR) > 0


def test_a_given_length_is_not_overruled_by_the_run() -> None:
    schedule = Cosine(total_steps=10)
    schedule.set_length(1000)
    assert schedule(10, LR) == 0


def test_fit_may_be_called_again() -> None:
    schedule = Cosine()
    schedule.set_length(10)
    schedule.set_length(40)
    assert schedule(20, LR) == pytest.approx(LR / 2)


@pytest.mark.parametrize("steps", [0, 3, 5])
def test_a_run_that_ends_in_the_warm_up_never_decays(steps: int) -> None:
    schedule = Cosine(warmup_steps=5)
    schedule.set_length(steps)
    assert ours(schedule, 6) == pytest.approx([LR * (step + 1) / 5 for step in range(5)] + [LR])


def test_cosine_without_a_length_says_so() -> None:
    with pytest.raises(OptionError) as caught:
        Cosine()(0, LR)
    assert str(caught.value) == "total_steps=null: must be an integer >= 1; or call set_length(steps) first"


@pytest.mark.parametrize("steps", [1, 2, 9])
@pytest.mark.parametrize("kind", DEFAULTS)
@pytest.mark.parametrize(
    ("warmup", "factor"),
    [
        ("linear", lambda step, steps: (step + 1) / steps),
        ("cosine", lambda step, steps: math.sin(math.pi * (step + 1) / (2 * steps)) ** 2),
        ("constant", lambda step, steps: 0.1),
    ],
)
def test_warm_up_composes_with_any(
    steps: int, kind: type[Schedule], warmup: str, factor: Callable[[int, int], float]
) -> None:
    plain, warmed = kind(), kind(warmup_steps=steps, warmup=warmup)
    plain.set_length(30)
    warmed.set_length(30 + steps)
    expected = [LR * factor(step, steps) for step in range(steps)] + ours(plain, 30)
    assert ours(warmed, steps + 30) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("schedule", SHORT, ids=lambda schedule: type(schedule).__name__)
def test_a_schedule_starts_when_the_warm_up_is_over(schedule: Schedule) -> None:
    warmed = replace(schedule, warmup_steps=3)
    assert ours(warmed, 33)[3:] == ours(schedule, 30)
    assert len(set(ours(schedule, 30))) > 2


@pytest.mark.parametrize("warmup", ["linear", "cosine"])
def test_warm_up_reaches_the_top_at_its_last_step(warmup: str) -> None:
    assert Constant(warmup_steps=4, warmup=warmup)(3, LR) == LR


@pytest.mark.filterwarnings("ignore:.*scheduler.step.*")
def test_linear_warm_up_into_cosine_equals_torch() -> None:
    def make(optimizer: torch.optim.Optimizer) -> theirs.LRScheduler:
        # factors 1/6, 2/6, ..., 6/6: five increments
        warm = theirs.LinearLR(optimizer, start_factor=1 / 6, total_iters=5)
        decay = theirs.CosineAnnealingLR(optimizer, 20)
        return theirs.SequentialLR(optimizer, [warm, decay], milestones=[6])

    assert ours(Cosine(total_steps=20, warmup_steps=6), 26) == pytest.approx(torchs(make, 26), rel=1e-9)


def test_constant_warm_up_equals_torch() -> None:
    def make(optimizer: torch.optim.Optimizer) -> theirs.LRScheduler:
        return theirs.ConstantLR(optimizer, factor=0.25, total_iters=6)

    schedule = Constant(warmup_steps=6, warmup="constant", warmup_factor=0.25)
    assert ours(schedule, 12) == pytest.approx(torchs(make, 12), rel=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(warmup_steps=-1), "warmup_steps=-1: must be an integer >= 0"),
        (lambda: Constant(warmup_steps=True), "warmup_steps=true: must be an integer >= 0"),
        (
            lambda: Constant(warmup="cosin"),
            "warmup=cosin: must be one of linear, cosine, constant; did you mean cosine?",
        ),
        (lambda: Constant(warmup_factor=0), "warmup_factor=0: must be a finite number > 0 and <= 1"),
        (lambda: Step(size=0), "size=0: must be an integer >= 1"),
        (lambda: Step(gamma=0), "gamma=0: must be a finite number > 0"),
        (lambda: Step(warmup_steps=-2), "warmup_steps=-2: must be an integer >= 0"),
        (lambda: Cosine(total_steps=0), "total_steps=0: must be an integer >= 1"),
        (lambda: Cosine(min=-0.1), "min=-0.1: must be a finite number >= 0"),
        (lambda: Cosine(warmup_factor=2), "warmup_factor=2: must be a finite number > 0 and <= 1"),
    ],
)
def test_bad_values_give_one_line(make: Callable[[], Schedule], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        make()
    assert str(caught.value) == message
