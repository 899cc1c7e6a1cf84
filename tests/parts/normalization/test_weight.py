"""Weight normalization against its formula, torch's own, and what it promises."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from fanin.parts.models.layers import empty_conv, empty_linear, weight_layers
from fanin.parts.normalization import WeightNorm

LAYERS = {"linear": (5, 4), "conv": (4, 2, 3, 3)}  # shapes of the weights


def drawn(kind: str, seed: int, bias: bool = True) -> nn.Module:
    """A plain layer in float64, weights and biases drawn."""
    layer = empty_linear(4, 5, bias) if kind == "linear" else empty_conv(2, 4, 3, bias, stride=2)
    random = torch.Generator().manual_seed(seed)
    layer = layer.double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=random)
    return layer


def inputs(kind: str, seed: int) -> Tensor:
    shape = (6, 4) if kind == "linear" else (6, 2, 5, 5)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def wrapped(layer: nn.Module) -> nn.Module:
    """A copy of the layer, normalized as after an initializer."""
    normalized = WeightNorm().wrap(copy.deepcopy(layer))
    normalized.after_init()  # type: ignore[operator]
    return normalized


@pytest.mark.parametrize("kind", LAYERS)
@given(seed=st.integers(0, 999), bias=st.booleans())
@settings(max_examples=15, deadline=None)
def test_equals_torchs_with_its_gradients(kind: str, seed: int, bias: bool) -> None:
    layer = drawn(kind, seed, bias)
    ours, torchs = wrapped(layer), parametrizations.weight_norm(copy.deepcopy(layer))
    gain = torch.linspace(-1, 2, len(layer.get_parameter("weight")), dtype=torch.float64)
    magnitude = torchs.get_parameter("parametrizations.weight.original0")
    with torch.no_grad():
        ours.get_parameter("gain").copy_(gain)
        magnitude.copy_(gain.view(magnitude.shape))
    x = inputs(kind, seed + 1)
    y, expected = ours(x), torchs(x)
    # sums of 18 products and a norm of as many squares
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view(y.shape)
    (y * weights).sum().backward()
    (expected * weights).sum().backward()
    for name, theirs in (("gain", "original0"), ("weight", "original1")):
        gradient = torchs.get_parameter(f"parametrizations.weight.{theirs}").grad
        mine = ours.get_parameter(name).grad
        assert gradient is not None
        assert mine is not None
        torch.testing.assert_close(mine, gradient.view(mine.shape), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", LAYERS)
def test_starts_as_the_draw(kind: str) -> None:
    layer = drawn(kind, 3)
    x = inputs(kind, 4)
    torch.testing.assert_close(wrapped(layer)(x), layer(x), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("kind", LAYERS)
@given(seed=st.integers(0, 999), factor=st.floats(1e-3, 1e3))
@settings(max_examples=10, deadline=None)
def test_the_length_of_a_row_does_not_matter_only_the_gain(kind: str, seed: int, factor: float) -> None:
    layer, x = wrapped(drawn(kind, seed, bias=False)), inputs(kind, seed)
    before = layer(x)
    with torch.no_grad():
        layer.get_parameter("weight")[1] *= factor
    torch.testing.assert_close(layer(x), before, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        layer.get_parameter("gain")[1] *= factor
    scale = torch.ones(before.shape[1], dtype=torch.float64)
    scale[1] = factor
    expected = before * scale.view(-1, *[1] * (before.ndim - 2))
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-9)


def test_the_parameter_weight_is_what_initializers_see() -> None:
    layer = WeightNorm().wrap(drawn("conv", 0))
    assert weight_layers(layer) == [("", layer)]
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "weight": (4, 2, 3, 3),
        "bias": (4,),
        "gain": (4,),
    }
    assert layer.get_parameter("gain").dtype == torch.float64


@pytest.mark.parametrize("kind", LAYERS)
def test_a_row_of_zeros_stays_zero_and_spoils_no_gradient(kind: str) -> None:
    plain = drawn(kind, 5, bias=False)
    with torch.no_grad():
        plain.get_parameter("weight")[2] = 0
    layer = wrapped(plain)
    y = layer(inputs(kind, 6))
    assert y[:, 2].abs().max() == 0
    y.square().sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad[2].abs().max() == 0


def test_other_layers_are_refused() -> None:
    with pytest.raises(TypeError, match="Bilinear: weight and spectral normalization know"):
        WeightNorm().wrap(nn.Bilinear(2, 3, 4))
