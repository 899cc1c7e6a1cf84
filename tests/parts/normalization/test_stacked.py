"""Normalizations in models stacked by vmap: outputs, gradients and buffers are those of the single models."""

from __future__ import annotations

import pytest
import torch

from fanin import streams
from fanin.parts import activations
from fanin.parts.initializers import TorchDefault
from fanin.parts.models import Cnn, Mlp
from fanin.parts.normalization import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LocalResponseNorm,
    NoNorm,
    Normalization,
    RMSNorm,
    SpectralNorm,
    WeightNorm,
)
from stacking import assert_stacked_equals_single

RUNS = 3
ALL = [
    NoNorm(),
    BatchNorm(),
    BatchNorm(affine=False, placement="post_activation"),
    LayerNorm(),
    GroupNorm(groups=2),
    RMSNorm(),
    RMSNorm(affine=False),
    LocalResponseNorm(alpha=0.5),
    WeightNorm(),
    SpectralNorm(iterations=2),
]


def drawn(model: Mlp | Cnn, seed: int) -> Mlp | Cnn:
    """The model in float64, with its own draw, vectors apart from 0 and 1, and running statistics of a pass."""
    model = model.double()
    TorchDefault()(model, lambda name: streams.generator(seed, "init", name))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.linspace(-0.4, 0.6 + seed, len(parameter)))
    return model


def batch(*shape: int) -> torch.Tensor:
    return torch.randn(RUNS, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", ALL, ids=str)
def test_in_a_multilayer_perceptron(norm: Normalization, training: bool) -> None:
    models = [
        drawn(Mlp(in_features=5, out_features=3, depth=3, width=6, bias=True, **parts(norm)), run)
        for run in range(RUNS)
    ]
    x = batch(7, 5)
    for model, own in zip(models, x, strict=True):
        model(own)  # running statistics of their own
        model.train(training)
    assert_stacked_equals_single(models, x)


@pytest.mark.parametrize("norm", [*ALL, InstanceNorm()], ids=str)
def test_in_a_convolutional_network(norm: Normalization) -> None:
    models = [
        drawn(Cnn(input_shape=(2, 6, 5), out_features=3, channels=[4, 6], width=4, **parts(norm)), run)
        for run in range(RUNS)
    ]
    assert_stacked_equals_single(models, batch(4, 2, 6, 5))


def parts(norm: Normalization) -> dict[str, object]:
    return {"activation": activations.tanh, "normalization": norm}
