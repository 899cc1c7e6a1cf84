"""Gains that make up for an activation: against closed forms and torch's table."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from scipy import integrate, stats
from torch import nn

from command_line import fanin
from fanin.errors import OptionError, UserError
from fanin.parts import activations
from fanin.parts.initializers import DeltaOrthogonal, Orthogonal, XavierNormal, XavierUniform, gain_of
from fanin.streams import generator


class Mine(nn.Module):
    """A user's own function: E |z|^(2 * 1.5) = 2 sqrt(2/pi)."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z.abs() ** 1.5


@pytest.mark.parametrize(
    ("activation", "gain"),
    [
        (nn.ReLU, nn.init.calculate_gain("relu")),
        (lambda: nn.LeakyReLU(0.2), nn.init.calculate_gain("leaky_relu", 0.2)),
        (nn.Identity, nn.init.calculate_gain("linear")),
        (activations.selu, 1.0),
        (Mine, (2 * math.sqrt(2 / math.pi)) ** -0.5),
    ],
)
def test_gains_of_closed_forms(activation, gain: float) -> None:  # type: ignore[no-untyped-def]
    assert gain_of(activation) == pytest.approx(gain, rel=1e-6)


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "gelu", "silu", "mish", "elu", "softplus", "softsign", "hardtanh"])
def test_gains_against_scipys_quadrature(name: str) -> None:
    module = getattr(activations, name)()

    def square(z: float) -> float:
        return float(module(torch.tensor(z, dtype=torch.float64))) ** 2 * float(stats.norm.pdf(z))

    mean_square = sum(integrate.quad(square, low, low + 4)[0] for low in range(-12, 12, 4))
    assert gain_of(getattr(activations, name)) == pytest.approx(mean_square**-0.5, rel=1e-6)


def test_weights_are_those_of_the_number() -> None:
    layer = nn.Linear(4, 7)
    for kind in (XavierNormal, XavierUniform, Orthogonal, DeltaOrthogonal):
        drawn = []
        for made in (kind(gain="auto", activation=nn.Tanh), kind(gain=gain_of(nn.Tanh))):
            made(layer, lambda name: generator(0, name))
            drawn.append(layer.weight.detach().clone())
            assert made.weight_law(layer) == kind(gain=gain_of(nn.Tanh)).weight_law(layer)
        assert torch.equal(*drawn)


def test_there_may_be_none() -> None:
    class Nothing(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return 0 * z

    with pytest.raises(UserError, match=r"^gain=auto: Softmax is no fixed function of each entry"):
        XavierNormal(gain="auto", activation=lambda: nn.Softmax(dim=-1))
    with pytest.raises(UserError, match=r"^gain=auto: the mean square of Nothing is 0 for inputs of variance 1"):
        Orthogonal(gain="auto", activation=Nothing)
    with pytest.raises(UserError, match=r"^gain=auto: needs the activation whose gain is meant; take a number$"):
        XavierNormal(gain="auto").variance(3, 4)
    for wrong in (0, "much", True):
        with pytest.raises(OptionError, match=r"^gain=.*: must be a finite number > 0, or auto$"):
            Orthogonal(gain=wrong)


@pytest.mark.slow
def test_a_command_draws_what_the_number_draws_and_tells_of_an_activation_without_a_gain(tmp_path: Path) -> None:
    words = ("data=gaussian", "model.depth=3", "model.width=20", "activation=gelu", "trainer.steps=0")
    chosen = (*words, "initializer=orthogonal", f"initializer.gain=auto,{gain_of(nn.GELU)}", "-m")
    said = fanin(tmp_path, *chosen, "hydra/launcher=basic")
    assert said.code == 0, said.err
    one, other = tmp_path.rglob("profiles.csv")
    assert one.read_text() == other.read_text()
    softmax = ("activation._target_=torch.nn.Softmax", "+activation.dim=-1")
    refused = fanin(tmp_path, *words, "initializer=orthogonal", "initializer.gain=auto", *softmax)
    assert refused.code == 1
    assert refused.err == [
        "fanin: gain=auto: Softmax is no fixed function of each entry, and of no other is a gain known; take a number, "
        "or another activation"
    ]
