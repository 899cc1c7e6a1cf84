"""The law of gradients against the geometric mean over seeds, each with its own weights and its own batch."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import engine
from fanin.parts import activations
from fanin.parts.data import Dataset, Digits, Mnist
from fanin.parts.initializers import VarianceScaling
from fanin.parts.models import Mlp
from fanin.parts.normalization import NoNorm
from fanin.parts.preprocess import Standardize
from fanin.run.recipe_law import recipe_law
from fanin.streams import generator
from fanin.train.batches import probe_batch

LAWS = 8
"""Batches whose law is worked out; the law of others is theirs, at each one's length."""


def factors(
    data: Dataset, depth: int, width: int, c: float, activation: Callable[[], torch.nn.Module], seeds: int
) -> Tensor:
    """ln ||dL/dW_l|| over the law's median, [seeds, depth]."""
    made = engine.recipe(initializer=VarianceScaling(c=c))
    inputs, targets = probe_batch(data.train_x, data.train_y, 100, range(seeds))
    inner = math.prod(data.input_shape)
    names = [f"linear_{layer}" for layer in range(1, depth + 1)]
    logs = []
    for seed in range(seeds):
        model = Mlp(
            in_features=inner, out_features=10, depth=depth, width=width, activation=activation, normalization=NoNorm()
        )
        made.initializer(model, lambda name, seed=seed: generator(seed, "init", name))
        same = f"{depth} {width} {c} {activation.__name__} {seed % LAWS}"
        law = recipe_law(made, model, inputs[seed], targets[seed], same=same)
        made.method.loss(model(inputs[seed]), targets[seed], inputs[seed]).backward()
        bands = [law.bands["weight", name, "gradient_norm"] for name in names]
        weights = [model.get_parameter(f"{name}.weight") for name in names]
        logs.append([math.log(float(w.grad.norm()) / band.median) for w, band in zip(weights, bands, strict=True)])  # type: ignore[union-attr]
    return torch.tensor(logs)


@pytest.mark.parametrize("c", [2.0, *(pytest.param(c, marks=pytest.mark.slow) for c in (1.0, 3.0))])
def test_digits(c: float) -> None:
    """Ten layers, 32 seeds: within a factor 1.3 at every layer, as it is to hold for MNIST."""
    logs = factors(Standardize()(Digits().load()), 10, 100, c, activations.relu, 32)
    assert logs.mean(0).abs().max() < math.log(1.3), logs.mean(0)


@pytest.mark.slow
@pytest.mark.parametrize("c", [1.0, 2.0, 3.0])
def test_the_study_on_mnist(c: float) -> None:
    """The study's network, 50 layers of 100 units: within a factor 1.3 of the geometric mean at every layer.

    One seed's ln ||dL/dW|| strays by up to 1.2, so that the mean over 30 seeds lies off by 1.3 every third time
    whatever the law says; over 400 it does by 0.06.
    """
    root = os.environ.get("FANIN_DATA")
    if root is None or not (Path(root) / "MNIST").is_dir():
        pytest.skip("FANIN_DATA has no MNIST")
    logs = factors(Standardize()(Mnist(root=root).load()), 50, 100, c, activations.relu, 400)
    assert logs.mean(0).abs().max() < math.log(1.3), logs.mean(0)
