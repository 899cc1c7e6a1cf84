"""SVRG and SAGA: unbiased estimates, their updates by hand, and convergence to the minimum where SGD stalls."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
from optimizers.objective_problems import Problem, ridge, ridge_minimum, softmax_regression, tanh_network
from scipy.optimize import minimize
from torch import Tensor, nn

from fanin.errors import OptionError
from fanin.parts.optimizers import SGD
from fanin.parts.optimizers.objective import ObjectiveOptimizer
from fanin.parts.optimizers.saga import SAGA
from fanin.parts.optimizers.svrg import SVRG

Array = npt.NDArray[np.float64]
BOTH = pytest.mark.parametrize("kind", [SVRG, SAGA])


def softmax_minimum(problem: Problem) -> Tensor:
    """By scipy, from the formulas of softmax regression."""
    x, y = problem.inputs.numpy(), problem.targets.numpy()
    shape = (y.max() + 1, x.shape[1])
    onehot = np.eye(shape[0])[y]

    def value_and_gradient(theta: Array) -> tuple[float, Array]:
        w = theta.reshape(shape)
        logits = x @ w.T
        logsumexp = np.log(np.exp(logits).sum(1, keepdims=True))
        p = np.exp(logits - logsumexp)
        value = np.mean(logsumexp[:, 0] - logits[np.arange(len(x)), y]) + 0.5 * problem.strength * (w**2).sum()
        return float(value), ((p - onehot).T @ x / len(x) + problem.strength * w).flatten()

    found = minimize(value_and_gradient, np.zeros(shape).flatten(), jac=True, method="BFGS", options={"gtol": 1e-10})
    return torch.from_numpy(found.x)


@BOTH
@pytest.mark.parametrize(
    ("make", "minimum", "lr"),
    [(ridge, ridge_minimum, 0.15), (lambda s: softmax_regression(s, 100, 5, strength=0.2), softmax_minimum, 0.4)],
    ids=["least squares", "softmax regression"],
)
def test_a_fixed_step_leads_to_the_minimum_linearly_where_sgd_stalls(
    kind: Callable[..., ObjectiveOptimizer],
    make: Callable[[int], Problem],
    minimum: Callable[[Problem], Tensor],
    lr: float,
) -> None:
    ours, plain = make(5), make(5)
    goal = minimum(ours)
    optimizer, sgd = kind(ours.parameters, lr=lr), SGD(plain.parameters, lr=lr)
    distances, stalled = [(ours.theta - goal).norm().item()], []
    for epoch in range(40):  # of 5 steps
        ours.epochs(optimizer, 1, 20, seed=epoch)
        plain.epochs(sgd, 1, 20, seed=epoch)
        distances.append((ours.theta - goal).norm().item())
        stalled.append((plain.theta - goal).norm().item())
    # lr times the strong convexity (some 0.5 and 0.2) is at least 0.07: each epoch leaves at most (1 - 0.07)^5 = 0.7,
    # and noise in proportion to the distance.
    assert distances[-1] < 0.7**40 * distances[0]
    half = len(distances) // 2
    # Linear: the second half gains about as many digits as the first.
    gains = [distances[half] / distances[0], distances[-1] / distances[half]]
    assert 0.5 < np.log(gains[1]) / np.log(gains[0]) < 2
    assert min(stalled[half:]) > 1e4 * distances[-1]


@BOTH
@pytest.mark.parametrize(
    ("inner", "torchs"),
    [
        ("adam", lambda one: torch.optim.Adam(one, lr=0.05)),
        ("rmsprop", lambda one: torch.optim.RMSprop(one, lr=0.05)),
        ("adagrad", lambda one: torch.optim.Adagrad(one, lr=0.05)),
    ],
)
def test_the_inner_step_is_torchs_with_the_estimate(
    kind: Callable[..., ObjectiveOptimizer], inner: str, torchs: Callable[..., torch.optim.Optimizer]
) -> None:
    """The estimate is what the plain method moves by from the same point; halfway a copy goes on from the state."""
    problem, plain = ridge(2), ridge(2)
    own = {"every": 3} if kind is SVRG else {}
    optimizer, estimator = kind(problem.parameters, lr=0.05, inner=inner, **own), kind(plain.parameters, lr=1.0, **own)
    theta = nn.Parameter(problem.theta.clone())
    oracle = torchs([theta])
    for step in range(8):
        rows = torch.arange(4) + 3 * step % 15
        plain.run_pass().place(theta.detach())
        plain.step(estimator, rows)
        theta.grad = theta.detach() - plain.theta
        oracle.step()
        if step == 4:
            again = kind(problem.parameters, lr=0.05, inner=inner, **own)
            again.load_state_dict(optimizer.state_dict())
            optimizer = again
        problem.step(optimizer, rows)
        torch.testing.assert_close(problem.theta, theta.detach(), rtol=1e-9, atol=1e-11)


def test_an_inner_that_is_unknown_is_told() -> None:
    with pytest.raises(OptionError, match=r"inner=adma: must be one of sgd, momentum, .*; did you mean adam"):
        SVRG(ridge(0).parameters, lr=0.1, inner="adma")


@BOTH
def test_to_the_last_digit(kind: Callable[..., ObjectiveOptimizer]) -> None:
    ours, plain = ridge(0), ridge(0)
    goal = ridge_minimum(ours)
    ours.epochs(kind(ours.parameters, lr=0.15), 60, 20)
    plain.epochs(SGD(plain.parameters, lr=0.15), 60, 20)
    assert (ours.theta - goal).norm() < 1e-11
    assert (plain.theta - goal).norm() > 1e-3


@BOTH
@pytest.mark.parametrize("make", [ridge, tanh_network])
def test_the_estimates_mean_over_all_examples_is_the_full_gradient(
    kind: Callable[..., ObjectiveOptimizer], make: Callable[[int], Problem]
) -> None:
    problem = make(1)
    count = len(problem.inputs)
    own = {"every": 1000} if kind is SVRG else {}
    optimizer = kind(problem.parameters, lr=0.1, **own)
    for row in range(0, 9, 2):  # away from the snapshot, with a table of mixed age
        problem.step(optimizer, torch.tensor([row]))
    theta = problem.theta
    full = problem.run_pass().pass_gradient()
    estimates = []
    for row in range(count):
        again = kind(problem.parameters, lr=1.0, **own)
        again.load_state_dict(optimizer.state_dict())
        again.param_groups[0]["lr"] = 1.0
        problem.step(again, torch.tensor([row]))
        estimates.append(theta - problem.theta)
        problem.run_pass().place(theta)
    # sums of `count` terms of order 1
    torch.testing.assert_close(torch.stack(estimates).mean(0), full, rtol=0, atol=1e-13)
    assert torch.stack(estimates).std(0).max() > 1e-3  # each by itself is another


def hand_ridge(problem: Problem, theta: Array, rows: list[int]) -> Array:
    """The data gradients of some examples, [B, P]."""
    x, y = problem.inputs.numpy()[rows], problem.targets.numpy()[rows, 0]
    return cast(Array, (x @ theta - y)[:, None] * x)


@pytest.mark.parametrize("every", [1, 3, None])
def test_svrg_by_hand(every: int | None) -> None:
    problem = ridge(8, examples=10, features=3, strength=0.4)
    batches = [[0, 1, 2], [5, 9, 7], [3, 8, 4], [6, 0, 1], [2, 5, 3], [9, 4, 8], [0, 6, 7]]
    theta = problem.theta.numpy()
    snapshot = theta
    optimizer = SVRG(problem.parameters, lr=0.1, every=every)
    for step, rows in enumerate(batches):
        if step % (every or 3) == 0:  # 10 examples have 3 whole batches of 3
            snapshot = theta
        full = hand_ridge(problem, snapshot, list(range(10))).mean(0) + 0.4 * snapshot
        here, there = (hand_ridge(problem, place, rows).mean(0) + 0.4 * place for place in (theta, snapshot))
        theta = theta - 0.1 * (here - there + full)
        problem.step(optimizer, torch.tensor(rows))
        assert problem.theta.numpy() == pytest.approx(theta, rel=1e-12, abs=1e-13)


def test_saga_by_hand() -> None:
    problem = ridge(8, examples=10, features=3, strength=0.4)
    batches = [[0, 1, 2], [5, 9, 7], [3, 0, 4], [6, 0, 1], [2, 5, 3]]
    theta = problem.theta.numpy()
    table = hand_ridge(problem, theta, list(range(10)))
    optimizer = SAGA(problem.parameters, lr=0.1)
    for rows in batches:
        new = hand_ridge(problem, theta, rows)
        theta = theta - 0.1 * (new.mean(0) - table[rows].mean(0) + table.mean(0) + 0.4 * theta)
        table[rows] = new
        problem.step(optimizer, torch.tensor(rows))
        assert problem.theta.numpy() == pytest.approx(theta, rel=1e-12, abs=1e-13)


def test_svrg_takes_the_same_dropout_masks_at_both_places() -> None:
    """With other masks at the snapshot the correction would not be 0 while theta is still there."""
    problem = tanh_network(0, dropout=0.5)
    optimizer = SVRG(problem.parameters, lr=0.0, every=10)
    problem.step(optimizer, torch.arange(8))
    optimizer.param_groups[0]["lr"] = 1.0
    theta = problem.theta
    problem.step(optimizer, torch.arange(8, 16))
    torch.testing.assert_close(theta - problem.theta, optimizer.memory["mean"], rtol=0, atol=1e-14)


def test_a_table_too_large_is_refused() -> None:
    optimizer = SAGA([nn.Parameter(torch.zeros(1))], lr=0.1, max_table_entries=1000)
    optimizer.check(10, 100, 10)
    with pytest.raises(OptionError) as caught:
        optimizer.check(11, 100, 10)
    assert str(caught.value) == (
        "max_table_entries=1000: must be at least 1100: 100 examples times 11 parameters; "
        "or take optimizer=svrg, which keeps no table"
    )


def test_saga_says_that_it_needs_the_rows() -> None:
    problem = ridge(0)
    objective = problem.run_pass()
    objective.rows = None
    with pytest.raises(ValueError, match="rows of the batch"):
        SAGA(problem.parameters, lr=0.1).step(objective)
