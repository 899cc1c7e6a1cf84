"""Newton and Gauss-Newton: one step on a quadratic, dense formulas on networks, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizers.objective_problems import Problem, half_squares, ridge, ridge_minimum, softmax_regression, tanh_network
from torch import nn

from fanin.errors import OptionError
from fanin.parts.optimizers.gauss_newton import GaussNewton
from fanin.parts.optimizers.newton import Newton

BOTH = pytest.mark.parametrize("kind", [Newton, GaussNewton])


@BOTH
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), features=st.integers(1, 8), rate=st.floats(0.1, 2), strength=st.floats(0.01, 1))
def test_a_quadratic_takes_one_full_step(
    kind: type[Newton], seed: int, features: int, rate: float, strength: float
) -> None:
    problem = ridge(seed, 30, features, strength)
    start, minimum = problem.theta, ridge_minimum(problem)
    problem.step(kind(problem.parameters, lr=rate, damping=0.0))
    # condition numbers below 1e4, so solving and inverting lose at most 1e-12
    torch.testing.assert_close(problem.theta, start + rate * (minimum - start), rtol=1e-10, atol=1e-10)


@BOTH
@pytest.mark.parametrize("damping", [0.0, 0.5, 20.0])
def test_damping_is_added_to_every_eigenvalue(kind: type[Newton], damping: float) -> None:
    problem = ridge(3)
    start = problem.theta
    x = problem.inputs
    values, vectors = torch.linalg.eigh(x.T @ x / len(x) + 0.1 * torch.eye(5, dtype=torch.float64))
    away = vectors.T @ (start - ridge_minimum(problem))
    problem.step(kind(problem.parameters, damping=damping))
    # in the eigenbasis g = value * away, so the step is away * value / (value + damping)
    expected = start - vectors @ (away * values / (values + damping))
    torch.testing.assert_close(problem.theta, expected, rtol=1e-10, atol=1e-11)


def test_near_a_minimum_newtons_error_is_squared() -> None:
    problem = softmax_regression(0, strength=0.1)
    problem.run_pass().place(torch.zeros(12))  # farther away the full step may overshoot
    optimizer = Newton(problem.parameters, damping=0.0)
    norms = []
    for _ in range(7):
        norms.append(problem.run_pass().pass_gradient().norm().item())
        problem.step(optimizer)
    small = [norm for norm in norms if norm < 1e-2]
    assert len(small) >= 2
    assert small[1] < 10 * small[0] ** 2
    assert problem.run_pass().pass_gradient().norm() < 1e-13


def test_newton_goes_up_to_a_maximum_and_gauss_newton_down() -> None:
    """f = (cos(theta) - 0)^2/2 with theta = 0.3: f'' = -cos(2 theta) < 0, while J^2 = sin(theta)^2 > 0."""

    class Cosine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.angle = nn.Parameter(torch.tensor([0.3], dtype=torch.float64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.angle.cos() * x

    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    angle = torch.tensor(0.3, dtype=torch.float64)
    gradient = -angle.cos() * angle.sin()
    for kind, curvature in ((Newton, -torch.cos(2 * angle)), (GaussNewton, angle.sin() ** 2)):
        problem = Problem(Cosine(), half_squares, one, zero)
        problem.step(kind(problem.parameters, lr=0.1, damping=0.0))
        torch.testing.assert_close(problem.theta, (angle - 0.1 * gradient / curvature).view(1), rtol=1e-12, atol=0)
        assert (problem.theta < angle).item() == (kind is Newton)


@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_gauss_newton_on_a_network_is_the_dense_solution(rate: float) -> None:
    problem = tanh_network(4, strength=0.0)
    rows = torch.arange(10)
    x, start = problem.inputs[rows], problem.theta
    # the classical way round: sum over the examples of J_b^T (diag(p_b) - p_b p_b^T) J_b / B, J_b by single backwards
    matrix = torch.zeros(43, 43, dtype=torch.float64)
    for one in x:
        logits = problem.model(one)
        parts = [torch.autograd.grad(s, problem.parameters, retain_graph=True) for s in logits]
        j = torch.stack([torch.cat([g.flatten() for g in part]) for part in parts])
        p = torch.softmax(logits.detach(), 0)
        matrix += j.T @ (torch.diag(p) - torch.outer(p, p)) @ j / 10
    gradient = problem.run_pass(rows).pass_gradient()
    expected = start - rate * torch.linalg.inv(matrix + 0.1 * torch.eye(43, dtype=torch.float64)) @ gradient
    problem.step(GaussNewton(problem.parameters, lr=rate, damping=0.1), rows)
    torch.testing.assert_close(problem.theta, expected, rtol=1e-9, atol=1e-10)


@BOTH
def test_a_singular_matrix_asks_for_damping(kind: type[Newton]) -> None:
    problem = ridge(0, features=3, strength=0.0)
    problem.inputs[:, 1] = 0  # this weight does nothing
    with pytest.raises(OptionError) as caught:
        problem.step(kind(problem.parameters, damping=0.0))
    what = "Hessian" if kind is Newton else "Gauss-Newton matrix"
    assert str(caught.value) == f"optimizer.damping=0.0: must be larger; for the {what} plus damping is singular"
    before = problem.theta
    problem.step(kind(problem.parameters, damping=0.1))
    assert problem.theta[1] == before[1]
    assert (problem.theta != before).tolist() == [True, False, True]


@BOTH
def test_too_large_a_model_is_refused(kind: type[Newton]) -> None:
    optimizer = kind([nn.Parameter(torch.zeros(2))], max_parameters=4000)
    optimizer.check(4000, 10**6, 10**3)
    with pytest.raises(OptionError, match=r"^max_parameters=4000: must be at least the model's 4001 parameters, for a"):
        optimizer.check(4001, 1, 1)
