"""Stacked optimizers do for each run what its own would, and what torch.optim's does; states go in and out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

import fanin.parts.optimizers
from fanin.parts.optimizers import (
    GD,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    EmaMomentum,
    Lion,
    Momentum,
    Muon,
    NAdam,
    Nesterov,
    RAdam,
    Rmsprop,
    UnbiasedMomentum,
)
from fanin.parts.optimizers.base import GroupOptimizer
from fanin.train.stacked_tensors import common, put, set_rates, stacked, take
from oracles.optimizers import DoubleNAdam, EmaMomentumByHand, LionByHand, MuonBySvd, UnbiasedMomentumByHand

RUNS = 5
SHAPES = [(5, 4), (7,), (3, 2, 2), ()]
Numbers = dict[str, float]


def moments(run: int) -> Numbers:
    return {
        "lr": 0.01 * (1 + run), "beta1": 0.1 + 0.2 * run, "beta2": 1 - 0.1 ** (run + 1), "eps": 10.0 ** -(4 + run),
    }  # fmt: skip


def named(kind: Any) -> Callable[[Any, Numbers], torch.optim.Optimizer]:
    """Torch's optimizer, made with its own names."""

    def make(params: Any, numbers: Numbers) -> torch.optim.Optimizer:
        names = {"rho": "alpha"} if kind is torch.optim.RMSprop else {"initial": "initial_accumulator_value"}
        keys: dict[str, Any] = {names.get(name, name): value for name, value in numbers.items()}
        if "beta1" in keys:
            keys["betas"] = (keys.pop("beta1"), keys.pop("beta2"))
        made: torch.optim.Optimizer = kind(params, **keys)
        return made

    return make


# For each class: a run's own numbers, and an independent optimizer with the same: torch's where it has one.
CASES: dict[type[GroupOptimizer], tuple[Callable[[int], Numbers], Callable[[Any, Numbers], torch.optim.Optimizer]]] = {
    SGD: (lambda run: {"lr": 0.02 * (1 + run)}, lambda p, n: torch.optim.SGD(p, **n)),
    Momentum: (
        lambda run: {"lr": 0.01 * (1 + run), "momentum": 0.2 * run},
        lambda p, n: torch.optim.SGD(p, **n),
    ),
    GD: (lambda run: {"lr": 0.02 * (1 + run)}, lambda p, n: torch.optim.SGD(p, **n)),
    EmaMomentum: (
        lambda run: {"lr": 0.02 * (1 + run), "beta": 0.2 * run},
        lambda p, n: EmaMomentumByHand(p, **n),
    ),
    UnbiasedMomentum: (
        lambda run: {"lr": 0.02 * (1 + run), "beta": 0.2 * run},
        lambda p, n: UnbiasedMomentumByHand(p, **n),
    ),
    Nesterov: (
        lambda run: {"lr": 0.01 * (1 + run), "momentum": 0.1 + 0.2 * run},
        lambda p, n: torch.optim.SGD(p, **n, nesterov=True),
    ),
    Adagrad: (
        lambda run: {"lr": 0.05 * (1 + run), "initial": 0.1 * run, "eps": 10.0 ** -(4 + run)},
        named(torch.optim.Adagrad),
    ),
    Rmsprop: (
        lambda run: {"lr": 0.01 * (1 + run), "rho": 0.5 + 0.1 * run, "eps": 10.0 ** -(4 + run), "momentum": 0.2 * run},
        named(torch.optim.RMSprop),
    ),
    Adadelta: (
        lambda run: {"lr": 0.2 * (1 + run), "rho": 0.5 + 0.1 * run, "eps": 10.0 ** -(1 + run)},
        named(torch.optim.Adadelta),
    ),
    Adam: (moments, named(torch.optim.Adam)),
    AdamW: (lambda run: {**moments(run), "weight_decay": 0.1 * run}, named(torch.optim.AdamW)),
    NAdam: (lambda run: {**moments(run), "momentum_decay": 0.02 * run}, named(DoubleNAdam)),
    RAdam: (moments, named(torch.optim.RAdam)),
    Lion: (
        lambda run: {"lr": 0.01 * (1 + run), "beta1": 0.2 * run, "beta2": 0.5 + 0.1 * run, "weight_decay": 0.1 * run},
        lambda p, n: LionByHand(p, **n),
    ),
    Muon: (
        lambda run: {
            "lr": 0.01 * (1 + run), "momentum": 0.2 * run, "weight_decay": 0.1 * run, "vector_factor": 1 + 0.2 * run,
        },
        lambda p, n: MuonBySvd(p, **n, nesterov=True),
    ),
}  # fmt: skip
EACH = pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)


def start(run: int, seed: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    random = torch.Generator().manual_seed(10 * seed + run)
    return [torch.randn(shape, generator=random, dtype=torch.float64).to(dtype) for shape in SHAPES]


@cache
def noise(size: int, run: int, step: int, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(100_000 * seed + 1000 * run + step)
    return torch.randn(size, generator=random, dtype=torch.float64)


@torch.no_grad()
def gradients(params: list[Tensor], run: int, step: int, seed: int) -> list[Tensor]:
    """Of a noisy convex problem that ties all entries together: theta^2/2 + noise theta + ln sum exp(3 theta)."""
    theta = torch.cat([param.flatten() for param in params]).double()
    every = (theta + noise(len(theta), run, step, seed) + 3 * torch.softmax(3 * theta, 0)).to(params[0].dtype)
    parts = every.split([param.numel() for param in params])
    return [part.view(param.shape) for part, param in zip(parts, params, strict=True)]


def descend(params: list[Tensor], optimizer: torch.optim.Optimizer, run: int, seed: int, steps: range) -> None:
    for step in steps:
        for param, gradient in zip(params, gradients(params, run, step, seed), strict=True):
            param.grad = gradient
        optimizer.step()


def descend_stacked(params: list[Tensor], optimizer: torch.optim.Optimizer, seed: int, steps: range) -> None:
    for step in steps:
        each = [gradients([param[run] for param in params], run, step, seed) for run in range(RUNS)]
        for param, own in zip(params, zip(*each, strict=True), strict=True):
            param.grad = torch.stack(own)
        optimizer.step()


def on_stack(make: Callable[[list[Tensor], int], GroupOptimizer], seed: int) -> tuple[list[Tensor], GroupOptimizer]:
    """Stacked parameters at the start, and an optimizer of them made of each run's own."""
    starts = [start(run, seed) for run in range(RUNS)]
    params = [torch.stack(own).requires_grad_() for own in zip(*starts, strict=True)]
    return params, stacked([make(own, run) for run, own in enumerate(starts)], starts[0], params)


def test_every_optimizer_of_fanins_is_among_them() -> None:
    """One that is made of GroupOptimizer may be fused, so it has to read a number per run."""
    offered = [getattr(fanin.parts.optimizers, name) for name in fanin.parts.optimizers.__all__]
    assert {one for one in offered if issubclass(one, GroupOptimizer)} == set(CASES)


@EACH
@pytest.mark.parametrize(("seed", "equal"), [(0, False), (1, True)], ids=["own numbers", "equal numbers"])
def test_equals_separate_ones_and_torch_over_100_steps(kind: type[GroupOptimizer], seed: int, equal: bool) -> None:
    numbers, theirs = CASES[kind]
    params, optimizer = on_stack(lambda own, run: kind(own, **numbers(0 if equal else run)), seed)
    held = [isinstance(value, Tensor) for key, value in optimizer.param_groups[0].items() if key in numbers(1)]
    # the momentum and the rates of 5 runs are tensors, numbers that are all equal stay floats
    assert all(held) != equal
    descend_stacked(params, optimizer, seed, range(100))
    for run in [0, RUNS - 1] if equal else range(RUNS):
        for make in (lambda p, n: kind(p, **n), theirs):
            own = start(run, seed)
            descend(own, make(own, numbers(0 if equal else run)), run, seed, range(100))
            for stack, alone in zip(params, own, strict=True):
                # other orders of the same operations: 100 steps of some 1e-16, which Adam scales by at most lr/eps, and
                # Muon by 3.4445^5 = 500 where a singular value is small
                torch.testing.assert_close(stack[run].detach(), alone, rtol=0, atol=1e-10)
            assert max((a - b).abs().max().item() for a, b in zip(own, start(run, seed), strict=True)) > 0.2


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        (Adam, {"bias_correction": False}),
        (Adam, {"beta1": 0.0}),
        (AdamW, {"bias_correction": False, "weight_decay": 0.5}),
        (NAdam, {"bias_correction": False}),
        (Rmsprop, {"centered": True, "momentum": 0.5}),
        (Muon, {"nesterov": False}),
    ],
    ids=str,
)
def test_with_other_settings(kind: type[GroupOptimizer], keys: dict[str, Any]) -> None:
    make: Any = kind
    params, optimizer = on_stack(lambda own, run: make(own, lr=0.01 * (1 + run), **keys), 2)
    descend_stacked(params, optimizer, 2, range(50))
    for run in range(RUNS):
        own = start(run, 2)
        descend(own, make(own, lr=0.01 * (1 + run), **keys), run, 2, range(50))
        for stack, alone in zip(params, own, strict=True):
            torch.testing.assert_close(stack[run].detach(), alone, rtol=0, atol=1e-10)


@EACH
def test_rates_of_a_step_may_be_equal_or_not(kind: type[GroupOptimizer]) -> None:
    numbers, _ = CASES[kind]
    params, optimizer = on_stack(lambda own, run: kind(own, **numbers(run)), 3)
    schedule = [[0.1] * RUNS, [0.01 * run for run in range(RUNS)], [0.0] * RUNS, [0.2, *[0.1] * (RUNS - 1)]]
    for step, rates in enumerate(schedule):
        set_rates(optimizer, rates)
        assert isinstance(optimizer.param_groups[0]["lr"], Tensor) == (len(set(rates)) > 1)
        descend_stacked(params, optimizer, 3, range(step, step + 1))
    for run in range(RUNS):
        own = start(run, 3)
        alone = kind(own, **numbers(run))
        for step, rates in enumerate(schedule):
            alone.param_groups[0]["lr"] = rates[run]
            descend(own, alone, run, 3, range(step, step + 1))
        for stack, one in zip(params, own, strict=True):
            torch.testing.assert_close(stack[run].detach(), one, rtol=0, atol=1e-13)


@EACH
def test_a_parameter_without_a_gradient_joins_later_in_every_run(kind: type[GroupOptimizer]) -> None:
    """Its steps are counted from then on, and so one step has parameters of several counts."""
    numbers, theirs = CASES[kind]
    params, optimizer = on_stack(lambda own, run: kind(own, **numbers(run)), 7)
    late, early = params[0], params[1:]
    for step in range(8):
        for place, param in enumerate(params if step >= 5 else early):
            param.grad = torch.stack([gradients([param[run]], run, step, place)[0] for run in range(RUNS)])
        optimizer.step()
        assert step >= 5 or torch.equal(late, torch.stack([start(run, 7)[0] for run in range(RUNS)]))
    for run in range(RUNS):
        own = start(run, 7)
        alone = theirs(own, numbers(run))
        for step in range(8):
            for place, param in enumerate(own if step >= 5 else own[1:]):
                param.grad = gradients([param], run, step, place)[0]
            alone.step()
        for stack, one in zip(params, own, strict=True):
            # as above, over 8 steps
            torch.testing.assert_close(stack[run].detach(), one, rtol=0, atol=1e-11)


@EACH
def test_a_run_leaves_and_another_takes_its_place(kind: type[GroupOptimizer]) -> None:
    """After 10 steps run 1 goes on alone; run 3 goes on from what another, alone until then, brings."""
    numbers, _ = CASES[kind]
    params, optimizer = on_stack(lambda own, run: kind(own, **numbers(run)), 4)
    descend_stacked(params, optimizer, 4, range(10))

    leaving = [param[1].detach().clone() for param in params]
    alone = kind(leaving, lr=1.0)
    take(optimizer, 1, alone)
    alone.load_state_dict(copy.deepcopy(alone.state_dict()))  # what take shows are views
    assert {key: value for key, value in alone.param_groups[0].items() if key in numbers(1)} == numbers(1)

    coming = start(3, 44)
    other = kind(coming, **numbers(3))
    descend(coming, other, 3, 4, range(10))
    with torch.no_grad():
        for param, own in zip(params, coming, strict=True):
            param[3] = own
    put(optimizer, 3, other)

    descend_stacked(params, optimizer, 4, range(10, 20))
    descend(leaving, alone, 1, 4, range(10, 20))
    descend(coming, other, 3, 4, range(10, 20))
    for run, own in ((1, leaving), (3, coming)):
        for stack, one in zip(params, own, strict=True):
            torch.testing.assert_close(stack[run].detach(), one, rtol=0, atol=1e-13)


@EACH
def test_a_fresh_run_among_others_starts_with_nothing(kind: type[GroupOptimizer]) -> None:
    numbers, _ = CASES[kind]
    params, optimizer = on_stack(lambda own, run: kind(own, **numbers(run)), 5)
    descend_stacked(params, optimizer, 5, range(3))
    fresh = start(2, 55)
    put(optimizer, 2, kind(fresh, **numbers(2)))
    for param in params:
        slots = [value for value in optimizer.state[param].values() if isinstance(value, Tensor)]
        assert all((slot[2] == 0).all() and (slot[1] != 0).all() for slot in slots)


def test_what_runs_have_in_common() -> None:
    assert common([0.1, 0.1, 0.1]) == 0.1
    assert common([True, True]) is True
    different = common([0.1, 1e-3])
    assert different.dtype == torch.float64
    assert different.tolist() == [0.1, 1e-3], "no bit is lost: checkpoints hold these numbers"


@EACH
def test_float32_runs_round_as_they_do_alone(kind: type[GroupOptimizer]) -> None:
    """A number per run is rounded to the parameters' type, as a float is."""
    numbers, _ = CASES[kind]
    starts = [start(run, 6, torch.float32) for run in range(RUNS)]
    params = [torch.stack(own).requires_grad_() for own in zip(*starts, strict=True)]
    optimizers = [kind(own, **numbers(run)) for run, own in enumerate(starts)]
    descend_stacked(params, stacked(optimizers, starts[0], params), 6, range(5))
    for run, own in enumerate(starts):
        descend(own, kind(own, **numbers(run)), run, 6, range(5))
        for stack, one in zip(params, own, strict=True):
            assert stack.dtype == torch.float32
            # 5 steps, some roundings of 2^-24 each of values about 1
            torch.testing.assert_close(stack[run].detach(), one, rtol=0, atol=1e-5)
