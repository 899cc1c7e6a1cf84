"""Initializers that keep norms: delta-orthogonal kernels exactly, scaled weight normalization on average."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from command_line import fanin
from fanin.errors import UserError
from fanin.parts import activations
from fanin.parts.initializers import DeltaOrthogonal, WeightNormScaled
from fanin.parts.models import Mlp, ResidualMlp
from fanin.parts.normalization import NoNorm, WeightNorm
from fanin.streams import generator

TINY = ("model.depth=3", "model.width=16", "data.limit=300", "trainer.steps=1")


def drawn(initializer, model: nn.Module, seed: int = 0) -> nn.Module:  # type: ignore[no-untyped-def]
    initializer.check(model)
    initializer(model, lambda name: generator(seed, "init", name))
    return model


@pytest.mark.parametrize("padding", ["circular", "zeros"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_deep_chain_of_delta_orthogonal_convolutions_keeps_every_norm(padding: str, seed: int) -> None:
    channels = [2, 3, 3, 5, 8, 8]
    chain = nn.Sequential(
        *(nn.Conv2d(a, b, 3, padding=1, padding_mode=padding) for a, b in pairwise(channels)),
        nn.Conv2d(8, 9, 5, padding=2, bias=False),
    )
    drawn(DeltaOrthogonal(gain=1.5), chain.double(), seed)
    maps = torch.randn(4, 2, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    kept = chain(maps).flatten(1).norm(dim=1) / maps.flatten(1).norm(dim=1)
    # six layers of float32 weights, each of rounding 6e-8
    torch.testing.assert_close(kept, torch.full_like(kept, 1.5**6), rtol=1e-6, atol=0)
    kernel = chain[2].weight
    assert kernel[:, :, 1, 1].count_nonzero() == kernel.count_nonzero() == 15
    # At each place by itself, too: nothing is mixed between places.
    places = chain(maps).norm(dim=1) / maps.norm(dim=1)
    torch.testing.assert_close(places, torch.full_like(places, 1.5**6), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.Conv2d(8, 4, 3), "layer has 8 input channels and only 4 output channels"),
        (nn.Conv2d(4, 8, 3, groups=2), "layer is no plain convolution of all channels"),
        (nn.ConvTranspose2d(4, 8, 3), "layer is no plain convolution of all channels"),
    ],
)
def test_what_cannot_keep_norms_is_refused(layer: nn.Module, words: str) -> None:
    model = nn.Sequential()
    model.add_module("layer", layer)
    with pytest.raises(UserError, match=words):
        drawn(DeltaOrthogonal(), model)


@pytest.mark.parametrize("width", [60, [80, 40, 60, 50]])
def test_scaled_weight_normalization_keeps_the_norm_through_relu(width) -> None:  # type: ignore[no-untyped-def]
    logs = []
    for seed in range(40):
        model = Mlp(
            in_features=60, out_features=10, depth=5, width=width, activation=activations.relu,
            normalization=WeightNorm(),
        )  # fmt: skip
        drawn(WeightNormScaled(), model, seed)
        inputs = torch.randn(6, 60, generator=torch.Generator().manual_seed(seed))
        hidden = inputs
        for name, module in model.named_children():
            hidden = module(hidden) if name != "linear_5" else hidden
        logs.append((hidden.square().sum(1) / inputs.square().sum(1)).mean().item())
    # The mean of the squares is kept, to O(1/width) for directions that are orthogonal.
    ratio = np.array(logs)
    assert abs(ratio.mean() - 1) < 4 * ratio.std(ddof=1) / math.sqrt(len(ratio)) + 4 / 40
    first = model.linear_1
    assert torch.allclose(first.gain, torch.tensor(math.sqrt(2 * 60 / len(first.weight))))
    assert torch.allclose(first.effective().norm(dim=1), first.gain)


def test_the_last_layers_of_branches_share_what_they_add() -> None:
    model = ResidualMlp(
        in_features=20, out_features=3, depth=10, width=30, activation=activations.relu, normalization=WeightNorm()
    )
    drawn(WeightNormScaled(gamma=3.0), model)
    gains = [[layer.gain.unique().item() for layer in branch] for branch in model.residual_branches()]
    assert gains == [[pytest.approx(math.sqrt(3)), pytest.approx(1 / 2)]] * 4
    assert model.linear_1.gain.unique().item() == pytest.approx(math.sqrt(3 * 20 / 30))


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    plain = Mlp(in_features=4, out_features=2, depth=2, width=3, activation=activations.relu, normalization=NoNorm())
    with pytest.raises(UserError, match="take normalization=weight"):
        WeightNormScaled().check(plain)
    said = fanin(tmp_path, *TINY, "initializer=weight_norm_scaled")
    assert said.code == 1
    assert said.err == [
        "fanin: initializer=weight_norm_scaled: no layer of the model has a weight normalization, whose lengths it "
        "would set; take normalization=weight"
    ]
