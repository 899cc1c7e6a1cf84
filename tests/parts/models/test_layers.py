"""Which modules count as weight layers, and their fans."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fanin.parts.initializers import KaimingNormal
from fanin.parts.models.layers import empty_conv, empty_linear, fans, is_weight_layer, weight_layers
from fanin.streams import generator


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
        (nn.Bilinear(3, 5, 7), (15, 35)),
        (nn.Embedding(50, 8), (1, 8)),  # a row, whatever the others are
        (nn.Conv1d(3, 8, 5), (15, 40)),
        (nn.Conv2d(3, 16, (5, 2)), (30, 160)),
        (nn.Conv2d(8, 16, 3, groups=4), (18, 36)),  # one output sees 8/4 channels of 9 pixels, one input 16/4
        (nn.Conv2d(8, 8, 3, groups=8), (9, 9)),
        (nn.Conv2d(4, 6, 4, stride=2), (64, 24)),  # one input is seen from 4 of the 16 places of a kernel
        (nn.Conv3d(2, 3, (3, 2, 1)), (12, 18)),
        (nn.Conv2d(4, 6, 1, stride=2), (4, 2)),  # three inputs of four are seen by nobody: 1.5 in the mean
        (nn.ConvTranspose2d(16, 64, 4, stride=2), (64, 1024)),
        (nn.ConvTranspose2d(16, 64, 2, stride=2), (16, 256)),
        (nn.ConvTranspose1d(6, 4, 3), (18, 12)),
        (nn.ConvTranspose2d(8, 16, 3, groups=4), (18, 36)),
        (nn.ConvTranspose3d(2, 3, 2, stride=2), (2, 24)),
    ],
    ids=str,
)
def test_fans_by_hand(module: nn.Module, expected: tuple[int, int]) -> None:
    assert fans(module) == expected


EVERY_KIND = [
    nn.Conv2d(3, 4, (3, 5)),
    nn.Conv2d(4, 6, 4, stride=2, groups=2),
    nn.Conv1d(6, 6, 3, groups=6, dilation=2),
    nn.ConvTranspose2d(3, 4, 4, stride=2),
    nn.ConvTranspose2d(4, 2, 3, groups=2),
    nn.ConvTranspose1d(2, 5, 6, stride=3),
]


@pytest.mark.parametrize("layer", EVERY_KIND, ids=str)
def test_fans_count_what_depends_on_what(layer: Any) -> None:
    """Away from the edges: the inputs that an output has a gradient for, and the outputs that an input changes."""
    axes = len(layer.kernel_size)
    image = torch.zeros(1, layer.in_channels, *[24] * axes, requires_grad=True)
    output = layer(image)
    middle = (0, 0, *[size // 2 for size in output.shape[2:]])
    output[middle].backward()
    assert int((image.grad != 0).sum()) == fans(layer)[0]
    with torch.no_grad():
        image[(0, 0, *[12] * axes)] = 1.0
        assert int((layer(image) != output).sum()) == fans(layer)[1]


@pytest.mark.parametrize("layer", EVERY_KIND, ids=str)
def test_variance_2_by_fan_in_doubles_the_mean_square(layer: Any) -> None:
    """Of standard normal inputs, over 400 draws of the weights: the mean within 4 of its standard errors."""
    random = torch.Generator().manual_seed(0)
    image = torch.randn(1, layer.in_channels, *[12] * len(layer.kernel_size), generator=random)
    inner = (slice(None), slice(None), *[slice(4, -4)] * len(layer.kernel_size))
    squares = []
    for seed in range(400):
        KaimingNormal()(layer, lambda name, seed=seed: generator(seed, "init", name))
        image.normal_(generator=random)
        with torch.no_grad():
            padded = torch.nn.functional.pad(image, [6] * 2 * len(layer.kernel_size), mode="circular")
            squares.append(layer(padded)[inner].square().mean())
    found = torch.stack(squares).double()
    assert abs(float(found.mean()) - 2) <= 4 * float(found.std()) / len(found) ** 0.5


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
