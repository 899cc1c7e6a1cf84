"""Coordinate descent: Gauss and Seidel's sweeps, exact minima along blocks, and safety where curvature is negative."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizers.objective_problems import Problem, half_squares, normal, ridge, softmax_regression, tanh_network
from torch import Tensor, nn

from fanin.errors import OptionError
from fanin.parts.optimizers.coordinate_descent import CoordinateDescent, newton_step


def normal_equations(problem: Problem) -> tuple[Tensor, Tensor]:
    """A theta = b at the minimum of a ridge problem."""
    x, n = problem.inputs, len(problem.inputs)
    gram = x.T @ x / n + problem.strength * torch.eye(x.shape[1], dtype=torch.float64)
    return gram, (x.T @ problem.targets / n).flatten()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), features=st.integers(1, 6), rate=st.sampled_from([1.0, 0.4, 1.6]))
def test_blocks_of_one_in_turn_are_gauss_seidel(seed: int, features: int, rate: float) -> None:
    """With a rate that is not 1: successive over-relaxation."""
    problem = ridge(seed, 20, features, strength=0.2)
    a, b = normal_equations(problem)
    theta = problem.theta.tolist()
    optimizer = CoordinateDescent(problem.parameters, lr=rate, block_size=1)
    for _ in range(3):
        for i in range(features):
            others = sum(a[i, j].item() * theta[j] for j in range(features) if j != i)
            solved = (b[i].item() - others) / a[i, i].item()
            theta[i] += rate * (solved - theta[i])
            problem.step(optimizer)
        # sums of 20 terms in another order, solved for one unknown at a time
        assert problem.theta.tolist() == pytest.approx(theta, rel=1e-10, abs=1e-10)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 7), order=st.sampled_from(["cyclic", "random"]))
def test_each_step_ends_at_the_minimum_along_its_block(seed: int, size: int, order: str) -> None:
    problem = ridge(seed, 30, 7)
    a, b = normal_equations(problem)
    optimizer = CoordinateDescent(problem.parameters, order=order, block_size=size, seed=seed)
    for step in range(6):
        before = problem.theta
        problem.step(optimizer)
        changed = (problem.theta - before).abs() > 1e-9
        numbers = {index // size for index in changed.nonzero().flatten().tolist()}
        if order == "cyclic":
            assert numbers <= {step % -(-7 // size)}
        assert len(numbers) == 1 or ((order == "random" or size == 7) and step > 0)  # it may have been there before
        # the gradient along the whole block is 0, to the rounding of sums
        for number in numbers:
            slope = (a @ problem.theta - b)[number * size : (number + 1) * size]
            assert slope.abs().max() < 1e-12 * a.abs().max() * (1 + before.abs().max())


def test_random_blocks_are_equally_likely_and_follow_the_seed() -> None:
    def blocks(seed: int, steps: int) -> list[int]:
        problem = ridge(0, 5, 4)
        optimizer = CoordinateDescent(problem.parameters, order="random", block_size=1, seed=seed)
        return [optimizer._block(optimizer.param_groups[0], 4) for _ in range(steps)]

    drawn = blocks(0, 2000)
    counts = [drawn.count(block) for block in range(4)]
    assert sum(counts) == 2000
    assert all(abs(count - 500) < 5 * (2000 * 0.25 * 0.75) ** 0.5 for count in counts)
    assert blocks(0, 30) == drawn[:30]
    assert blocks(1, 30) != drawn[:30]


def test_an_odd_number_of_parameters_has_a_short_last_block() -> None:
    problem = ridge(0, 30, 5)
    optimizer = CoordinateDescent(problem.parameters, block_size=2)
    for expected in ([0, 1], [2, 3], [4], [0, 1]):
        before = problem.theta
        problem.step(optimizer)
        assert (problem.theta != before).nonzero().flatten().tolist() == expected


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 6))
def test_negative_curvature_turns_the_step_round_and_none_leaves_the_gradient(seed: int, size: int) -> None:
    basis = torch.linalg.qr(normal(seed, size, size)).Q
    values = torch.tensor([3.0, -0.5, 0.0, 0.01, -7.0, 0.0][:size], dtype=torch.float64)
    gradient = normal(seed + 1, size)
    lengths = torch.tensor([1 / 3, 2.0, 1.0, 100.0, 1 / 7, 1.0][:size], dtype=torch.float64)
    step = newton_step(basis @ torch.diag(values) @ basis.T, gradient)
    # 0.01 comes out with an error of 1e-16 times 7: relatively 1e-13
    torch.testing.assert_close(basis.T @ step, -lengths * (basis.T @ gradient), rtol=1e-9, atol=1e-9)


def test_a_direction_without_curvature_takes_the_gradient() -> None:
    assert newton_step(torch.zeros(2, 2), torch.tensor([1.0, -2.0])).tolist() == [-1, 2]
    step = newton_step(torch.diag(torch.tensor([4.0, 0.0])), torch.tensor([1.0, -2.0]))
    assert step.tolist() == [-0.25, 2]


@pytest.mark.parametrize("make", [lambda: tanh_network(0), lambda: softmax_regression(0), lambda: tanh_network(3)])
@pytest.mark.parametrize("lr", [1.0, 8.0])
def test_the_objective_never_rises(make: object, lr: float) -> None:
    problem: Problem = make()  # type: ignore[operator]
    optimizer = CoordinateDescent(problem.parameters, lr=lr, block_size=4)
    values = [problem.value()]
    for _ in range(44):
        problem.step(optimizer)
        values.append(problem.value())
    # the bound: 10 roundings of a value of order 1
    assert all(after <= before + 1e-14 for before, after in itertools.pairwise(values))
    assert values[-1] < 0.8 * values[0]


def test_a_step_too_long_is_halved_until_it_helps() -> None:
    problem = ridge(0, 20, 1)
    a, b = normal_equations(problem)
    start, goal = problem.theta, b / a[0]
    problem.step(CoordinateDescent(problem.parameters, lr=5.0, block_size=1))
    # 5 and 2.5 overshoot by more than the distance; 1.25 does not
    torch.testing.assert_close(problem.theta, start + 1.25 * (goal - start), rtol=1e-10, atol=1e-12)


def test_where_no_length_helps_nothing_changes() -> None:
    problem = ridge(0, 20, 3)
    start, objective = problem.theta, problem.run_pass()
    for p in problem.parameters:
        p.grad = -p.grad  # type: ignore[operator]
    CoordinateDescent(problem.parameters, block_size=3).step(objective)
    assert torch.equal(problem.theta, start)


def test_a_dead_unit_stays_where_it_is() -> None:
    model = nn.Sequential(nn.Linear(2, 1), nn.ReLU()).double()
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(-1.0)
    x = normal(0, 6, 2).abs()
    problem = Problem(model, half_squares, x, torch.ones(6, 1, dtype=torch.float64))
    problem.step(CoordinateDescent(problem.parameters, block_size=3))
    assert problem.theta.tolist() == [-1, -1, -1]


def test_a_block_larger_than_the_model_is_refused() -> None:
    optimizer = CoordinateDescent([nn.Parameter(torch.zeros(2))], block_size=9)
    optimizer.check(9, 100, 10)
    with pytest.raises(OptionError) as caught:
        optimizer.check(8, 100, 10)
    assert str(caught.value) == "block_size=9: must be at most the model's 8 parameters"
