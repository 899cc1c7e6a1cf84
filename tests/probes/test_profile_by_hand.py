"""Profiles and curves against a forward and backward pass written out in numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine import EPSILON, batch, learner, network, perturbed
from fanin.parts import activations
from fanin.parts.normalization import BatchNorm, LayerNorm
from fanin.parts.regularizers import L2, Dropout
from fanin.probes.probe import QUANTITIES, Label, measure_curves, measure_profile
from fanin.streams import generator
from fanin.train.learner import Batch
from fanin.train.single_learner import SingleLearner
from oracles import by_hand

NETWORKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "softmax regression": {"depth": 1},
    "biases": {"bias": True},
    "tanh": {"activation": activations.tanh, "bias": True},
    "layer norm before": {"normalization": LayerNorm()},
    "layer norm after": {"normalization": LayerNorm(placement="post_activation"), "bias": True},
    "batch norm before": {"normalization": BatchNorm()},
    "batch norm after": {"normalization": BatchNorm(placement="post_activation")},
    "dropout": {"dropout": Dropout(p=0.4, input_p=0.2)},
    "everything": {"dropout": Dropout(p=0.3), "normalization": BatchNorm(), "bias": True, "depth": 5},
}


def masks_for(model: nn.Module, sizes: dict[str, int], examples: int, dtype: torch.dtype) -> dict[str, by_hand.Array]:
    """The masks that one generator draws, in the order of execution, over 1 - p."""
    random = torch.Generator().manual_seed(99)
    masks = {}
    for name, module in model.named_children():
        if name.startswith("dropout"):
            keep = 1 - module.p
            mask = torch.empty(examples, sizes[name], dtype=dtype).bernoulli_(keep, generator=random)
            masks[name] = mask.double().numpy() / keep
    return masks


def hand_pass(model: nn.Module, data: Batch, *, masked: bool = True) -> by_hand.Pass:
    x = data[0][0]
    sizes = {name: 7 if name == "dropout_0" else 6 for name, _ in model.named_children()}
    masks = masks_for(model, sizes, len(x), x.dtype) if masked else {}
    return by_hand.run(model, x.double().numpy(), data[1][0].numpy(), masks)


def looked_at(settings: dict[str, Any], seed: int, dtype: torch.dtype) -> SingleLearner:
    model = perturbed(network(seed, dtype=dtype, **settings))
    if "dropout" not in settings:
        return learner(model)
    return learner(model, dropout=generator(seed, "d"), probe_dropout=lambda: torch.Generator().manual_seed(99))


def table(measured: tuple[list[Label], Tensor]) -> dict[Label, float]:
    labels, values = measured
    assert values.shape == (1, len(labels))
    assert values.dtype == torch.float64
    assert len(set(labels)) == len(labels)
    return dict(zip(labels, values[0].tolist(), strict=True))


def assert_equal(found: dict[Label, float], expected: dict[Label, float], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for label, value in expected.items():
        # Near 0 (a movement at init, cosines, sums that cancel) the tolerance counts from the size of the terms, 1.
        assert found[label] == pytest.approx(value, rel=tolerance, abs=tolerance, nan_ok=True), label


# float64: some 50 roundings of 1e-16 a layer, enlarged by normalization. float32: sums of 7 products over up to 5
# layers, forward and back, give 70 roundings of 6e-8 at most in a row; 20 times that where variances are divided by.
PRECISIONS = {torch.float64: 1e-11, torch.float32: 20 * 70 * EPSILON}


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", [0, 1])
def test_profile_at_init_and_after_some_steps(name: str, seed: int, dtype: torch.dtype) -> None:
    one = looked_at(NETWORKS[name], seed, dtype)
    initial = {name: by_hand.array(weight) for name, weight in one.own.weights.items()}
    fixed = batch(100 + seed, dtype=dtype)
    for steps in (0, 5):
        for step in range(steps):
            one.step(batch(step, dtype=dtype), [0.05])
        expected = by_hand.profile(hand_pass(one.model, fixed), initial)
        assert_equal(table(measure_profile(one.observe(fixed))), expected, PRECISIONS[dtype])
    movements = [value for label, value in expected.items() if label[3] == "weight_movement"]
    assert min(movements) > 1e-4, "the steps moved every weight"


def test_module_1_is_the_input_and_weight_layers_count_from_1() -> None:
    found = table(measure_profile(looked_at({"depth": 3}, 0, torch.float32).observe(batch(0))))
    modules = {index: layer for axis, index, layer, _ in found if axis == "module"}
    weights = {index: layer for axis, index, layer, _ in found if axis == "weight"}
    assert modules == {1: "input", 2: "linear_1", 3: "relu_1", 4: "linear_2", 5: "relu_2", 6: "linear_3"}
    assert weights == {1: "linear_1", 2: "linear_2", 3: "linear_3"}
    of_the_module = {quantity for axis, _, _, quantity in found if axis == "module"}
    of_the_weight = {quantity for axis, _, _, quantity in found if axis == "weight"}
    assert of_the_module == {
        "activation_norm", "activation_gradient_norm", "dead_units", "activation_cosine", "activation_nonfinite",
    }  # fmt: skip
    assert of_the_weight == {
        "activation_norm", "gradient_norm", "gradient_nonfinite", "weight_norm", "weight_zeros", "weight_variance",
        "weight_movement",
    }  # fmt: skip
    assert ("module", 1, "input", "activation_gradient_norm") not in found, "nothing flows back to the input"
    assert found["weight", 1, "linear_1", "activation_norm"] == found["module", 3, "relu_1", "activation_norm"]
    assert found["weight", 3, "linear_3", "activation_norm"] == found["module", 6, "linear_3", "activation_norm"]


def test_images_are_measured_as_what_they_flatten_to() -> None:
    data = batch(3, features=(1, 7, 1))
    one = learner(network(3))
    found = table(measure_profile(one.observe(data)))
    flat = table(measure_profile(one.observe((data[0].flatten(2), data[1]))))
    assert found == flat


@pytest.mark.parametrize("name", NETWORKS)
def test_curves_of_the_training_pass(name: str) -> None:
    """All quantities in the very pass that trains, at its first look and at later ones."""
    one = looked_at(NETWORKS[name], 4, torch.float64)
    initial = {name: by_hand.array(weight) for name, weight in one.own.weights.items()}
    for step in range(3):
        data = batch(step, dtype=torch.float64)
        if one.own.dropout is not None:
            one.own.dropout.manual_seed(99)  # the masks of this pass are then known
        seen = hand_pass(one.model, data)
        result = one.step(data, [0.1], QUANTITIES)
        assert result.curves is not None
        found = table(result.curves)
        expected = {label: value for label, value in by_hand.profile(seen, initial).items() if label[0] == "weight"}
        for index, (layer, before) in enumerate(seen.weights.items(), start=1):
            gradients = [seen.output_gradients[seen.names[1:].index(end)] for end in block_ends(seen)]
            block = seen.block_outputs[index - 1]
            change = by_hand.norm(by_hand.array(one.own.weights[layer]) - before)
            expected |= {
                ("weight", index, layer, "dead_units"): by_hand.dead_units(block),
                ("weight", index, layer, "activation_cosine"): by_hand.cosine(block),
                ("weight", index, layer, "activation_nonfinite"): by_hand.nonfinite(block),
                ("weight", index, layer, "activation_gradient_norm"): by_hand.norm(gradients[index - 1]),
                ("weight", index, layer, "update_ratio"): change / by_hand.norm(before),
            }
            # SGD: the change is the learning rate times the gradient
            assert change == pytest.approx(0.1 * by_hand.norm(seen.weight_gradients[layer]), rel=1e-9)
        assert_equal(found, expected, PRECISIONS[torch.float64])


def block_ends(seen: by_hand.Pass) -> list[str]:
    """The module before each weight layer but the first, and the last module."""
    return [seen.names[seen.names.index(name) - 1] for name in list(seen.weights)[1:]] + seen.names[-1:]


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("name", ["plain", "everything"])
def test_a_quantity_asked_for_alone_is_the_same(quantity: str, name: str) -> None:
    several, alone = (looked_at(NETWORKS[name], 5, torch.float32) for _ in range(2))
    for step in range(3):
        first = table(several.step(batch(step), [0.1], QUANTITIES).curves)  # type: ignore[arg-type]
        second = table(alone.step(batch(step), [0.1], [quantity]).curves)  # type: ignore[arg-type]
        assert second == {label: value for label, value in first.items() if label[3] == quantity}


def test_update_ratio_is_of_the_update_and_not_of_the_gradient() -> None:
    """With a penalty the update has a part that the gradient norm of a profile does not show."""
    one = learner(network(6, dtype=torch.float64), penalties=[L2(strength=0.5)])
    data = batch(6, dtype=torch.float64)
    before, seen = {n: by_hand.array(w) for n, w in one.own.weights.items()}, hand_pass(one.model, data)
    found = table(one.step(data, [0.1], ["update_ratio"]).curves)  # type: ignore[arg-type]
    for index, (layer, weight) in enumerate(before.items(), start=1):
        update = 0.1 * (seen.weight_gradients[layer] + 0.5 * weight)
        expected = by_hand.norm(update) / by_hand.norm(weight)
        assert found["weight", index, layer, "update_ratio"] == pytest.approx(expected, rel=1e-12)


def test_observations_without_an_update_have_no_update_ratio() -> None:
    seen = learner(network()).observe(batch(0))
    assert measure_curves(seen, ["update_ratio"])[0] == []
    assert [label[3] for label in measure_curves(seen, ["update_ratio", "weight_norm"])[0]] == ["weight_norm"] * 4


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_recorded(value: float) -> None:
    """One weight of layer 2 spoils one unit, then everything after it."""
    model = network(7, depth=3, activation=activations.identity)
    with torch.no_grad():
        model.linear_2.weight[1, 2] = value  # type: ignore[index]
    found = table(measure_profile(learner(model).observe(batch(7))))
    counts = {layer: n for (_, _, layer, quantity), n in found.items() if quantity == "activation_nonfinite"}
    # 8 examples: none, one unit of linear_2, all 4 logits
    assert counts == {"input": 0, "linear_1": 0, "identity_1": 0, "linear_2": 8, "identity_2": 8, "linear_3": 32}
    norms = {layer: n for (axis, _, layer, q), n in found.items() if (axis, q) == ("module", "activation_norm")}
    assert math.isfinite(norms["identity_1"])
    assert math.isnan(norms["linear_2"]) if math.isnan(value) else norms["linear_2"] == math.inf
    # logits are not finite, so softmax and every gradient are NaN
    assert found["weight", 1, "linear_1", "gradient_nonfinite"] == 6 * 7
    assert math.isnan(found["weight", 1, "linear_1", "gradient_norm"])
    assert math.isfinite(found["weight", 1, "linear_1", "weight_norm"])
    assert not math.isfinite(found["weight", 2, "linear_2", "weight_norm"])
    assert not math.isfinite(found["weight", 2, "linear_2", "weight_variance"])


def test_a_dead_network_reads_0_and_not_nothing() -> None:
    model = network(8, depth=3)
    with torch.no_grad():
        model.linear_1.weight.fill_(-1.0)
    inputs, labels = batch(8)
    found = table(measure_profile(learner(model).observe((inputs.abs(), labels))))
    assert found["module", 3, "relu_1", "dead_units"] == 1
    assert found["module", 3, "relu_1", "activation_norm"] == 0
    assert math.isnan(found["module", 3, "relu_1", "activation_cosine"])
    assert found["weight", 1, "linear_1", "gradient_norm"] == 0
    assert found["module", 6, "linear_3", "activation_norm"] == 0


class SharedRelu(nn.Module):
    """As people write networks: one activation module that is called after every layer."""

    def __init__(self, order: Sequence[str]) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(7, 6), nn.Linear(6, 6), nn.Linear(6, 4)
        self.relu, self.tanh = nn.ReLU(), nn.Tanh()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        for name in self.order:
            x = self.get_submodule(name)(x)
        return x


@pytest.mark.parametrize(
    "order",
    [
        ("first", "relu", "second", "relu", "head"),
        ("first", "relu", "tanh", "second", "relu", "head"),
        ("first", "relu", "second", "relu", "tanh", "head"),
        ("first", "second", "relu", "head", "relu"),
    ],
    ids="-".join,
)
def test_a_module_that_is_called_twice_counts_twice(order: Sequence[str]) -> None:
    torch.manual_seed(0)
    model = SharedRelu(order)
    fresh = {"relu": nn.ReLU, "tanh": nn.Tanh}
    one, other = learner(model), learner(nn.Sequential(*[fresh.get(n, partial(getattr, model, n))() for n in order]))
    assert one.observe(batch(0)).modules == ["input", *[name_of_call(order, place) for place in range(len(order))]]
    profiles = [table(measure_profile(learner.observe(batch(0)))) for learner in (one, other)]
    assert list(profiles[0].values()) == pytest.approx(list(profiles[1].values()), nan_ok=True, rel=1e-15)
    for step in range(3):  # two learners of the same weights: a learning rate of 0 keeps them the same
        curves = [learner.step(batch(step), [0.0], CURVES).curves for learner in (one, other)]
        assert [label[2] for label in curves[0][0]] == ["first", "second", "head"] * len(CURVES)  # type: ignore[index]
        np.testing.assert_array_equal(curves[0][1], curves[1][1])  # type: ignore[index]


CURVES = ["activation_norm", "activation_gradient_norm", "gradient_norm"]


def name_of_call(order: Sequence[str], place: int) -> str:
    """ "relu" for its first call, "relu.2" for its second."""
    calls = order[: place + 1].count(order[place])
    return order[place] if calls == 1 else f"{order[place]}.{calls}"
