"""Saddle-free Newton: |H|^-1 g on networks against a dense decomposition, quadratics, saddles, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizers.objective_problems import Problem, half_squares, ridge, ridge_minimum, softmax_regression, tanh_network
from torch import nn
from torch.autograd.functional import hessian
from torch.func import functional_call

from fanin.errors import OptionError
from fanin.parts.losses import Value
from fanin.parts.models import Surface
from fanin.parts.optimizers.newton import Newton
from fanin.parts.optimizers.saddle_free_newton import SaddleFreeNewton

ONE, ZERO = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)


@pytest.mark.parametrize("damping", [0.01, 1.0])
def test_on_a_network_the_step_is_that_of_a_dense_decomposition(damping: float) -> None:
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

    start = problem.theta
    matrix, gradient = hessian(objective, start).numpy(), problem.run_pass(rows).pass_gradient().numpy()
    # sqrt(H^2) by a singular value decomposition: for a symmetric matrix U S V^T it is V S V^T
    _, sizes, right = np.linalg.svd(matrix)
    absolute = right.T @ np.diag(sizes) @ right
    assert (np.linalg.eigvalsh(matrix) < -1e-3).any()
    expected = start.numpy() - 0.5 * np.linalg.inv(absolute + damping * np.eye(43)) @ gradient
    problem.step(SaddleFreeNewton(problem.parameters, lr=0.5, damping=damping), rows)
    # an inverse of a matrix of condition up to 1e4
    np.testing.assert_allclose(problem.theta.numpy(), expected, rtol=1e-9, atol=1e-10)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), features=st.integers(1, 8), rate=st.floats(0.1, 2), strength=st.floats(0.01, 1))
def test_on_a_convex_quadratic_it_is_newtons_method(seed: int, features: int, rate: float, strength: float) -> None:
    problem = ridge(seed, 30, features, strength)
    start, minimum = problem.theta, ridge_minimum(problem)
    problem.step(SaddleFreeNewton(problem.parameters, lr=rate, damping=0.0))
    torch.testing.assert_close(problem.theta, start + rate * (minimum - start), rtol=1e-10, atol=1e-10)


def on_the_saddle(start: list[float]) -> Problem:
    """f = x^2/2 - y^2/2 + y^4/4."""
    return Problem(Surface(kind="saddle", start=start), Value(), ONE, ZERO)


@pytest.mark.parametrize(("damping", "rate"), [(0.0, 1.0), (0.25, 0.5)])
def test_beside_a_saddle_newton_goes_in_and_saddle_free_newton_out(damping: float, rate: float) -> None:
    x, y = 0.7, 1e-4
    bend = 3 * y * y - 1  # of f along y
    slope = y**3 - y
    for kind, size in ((Newton, bend + damping), (SaddleFreeNewton, abs(bend) + damping)):
        problem = on_the_saddle([x, y])
        problem.step(kind(problem.parameters, lr=rate, damping=damping))
        expected = torch.tensor([x - rate * x / (1 + damping), y - rate * slope / size], dtype=torch.float64)
        # where they cancel, y^3 is left of some y, each known to 1e-16
        torch.testing.assert_close(problem.theta, expected, rtol=1e-12, atol=1e-15 * y)
        assert (abs(problem.theta[1]) < y).item() == (kind is Newton)


@pytest.mark.parametrize("sign", [-1, 1])
def test_from_beside_the_saddle_it_comes_to_the_minimum_of_that_side(sign: int) -> None:
    problem = on_the_saddle([1.5, sign * 1e-4])
    optimizer = SaddleFreeNewton(problem.parameters, damping=0.05)
    for _ in range(40):
        problem.step(optimizer)
    # y grows by 1 + 1/1.05 a step, 14 steps for a factor of 1e4; where f'' = 0 it jumps by up to 0.38/0.05, comes back
    # by about 2/3 a step, and then the distance shrinks by 0.05/2.05 a step
    torch.testing.assert_close(problem.theta, torch.tensor([0.0, sign], dtype=torch.float64), rtol=0, atol=1e-9)


def test_a_singular_matrix_asks_for_damping() -> None:
    problem = softmax_regression(0, strength=0.0)  # equal shifts of all scores: four eigenvalues are 0
    before = problem.theta
    with pytest.raises(OptionError) as caught:
        problem.step(SaddleFreeNewton(problem.parameters, damping=0.0))
    assert str(caught.value) == "optimizer.damping=0.0: must be larger; for the Hessian plus damping is singular"
    assert torch.equal(problem.theta, before)
    problem.step(SaddleFreeNewton(problem.parameters, damping=0.1))
    assert not torch.equal(problem.theta, before)


def test_a_hessian_that_is_not_finite_makes_parameters_that_are_not() -> None:
    """So that the run is one that diverged, and not one that failed."""

    class Steep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([1e200], dtype=torch.float64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.weight.square() * x

    problem = Problem(Steep(), half_squares, ONE, ZERO)
    problem.step(SaddleFreeNewton(problem.parameters))
    assert problem.theta.isnan().all()


def test_too_large_a_model_is_refused() -> None:
    optimizer = SaddleFreeNewton([nn.Parameter(torch.zeros(2))])
    optimizer.check(2000, 10**6, 10**3)
    with pytest.raises(OptionError, match=r"^max_parameters=2000: must be at least the model's 2001 parameters, for a"):
        optimizer.check(2001, 1, 1)
