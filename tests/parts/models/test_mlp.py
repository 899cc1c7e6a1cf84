"""The pieces of the multilayer perceptron, their names and order, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from fanin import streams
from fanin.errors import OptionError
from fanin.parts import activations
from fanin.parts.initializers import VarianceScaling
from fanin.parts.models import Mlp, weight_layers
from fanin.parts.normalization import BatchNorm, LayerNorm, NoNorm
from fanin.parts.regularizers import Dropout, DropoutModule


def mlp(**changes: object) -> Mlp:
    settings = {
        "in_features": 12,
        "out_features": 3,
        "depth": 3,
        "width": 5,
        "activation": activations.relu,
        "normalization": NoNorm(),
        **changes,
    }
    model = Mlp(**settings)  # type: ignore[arg-type]
    if not next(model.parameters()).is_meta:
        VarianceScaling()(model, lambda name: streams.generator(0, "init", name))
    return model


def names(model: Mlp) -> list[str]:
    return [name for name, _ in model.named_children()]


def test_names_of_a_plain_network() -> None:
    assert names(mlp()) == ["linear_1", "relu_1", "linear_2", "relu_2", "linear_3"]


def test_names_with_everything_before_the_activation() -> None:
    model = mlp(normalization=BatchNorm(), dropout=Dropout(p=0.5, input_p=0.2), activation=activations.tanh)
    hidden = [f"{part}_{i}" for i in (1, 2) for part in ("linear", "batchnorm", "tanh", "dropout")]
    assert names(model) == ["dropout_0", *hidden, "linear_3"]


def test_names_with_normalization_after_the_activation() -> None:
    model = mlp(normalization=LayerNorm(placement="post_activation"), activation=activations.identity)
    hidden = [f"{part}_{i}" for i in (1, 2) for part in ("linear", "identity", "layernorm")]
    assert names(model) == [*hidden, "linear_3"]


def test_dropout_of_zero_leaves_no_module() -> None:
    assert names(mlp(dropout=Dropout(p=0, input_p=0))) == names(mlp())
    assert names(mlp(dropout=Dropout(p=0, input_p=0.1)))[:2] == ["dropout_0", "linear_1"]
    probabilities = [m.p for m in mlp(dropout=Dropout(p=0.5, input_p=0.1)) if isinstance(m, DropoutModule)]
    assert probabilities == [0.1, 0.5, 0.5]


def test_depth_1_is_one_matrix_whatever_the_settings() -> None:
    model = mlp(depth=1, normalization=BatchNorm(), dropout=Dropout(p=0.5))
    assert names(model) == ["linear_1"]
    assert model.get_parameter("linear_1.weight").shape == (3, 12)


@pytest.mark.parametrize("depth", [1, 2, 7])
@pytest.mark.parametrize("bias", [True, False])
def test_depth_counts_weight_matrices(depth: int, bias: bool) -> None:
    model = mlp(depth=depth, bias=bias)
    shapes = [tuple(layer.get_parameter("weight").shape) for _, layer in weight_layers(model)]
    sizes = [12, *[5] * (depth - 1), 3]
    assert shapes == [(sizes[i + 1], sizes[i]) for i in range(depth)]
    biases = [parameter for name, parameter in model.named_parameters() if name.endswith("bias")]
    assert len(biases) == (depth if bias else 0)


def test_the_study_has_its_number_of_parameters() -> None:
    model = mlp(in_features=784, out_features=10, depth=50, width=100, bias=False)
    assert sum(parameter.numel() for parameter in model.parameters()) == 784 * 100 + 48 * 100 * 100 + 100 * 10


def test_images_are_flattened_row_by_row() -> None:
    model = mlp()
    images = torch.randn(6, 3, 2, 2)
    logits = model(images)
    assert logits.shape == (6, 3)
    assert torch.equal(logits, model(images.reshape(6, 12)))


def test_no_gradient_is_carried_to_the_input() -> None:
    model = mlp()
    seen: list[bool] = []
    first = model.get_submodule("linear_1")
    first.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].requires_grad))
    model(torch.randn(2, 12))
    assert seen == [False]


def test_layers_own_their_activation_and_normalization() -> None:
    model = mlp(depth=4, normalization=LayerNorm())
    assert len({id(module) for module in model}) == len(names(model)) == 10


def test_building_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    mlp(depth=6, normalization=BatchNorm(), dropout=Dropout(p=0.5))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_builds_without_memory_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = mlp(width=10**7, depth=4, normalization=BatchNorm())  # 800 TB of weights
        logits = model(torch.empty(8, 12))
    assert logits.shape == (8, 3)
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"meta"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 0}, "depth=0: must be an integer >= 1"),
        ({"depth": 2.5}, "depth=2.5: must be an integer >= 1"),
        ({"width": -3}, "width=-3: must be an integer >= 1"),
        ({"bias": 1}, "bias=1: must be true or false"),
        ({"in_features": 0}, "in_features=0: must be an integer >= 1"),
        ({"out_features": None}, "out_features=null: must be an integer >= 1"),
    ],
)
def test_bad_values_give_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        mlp(**changes)
    assert str(caught.value) == message


def test_a_list_of_widths_gives_each_hidden_layer_its_own() -> None:
    settings = {"in_features": 7, "out_features": 2, "activation": activations.relu, "normalization": LayerNorm()}
    model = Mlp(depth=4, width=[5, 9, 3], **settings)  # type: ignore[arg-type]
    assert [tuple(model.get_parameter(f"linear_{i}.weight").shape) for i in (1, 2, 3, 4)] == [
        (5, 7), (9, 5), (3, 9), (2, 3),
    ]  # fmt: skip
    assert model.get_parameter("layernorm_2.weight").shape == (9,)
    for width, line in [
        ([5, 9], "width=[5, 9]: must be one number, or 3 for the hidden layers of depth=4; take depth=3"),
        ([5, 0, 1], "width=[5, 0, 1]: must be an integer >= 1, or a list of them"),
        ([5, True, 1], "width=[5, True, 1]: must be an integer >= 1, or a list of them"),
        ("5", "width=5: must be an integer >= 1"),
    ]:
        with pytest.raises(OptionError) as caught:
            Mlp(depth=4, width=width, **settings)  # type: ignore[arg-type]
        assert str(caught.value) == line
