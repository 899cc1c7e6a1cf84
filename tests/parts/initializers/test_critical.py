"""The critical initializer: its variances, where there are none, and gradients that keep their size."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from command_line import fanin
from fanin.errors import UserError
from fanin.parts import activations
from fanin.parts.initializers import Critical
from fanin.parts.models import Mlp
from fanin.parts.normalization import BatchNorm, LayerNorm, NoNorm, Normalization, RMSNorm, WeightNorm
from fanin.parts.regularizers import Dropout
from fanin.streams import generator


class relu(nn.Module):  # noqa: N801 (the name is the point)
    """A user's own function, which only is called like another."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return 3 * z


@pytest.mark.parametrize(
    ("activation", "bias_variance", "variance"),
    [
        (activations.tanh, 0.01, 1.42421),
        (activations.tanh, 0.05, 1.76095),
        (activations.tanh, 0.1, 1.98607),
        (activations.selu, 0.01, 0.76023),
        (activations.selu, 0.05, 0.90177),
        (activations.silu, 0.01, 3.31259),
        (activations.silu, 0.05, 2.72861),
        (activations.gelu, 0.01, 2.98280),
        (activations.gelu, 0.05, 2.30252),
        (activations.tanh, 0.0, 1.0),
        (activations.hardtanh, 0.0, 1.0),
        (activations.softsign, 0.0, 1.0),
        (activations.relu, 0.0, 2.0),
        (lambda: activations.leaky_relu(slope=0.2), 0.0, 2 / 1.04),
        (relu, 0.0, 1 / 9),
    ],
)
def test_variances_of_the_literature(activation, bias_variance: float, variance: float) -> None:  # type: ignore[no-untyped-def]
    drawn = Critical(activation=activation, bias_variance=bias_variance)
    assert 50 * drawn.variance(50, 20) == pytest.approx(variance, abs=1e-4)
    dropped = Critical(activation=activation, bias_variance=bias_variance, dropout=Dropout(p=0.2))
    assert dropped.variance(50, 20) == pytest.approx(0.8 * drawn.variance(50, 20), rel=1e-12)
    same = Critical(activation=activation, bias_variance=bias_variance, normalization=WeightNorm())
    assert same.variance(50, 20) == drawn.variance(50, 20)


def test_weights_that_are_drawn_have_the_variance_that_is_told() -> None:
    """Gradients are switched off while weights are drawn, but not for the derivative of the activation."""

    class Mine(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return torch.tanh(0.5 * z)

    drawn, model = Critical(activation=Mine), nn.Sequential(nn.Linear(300, 200, bias=False))
    drawn(model, lambda name: generator(0, name))
    assert drawn.variance(300, 200) == pytest.approx(4 / 300)
    error = 4 * math.sqrt(2 / (300 * 200))
    assert 300 * float(model[0].get_parameter("weight").detach().var()) == pytest.approx(4, abs=4 * error)


def gradient_factor(made: Critical, activation, norm: Normalization, q: float, seed: int) -> float:  # type: ignore[no-untyped-def]
    """||dL/dz_2||^2 / ||dL/dz_6||^2 of a network of 7 layers, for examples whose first layer has variance q."""
    width, bias = 200, made.bias_variance > 0
    model = Mlp(
        in_features=width, out_features=width, depth=7, width=width, bias=bias,
        activation=activation, normalization=norm, dropout=made.dropout,
    )  # fmt: skip
    made(model, lambda name: generator(seed, "init", name))
    for index, one in enumerate(model):
        if hasattr(one, "masks"):  # those of dropout
            one.generator = torch.Generator().manual_seed(1000 * seed + index)
    noise = torch.Generator().manual_seed(seed)
    start = (q - made.bias_variance) / (width * made.variance(width, width))
    hidden = torch.randn(10, width, generator=noise) * math.sqrt(start)
    outputs = {}
    for name, module in model.named_children():
        hidden = module(hidden)
        if name.startswith("linear"):
            outputs[name] = hidden
    pair = [outputs["linear_2"], outputs["linear_6"]]
    first, last = torch.autograd.grad(hidden, pair, torch.randn(10, width, generator=noise))
    return (first.square().sum(1) / last.square().sum(1)).mean().item()


@pytest.mark.parametrize(
    ("activation", "bias_variance", "norm", "p", "q"),
    [
        (activations.tanh, 0.05, NoNorm(), 0.0, 0.57005),
        (activations.selu, 0.01, NoNorm(), 0.0, 0.30894),
        (activations.relu, 0.0, NoNorm(), 0.3, 1.0),
        (activations.tanh, 0.05, LayerNorm(), 0.0, 1.0),
        (activations.relu, 0.5, LayerNorm(placement="post_activation"), 0.0, 1.57),
        (activations.tanh, 0.05, RMSNorm(placement="post_activation"), 0.1, 0.57005),
    ],
)
def test_gradients_keep_their_size(activation, bias_variance: float, norm: Normalization, p: float, q: float) -> None:  # type: ignore[no-untyped-def]
    made = Critical(
        activation=activation, bias_variance=bias_variance, normalization=norm, dropout=Dropout(p=p) if p else None
    )
    seeds = 30
    factors = np.array([gradient_factor(made, activation, norm, q, seed) for seed in range(seeds)])
    error = factors.std(ddof=1) / math.sqrt(seeds)
    # Of infinite width; at width n a layer's factor is off by a few parts in n, here four times.
    assert abs(factors.mean() - 1) < 4 * error + 4 * 3 / 200
    assert error < 0.08  # so that a factor of 1.05 a layer, 1.22 over four, would be seen in most


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"activation": activations.softplus}, "no critical weight variance for Softplus: at a bias variance of 0"),
        ({"activation": activations.relu, "bias_variance": 0.1}, "no critical weight variance for ReLU"),
        ({"activation": lambda: nn.Softmax(dim=-1)}, "Softmax is no fixed function of each entry"),
        ({"activation": activations.tanh, "normalization": BatchNorm()}, "no critical weight variance is known with B"),
        ({"activation": activations.tanh, "normalization": LayerNorm()}, "squared gradients change by 1.18 a layer"),
        ({"activation": activations.relu, "normalization": LayerNorm(placement="post_activation")}, "by 1.47 a layer"),
    ],
)
def test_where_there_is_none_it_says_why(asked, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError) as caught:
        Critical(**asked)
    assert words in str(caught.value)
    assert str(caught.value).startswith("initializer=critical: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("activation", "bias_variance", "words"),
    [
        (activations.silu, 0.05, "chi_par = 1.100 at q* = 0.827;"),
        (activations.gelu, 0.01, "chi_par = 1.098 at q* = 0.183;"),
        (activations.silu, 0.0, "chi_par = 1.000 at q* = 0 and 1.669 at q = 1;"),
        (activations.tanh, 0.05, ""),
        (activations.relu, 0.0, ""),
        (activations.selu, 0.01, ""),
    ],
)
def test_a_point_that_repels_is_remarked_on(activation, bias_variance: float, words: str) -> None:  # type: ignore[no-untyped-def]
    remarks = Critical(activation=activation, bias_variance=bias_variance).remarks()
    assert [words in remark for remark in remarks] == [True] * bool(words)


@pytest.mark.slow
def test_a_command_warns_once_and_refuses_before_anything_is_written(tmp_path: Path) -> None:
    tiny = ("model.depth=3", "model.width=16", "data.limit=300", "trainer.steps=1", "initializer=critical")
    refused = fanin(tmp_path, *tiny, "activation=softplus")
    assert refused.code == 1
    assert len(refused.err) == 1
    assert refused.err[0].startswith("fanin: initializer=critical: there is no critical weight variance for Softplus")
    assert list(tmp_path.iterdir()) == []
    said = fanin(tmp_path, *tiny, "-m", "activation=silu", "seed=0,1", "initializer.bias_variance=0.05")
    assert said.code == 0, said.err
    assert sum("lengths leave the critical point" in line for line in said.out) == 1
    logs = [path.read_text() for path in tmp_path.rglob("run.log")]
    assert [text.count("chi_par = 1.100") for text in logs] == [1, 1]
