"""The residual multilayer perceptron against its formula in numpy, and what its shortcuts and scale promise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fanin.errors import OptionError
from fanin.parts import activations
from fanin.parts.models import Mlp, ResidualMlp, weight_layers
from fanin.parts.normalization import BatchNorm, LayerNorm, NoNorm, SpectralNorm
from fanin.parts.regularizers import Dropout
from networks import build, drawn, names, normal

Array = npt.NDArray[np.float64]


def by_hand(model: ResidualMlp, x: Array, *, branches: int, m: int, scale: float, norm: LayerNorm | NoNorm) -> Array:
    """Logits from the parameters, in the order in which they are registered."""
    values = iter([parameter.detach().numpy() for parameter in model.parameters()])

    def linear(h: Array) -> Array:
        w, b = next(values), next(values)
        out: Array = h @ w.T + b
        return out

    def normalize(z: Array) -> Array:
        if isinstance(norm, NoNorm):
            return z
        gamma, beta = next(values), next(values)
        spread = np.sqrt(z.var(1, keepdims=True) + 1e-5)
        out: Array = gamma * (z - z.mean(1, keepdims=True)) / spread + beta
        return out

    def stage(z: Array) -> Array:
        return np.tanh(normalize(z)) if norm.placement == "pre_activation" else normalize(np.tanh(z))

    h = linear(x)
    for _ in range(branches):
        f = h
        for _ in range(m):
            f = linear(stage(f))
        h = h + scale * f
    logits = linear(stage(h))
    assert next(values, None) is None
    return logits


@given(
    branches=st.integers(0, 4),
    m=st.integers(1, 3),
    width=st.integers(2, 6),
    scale=st.sampled_from([1.0, 0.3, "depth"]),
    norm=st.sampled_from([NoNorm(), LayerNorm(), LayerNorm(placement="post_activation")]),
    seed=st.integers(0, 999),
)
@settings(max_examples=25, deadline=None)
def test_equals_its_formula(
    branches: int, m: int, width: int, scale: float | str, norm: LayerNorm | NoNorm, seed: int
) -> None:
    depth = 2 + m * branches
    model = build(
        ResidualMlp, in_features=6, depth=depth, width=width, layers_per_branch=m, scale=scale, normalization=norm
    )
    x = normal(seed, 4, 3, 2)
    factor = scale if isinstance(scale, float) else 1 / np.sqrt(max(branches, 1))
    expected = by_hand(drawn(model, seed), x.numpy().reshape(4, 6), branches=branches, m=m, scale=factor, norm=norm)
    # 14 layers of sums over 6 products; normalizing 2 units that are alike enlarges an error up to 1/sqrt(eps)
    np.testing.assert_allclose(model(x).detach().numpy(), expected, rtol=1e-9, atol=1e-9)


def test_names_say_kind_and_number_of_the_weight_layer() -> None:
    model = build(ResidualMlp, depth=6, width=4, activation=activations.relu, normalization=BatchNorm())
    assert names(model) == [
        "linear_1",
        *(
            f"block_1.{name}"
            for name in ("batchnorm_1", "relu_1", "linear_2", "batchnorm_2", "relu_2", "linear_3", "add")
        ),
        *(
            f"block_2.{name}"
            for name in ("batchnorm_3", "relu_3", "linear_4", "batchnorm_4", "relu_4", "linear_5", "add")
        ),
        "batchnorm_5",
        "relu_5",
        "linear_6",
    ]


def test_without_branches_it_is_the_multilayer_perceptron() -> None:
    settings = {"width": 7, "normalization": BatchNorm(), "dropout": Dropout(p=0.5, input_p=0.2)}
    residual = build(ResidualMlp, depth=2, **settings)
    plain = build(Mlp, depth=2, bias=True, **settings)
    assert [(name, type(module)) for name, module in residual.named_modules()][1:] == [
        (name, type(module)) for name, module in plain.named_modules()
    ][1:]


@pytest.mark.parametrize("depth", [2, 4, 12])
def test_branches_of_zeros_leave_the_shortcut(depth: int) -> None:
    model = drawn(build(ResidualMlp, depth=depth, width=6, normalization=LayerNorm()))
    with torch.no_grad():
        for *_, last in model.residual_branches():
            last.get_parameter("weight").zero_()
            last.get_parameter("bias").zero_()
    shallow = build(ResidualMlp, depth=2, width=6, normalization=LayerNorm())
    kept = dict(model.named_parameters())
    before = {"linear_1": "linear_1", "layernorm_1": f"layernorm_{depth - 1}", "linear_2": f"linear_{depth}"}
    shallow.load_state_dict(
        {f"{name}.{key}": kept[f"{before[name]}.{key}"] for name in before for key in ("weight", "bias")}
    )
    x = normal(0, 5, 5)
    torch.testing.assert_close(model(x), shallow(x), rtol=0, atol=0)


def test_the_scale_of_depth_keeps_the_variance_that_a_scale_of_1_multiplies() -> None:
    spreads = {}
    for scale in (1.0, "depth"):
        model = build(
            ResidualMlp,
            depth=66,
            width=64,
            scale=scale,
            layers_per_branch=1,
            bias=False,
            activation=activations.identity,
        )
        random = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for _, layer in weight_layers(model):
                layer.get_parameter("weight").normal_(0, layer.weight.shape[1] ** -0.5, generator=random)
        h = model.linear_1(normal(1, 50, 5))
        start = h.square().mean().item()
        for block in range(1, 65):
            h = model.get_submodule(f"block_{block}")(h)
        spreads[scale] = h.square().mean().item() / start
    # A block of n = 64 units multiplies the square by 1 + s^2 in expectation, 2^64 and (1 + 1/64)^64 = 2.70 in all. In
    # one draw |h + s W h|^2 / |h|^2 = 1 + s^2 with a deviation of sqrt((4 s^2 + 2 s^4) / n): over 64 blocks the
    # logarithm deviates by 1.2 and 0.25.
    assert np.log(spreads[1.0]) == pytest.approx(64 * np.log(2), abs=6)
    assert np.log(spreads["depth"]) == pytest.approx(64 * np.log(1 + 1 / 64), abs=1)


def test_residual_branches_are_their_matrices() -> None:
    model = build(ResidualMlp, depth=8, width=4, layers_per_branch=3, normalization=LayerNorm())
    found = [name for name, _ in weight_layers(model)]
    place = {module: name for name, module in model.named_modules()}
    branches = [[place[layer] for layer in branch] for branch in model.residual_branches()]
    assert branches == [found[1:4], found[4:7]]


def test_one_of_the_weights_spares_the_last() -> None:
    model = build(ResidualMlp, depth=6, width=4, normalization=SpectralNorm())
    kinds = [type(layer).__name__ for _, layer in weight_layers(model)]
    assert kinds == [*["SpectralNormLinear"] * 5, "Linear"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 1}, "depth=1: must be an integer >= 2"),
        (
            {"depth": 7},
            "depth=7: must be 2 more than a multiple of layers_per_branch=2; for whole branches take depth=6 or 8",
        ),
        (
            {"depth": 3, "layers_per_branch": 4},
            "depth=3: must be 2 more than a multiple of layers_per_branch=4; for whole branches take depth=2 or 6",
        ),
        ({"scale": 0}, "scale=0: must be a finite number > 0"),
        ({"scale": "width"}, "scale=width: must be a number > 0 or depth"),
        ({"layers_per_branch": 0}, "layers_per_branch=0: must be an integer >= 1"),
        ({"width": 0}, "width=0: must be an integer >= 1"),
        ({"bias": 1}, "bias=1: must be true or false"),
    ],
)
def test_bad_values_give_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        build(ResidualMlp, **changes)
    assert str(caught.value) == message


def test_a_block_whose_widths_differ_adds_to_a_projection() -> None:
    model = drawn(build(ResidualMlp, depth=6, width=[4, 9, 4, 6, 3], scale=0.5))
    x = normal(1, 2, 5)
    weight = {name.removesuffix(".weight"): value for name, value in model.named_parameters() if "weight" in name}
    bias = {name.removesuffix(".bias"): value for name, value in model.named_parameters() if "bias" in name}

    def linear(name: str, h: torch.Tensor) -> torch.Tensor:
        return h @ weight[name].T + bias[name]

    one = linear("linear_1", x)
    inner = linear("block_1.linear_2", one.tanh())
    two = one + 0.5 * linear("block_1.linear_3", inner.tanh())
    inner = linear("block_2.linear_4", two.tanh())
    three = linear("block_2.projection", two) + 0.5 * linear("block_2.linear_5", inner.tanh())
    torch.testing.assert_close(model(x), linear("linear_6", three.tanh()), rtol=0, atol=1e-14)
    assert model.block_1.projection is None
    assert [len(branch) for branch in model.residual_branches()] == [2, 2]
