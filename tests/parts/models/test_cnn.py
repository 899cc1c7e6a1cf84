"""The convolutional network against convolutions and pooling in loops, and what it refuses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fanin.errors import UserError
from fanin.parts import activations
from fanin.parts.models import Cnn, fans, weight_layers
from fanin.parts.normalization import BatchNorm, InstanceNorm, LocalResponseNorm, WeightNorm
from fanin.parts.regularizers import Dropout
from networks import build, drawn, names, normal, one_line

Array = npt.NDArray[np.float64]


def convolved(image: Array, kernel: Array, bias: Array) -> Array:
    """One image [C, H, W] with kernels [out, C, k, k], zeros around it: sums in loops."""
    out, channels, side, _ = kernel.shape
    _, height, width = image.shape
    maps = np.zeros((out, height, width))
    for o in range(out):
        for y in range(height):
            for x in range(width):
                total = bias[o]
                for c in range(channels):
                    for i in range(side):
                        for j in range(side):
                            row, column = y + i - side // 2, x + j - side // 2
                            if 0 <= row < height and 0 <= column < width:
                                total += kernel[o, c, i, j] * image[c, row, column]
                maps[o, y, x] = total
    return maps


def pooled(maps: Array) -> Array:
    """The largest of each 2 x 2 places; a last odd row or column is left out."""
    channels, height, width = maps.shape
    out = np.zeros((channels, height // 2, width // 2))
    for c, y, x in np.ndindex(out.shape):
        out[c, y, x] = max(maps[c, 2 * y + i, 2 * x + j] for i in range(2) for j in range(2))
    return out


@given(
    channels=st.lists(st.integers(1, 3), min_size=1, max_size=2),
    depth=st.integers(1, 2),
    kernel=st.sampled_from([1, 3, 5]),
    colours=st.integers(1, 2),
    width=st.integers(4, 5),
    seed=st.integers(0, 999),
)
@settings(max_examples=12, deadline=None)
def test_equals_loops(channels: list[int], depth: int, kernel: int, colours: int, width: int, seed: int) -> None:
    shape = (colours, 5, width)
    model = drawn(build(Cnn, input_shape=shape, channels=channels, depth=depth, kernel=kernel, width=4), seed)
    images = normal(seed, 2, *shape)
    p = [parameter.detach().numpy() for parameter in model.parameters()]
    for image, logits in zip(images.numpy(), model(images).detach().numpy(), strict=True):
        maps, layer = image, 0
        for _ in channels:
            for _ in range(depth):
                maps = np.tanh(convolved(maps, p[2 * layer], p[2 * layer + 1]))
                layer += 1
            maps = pooled(maps)
        hidden = np.tanh(p[2 * layer] @ maps.ravel() + p[2 * layer + 1])
        expected = p[2 * layer + 2] @ hidden + p[2 * layer + 3]
        # 6 layers of sums over 75 products at most
        np.testing.assert_allclose(logits, expected, rtol=1e-11, atol=1e-12)


def test_the_first_layer_on_a_5_by_5_image() -> None:
    model = drawn(build(Cnn, input_shape=(1, 5, 5), channels=[3]))
    conv = model.get_submodule("conv_1")
    image = normal(0, 1, 5, 5)
    expected = convolved(image.numpy(), conv.weight.detach().numpy(), conv.bias.detach().numpy())
    np.testing.assert_allclose(conv(image[None])[0].detach().numpy(), expected, rtol=1e-13, atol=1e-14)


def test_max_pooling_takes_the_largest_of_four_and_leaves_odd_edges_out() -> None:
    model = build(Cnn, input_shape=(1, 5, 5), channels=[1])
    maps = torch.tensor([[1, 5, 2, 0, 9], [3, 4, 1, 1, 9], [-1, -2, 7, 7, 9], [-3, -4, 6, 8, 9], [9, 9, 9, 9, 9]])
    assert model.get_submodule("maxpool_1")(maps[None, None].double()).tolist() == [[[[5, 2], [-1, 8]]]]


def test_names_count_weight_layers() -> None:
    model = build(
        Cnn, channels=[2, 4], depth=2, normalization=BatchNorm(), dropout=Dropout(p=0.5, input_p=0.1),
        activation=activations.relu,
    )  # fmt: skip
    convs = [[f"conv_{i}", f"batchnorm_{i}", f"relu_{i}"] for i in (1, 2, 3, 4)]
    assert names(model) == [
        "dropout_0", *convs[0], *convs[1], "maxpool_2", *convs[2], *convs[3], "maxpool_4",
        "linear_5", "batchnorm_5", "relu_5", "dropout_5", "linear_6",
    ]  # fmt: skip


def test_local_response_normalization_stands_between_activation_and_pooling() -> None:
    model = build(Cnn, channels=[4], activation=activations.relu, normalization=LocalResponseNorm())
    assert names(model)[:4] == ["conv_1", "relu_1", "localresponsenorm_1", "maxpool_1"]


def test_instance_normalization_is_on_the_maps_alone() -> None:
    model = build(Cnn, channels=[4, 6], normalization=InstanceNorm())
    assert [name for name in names(model) if "norm" in name] == ["instancenorm_1", "instancenorm_2"]


def test_weight_normalization_spares_the_last_layer() -> None:
    model = build(Cnn, channels=[4], normalization=WeightNorm())
    assert [type(layer).__name__ for _, layer in weight_layers(model)] == [
        "WeightNormConv2d",
        "WeightNormLinear",
        "Linear",
    ]


def test_sizes_of_the_default_on_digits() -> None:
    model = build(Cnn, input_shape=(1, 28, 28), out_features=10)
    sizes = [(tuple(layer.weight.shape), fans(layer)) for _, layer in weight_layers(model)]
    assert sizes == [
        ((8, 1, 3, 3), (9, 72)),
        ((16, 8, 3, 3), (72, 144)),
        ((64, 16 * 7 * 7), (784, 64)),
        ((10, 64), (64, 10)),
    ]


def test_building_leaves_the_global_generator_alone_and_meta_takes_no_memory() -> None:
    before = torch.random.get_rng_state()
    build(Cnn, channels=[2], normalization=BatchNorm())
    assert torch.equal(torch.random.get_rng_state(), before)
    with torch.device("meta"):
        model = build(Cnn, input_shape=(3, 4096, 4096), channels=[10**5], width=10**6, normalization=WeightNorm())
        assert {tensor.device.type for tensor in model.state_dict().values()} == {"meta"}
        assert model(torch.empty(8, 3, 4096, 4096, dtype=torch.float64)).shape == (8, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"input_shape": (100,)},
            "model=cnn: needs images [C, H, W], and an example has shape [100]; choose model=mlp, or data of images",
        ),
        (
            {"input_shape": (1, 7, 28), "channels": [2, 2, 2]},
            "channels=[2, 2, 2]: must be at most 2 stages for images of 7 x 28; each stage halves both sides",
        ),
        ({"channels": 8}, "channels=8: must be a list of integers; type channels=[8,16]"),
        ({"channels": []}, "channels=[]: must be a list of integers; type channels=[8,16]"),
        ({"channels": [8, 0]}, "channels=0: must be an integer >= 1"),
        ({"kernel": 4}, "kernel=4: must be odd; maps keep their size where the kernel has a middle"),
        ({"depth": 0}, "depth=0: must be an integer >= 1"),
        ({"width": 0}, "width=0: must be an integer >= 1"),
        ({"bias": None}, "bias=null: must be true or false"),
    ],
)
def test_bad_values_give_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build(Cnn, **changes)
    assert one_line(caught.value) == message
