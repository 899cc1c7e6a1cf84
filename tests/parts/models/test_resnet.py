"""The convolutional residual network: shapes, shortcuts, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from fanin.errors import UserError
from fanin.parts import activations
from fanin.parts.models import Resnet, fans, weight_layers
from fanin.parts.normalization import BatchNorm, SpectralNorm
from fanin.parts.regularizers import Dropout
from networks import IMAGE, build, drawn, names, normal, one_line


def test_names_follow_the_weight_layers() -> None:
    model = build(
        Resnet, channels=[2, 4], normalization=BatchNorm(), dropout=Dropout(p=0.5, input_p=0.1),
        activation=activations.relu,
    )  # fmt: skip
    inner = ["batchnorm_{0}", "relu_{0}", "conv_{1}", "batchnorm_{1}", "relu_{1}", "dropout_{1}", "conv_{2}"]
    assert names(model) == [
        "dropout_0",
        "conv_1",
        *(f"block_1.{name.format(1, 2, 3)}" for name in [*inner, "add"]),
        *(f"block_2.{name.format(3, 4, 5)}" for name in [*inner, "projection", "add"]),
        *("batchnorm_5", "relu_5", "averagepool", "dropout_5", "linear_6"),
    ]


@given(
    channels=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    blocks=st.integers(1, 2),
    height=st.integers(5, 9),
    width=st.integers(5, 9),
)
@settings(max_examples=15, deadline=None)
def test_shapes(channels: list[int], blocks: int, height: int, width: int) -> None:
    model = drawn(build(Resnet, input_shape=(2, height, width), channels=channels, blocks=blocks))
    seen: dict[str, tuple[int, ...]] = {}
    for name, module in model.named_children():
        module.register_forward_hook(lambda _, __, output, n=name: seen.update({n: tuple(output.shape)}))
    model(normal(0, 3, 2, height, width))
    expected = {}
    for stage, features in enumerate(channels):
        if stage > 0:
            height, width = (height + 1) // 2, (width + 1) // 2
        for block in range(blocks):
            expected[f"block_{stage * blocks + block + 1}"] = (3, features, height, width)
    assert {name: shape for name, shape in seen.items() if name.startswith("block")} == expected
    assert seen["averagepool"] == (3, channels[-1])
    projections = [name for name, _ in weight_layers(model) if name.endswith("projection")]
    assert projections == [f"block_{stage * blocks + 1}.projection" for stage in range(1, len(channels))]


def test_equals_its_formula() -> None:
    model = drawn(build(Resnet, channels=[2, 3], blocks=2))
    p = dict(model.named_parameters())

    def conv(name: str, maps: Tensor, stride: int = 1) -> Tensor:
        weight = p[f"{name}.weight"]
        return F.conv2d(maps, weight, p[f"{name}.bias"], stride, weight.shape[-1] // 2)

    x = normal(0, 4, *IMAGE)
    h = conv("conv_1", x)
    for block, stride in ((1, 1), (2, 1), (3, 2), (4, 1)):
        branch = conv(f"block_{block}.conv_{2 * block}", torch.tanh(h), stride)
        branch = conv(f"block_{block}.conv_{2 * block + 1}", torch.tanh(branch))
        h = branch + (conv(f"block_{block}.projection", h, 2) if stride == 2 else h)
    expected = torch.tanh(h).sum((2, 3)) / (4 * 3) @ p["linear_10.weight"].T + p["linear_10.bias"]
    torch.testing.assert_close(model(x), expected, rtol=1e-11, atol=1e-12)  # 10 layers of sums over 27 products


@pytest.mark.parametrize("blocks", [1, 3])
def test_branches_of_zeros_leave_the_path_of_shortcuts(blocks: int) -> None:
    model = drawn(build(Resnet, channels=[2, 3, 4], blocks=blocks, normalization=BatchNorm()))
    with torch.no_grad():
        for *_, last in model.residual_branches():
            last.get_parameter("weight").zero_()
            last.get_parameter("bias").zero_()
    x = normal(1, 4, *IMAGE)
    h = model.get_submodule("conv_1")(x)
    for stage in (1, 2):  # a projection samples every second place
        projection = model.get_submodule(f"block_{stage * blocks + 1}.projection")
        h = torch.einsum("bchw,oc->bohw", h[:, :, ::2, ::2], projection.weight[:, :, 0, 0])
        h = h + projection.bias.view(-1, 1, 1)
    last = 6 * blocks + 1
    h = torch.tanh(model.get_submodule(f"batchnorm_{last}")(h)).mean((2, 3))
    expected = model.get_submodule(f"linear_{last + 1}")(h)
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)


def test_residual_branches_have_two_convolutions_and_no_projection() -> None:
    model = build(Resnet, channels=[2, 4], blocks=2)
    place = {module: name for name, module in model.named_modules()}
    assert [[place[layer] for layer in branch] for branch in model.residual_branches()] == [
        [f"block_{block}.conv_{2 * block}", f"block_{block}.conv_{2 * block + 1}"] for block in (1, 2, 3, 4)
    ]


def test_one_of_the_weights_acts_on_all_but_the_last() -> None:
    model = build(Resnet, channels=[2, 4], normalization=SpectralNorm())
    kinds = [type(layer).__name__ for _, layer in weight_layers(model)]
    assert kinds == [*["SpectralNormConv2d"] * 6, "Linear"]


def test_sizes_of_the_default_on_digits() -> None:
    model = build(Resnet, input_shape=(1, 28, 28), out_features=10)
    sizes = {name.rpartition(".")[2]: fans(layer) for name, layer in weight_layers(model)}
    assert sizes == {
        "conv_1": (9, 72),
        **{f"conv_{i}": (9 * a, 9 * b) for i, a, b in ((2, 8, 8), (3, 8, 8), (5, 16, 16))},
        "conv_4": (9 * 8, 9 * 16 // 4),  # stride 2: an input is seen from a quarter of the places
        "conv_6": (9 * 16, 9 * 32 // 4),
        "conv_7": (9 * 32, 9 * 32),
        "projection": (16, 8),
        "linear_8": (32, 10),
    }


def test_builds_without_memory_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = build(Resnet, input_shape=(3, 512, 512), channels=[10**5, 10**6], normalization=BatchNorm())
        assert {tensor.device.type for tensor in model.state_dict().values()} == {"meta"}
        assert model(torch.empty(8, 3, 512, 512, dtype=torch.float64)).shape == (8, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"input_shape": (64,)},
            "model=resnet: needs images [C, H, W], and an example has shape [64]; choose model=mlp, or data of images",
        ),
        (
            {"input_shape": (1, 4, 3), "channels": [2, 2, 2]},
            "channels=[2, 2, 2]: must be at most 2 stages for images of 4 x 3; each stage halves both sides",
        ),
        ({"channels": "8"}, "channels=8: must be a list of integers; type channels=[8,16]"),
        ({"blocks": 0}, "blocks=0: must be an integer >= 1"),
        ({"kernel": 2}, "kernel=2: must be odd; maps keep their size where the kernel has a middle"),
        ({"bias": 1}, "bias=1: must be true or false"),
    ],
)
def test_bad_values_give_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build(Resnet, **changes)
    assert one_line(caught.value) == message
