"""Drawn biases: their law, their stream, and where there are none to draw."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from scipy import stats
from torch import nn

from command_line import fanin
from fanin.errors import OptionError
from fanin.parts.initializers import (
    Independent,
    Initializer,
    KaimingUniform,
    LecunNormal,
    Orthogonal,
    TorchDefault,
    TruncatedNormal,
    VarianceScaling,
)
from fanin.streams import generator

S, COUNT = 0.05, 40_000


def drawn(initializer: Initializer, seed: int = 0, inputs: int = 3) -> nn.Linear:
    """A layer of one, its weights and biases each from the stream of their name."""
    layer = nn.Linear(inputs, COUNT)
    initializer(layer, lambda name: generator(seed, "init", name))
    return layer


@pytest.mark.parametrize(
    ("initializer", "law"),
    [
        (VarianceScaling(c=2, bias_variance=S), stats.norm(0, math.sqrt(S))),
        (LecunNormal(bias_variance=S), stats.norm(0, math.sqrt(S))),
        (Orthogonal(bias_variance=S), stats.norm(0, math.sqrt(S))),
        (KaimingUniform(bias_variance=S), stats.uniform(-math.sqrt(3 * S), 2 * math.sqrt(3 * S))),
        (
            TruncatedNormal(bias_variance=S),
            stats.truncnorm(-2, 2, scale=math.sqrt(S) / stats.truncnorm(-2, 2).std()),
        ),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_biases_have_the_distribution_of_the_weights(initializer: Initializer, law, seed: int) -> None:  # type: ignore[no-untyped-def]
    biases = drawn(initializer, seed).bias.detach()
    assert initializer.bias_variance_of(3) == S
    # Kolmogorov-Smirnov: the largest deviation exceeds 2.5/sqrt(N) with probability 7e-6.
    assert stats.kstest(biases.numpy(), law.cdf).statistic < 2.5 / math.sqrt(COUNT)


def test_biases_leave_the_weights_as_they_are_and_are_copies_of_one_draw() -> None:
    plain, one, four = (drawn(VarianceScaling(bias_variance=s)) for s in (0, S, 4 * S))
    assert torch.equal(plain.weight, one.weight)
    assert not plain.bias.any()
    assert torch.equal(four.bias, 2 * one.bias)  # a factor of 2 is exact in binary
    assert VarianceScaling().bias_variance_of(9) == 0
    assert TorchDefault().bias_variance_of(9) == 1 / 27


def test_an_initializer_of_a_users_own_draws_them_too() -> None:
    class Edge(Independent):
        def variance(self, fan_in: int, fan_out: int) -> float:
            return 1 / fan_in

    biases = drawn(Edge(bias_variance=S)).bias.detach()
    assert abs(biases.var().item() / S - 1) < 5 * math.sqrt(2 / COUNT)


@pytest.mark.parametrize("value", [-0.1, float("nan"), "much", True])
def test_what_is_no_variance_is_refused(value: object) -> None:
    with pytest.raises(OptionError, match="bias_variance="):
        VarianceScaling(bias_variance=value)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_command_sweeps_them_and_a_model_without_biases_is_told_of(tmp_path: Path) -> None:
    tiny = ("model.depth=3", "model.width=20", "trainer.steps=0", "initializer=variance_scaling")
    said = fanin(tmp_path, *tiny, "-m", "initializer.bias_variance=0,0.5", "hydra/launcher=basic")
    assert said.code == 0, said.err
    rest = "model.depth=3,model.width=20,seed=0,trainer.steps=0"
    assert sorted(path.parent.name for path in tmp_path.rglob("result.json")) == [
        f"initializer=variance_scaling,initializer.bias_variance=0.5,{rest}",
        f"initializer=variance_scaling,{rest}",
    ]
    refused = fanin(tmp_path, *tiny, "initializer.bias_variance=0.5", "model.bias=false")
    assert refused.code == 1
    assert refused.err == [
        "fanin: initializer.bias_variance=0.5: must be 0 for a model without biases; or take model.bias=true"
    ]
