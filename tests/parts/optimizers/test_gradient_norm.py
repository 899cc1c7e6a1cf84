"""Descent on the gradient's norm: its step against a dense solution, where it ends, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from optimizers.objective_problems import Problem, half_squares, ridge, ridge_minimum, tanh_network
from torch import nn
from torch.autograd.functional import hessian
from torch.func import functional_call

from fanin.errors import OptionError
from fanin.parts.losses import Value
from fanin.parts.models import Surface
from fanin.parts.optimizers.gradient_norm import DECADES, GradientNorm

ONE, ZERO = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)


def on_the_surface(kind: str, start: list[float]) -> Problem:
    return Problem(Surface(kind=kind, start=start), Value(), ONE, ZERO)


def test_on_a_network_it_takes_the_damping_that_leaves_the_smallest_gradient() -> None:
    problem = tanh_network(4, strength=0.1)
    rows = torch.arange(10)
    names = [name for name, _ in problem.model.named_parameters()]
    shapes = [p.shape for p in problem.parameters]

    def objective(theta: torch.Tensor) -> torch.Tensor:
        parts = torch.split(theta, [math.prod(shape) for shape in shapes])
        held = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        outputs = functional_call(problem.model, held, (problem.inputs[rows],))
        penalty = sum(one.square().sum() for one in held.values() if one.ndim > 1)
        return problem.loss(outputs, problem.targets[rows], problem.inputs[rows]) + 0.05 * penalty

    start, damping = problem.theta, 1e-6
    matrix, gradient = hessian(objective, start).numpy(), torch.func.grad(objective)(start).numpy()
    square = matrix @ matrix
    tried = [
        start.numpy() - np.linalg.solve(square + damping * 10.0**k * np.eye(len(start)), matrix @ gradient)
        for k in range(DECADES)
    ]
    norms = [float(torch.func.grad(objective)(torch.from_numpy(one)).norm()) for one in tried]
    best = int(np.argmin(norms))
    assert norms[best] < np.linalg.norm(gradient)
    assert best > 0  # the net is not a quadratic: the least damping is not the best
    problem.step(GradientNorm(problem.parameters, damping=damping), rows)
    # the square of a matrix of condition 1e4 is solved for
    np.testing.assert_allclose(problem.theta.numpy(), tried[best], rtol=1e-6, atol=1e-8)


def test_on_a_convex_quadratic_it_is_newtons_method() -> None:
    problem = ridge(3, 30, 4, 0.5)
    minimum = ridge_minimum(problem)
    problem.step(GradientNorm(problem.parameters, damping=1e-14))
    torch.testing.assert_close(problem.theta, minimum, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "start", "end"),
    [("saddle", [0.7, 0.2], [0.0, 0.0]), ("saddle", [0.7, 0.9], [0.0, 1.0]), ("valley", [0.1, 0.1], [0.0, 0.0])],
)
def test_it_comes_to_the_stationary_point_nearby_of_whatever_index(
    kind: str, start: list[float], end: list[float]
) -> None:
    problem = on_the_surface(kind, start)
    optimizer = GradientNorm(problem.parameters)
    for _ in range(12):
        problem.step(optimizer)
    torch.testing.assert_close(problem.theta, torch.tensor(end, dtype=torch.float64), rtol=0, atol=1e-9)


def test_it_stays_where_no_damping_makes_the_gradient_smaller() -> None:
    """At a stationary point, and where the gradient lies in the kernel of the Hessian: f = x + x^3 at 0, f' = 1."""

    class Bend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            height = (self.weight + self.weight**3).expand(len(x), 1)
            return torch.cat([height, height], 1)

    for problem in (Problem(Bend(), Value(), ONE, ZERO), on_the_surface("saddle", [0.0, 0.0])):
        before = problem.theta
        problem.step(GradientNorm(problem.parameters))
        assert torch.equal(problem.theta, before)


def test_its_damping_is_positive() -> None:
    with pytest.raises(OptionError, match=r"^damping=0: must be"):
        GradientNorm([nn.Parameter(torch.zeros(2))], damping=0)


def test_a_hessian_that_is_not_finite_makes_parameters_that_are_not() -> None:
    class Steep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([1e200], dtype=torch.float64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.weight.square() * x

    problem = Problem(Steep(), half_squares, ONE, ZERO)
    problem.step(GradientNorm(problem.parameters))
    assert problem.theta.isnan().all()
