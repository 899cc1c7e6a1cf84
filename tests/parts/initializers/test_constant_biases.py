"""Biases that start at a constant, and a forget gate that starts at one of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from command_line import fanin
from fanin.errors import OptionError
from fanin.parts.activations import tanh
from fanin.parts.initializers import (
    Constant,
    ConstantBiases,
    Critical,
    Identity,
    Jacobian,
    Lsuv,
    Orthogonal,
    VarianceScaling,
    XavierUniform,
    Zeros,
)
from fanin.parts.models import Gru, Lstm, Mlp
from fanin.parts.models.cells import LstmLayer
from fanin.parts.normalization import NoNorm
from fanin.streams import generator

WIDTH = 5


def filled(initializer: ConstantBiases, kind: type[nn.Module] = Lstm) -> nn.Module:
    model = kind(input_shape=(1, 3, 4), out_features=2, width=WIDTH, layers=2, activation=tanh, normalization=NoNorm())
    initializer.check(model)
    initializer(model, lambda name: generator(0, "init", name))
    return model


@pytest.mark.parametrize(
    "kind", [Zeros, Constant, Identity, Lsuv, Jacobian, Orthogonal, VarianceScaling, XavierUniform]
)
def test_a_forget_gate_has_a_constant_of_its_own(kind: type[ConstantBiases]) -> None:
    plain, told = (filled(one).state_dict() for one in (kind(), kind(bias=0.1, forget_bias=1.7)))
    gates = torch.tensor([0.1] * WIDTH + [1.7] * WIDTH + [0.1] * 2 * WIDTH)  # i, f, o, g
    for layer in ("layers.1", "layers.2"):
        assert torch.equal(told[f"{layer}.input.bias"], gates)
    assert torch.equal(told["classifier.bias"], torch.tensor([0.1, 0.1]))
    weights = [name for name in plain if name.endswith("weight")]
    assert all(torch.equal(plain[name], told[name]) for name in weights)
    assert not any(plain[name].any() for name in plain if name.endswith("bias"))


def test_an_open_forget_gate_keeps_what_torchs_own_cell_keeps() -> None:
    """With weights of 0 a memory decays by s(forget_bias) a step, in torch's LSTMCell as in this one."""
    cell, told = nn.LSTMCell(4, WIDTH), filled(Zeros(forget_bias=2.0)).get_submodule("layers.1")
    assert isinstance(told, LstmLayer)
    i, f, o, g = told.get_submodule("input").get_parameter("bias").detach().chunk(4)
    with torch.no_grad():
        for name, parameter in cell.named_parameters():
            parameter.copy_(torch.cat([i, f, g, o]) if name == "bias_ih" else torch.zeros_like(parameter))
        memory = torch.linspace(-1, 1, WIDTH)[None]
        kept = cell(torch.zeros(1, 4), (torch.zeros(1, WIDTH), memory))[1]
        mine = told.advance(told.drive(torch.zeros(1, 1, 4))[:, 0], told.hidden(torch.zeros(1, WIDTH)), (kept, memory))[
            1
        ]
    torch.testing.assert_close(mine, kept)
    torch.testing.assert_close(kept, memory * torch.sigmoid(torch.tensor(2.0)))


def test_draws_lie_around_the_constants() -> None:
    zero, moved = (
        filled(VarianceScaling(bias_variance=0.3)),
        filled(VarianceScaling(bias_variance=0.3, bias=1.0, forget_bias=-2.0)),
    )
    before, after = (model.get_submodule("layers.1.input").get_parameter("bias").detach() for model in (zero, moved))
    means = torch.tensor([1.0] * WIDTH + [-2.0] * WIDTH + [1.0] * 2 * WIDTH)
    assert torch.equal(after, before + means)


def test_a_layer_of_biases_that_are_not_0_in_the_mean_has_no_law() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, bias=False))
    laws = VarianceScaling(bias=0.5).weight_laws(model)
    assert [law is None for law in laws.values()] == [True, False]
    assert None not in VarianceScaling().weight_laws(model).values()


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"bias": "much"}, "bias=much: must be a finite number"),
        ({"forget_bias": True}, "forget_bias=true: must be a finite number, or null"),
    ],
)
def test_what_is_no_number_is_refused(keys: dict[str, object], line: str) -> None:
    with pytest.raises(OptionError) as told:
        Critical(**keys)  # type: ignore[arg-type]
    assert str(told.value) == line


def test_a_model_without_such_biases_is_told_of() -> None:
    bare = Mlp(in_features=3, out_features=2, depth=2, width=3, activation=tanh, normalization=NoNorm())
    with pytest.raises(OptionError, match=r"^bias=1.0: must be 0 for a model without biases; or take model.bias=true$"):
        Zeros(bias=1).check(bare)
    line = r"^forget_bias=1.0: must be null for a model without biases of a forget gate; or take model=lstm"
    for model in (bare, filled(Zeros(), Gru)):
        with pytest.raises(OptionError, match=line):
            Zeros(forget_bias=1).check(model)


@pytest.mark.slow
def test_a_command_trains_them_as_one_program_and_each_alone(tmp_path: Path) -> None:
    words = (
        "model=lstm", "model.width=6", "activation=tanh", "initializer=xavier_uniform", "data=digits",
        "optimizer=adam", "trainer.steps=3",
    )  # fmt: skip
    losses = []
    for told in (("-m", "initializer.forget_bias=1,2"), ("initializer.forget_bias=2",)):
        said = fanin(tmp_path, *words, *told)
        assert said.code == 0, said.err
        results = sorted(tmp_path.rglob("result.json"))
        losses.append([json.loads(path.read_text())["metrics"]["train_loss"] for path in results])
        shutil.rmtree(tmp_path / "outputs")
    assert losses[0][0] != losses[0][1]
    assert losses[1] == pytest.approx(losses[0][1:], rel=1e-5)
