"""Spectral normalization against singular values, its iteration in numpy, and the paper's gradient."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fanin.parts.models.layers import empty_conv, empty_linear
from fanin.parts.normalization import SpectralNorm

KINDS = ("linear", "conv")
GAP = 0.8  # ratio of the second singular value to the first: an iteration shrinks what is not u by its square


def layer_of(kind: str, seed: int, bias: bool = False, gap: float = GAP) -> nn.Module:
    """A plain float64 layer whose singular values are 3, 3 gap, 3 gap^2, ..."""
    layer = (empty_linear(6, 5, bias) if kind == "linear" else empty_conv(2, 4, 3, bias)).double()
    weight = layer.get_parameter("weight")
    normal = torch.randn(len(weight), weight[0].numel(), generator=torch.Generator().manual_seed(seed)).double()
    left, _, right = torch.linalg.svd(normal, full_matrices=False)
    with torch.no_grad():
        values = 3 * gap ** torch.arange(len(weight), dtype=torch.float64)
        weight.copy_((left * values @ right).view(weight.shape))
        for parameter in layer.parameters():
            if parameter is not weight:
                parameter.normal_(generator=torch.Generator().manual_seed(seed))
    return layer


def wrapped(layer: nn.Module, iterations: int = 1) -> nn.Module:
    """A copy of the layer, normalized as after an initializer."""
    normalized = SpectralNorm(iterations=iterations).wrap(copy.deepcopy(layer))
    normalized.after_init()  # type: ignore[operator]
    return normalized


def inputs(kind: str) -> Tensor:
    shape = (7, 6) if kind == "linear" else (3, 2, 5, 5)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def matrix(layer: nn.Module) -> Tensor:
    return layer.get_parameter("weight").detach().flatten(1)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 999), iterations=st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_divides_by_the_largest_singular_value_once_converged(kind: str, seed: int, iterations: int) -> None:
    plain = layer_of(kind, seed)
    normalized, x = wrapped(plain, iterations), inputs(kind)
    for _ in range(60):
        normalized(x)
    # 20 + 60 iterations: sigma is off by a relative 0.8^(4 * 80) tan^2 of the first angle, 1e-31 tan^2
    sigma = torch.linalg.matrix_norm(matrix(plain), 2)
    assert sigma.item() == pytest.approx(3, rel=1e-14)
    torch.testing.assert_close(normalized(x), plain(x) / sigma, rtol=1e-12, atol=1e-12)
    normalized.eval()
    torch.testing.assert_close(normalized(x), plain(x) / sigma, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("iterations", [1, 3])
def test_a_training_pass_takes_its_iterations_and_evaluation_none(kind: str, iterations: int) -> None:
    plain = layer_of(kind, 0, bias=True)
    normalized, x = wrapped(plain, iterations), inputs(kind)
    w = matrix(plain).numpy()
    u = np.ones(len(w)) / np.sqrt(len(w))
    with torch.no_grad():
        normalized.get_buffer("u").copy_(torch.tensor(u))

    def sigma() -> float:
        v = w.T @ u / np.linalg.norm(w.T @ u)
        return float(u @ w @ v)

    bias = plain.get_parameter("bias").view(-1, *[1] * (x.ndim - 2))
    for _ in range(3):
        for _ in range(iterations):
            v = w.T @ u / np.linalg.norm(w.T @ u)
            u = w @ v / np.linalg.norm(w @ v)
        y = normalized(x)
        torch.testing.assert_close(y, (plain(x) - bias) / sigma() + bias, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(normalized.get_buffer("u").numpy(), u, rtol=1e-12)
    assert sigma() < 3 * (1 - 1e-6)  # a few iterations from a poor start: not yet the norm
    normalized.eval()
    torch.testing.assert_close(normalized(x), y, rtol=0, atol=0)
    np.testing.assert_allclose(normalized.get_buffer("u").numpy(), u, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_the_papers(kind: str) -> None:
    plain = layer_of(kind, 2)
    normalized, x = wrapped(plain), inputs(kind)
    weights = torch.linspace(-1, 1, plain(x).numel(), dtype=torch.float64).view(plain(x).shape)
    (normalized(x) * weights).sum().backward()
    (plain(x) * weights).sum().backward()
    gradient, direct = normalized.get_parameter("weight").grad, plain.get_parameter("weight").grad
    assert gradient is not None
    assert direct is not None
    # dL/dW = (G - (sum G * W / sigma) u v^T) / sigma, with G = dL/d(W / sigma): that of the plain layer, which is
    # linear in its weight.
    w, u = matrix(plain), normalized.get_buffer("u")
    v = w.T @ u / (w.T @ u).norm()
    sigma = u @ w @ v
    g = direct.flatten(1)
    expected = (g - (g * w).sum() / sigma * torch.outer(u, v)) / sigma
    torch.testing.assert_close(gradient.flatten(1), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 999))
@settings(max_examples=15, deadline=None)
def test_after_the_draw_it_is_there_but_for_close_singular_values(kind: str, seed: int) -> None:
    normalized = wrapped(layer_of(kind, seed, gap=0.5)).eval()
    weight = normalized.effective().detach().flatten(1)  # type: ignore[operator]
    # 20 iterations shrink the tangent of u's angle by 0.5^40 = 1e-12, and the error of sigma is its square: even a
    # start nearly at a right angle, of tangent 1e6, leaves 1e-12.
    assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1, rel=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_zero_stay_as_they_are_and_are_normalized_once_there_are_others(kind: str) -> None:
    plain = layer_of(kind, 4)
    normalized, x = wrapped(plain), inputs(kind)
    with torch.no_grad():
        normalized.get_parameter("weight").zero_()
    normalized.after_init()  # type: ignore[operator]
    y = normalized(x)
    y.square().sum().backward()
    gradient = normalized.get_parameter("weight").grad
    assert y.abs().max() == 0
    assert gradient is not None
    assert torch.isfinite(gradient).all()
    with torch.no_grad():
        normalized.get_parameter("weight").copy_(plain.get_parameter("weight"))
    for _ in range(80):
        normalized(x)
    torch.testing.assert_close(normalized(x), plain(x) / 3, rtol=1e-12, atol=1e-12)


def test_the_start_of_the_iteration_is_no_draw_of_the_run() -> None:
    found = []
    for seed in range(2):
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        found.append(wrapped(layer_of("linear", 5)).get_buffer("u"))
        assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(*found)
    assert found[0].norm().item() == pytest.approx(1, rel=1e-15)
