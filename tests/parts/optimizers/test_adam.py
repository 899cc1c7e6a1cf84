"""Adam by its formula, entry by entry in plain Python, with and without the bias correction."""

from __future__ import annotations

import math

import pytest
import torch

from fanin.parts.optimizers import Adam


def by_formula(gradients: list[float], lr: float, beta1: float, beta2: float, eps: float, correct: bool) -> list[float]:
    """theta after each step, from theta = 0."""
    theta = 0.0
    places = []
    for t in range(1, len(gradients) + 1):
        # the moments as explicit sums over the past, not as recursions
        m = sum((1 - beta1) * beta1 ** (t - s) * gradients[s - 1] for s in range(1, t + 1))
        v = sum((1 - beta2) * beta2 ** (t - s) * gradients[s - 1] ** 2 for s in range(1, t + 1))
        if correct:
            m, v = m / (1 - beta1**t), v / (1 - beta2**t)
        theta -= lr * m / (math.sqrt(v) + eps)
        places.append(theta)
    return places


def path(optimizer: Adam, theta: torch.Tensor, gradients: list[float]) -> list[float]:
    places = []
    for gradient in gradients:
        theta.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        places.append(theta.item())
    return places


@pytest.mark.parametrize("correct", [True, False])
@pytest.mark.parametrize(("beta1", "beta2", "eps"), [(0.9, 0.999, 1e-8), (0.3, 0.5, 0.1), (0.0, 0.9, 1e-8)])
def test_equals_the_formula(correct: bool, beta1: float, beta2: float, eps: float) -> None:
    gradients = torch.randn(60, generator=torch.Generator().manual_seed(2), dtype=torch.float64).tolist()
    theta = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    optimizer = Adam([theta], lr=0.1, beta1=beta1, beta2=beta2, eps=eps, bias_correction=correct)
    expected = by_formula(gradients, 0.1, beta1, beta2, eps, correct)
    assert path(optimizer, theta, gradients) == pytest.approx(expected, rel=1e-11, abs=1e-13)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e5])
def test_the_first_step_is_the_learning_rate_whatever_the_gradient(scale: float) -> None:
    theta = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    # eps / |g| <= 1e-5
    assert path(Adam([theta], lr=0.1), theta, [scale])[0] == pytest.approx(-0.1, rel=2e-5)


def test_without_the_correction_the_first_step_is_too_long() -> None:
    theta = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    first = path(Adam([theta], lr=0.1, bias_correction=False), theta, [1.0])[0]
    assert first == pytest.approx(-0.1 * 0.1 / math.sqrt(0.001), rel=1e-6)


def test_a_dead_unit_stays_where_it_is() -> None:
    theta = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    assert path(Adam([theta], lr=0.1), theta, [0.0, 0.0]) == [0.5, 0.5]
