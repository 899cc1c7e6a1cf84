"""Which modules count as weight layers, and their fans."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fanin.parts.models.layers import empty_conv, empty_linear, fans, is_weight_layer, weight_layers


def test_weight_layers_are_matrices_and_kernels_in_order() -> None:
    inner = nn.Linear(16, 5, bias=False)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.Sequential(nn.Flatten(), inner, nn.LayerNorm(5)),
        nn.PReLU(),
        nn.Linear(5, 2),
    )
    found = weight_layers(model)
    assert [name for name, _ in found] == ["0", "2.1", "4"]
    assert found[1][1] is inner


def test_a_layer_by_itself_is_its_own_weight_layer() -> None:
    layer = nn.Linear(3, 2)
    assert weight_layers(layer) == [("", layer)]


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Linear(784, 100), (784, 100)),
        (nn.Conv1d(3, 8, 5), (15, 40)),
        (nn.Conv2d(3, 16, (5, 2)), (30, 160)),
        (nn.Conv2d(8, 16, 3, groups=4), (18, 144)),  # one output sees 8/4 channels of 9 pixels
    ],
)
def test_fans_by_hand(module: nn.Module, expected: tuple[int, int]) -> None:
    assert fans(module.get_parameter("weight")) == expected


def test_fan_in_is_the_number_of_inputs_that_reach_one_output() -> None:
    conv = nn.Conv2d(3, 4, (3, 5), bias=False).double()
    image = torch.zeros(1, 3, 9, 9, dtype=torch.float64, requires_grad=True)
    conv(image)[0, 0, 2, 2].backward()
    assert image.grad is not None
    assert int((image.grad != 0).sum()) == fans(conv.weight)[0]


def test_a_vector_has_no_fans() -> None:
    with pytest.raises(ValueError, match=r"2 axes or more, not shape \(7,\)"):
        fans(torch.empty(7))


def test_empty_linear_draws_nothing_and_is_a_linear_layer() -> None:
    before = torch.random.get_rng_state()
    layer = empty_linear(7, 3, bias=True)
    assert torch.equal(torch.random.get_rng_state(), before)
    with torch.no_grad():
        layer.weight.fill_(2)
        layer.bias.fill_(1)
    assert layer(torch.ones(1, 7)).tolist() == [[15, 15, 15]]
    assert empty_linear(7, 3, bias=False).bias is None


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2), (1, 2)])
def test_empty_conv_draws_nothing_and_keeps_the_maps_sides(kernel: int, stride: int) -> None:
    before = torch.random.get_rng_state()
    layer = empty_conv(2, 4, kernel, bias=True, stride=stride)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert fans(layer.weight) == (2 * kernel**2, 4 * kernel**2)
    assert layer.bias is not None
    with torch.no_grad():
        layer.weight.fill_(2)
        layer.bias.fill_(1)
    maps = layer(torch.ones(1, 2, 7, 8))
    assert maps.shape == (1, 4, -(-7 // stride), -(-8 // stride))
    assert maps[0, 0, 3 // stride + 1, 2].item() == 2 * 2 * kernel**2 + 1  # away from the border
    assert empty_conv(2, 4, kernel, bias=False).bias is None


def test_a_container_is_no_weight_layer_and_neither_is_a_normalization() -> None:
    layer = nn.Linear(2, 3)
    assert [is_weight_layer(module) for module in (layer, nn.Sequential(layer), nn.BatchNorm1d(3))] == [
        True,
        False,
        False,
    ]
