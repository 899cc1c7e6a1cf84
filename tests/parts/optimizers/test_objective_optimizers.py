"""What all optimizers have in common that are handed an objective: checkpoints, penalties, frozen parts, bad values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from optimizers.objective_problems import Problem, tanh_network, through_a_file
from torch import nn

from fanin.errors import OptionError
from fanin.parts.optimizers.bfgs import BFGS
from fanin.parts.optimizers.coordinate_descent import CoordinateDescent
from fanin.parts.optimizers.gauss_newton import GaussNewton
from fanin.parts.optimizers.gradient_norm import GradientNorm
from fanin.parts.optimizers.hessian_free import HessianFree
from fanin.parts.optimizers.lbfgs import LBFGS
from fanin.parts.optimizers.newton import Newton
from fanin.parts.optimizers.objective import ObjectiveOptimizer
from fanin.parts.optimizers.saddle_free_newton import SaddleFreeNewton
from fanin.parts.optimizers.saga import SAGA
from fanin.parts.optimizers.svrg import SVRG

Make = Callable[[Any], ObjectiveOptimizer]
MAKE: dict[str, Make] = {
    "svrg": lambda p: SVRG(p, lr=0.1, every=4),
    "saga": lambda p: SAGA(p, lr=0.1),
    "newton": lambda p: Newton(p, lr=0.5, damping=3.0),
    "gauss_newton": lambda p: GaussNewton(p, damping=0.5),
    "gradient_norm": lambda p: GradientNorm(p, lr=0.5, damping=1e-3),
    "saddle_free_newton": lambda p: SaddleFreeNewton(p, lr=0.5, damping=1.0),
    "hessian_free": lambda p: HessianFree(p, damping=0.5, cg_iterations=5),
    "bfgs": lambda p: BFGS(p),
    "lbfgs": lambda p: LBFGS(p, history=2),
    "coordinate_descent, cyclic": lambda p: CoordinateDescent(p, block_size=10),
    "coordinate_descent, random": lambda p: CoordinateDescent(p, block_size=10, order="random"),
}
EACH = pytest.mark.parametrize("name", MAKE)
BATCHES = [torch.arange(first, first + 8) for first in (0, 8, 16, 4, 12, 0)]


def descend(problem: Problem, optimizer: ObjectiveOptimizer, batches: list[torch.Tensor]) -> None:
    for rows in batches:
        problem.step(optimizer, rows)


@EACH
@pytest.mark.parametrize("steps", [0, 3])
def test_a_checkpoint_continues_bit_for_bit(name: str, steps: int) -> None:
    whole = tanh_network(1, dropout=0.2)
    descend(whole, MAKE[name](whole.parameters), BATCHES)

    first = tanh_network(1, dropout=0.2)
    optimizer = MAKE[name](first.parameters)
    descend(first, optimizer, BATCHES[:steps])
    state = {
        "model": first.model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "dropout": first.random.get_state(),
    }
    saved = through_a_file(state)

    second = tanh_network(2, dropout=0.2)
    second.inputs, second.targets = first.inputs, first.targets
    resumed = MAKE[name](second.parameters)
    resumed.load_state_dict(saved["optimizer"])
    second.model.load_state_dict(saved["model"])
    second.random.set_state(saved["dropout"])
    descend(second, resumed, BATCHES[steps:])
    assert torch.equal(second.theta, whole.theta)
    assert not torch.equal(whole.theta, tanh_network(1).theta)


@EACH
def test_a_loaded_state_is_its_own(name: str) -> None:
    """Steps after loading leave the optimizer alone that the state came from."""
    problem, other = tanh_network(1), tanh_network(1)
    optimizer = MAKE[name](problem.parameters)
    descend(problem, optimizer, BATCHES[:2])
    copied = MAKE[name](other.parameters)
    copied.load_state_dict(optimizer.state_dict())
    before = through_a_file(optimizer.memory)
    descend(other, copied, BATCHES[2:])
    for key, value in optimizer.memory.items():
        assert torch.equal(value, before[key]) if isinstance(value, torch.Tensor) else value == before[key]


@EACH
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_training_falls_on_the_penalized_objective(name: str, strength: float) -> None:
    problem = tanh_network(3, strength=strength)
    before = problem.value()
    optimizer = MAKE[name](problem.parameters)
    for _ in range(20):
        problem.step(optimizer)
    assert problem.value() < 0.9 * before


@EACH
def test_frozen_parameters_stay(name: str) -> None:
    problem = tanh_network(0)
    frozen = list(problem.model.parameters())[:2]
    for p in frozen:
        p.requires_grad_(False)
    kept, start = [p.clone() for p in frozen], problem.theta
    descend(problem, MAKE[name](problem.parameters), BATCHES[:2])
    assert all(torch.equal(p, was) for p, was in zip(frozen, kept, strict=True))
    assert not torch.equal(problem.theta, start)


@EACH
def test_the_groups_learning_rate_rules_the_step(name: str) -> None:
    problem = tanh_network(0)
    optimizer = MAKE[name](problem.parameters)
    descend(problem, optimizer, BATCHES[:1])
    start = problem.theta
    optimizer.param_groups[0]["lr"] = 0.0
    descend(problem, optimizer, BATCHES[1:2])
    assert torch.equal(problem.theta, start)


def test_one_group_only() -> None:
    a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    with pytest.raises(ValueError, match="Newton takes one group"):
        Newton([{"params": [a]}, {"params": [b]}])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: SVRG(p, lr=-1), "lr=-1: must be a finite number >= 0"),
        (lambda p: SVRG(p, lr=0.1, every=0), "every=0: must be an integer >= 1"),
        (lambda p: SAGA(p, lr=0.1, max_table_entries=0.5), "max_table_entries=0.5: must be an integer >= 1"),  # type: ignore[arg-type]
        (lambda p: Newton(p, damping=-1), "damping=-1: must be a finite number >= 0"),
        (lambda p: GaussNewton(p, max_parameters=0), "max_parameters=0: must be an integer >= 1"),
        (lambda p: HessianFree(p, cg_iterations=0), "cg_iterations=0: must be an integer >= 1"),
        (lambda p: HessianFree(p, adapt=1), "adapt=1: must be true or false"),  # type: ignore[arg-type]
        (lambda p: HessianFree(p, tolerance=-0.1), "tolerance=-0.1: must be a finite number >= 0"),
        (lambda p: BFGS(p, decrease=0.5), "decrease=0.5: must be a finite number > 0 and < 0.5"),
        (lambda p: BFGS(p, curvature=1), "curvature=1: must be a finite number > 0 and < 1"),
        (lambda p: LBFGS(p, decrease=0.3, curvature=0.2), "curvature=0.2: must be more than decrease=0.3"),
        (lambda p: LBFGS(p, history=0), "history=0: must be an integer >= 1"),
        (lambda p: LBFGS(p, max_evaluations=0), "max_evaluations=0: must be an integer >= 1"),
        (
            lambda p: CoordinateDescent(p, order="randm"),
            "order=randm: must be one of cyclic, random; did you mean random?",
        ),
        (lambda p: CoordinateDescent(p, block_size=0), "block_size=0: must be an integer >= 1"),
        (lambda p: CoordinateDescent(p, seed=-1), "seed=-1: must be an integer >= 0"),
    ],
)
def test_bad_values_give_one_line(make: Make, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        make([nn.Parameter(torch.zeros(2))])
    assert str(caught.value) == message
