"""BFGS and L-BFGS: the update by its formula, exact ends on quadratics, scipy's minima, and the line search."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizers.objective_problems import (
    Problem,
    half_squares,
    normal,
    ridge,
    ridge_minimum,
    softmax_regression,
    tanh_network,
)
from scipy.optimize import minimize
from torch import Tensor, nn

from fanin.errors import OptionError
from fanin.parts.optimizers.bfgs import BFGS
from fanin.parts.optimizers.lbfgs import LBFGS
from fanin.parts.optimizers.line_search import Point, strong_wolfe
from fanin.parts.optimizers.quasi_newton import QuasiNewton

BOTH = pytest.mark.parametrize("kind", [BFGS, LBFGS])


def pairs(seed: int, count: int, size: int) -> list[tuple[Tensor, Tensor]]:
    """Steps and changes of gradient with positive products, as a positive definite matrix has them."""
    root = normal(seed, size, size)
    matrix = root @ root.T + torch.eye(size, dtype=torch.float64)
    steps = normal(seed + 1, count, size)
    return [(s, matrix @ s) for s in steps]


def dense_bfgs(some: list[tuple[Tensor, Tensor]], scale: Tensor) -> Tensor:
    """(I - r s y^T) B (I - r y s^T) + r s s^T from scale * I, by products of matrices."""
    eye = torch.eye(len(some[0][0]), dtype=torch.float64)
    inverse = scale * eye
    for s, y in some:
        r = 1 / (y @ s)
        inverse = (eye - r * torch.outer(s, y)) @ inverse @ (eye - r * torch.outer(y, s)) + r * torch.outer(s, s)
    return inverse


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 7), count=st.integers(1, 6), history=st.integers(1, 6))
def test_the_inverse_hessian_is_the_formulas(seed: int, size: int, count: int, history: int) -> None:
    some = pairs(seed, count, size)
    full = BFGS([nn.Parameter(torch.zeros(size))])
    limited = LBFGS([nn.Parameter(torch.zeros(size))], history=history)
    for s, y in some:
        full.learn(s, y)
        limited.learn(s, y)
    gradient = normal(seed + 3, size)
    (s, y), (last_s, last_y) = some[0], some[-1]
    expected = dense_bfgs(some, (s @ y) / (y @ y))  # scaled by the first pair
    # condition numbers of 1e3, squared by the pairs' own
    torch.testing.assert_close(full.multiply(gradient), expected @ gradient, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(full.multiply(last_y), last_s, rtol=1e-7, atol=1e-8)  # the secant equation
    expected = dense_bfgs(some[-history:], (last_s @ last_y) / (last_y @ last_y))  # scaled by the last one
    torch.testing.assert_close(limited.multiply(gradient), expected @ gradient, rtol=1e-7, atol=1e-8)


def test_at_first_it_is_steepest_descent() -> None:
    problem = ridge(0)
    start, gradient = problem.theta, problem.run_pass().pass_gradient()
    problem.step(BFGS(problem.parameters, curvature=1e-9, decrease=1e-10))
    x = problem.inputs
    hessian = x.T @ x / len(x) + 0.1 * torch.eye(5, dtype=torch.float64)
    best = gradient @ gradient / (gradient @ hessian @ gradient)  # the exact minimum along -g
    torch.testing.assert_close(problem.theta, start - best * gradient, rtol=1e-7, atol=1e-8)


@BOTH
@pytest.mark.parametrize("features", [2, 5, 8])
def test_with_exact_searches_a_quadratic_ends_in_as_many_steps_as_parameters(
    kind: Callable[..., QuasiNewton], features: int
) -> None:
    problem = ridge(3, features=features)
    problem.inputs *= torch.arange(1, features + 1)  # curvatures from 1 to features^2
    goal, start = ridge_minimum(problem), problem.theta
    optimizer = kind(problem.parameters, decrease=1e-10, curvature=1e-9)
    before = start
    for _ in range(features):
        before = problem.theta
        problem.step(optimizer)
    # searches exact to 1e-9 of the slope, times condition numbers below 100
    assert (problem.theta - goal).norm() < 1e-6 * (start - goal).norm()
    assert (before - goal).norm() > 1e-4 * (start - goal).norm()
    if kind is BFGS:
        x = problem.inputs
        hessian = x.T @ x / len(x) + 0.1 * torch.eye(features, dtype=torch.float64)
        torch.testing.assert_close(
            optimizer.memory["inverse"] @ hessian, torch.eye(features).double(), rtol=0, atol=1e-4
        )


@pytest.mark.parametrize(("kind", "method"), [(BFGS, "BFGS"), (LBFGS, "L-BFGS-B")])
@pytest.mark.parametrize("make", [ridge, softmax_regression, lambda s: softmax_regression(s, 60, 6, 4, 0.001)])
def test_scipy_finds_the_same_minimum_in_about_as_many_steps(
    kind: Callable[..., QuasiNewton], method: str, make: Callable[[int], Problem]
) -> None:
    problem = make(2)
    objective = problem.run_pass()

    def value_and_gradient(theta: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, object]:
        objective.place(torch.from_numpy(theta))
        value, gradient = objective.value_and_gradient()
        return value, gradient.numpy()

    start = problem.theta
    options = {"gtol": 1e-6} | ({"ftol": 0} if kind is LBFGS else {})
    theirs = minimize(value_and_gradient, start.numpy(), jac=True, method=method, options=options)
    objective.place(start)
    optimizer = kind(problem.parameters)
    steps = 0
    while problem.run_pass().pass_gradient().abs().max() > 1e-6 and steps < 200:
        problem.step(optimizer)
        steps += 1
    assert steps <= 1.5 * theirs.nit + 3
    # gradients of 1e-6 over the strong convexity, at least 0.001
    assert (problem.theta - torch.from_numpy(theirs.x)).abs().max() < 2 * 1e-6 * math.sqrt(len(start)) / 0.001
    assert problem.value() == pytest.approx(theirs.fun, abs=1e-8)


@BOTH
def test_a_network_falls_at_every_step_on_the_whole_set(kind: Callable[..., QuasiNewton]) -> None:
    problem = tanh_network(0)
    optimizer = kind(problem.parameters)
    values = [problem.value()]
    for _ in range(30):
        problem.step(optimizer)
        values.append(problem.value())
    assert all(after < before for before, after in itertools.pairwise(values))
    assert values[-1] < 0.2 * values[0]


@BOTH
def test_it_rests_at_the_minimum(kind: Callable[..., QuasiNewton]) -> None:
    problem = ridge(0)
    goal = ridge_minimum(problem)
    optimizer = kind(problem.parameters)
    for _ in range(60):
        problem.step(optimizer)
    # the value resolves theta to 1e-8 only; the slopes lead on from there
    assert (problem.theta - goal).norm() < 1e-10


@BOTH
def test_single_precision_reaches_what_it_resolves(kind: Callable[..., QuasiNewton]) -> None:
    problem = softmax_regression(0)
    problem.model.float()
    problem.inputs = problem.inputs.float()
    optimizer = kind(problem.parameters)
    for _ in range(60):
        problem.step(optimizer)
    # roundings 6e-8 of a value of order 1, in sums of 40
    assert problem.run_pass().pass_gradient().norm() < 2e-6


@BOTH
def test_a_rate_of_zero_changes_nothing(kind: Callable[..., QuasiNewton]) -> None:
    problem = ridge(0)
    start = problem.theta
    problem.step(kind(problem.parameters, lr=0.0))
    assert torch.equal(problem.theta, start)


@BOTH
def test_the_rate_is_the_first_trial(kind: Callable[..., QuasiNewton]) -> None:
    """A step that is good enough at once is taken as it is."""
    problem = ridge(0)
    start, gradient = problem.theta, problem.run_pass().pass_gradient()
    problem.step(kind(problem.parameters, lr=0.123, curvature=0.999))
    torch.testing.assert_close(problem.theta, start - 0.123 * gradient, rtol=1e-13, atol=0)


@BOTH
def test_a_direction_that_rises_is_forgotten(kind: Callable[..., QuasiNewton]) -> None:
    problem = ridge(0)
    start, gradient = problem.theta, problem.run_pass().pass_gradient()
    optimizer = kind(problem.parameters, lr=0.1, curvature=0.999)
    if kind is BFGS:
        optimizer.memory["inverse"] = -torch.eye(5, dtype=torch.float64)
    else:
        optimizer.memory |= {"steps": gradient.view(1, -1), "changes": -gradient.view(1, -1)}
    problem.step(optimizer)
    torch.testing.assert_close(problem.theta, start - 0.1 * gradient, rtol=1e-13, atol=0)
    x, again = problem.inputs, kind(problem.parameters)
    s = problem.theta - start
    y = x.T @ (x @ s) / len(x) + 0.1 * s
    again.learn(s, y)  # the step is all it knows now
    torch.testing.assert_close(optimizer.multiply(gradient), again.multiply(gradient), rtol=1e-9, atol=1e-10)


@BOTH
def test_a_search_in_vain_forgets_and_stays(kind: Callable[..., QuasiNewton]) -> None:
    problem = ridge(0)
    start, gradient = problem.theta, problem.run_pass().pass_gradient()
    optimizer = kind(problem.parameters, max_evaluations=1)
    optimizer.learn(1e6 * gradient, gradient)  # a hundred thousand times too long
    problem.step(optimizer)
    assert torch.equal(problem.theta, start)
    assert optimizer.memory == {}


@BOTH
def test_nothing_is_learned_from_negative_curvature(kind: Callable[..., QuasiNewton]) -> None:
    """f = (w^2 - 1)^2/2 is concave below 1/sqrt(3); one look, and the slope there is steeper than at the start."""

    class Square(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).square()

    one = torch.ones(1, 1, dtype=torch.float64)
    problem = Problem(Square(1, 1, bias=False).double(), half_squares, one, one)
    problem.run_pass().place(torch.tensor([0.1], dtype=torch.float64))
    optimizer = kind(problem.parameters, lr=0.1, max_evaluations=1)
    problem.step(optimizer)
    # f' = 2 w (w^2 - 1) = -0.198
    assert problem.theta.item() == pytest.approx(0.1 + 0.1 * 0.198, rel=1e-12)
    assert optimizer.memory == {}


def test_too_large_a_model_is_refused_by_bfgs() -> None:
    optimizer = BFGS([nn.Parameter(torch.zeros(2))], max_parameters=100)
    optimizer.check(100, 10**6, 10**3)
    with pytest.raises(
        OptionError, match=r"^max_parameters=100: must be at least the model's 101 parameters, for a den"
    ):
        optimizer.check(101, 1, 1)


LINES: dict[str, Callable[[float], tuple[float, float]]] = {
    "quadratic": lambda t: (0.5 * (t - 3) ** 2, t - 3),
    "far away": lambda t: (0.5 * (t / 300 - 1) ** 2, (t / 300 - 1) / 300),
    "wavy": lambda t: (0.02 * t * t - math.sin(t), 0.04 * t - math.cos(t)),
    "saturated": lambda t: (-(1 - math.exp(-10 * t)) / 10, -math.exp(-10 * t)),
    "a wall": lambda t: (-2 * t - math.log(1 - t), 1 / (1 - t) - 2) if t < 1 else (math.inf, math.nan),
    "a kink": lambda t: (abs(t - 0.7), -1.0 if t < 0.7 else 1.0),
    "steep": lambda t: (math.cosh(9 * (t - 1)), 9 * math.sinh(9 * (t - 1))) if t < 70 else (math.inf, math.inf),
    "not a number": lambda t: (-t, -1.0) if t < 2 else (math.nan, math.nan),
}


def search(
    line: Callable[[float], tuple[float, float]], trial: float, decrease: float, curvature: float
) -> tuple[Point, Point]:
    def look(t: float) -> Point:
        value, slope = line(t)
        return Point(t, value, slope, torch.empty(0))

    start = look(0.0)
    found = strong_wolfe(look, start, trial, decrease=decrease, curvature=curvature, rounding=1e-15, evaluations=60)
    return start, found


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(["quadratic", "far away", "wavy", "steep", "saturated", "a wall"]),
    trial=st.floats(0.001, 100),
    decrease=st.floats(1e-6, 0.2),
    curvature=st.floats(0.25, 0.9),
)
def test_the_search_finds_the_strong_wolfe_conditions(
    name: str, trial: float, decrease: float, curvature: float
) -> None:
    start, found = search(LINES[name], trial, decrease, curvature)
    assert found.t > 0
    assert found.value <= start.value + decrease * found.t * start.slope + 1e-14
    assert abs(found.slope) <= curvature * abs(start.slope)


@pytest.mark.parametrize("trial", [0.01, 0.5, 1.0, 5.0])
@pytest.mark.parametrize(("name", "lowest"), [("a kink", 0.7), ("not a number", 2.0)])
def test_where_no_point_is_flat_the_lowest_is_taken(name: str, lowest: float, trial: float) -> None:
    _, found = search(LINES[name], trial, 1e-4, 0.1)
    # 60 looks, each of which leaves at most 0.9 of the interval: 0.9^50 of about 5
    assert found.t == pytest.approx(lowest, abs=0.05)


def test_where_nothing_is_lower_the_start_is_taken() -> None:
    start, found = search(lambda t: (float(t > 0), -1.0), 1.0, 1e-4, 0.9)
    assert found is start


@pytest.mark.parametrize("trial", [0.01, 1.0, 40.0])
def test_a_small_curvature_makes_it_exact(trial: float) -> None:
    _, found = search(LINES["quadratic"], trial, 1e-10, 1e-9)
    assert found.t == pytest.approx(3, abs=1e-8)
