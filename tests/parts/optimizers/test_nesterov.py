"""Nesterov's momentum against the look-ahead as it is told: a gradient taken at the place ahead."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fanin.parts.optimizers import Momentum, Nesterov


def quadratic(size: int, seed: int) -> tuple[Tensor, Tensor]:
    """A convex quadratic's matrix, eigenvalues up to about 1, and a start."""
    random = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size, generator=random, dtype=torch.float64)
    return root @ root.mT / (4 * size), torch.randn(size, generator=random, dtype=torch.float64)


@settings(max_examples=20, deadline=None)
@given(
    size=st.integers(1, 5),
    seed=st.integers(0, 10**6),
    rho=st.floats(0, 0.95),
    rates=st.lists(st.floats(0, 0.5), min_size=30, max_size=30),
)
def test_is_the_look_ahead_form_under_any_schedule(size: int, seed: int, rho: float, rates: list[float]) -> None:
    """phi and v by the definition; what the optimizer holds is phi + rho v."""
    matrix, start = quadratic(size, seed)
    theta = start.clone()
    optimizer = Nesterov([theta], lr=1.0, momentum=rho)
    phi, v = start.clone(), torch.zeros(size, dtype=torch.float64)
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        theta.grad = matrix @ theta
        optimizer.step()
        v = rho * v - rate * (matrix @ (phi + rho * v))
        phi = phi + v
        # 30 steps of roundings of numbers of size 1
        torch.testing.assert_close(theta, phi + rho * v, rtol=0, atol=1e-12)


def test_torchs_is_another_when_the_learning_rate_changes() -> None:
    """g = 1 at rates 1, 0.1, rho = 0.5. Here v = -1, -0.6; torch's buffer is 1, 1.5, times the rate of the day."""
    places = []
    for kind in (Nesterov, lambda p, lr, momentum: torch.optim.SGD(p, lr=lr, momentum=momentum, nesterov=True)):
        theta = torch.tensor(0.0, dtype=torch.float64)
        optimizer = kind([theta], lr=1.0, momentum=0.5)
        for rate in (1.0, 0.1):
            optimizer.param_groups[0]["lr"] = rate
            theta.grad = torch.ones_like(theta)
            optimizer.step()
        places.append(theta.item())
    # -1 - 0.5 - 0.1 - 0.3;  -1 (1 + 0.5) - 0.1 (1 + 0.75)
    assert places == pytest.approx([-1.9, -1.675])


def test_is_stable_where_heavy_ball_is_not_damped() -> None:
    """On x^2/2 at a = 1 the look-ahead is exact: x = 0 from the first step; heavy ball swings on."""
    ends = []
    for kind in (Nesterov, Momentum):
        theta = torch.tensor(1.0, dtype=torch.float64)
        optimizer = kind([theta], lr=1.0, momentum=0.9)
        for _ in range(3):
            theta.grad = theta.clone()
            optimizer.step()
        ends.append(theta.item())
    # phi_1 + 0.9 v_1 = 0 - 0.9 with v_1 = -1; then v_2 = -0.9 + 0.9 = 0 and theta = phi = 0 for good
    assert ends[0] == pytest.approx(0, abs=1e-15)
    # v = -1, -0.9, -0.9 * 0.9 + 0.9: x = 0, -0.9, -0.81
    assert ends[1] == pytest.approx(-0.81)
