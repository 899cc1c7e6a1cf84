"""Recurrent networks against their equations in numpy, torch's own modules and single models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fanin import streams
from fanin.errors import OptionError, UserError
from fanin.parts import activations
from fanin.parts.models import Gru, Lstm, Rnn, weight_layers
from fanin.parts.models.recurrent import Recurrent
from fanin.parts.normalization import BatchNorm, LayerNorm, NoNorm, RMSNorm, WeightNorm
from fanin.parts.per_run import is_stackable
from fanin.parts.regularizers import Dropout, DropoutModule
from fanin.probes.capture import capturing
from fanin.probes.modules import watched
from networks import drawn
from stacking import assert_stacked_equals_single

Array = npt.NDArray[np.float64]
KINDS: list[type[Recurrent]] = [Rnn, Lstm, Gru]
hypothesized = settings(max_examples=10, deadline=None)


def network(kind: type[Recurrent], seed: int = 0, **changes: Any) -> Recurrent:
    made = {
        "input_shape": (1, 3, 4),
        "out_features": 2,
        "width": 5,
        "activation": activations.tanh,
        "normalization": NoNorm(),
        **changes,
    }
    model = drawn(kind(**made).double(), seed)
    assert isinstance(model, Recurrent)
    return model


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=streams.generator(seed, "images"), dtype=torch.float64)


def assert_close(ours: Tensor, theirs: Tensor | Array) -> None:
    # float64: a few dozen roundings of 2e-16 on numbers up to 10
    torch.testing.assert_close(ours, torch.as_tensor(theirs), rtol=1e-12, atol=1e-12)


def logistic(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def normed(module: nn.Module | None, z: Array) -> Array:
    """Layer normalization of the last axis by its formula, or nothing."""
    if module is None:
        return z
    weight, bias = (module.get_parameter(name).detach().numpy() for name in ("weight", "bias"))
    centered = z - z.mean(-1, keepdims=True)
    return np.asarray(weight * centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-5) + bias)


def by_hand(model: Recurrent, sequence: Array, recurrent_mask: Array | float = 1.0) -> Array:
    """The hidden states of a network of one layer, step by step, gate by gate."""
    layer: Any = model.layers["1"]
    w, b, u = (t.detach().numpy() for t in (layer.input.weight, layer.input.bias, layer.hidden.weight))
    n, h, c = model.width, np.zeros((len(sequence), model.width)), np.zeros((len(sequence), model.width))
    states = []
    for t in range(sequence.shape[1]):
        a, r = sequence[:, t] @ w.T + b, (h * recurrent_mask) @ u.T
        if isinstance(model, Rnn):
            h = np.tanh(normed(layer.norm, a + r))
        else:
            a, r = normed(layer.input_norm, a), normed(layer.hidden_norm, r)
        if isinstance(model, Lstm):
            entry, forget, exit_, new = (a[:, i * n : (i + 1) * n] + r[:, i * n : (i + 1) * n] for i in range(4))
            c = logistic(forget) * c + logistic(entry) * np.tanh(new)
            h = logistic(exit_) * np.tanh(normed(layer.memory_norm, c))
        if isinstance(model, Gru):
            reset = logistic(a[:, :n] + r[:, :n])
            update = logistic(a[:, n : 2 * n] + r[:, n : 2 * n])
            h = (1 - update) * np.tanh(a[:, 2 * n :] + reset * r[:, 2 * n :]) + update * h
        states.append(h)
    return np.stack(states, axis=1)


def classified(model: Recurrent, state: Array) -> Array:
    weight, bias = (model.classifier.get_parameter(name).detach().numpy() for name in ("weight", "bias"))
    return np.asarray(state @ weight.T + bias)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalization", [NoNorm(), LayerNorm()], ids=["none", "layer"])
def test_three_steps_by_hand(kind: type[Recurrent], normalization: Any) -> None:
    model = network(kind, normalization=normalization)
    x = images(6, 1, 3, 4)
    assert_close(model(x), classified(model, by_hand(model, x[:, 0].numpy())[:, -1]))


def test_rows_hold_all_channels() -> None:
    model = network(Rnn, input_shape=(2, 3, 4))
    x = images(6, 2, 3, 4)
    sequence = np.concatenate([x[:, 0].numpy(), x[:, 1].numpy()], axis=-1)
    assert_close(model(x), classified(model, by_hand(model, sequence)[:, -1]))


ORDER = {Rnn: [0], Lstm: [0, 1, 3, 2], Gru: [0, 1, 2]}  # where torch's gates are among ours: i, f, g, o
TORCH: dict[type[Recurrent], Callable[..., nn.RNNBase]] = {Rnn: nn.RNN, Lstm: nn.LSTM, Gru: nn.GRU}


@pytest.mark.parametrize("kind", KINDS)
@hypothesized
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.booleans(), st.integers(0, 999))
def test_equals_torchs_own(
    kind: type[Recurrent], layers: int, width: int, height: int, row: int, bias: bool, seed: int
) -> None:
    model = network(kind, seed, input_shape=(1, height, row), width=width, layers=layers, bias=bias)
    theirs = TORCH[kind](row, width, layers, bias=bias, batch_first=True).double()

    def reordered(stacked: Tensor) -> Tensor:
        return stacked.view(len(ORDER[kind]), width, -1)[ORDER[kind]].view_as(stacked)

    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.zero_()  # their second bias stays 0
        for index, layer in enumerate(model.layers.values()):
            theirs.get_parameter(f"weight_ih_l{index}").copy_(reordered(layer.get_parameter("input.weight")))
            theirs.get_parameter(f"weight_hh_l{index}").copy_(reordered(layer.get_parameter("hidden.weight")))
            if bias:
                theirs.get_parameter(f"bias_ih_l{index}").copy_(reordered(layer.get_parameter("input.bias")))
    x = images(4, 1, height, row, seed=seed)
    states, _ = theirs(x.squeeze(1))
    assert_close(model(x), model.classifier(states[:, -1]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalization", [NoNorm(), LayerNorm(), RMSNorm()], ids=["none", "layer", "rms"])
def test_stackable(kind: type[Recurrent], normalization: Any) -> None:
    assert is_stackable(kind)

    models = [network(kind, seed, layers=2, normalization=normalization) for seed in range(3)]
    assert_stacked_equals_single(models, images(3, 4, 1, 3, 4))


@pytest.mark.parametrize("kind", KINDS)
def test_rescaled_gates_change_nothing_under_rms_normalization(kind: type[Recurrent]) -> None:
    model = network(kind, normalization=RMSNorm(eps=1e-12), bias=False)
    x = images(4, 1, 3, 4)
    before = model(x)
    with torch.no_grad():
        for layer in model.layers.values():
            layer.get_parameter("input.weight").mul_(1000)
            layer.get_parameter("hidden.weight").mul_(1000)
    # Mean squares of 1e-2 and more, beside which eps is 1e-10.
    torch.testing.assert_close(model(x), before, rtol=1e-8, atol=1e-8)


def masks_of(model: Recurrent, x: Tensor) -> tuple[Tensor, dict[str, list[Tensor]]]:
    """The outputs of a training pass, and what each dropout module multiplied with."""
    drawn_masks: dict[str, list[Tensor]] = {}
    for name, module in model.named_modules():
        if isinstance(module, DropoutModule):
            module.generator = streams.generator(7, name)

            def keep(module: nn.Module, inputs: Any, output: Tensor, name: str = name) -> None:
                drawn_masks.setdefault(name, []).append(torch.where(inputs[0] == 0, 1.0, output / inputs[0]).detach())

            module.register_forward_hook(keep)
    return model.train()(x), drawn_masks


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_is_on_the_rows_and_the_last_state(kind: type[Recurrent]) -> None:
    model = network(kind, dropout=Dropout(p=0.5, input_p=0.3))
    x = images(6, 1, 3, 4)
    outputs, masks = masks_of(model, x)
    assert {name: [tuple(mask.shape) for mask in drawn] for name, drawn in masks.items()} == {
        "dropouts.0": [(6, 3, 4)],
        "dropouts.1": [(6, 5)],
    }
    rows, last = masks["dropouts.0"][0].numpy(), masks["dropouts.1"][0].numpy()
    assert not np.allclose(rows[:, 0], rows[:, 1]), "a mask for each time step"
    assert_close(outputs, classified(model, by_hand(model, x[:, 0].numpy() * rows)[:, -1] * last))


@pytest.mark.parametrize("kind", KINDS)
def test_variational_dropout_has_one_mask_for_all_steps_and_one_for_the_recurrence(kind: type[Recurrent]) -> None:
    model = network(kind, dropout=Dropout(p=0.5, input_p=0.3), variational=True)
    x = images(6, 1, 3, 4)
    outputs, masks = masks_of(model, x)
    assert {name: [tuple(mask.shape) for mask in drawn] for name, drawn in masks.items()} == {
        "dropouts.0.mask": [(6, 1, 4)],
        "recurrent_dropouts.1": [(6, 5)],
        "dropouts.1": [(6, 5)],
    }
    rows, recurrent, last = (
        masks[name][0].numpy() for name in ("dropouts.0.mask", "recurrent_dropouts.1", "dropouts.1")
    )
    assert set(np.unique(recurrent)) == {0.0, 2.0}
    states = by_hand(model, x[:, 0].numpy() * rows, recurrent)
    assert_close(outputs, classified(model, states[:, -1] * last))


@pytest.mark.parametrize(("recurrent_p", "kept"), [(0.0, set()), (0.75, {0.0, 4.0})])
def test_the_recurrence_has_a_rate_of_its_own(recurrent_p: float, kept: set[float]) -> None:
    model = network(Lstm, layers=2, dropout=Dropout(p=0.5, recurrent_p=recurrent_p), variational=True)
    x = images(60, 1, 3, 4)
    outputs, masks = masks_of(model, x)
    recurrent = [name for name in masks if name.startswith("recurrent")]
    assert recurrent == (["recurrent_dropouts.1", "recurrent_dropouts.2"] if kept else [])
    assert {float(one) for name in recurrent for one in masks[name][0].unique()} == kept
    # The others have the masks that they had with the rate p on all, each from the stream of its name.
    whole = network(Lstm, layers=2, dropout=Dropout(p=0.5), variational=True)
    same = masks_of(whole, x)[1]["dropouts.1.mask"][0]
    assert torch.equal(masks["dropouts.1.mask"][0], same)
    if not kept:  # Zaremba et al. 2014, with one mask for all time steps: nothing but what lies between the layers
        below, above = (model.get_submodule(f"layers.{index}") for index in (1, 2))
        states = above(below(x[:, 0]) * same)[:, -1]
        torch.testing.assert_close(outputs, model.classifier(states * masks["dropouts.2"][0]))


def test_a_rate_of_the_recurrence_needs_variational_dropout() -> None:
    with pytest.raises(UserError, match=r"^regularizer.dropout.recurrent_p=0.3: must be null without variational"):
        network(Lstm, dropout=Dropout(recurrent_p=0.3))


@pytest.mark.parametrize("variational", [False, True])
def test_between_layers_too_and_not_at_evaluation(variational: bool) -> None:
    x = images(6, 1, 3, 4)
    model = network(Lstm, layers=2, dropout=Dropout(p=0.5), variational=variational)
    _, masks = masks_of(model, x)
    recurrent = {"recurrent_dropouts.1", "recurrent_dropouts.2"} if variational else set()
    between = "dropouts.1.mask" if variational else "dropouts.1"
    assert set(masks) == {between, "dropouts.2"} | recurrent
    assert masks[between][0].shape == ((6, 1, 5) if variational else (6, 3, 5))
    assert torch.equal(model.eval()(x), network(Lstm, layers=2)(x))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variational", [False, True])
def test_probes_see_what_each_weight_layer_receives(kind: type[Recurrent], variational: bool) -> None:
    model = network(kind, layers=2, dropout=Dropout(p=0.5), variational=variational).train()
    received: dict[str, Tensor] = {}
    for name in ("layers.2.input", "classifier"):
        model.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, name=name: received.setdefault(name, inputs[0])
        )
    x = images(6, 1, 3, 4)
    with capturing(watched(model), x) as seen:
        model(x)
    places = {seen.weight_names[at]: seen.block_ends[at - 1] for at in range(1, len(seen.weight_names))}
    for name, tensor in received.items():
        assert torch.equal(seen.activations[places[name]][0], tensor)


def test_matrices_of_one_module_each_and_no_second_bias() -> None:
    shapes = {
        kind: [(name, tuple(layer.get_parameter("weight").shape)) for name, layer in weight_layers(network(kind))]
        for kind in KINDS
    }
    for kind, gates in ((Rnn, 1), (Lstm, 4), (Gru, 3)):
        assert shapes[kind] == [
            ("layers.1.input", (5 * gates, 4)),
            ("layers.1.hidden", (5 * gates, 5)),
            ("classifier", (2, 5)),
        ]
        names = {name for name, _ in network(kind).named_parameters() if name.endswith("bias")}
        assert names == {"layers.1.input.bias", "classifier.bias"}
        assert not any("bias" in name for name, _ in network(kind, bias=False).named_parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_builds_without_memory_on_the_meta_device(kind: type[Recurrent]) -> None:
    with torch.device("meta"):
        model = kind(
            input_shape=(1, 2, 4),
            out_features=3,
            width=10**6,
            activation=activations.relu,
            normalization=LayerNorm(),
        )
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"meta"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_shape": (20,)}, "model=lstm: needs images [C, H, W], and an example has shape [20]"),
        ({"normalization": BatchNorm()}, "model=lstm: normalizes each vector by itself, not by BatchNorm"),
        ({"normalization": WeightNorm()}, "model=lstm: normalizes each vector by itself, not by WeightNorm"),
    ],
)
def test_what_is_no_sequence_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        network(Lstm, **changes)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "width=0: must be an integer >= 1"),
        ({"layers": 1.5}, "layers=1.5: must be an integer >= 1"),
        ({"variational": "yes"}, "variational=yes: must be true or false"),
    ],
)
def test_bad_values_give_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        network(Gru, **changes)
    assert str(caught.value) == message
