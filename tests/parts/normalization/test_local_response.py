"""Local response normalization against Krizhevsky's sum in loops, and torch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fanin.parts.normalization import LocalResponseNorm


def draw(seed: int, *shape: int) -> torch.Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("dims", [0, 2])
@given(
    features=st.integers(1, 7),
    k=st.floats(0.1, 3),
    reach=st.integers(0, 4),
    alpha=st.floats(0, 1),
    beta=st.floats(0, 2),
    seed=st.integers(0, 999),
)
@settings(max_examples=20, deadline=None)
def test_equals_the_papers_sum(
    dims: int, features: int, k: float, reach: int, alpha: float, beta: float, seed: int
) -> None:
    size = 2 * reach + 1
    a = draw(seed, *(3, features, 2, 3)[: 2 + dims])
    expected = np.empty(a.shape)
    for i in range(features):
        nearby = range(max(0, i - size // 2), min(features - 1, i + size // 2) + 1)
        squares = sum(a.numpy()[:, j] ** 2 for j in nearby)
        expected[:, i] = a.numpy()[:, i] / (k + alpha * squares) ** beta
    ours = LocalResponseNorm(k=k, size=size, alpha=alpha, beta=beta).make(features, dims)(a)
    # a dozen operations of 2.2e-16 each, the power's error enlarged by its logarithm
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-13, atol=0)


def test_equals_torchs_whose_alpha_is_divided_by_size() -> None:
    maps = draw(0, 4, 9, 5, 5).requires_grad_()
    torchs = nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)
    ours = LocalResponseNorm().make(9, 2)
    torch.testing.assert_close(ours(maps), torchs(maps), rtol=1e-13, atol=0)
    weights = draw(1, 4, 9, 5, 5)
    mine, theirs = (torch.autograd.grad((norm(maps) * weights).sum(), maps)[0] for norm in (ours, torchs))
    torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-13)


def test_a_bright_unit_dims_its_neighbours_and_no_others() -> None:
    units = torch.ones(1, 9, dtype=torch.float64)
    norm = LocalResponseNorm(k=1.0, size=3, alpha=1.0, beta=1.0).make(9)
    before = norm(units)
    units[0, 4] = 10
    # 1 / (1 + 1 + 1 + 1) beside three of activity 1; 1 / (1 + 1 + 1 + 100) beside the bright one
    assert before[0].tolist() == pytest.approx([1 / 3, *[1 / 4] * 7, 1 / 3])
    after = norm(units)[0].tolist()
    assert after == pytest.approx([1 / 3, 1 / 4, 1 / 4, 1 / 103, 10 / 103, 1 / 103, 1 / 4, 1 / 4, 1 / 3])
