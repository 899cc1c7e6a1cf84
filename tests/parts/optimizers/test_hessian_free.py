"""Conjugate gradients against a dense solution, and the damping rule by hand."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizers.objective_problems import normal, ridge, ridge_minimum, tanh_network

from fanin.parts.optimizers.gauss_newton import GaussNewton
from fanin.parts.optimizers.hessian_free import HessianFree, conjugate_gradients


def positive_definite(seed: int, size: int) -> torch.Tensor:
    """Eigenvalues 1 to 10."""
    basis = torch.linalg.qr(normal(seed, size, size)).Q
    matrix: torch.Tensor = basis @ torch.diag(torch.linspace(1, 10, size, dtype=torch.float64)) @ basis.T
    return matrix


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 12), warm=st.booleans())
def test_conjugate_gradients_solve_in_as_many_steps_as_there_are_unknowns(seed: int, size: int, warm: bool) -> None:
    matrix, right = positive_definite(seed, size), normal(seed + 1, size)
    start = normal(seed + 2, size) if warm else torch.zeros(size, dtype=torch.float64)
    found = conjugate_gradients(lambda v: matrix @ v, right, start, size, 0.0)
    # condition 10: roundings of 1e-16 grow little over 12 steps
    torch.testing.assert_close(found, torch.linalg.solve(matrix, right), rtol=1e-9, atol=1e-9)


def test_conjugate_gradients_are_the_best_in_the_krylov_space() -> None:
    matrix, right = positive_definite(3, 10), normal(4, 10)
    for steps in (1, 2, 4):
        found = conjugate_gradients(lambda v: matrix @ v, right, torch.zeros_like(right), steps, 0.0)
        space = torch.linalg.qr(torch.stack([torch.linalg.matrix_power(matrix, k) @ right for k in range(steps)], 1)).Q
        best = space @ torch.linalg.solve(space.T @ matrix @ space, space.T @ right)
        torch.testing.assert_close(found, best, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("tolerance", [0.5, 1e-3, 1e-8])
def test_the_tolerance_is_the_residuals(tolerance: float) -> None:
    matrix, right = positive_definite(3, 30), normal(4, 30)
    used = 0

    def product(v: torch.Tensor) -> torch.Tensor:
        nonlocal used
        used += 1
        return matrix @ v

    zero = torch.zeros_like(right)
    found = conjugate_gradients(product, right, zero, 100, tolerance)
    shorter = conjugate_gradients(product, right, zero, used - 2, 0.0)  # the first product was that of the start
    residuals = [((right - matrix @ x).norm() / right.norm()).item() for x in (found, shorter)]
    assert residuals[0] <= tolerance < residuals[1]


def test_a_start_that_is_worse_than_nothing_is_not_taken() -> None:
    matrix, right = positive_definite(3, 6), normal(4, 6)
    start = -torch.linalg.solve(matrix, right)
    found = conjugate_gradients(lambda v: matrix @ v, right, start, 1, 0.0)
    steepest = (right @ right) / (right @ matrix @ right) * right  # the first step from 0
    torch.testing.assert_close(found, steepest, rtol=1e-12, atol=0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_solved_exactly_it_is_gauss_newton(seed: int) -> None:
    exact, free = tanh_network(seed, strength=0.1), tanh_network(seed, strength=0.1)
    dense = GaussNewton(exact.parameters, lr=0.7, damping=0.05)
    matrix_free = HessianFree(free.parameters, lr=0.7, damping=0.05, adapt=False, cg_iterations=200, tolerance=1e-13)
    for first in (0, 8):  # the second system starts from the first one's solution
        rows = torch.arange(first, first + 12)
        exact.step(dense, rows)
        free.step(matrix_free, rows)
        # residual 1e-13 |g| over the least eigenvalue 0.05
        torch.testing.assert_close(free.theta, exact.theta, rtol=0, atol=1e-10)


def test_each_system_starts_from_the_last_solution() -> None:
    """Standing still, single iterations add up to the solution: steepest descent, one step each."""
    problem = ridge(2)
    optimizer = HessianFree(problem.parameters, lr=0.0, damping=0.0, adapt=False, cg_iterations=1, tolerance=0.0)
    solution, misses = ridge_minimum(problem) - problem.theta, []
    for _ in range(60):
        problem.step(optimizer)
        misses.append((optimizer.memory["direction"] - solution).norm().item())
    # each step leaves at most (k - 1)/(k + 1) of the error, in the matrix's norm, for a condition k of some 3
    assert misses[0] > 0.01
    assert misses[-1] < 1e-10


@pytest.mark.parametrize("lr", [1.0, 0.3, 1.9])
def test_a_quadratic_foretells_itself_and_damping_falls(lr: float) -> None:
    problem = ridge(2)
    optimizer = HessianFree(problem.parameters, lr=lr, damping=3.0, cg_iterations=50, tolerance=1e-13)
    start, minimum, x = problem.theta, ridge_minimum(problem), problem.inputs
    hessian = x.T @ x / len(x) + 0.1 * torch.eye(5, dtype=torch.float64)
    damped = hessian + 3 * torch.eye(5, dtype=torch.float64)
    problem.step(optimizer)
    expected = start - lr * torch.linalg.solve(damped, hessian @ (start - minimum))
    torch.testing.assert_close(problem.theta, expected, rtol=1e-9, atol=1e-10)
    assert optimizer.memory["damping"] == pytest.approx(2.0)  # r = 1
    problem.step(optimizer)
    assert optimizer.memory["damping"] == pytest.approx(4 / 3)


def test_damping_follows_the_ratio_of_actual_to_foretold_change() -> None:
    """Each step of a network against the rule, recomputed from the outside."""
    problem = tanh_network(7, strength=0.0)
    optimizer = HessianFree(problem.parameters, damping=0.02, cg_iterations=100, tolerance=1e-12)
    seen = set()
    for _ in range(12):
        start, before = problem.theta, problem.value()
        damping = optimizer.memory.get("damping", 0.02)
        objective = problem.run_pass()
        gradient, product = objective.pass_gradient(), objective.gauss_newton_product()
        matrix = torch.stack([product(row) for row in torch.eye(43, dtype=torch.float64)])
        direction = -torch.linalg.solve(matrix + damping * torch.eye(43, dtype=torch.float64), gradient)
        foretold = gradient @ direction + 0.5 * direction @ matrix @ direction
        optimizer.step(objective)
        objective.place(start + direction)
        ratio = ((problem.value() - before) / foretold).item()
        taken = start if ratio < 0 else start + direction
        objective.place(taken)
        factor = 1.5 if ratio < 0.25 else 2 / 3 if ratio > 0.75 else 1.0
        assert optimizer.memory["damping"] == pytest.approx(factor * damping, rel=1e-12)
        seen.add(factor)
    assert len(seen) >= 2


def test_a_step_that_would_raise_the_objective_is_not_taken() -> None:
    problem = ridge(2)
    start = problem.theta
    optimizer = HessianFree(problem.parameters, lr=2.5, damping=0.0, tolerance=1e-10)  # f = (1 - 2.5)^2 of what it was
    problem.step(optimizer)
    assert torch.equal(problem.theta, start)
    optimizer.memory["damping"] = 0.1
    problem.step(optimizer)
    assert torch.equal(problem.theta, start)
    assert optimizer.memory["damping"] == pytest.approx(0.15)
    free = HessianFree(problem.parameters, lr=2.5, damping=0.0, adapt=False, tolerance=1e-10)
    before = problem.value()
    problem.step(free)
    assert problem.value() > before


def test_a_step_out_of_the_finite_numbers_is_not_taken() -> None:
    problem = ridge(2)
    start = problem.theta
    optimizer = HessianFree(problem.parameters, lr=1.0, damping=2.0)
    optimizer.param_groups[0]["lr"] = 1e200  # more than anybody may type, for float64 to overflow
    problem.step(optimizer)
    assert torch.equal(problem.theta, start)
    assert optimizer.memory["damping"] == 3


def test_it_trains_a_network() -> None:
    problem = tanh_network(0)
    optimizer = HessianFree(problem.parameters)
    values = [problem.value()]
    for _ in range(25):
        problem.step(optimizer)
        values.append(problem.value())
    assert all(after <= before for before, after in itertools.pairwise(values))
    assert values[-1] < 0.2 * values[0]
