"""Momentum by hand, where the textbook's form and torch's part: a learning rate that changes."""

from __future__ import annotations

import pytest
import torch

from fanin.parts.optimizers import Momentum


def path(optimizer: torch.optim.Optimizer, theta: torch.Tensor, rates: list[float]) -> list[float]:
    """theta after each step on the constant gradient 1."""
    places = []
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        theta.grad = torch.ones_like(theta)
        optimizer.step()
        places.append(theta.item())
    return places


def zero() -> torch.Tensor:
    return torch.tensor(0.0, dtype=torch.float64, requires_grad=True)


def test_velocity_keeps_the_steps_it_took() -> None:
    theta = zero()
    places = path(Momentum([theta], lr=1, momentum=0.5), theta, [1, 0.1, 0.1])
    # v = -1; -0.5 - 0.1 = -0.6; -0.3 - 0.1 = -0.4
    assert places == pytest.approx([-1, -1.6, -2.0])


def test_torch_shrinks_them_at_once() -> None:
    theta = zero()
    # buffer = 1, 1.5, 1.75, times the learning rate of the day
    theirs = torch.optim.SGD([theta], lr=1, momentum=0.5)
    assert path(theirs, theta, [1, 0.1, 0.1]) == pytest.approx([-1, -1.15, -1.325])


def test_a_learning_rate_of_zero_coasts() -> None:
    theta = zero()
    # v = -1, -0.5, -0.25: nothing new, the old steps fade
    assert path(Momentum([theta], lr=1, momentum=0.5), theta, [1, 0, 0]) == pytest.approx([-1, -1.5, -1.75])


def test_steps_grow_to_a_over_one_minus_rho() -> None:
    theta = zero()
    places = path(Momentum([theta], lr=0.1, momentum=0.9), theta, [0.1] * 400)
    # 0.9^400 = 5e-19: the geometric sum is complete
    assert places[-2] - places[-1] == pytest.approx(0.1 / (1 - 0.9), rel=1e-12)


def test_without_momentum_it_is_gradient_descent() -> None:
    theta = zero()
    assert path(Momentum([theta], lr=1, momentum=0), theta, [0.5, 0.25]) == pytest.approx([-0.5, -0.75])
