"""The law of a recipe: walked out of the model, and what it says where it ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import engine
from closed_forms import forward_theory
from fanin.parts import activations
from fanin.parts.initializers import Constant, Orthogonal, VarianceScaling
from fanin.run.recipe import Recipe
from fanin.run.recipe_law import RecipeLaw, recipe_law
from fanin.theory.bands import EXACT
from fanin.theory.chain_layer import ChainLayer

FEATURES, CLASSES = 12, 4


def law_of(examples: int = 6, model: Callable[[], nn.Module] | None = None, **changes: Any) -> RecipeLaw:
    """The law of a small recipe on inputs of a fixed draw."""
    made: Recipe = engine.recipe(**changes)
    torch.manual_seed(1)
    inputs, targets = torch.randn(examples, FEATURES), torch.arange(examples) % CLASSES
    network = made.make_model((FEATURES,), CLASSES) if model is None else model()
    return recipe_law(made, network, inputs, targets)


@pytest.mark.parametrize("c", [1.0, 2.0, 3.0])
def test_relu_and_one_example_give_the_law_in_closed_form(c: float) -> None:
    law = law_of(1, initializer=VarianceScaling(c=c))
    torch.manual_seed(1)
    norm = float(torch.randn(1, FEATURES).norm())
    widths = [FEATURES, 16, 16, CLASSES]
    layers = [ChainLayer(f"linear_{place}", *pair, c) for place, pair in enumerate(pairwise(widths), 1)]
    exact = forward_theory(layers, norm)
    for place, known in enumerate(exact.post, 1):
        band = law.bands["weight", f"linear_{place}", "activation_norm"]
        assert band.log_mean == pytest.approx(known.log_mean, abs=1e-6)
        assert band.log_sd == pytest.approx(known.log_sd, abs=1e-6)
        assert band.mean_square == pytest.approx(known.mean_square, rel=1e-6)
        assert band.source == EXACT
    assert law.no_law == ""


def test_biases_beside_orthogonal_weights_are_left_to_chance() -> None:
    """||W x + b||^2 = ||W x||^2 + 2 b W x + ||b||^2 with ||W x|| fixed varies by n (4 s v m + 2 s^2)."""
    made = engine.recipe(
        model={"activation": nn.Identity, "width": FEATURES, "bias": True},
        initializer=Orthogonal(gain=0.9, bias_variance=0.3),
    )
    torch.manual_seed(1)
    inputs = torch.randn(1, FEATURES)
    law = recipe_law(made, made.make_model((FEATURES,), CLASSES), inputs, torch.tensor([0]))
    s, vm = 0.3, 0.81 * float(inputs.square().mean())
    variance = (4 * s * vm + 2 * s**2) / (vm + s) ** 2 / FEATURES
    assert law.bands["weight", "linear_1", "activation_norm"].log_sd == pytest.approx(math.sqrt(variance), rel=1e-6)


class Doubled(nn.Module):
    """A model that does something itself between its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.relu, self.last = nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(2 * self.relu(self.first(inputs)))


def test_what_happens_between_the_parts_ends_the_law() -> None:
    law = law_of(model=Doubled)
    assert law.stopped_at == "last"
    assert law.no_law == "the law ends at last: what it takes was made between the parts, where no rule sees it"
    assert ("weight", "first", "activation_norm") in law.bands
    assert not any(layer == "last" or quantity == "gradient_norm" for _, layer, quantity in law.bands)


def test_weights_without_a_law_are_named() -> None:
    law = law_of(initializer=Constant(value=0.1))
    assert (law.bands, law.stopped_at) == ({}, "linear_1")
    assert law.no_law == "the law ends at linear_1: Constant draws weights that have no law"


def test_the_correlation_of_two_examples_follows_the_map_of_relu() -> None:
    """r' = (sqrt(1 - r^2) + r (pi - arccos r)) / pi at every layer (Cho & Saul 2009)."""
    made = engine.recipe(model={"depth": 5})
    inputs = torch.randn(2, FEATURES, generator=torch.Generator().manual_seed(5))
    law = recipe_law(made, made.make_model((FEATURES,), CLASSES), inputs, torch.tensor([0, 1]))
    r = float(torch.cosine_similarity(inputs[0], inputs[1], dim=0))
    for layer in range(1, 5):
        assert law.cosines["module", f"linear_{layer}", "activation_cosine"] == pytest.approx(r, abs=1e-6)
        r = (math.sqrt(1 - r * r) + r * (math.pi - math.acos(r))) / math.pi
        assert law.cosines["weight", f"linear_{layer}", "activation_cosine"] == pytest.approx(r, abs=1e-6)


class relu(nn.Module):  # noqa: N801  (a function of one's own that has another's name)
    """No rectified linear unit."""

    def forward(self, z: Tensor) -> Tensor:
        return z + 0.5


def test_a_name_decides_nothing() -> None:
    """z + 1/2 has E x^2 = q + 1/4 whatever its class is called."""
    made = engine.recipe(model={"activation": relu})
    torch.manual_seed(1)
    inputs = torch.randn(1, FEATURES)
    law = recipe_law(made, made.make_model((FEATURES,), CLASSES), inputs, torch.tensor([0]))
    q = 2 * float(inputs.square().mean())
    square = law.bands["weight", "linear_1", "activation_norm"].mean_square
    assert square == pytest.approx(math.sqrt(16 * (q + 0.25)), rel=1e-5)


def test_the_model_is_left_as_it_was() -> None:
    made = engine.recipe(model={"activation": activations.tanh})
    network = made.make_model((FEATURES,), CLASSES)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    inputs = torch.randn(5, FEATURES)
    state = torch.random.get_rng_state()
    recipe_law(made, network, inputs, torch.zeros(5, dtype=torch.int64))
    assert engine.same(state, torch.random.get_rng_state())
    assert all(engine.same(before[name], value) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
