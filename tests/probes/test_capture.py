"""What is recorded of a module is what it gave: in place or not, in tuples, with tokens, with shared weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from engine import batch, learner
from fanin.parts.optimizers import SGD
from fanin.parts.regularizers import L2
from fanin.probes.modules import first_tensor
from fanin.probes.probe import QUANTITIES, measure_profile
from fanin.train.fused_learner import FusedLearner
from fanin.train.learner import Batch
from fanin.train.single_learner import SingleLearner
from other_networks import Experts


class Block(nn.Module):
    """A normalization, an activation and a sum, in place where asked for, as torchvision writes them."""

    def __init__(self, *, inplace: bool) -> None:
        super().__init__()
        self.linear, self.norm, self.relu = nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU(inplace=inplace)
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        z = self.norm(self.linear(x))
        if self.inplace:
            z += x
        else:
            z = z + x
        result: Tensor = self.relu(z)
        return result


class Scaled(nn.Sequential):
    """Works on its inputs in place, too."""

    def __init__(self, *parts: nn.Module, inplace: bool) -> None:
        super().__init__(*parts)
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(2.0) if self.inplace else x * 2.0)  # type: ignore[no-any-return]


def network(*, inplace: bool) -> nn.Module:
    """7 -> 6 -> 4; the same weights whatever is in place."""
    torch.manual_seed(3)
    relu = nn.ReLU(inplace=inplace)
    parts = (
        nn.Linear(7, 6),
        relu,
        Block(inplace=inplace),
        Block(inplace=inplace),
        nn.Linear(6, 4),
    )
    return Scaled(*parts, inplace=inplace)


def profile(one: SingleLearner, data: Batch) -> dict[Any, float]:
    """Every quantity of a look; the batch itself stays as it is."""
    labels, values = measure_profile(one.observe((data[0].clone(), data[1])))
    return dict(zip(labels, values[0].tolist(), strict=True))


def test_what_a_later_module_changes_in_place_is_recorded_as_it_was() -> None:
    """Against the same network with nothing in place, at every quantity, at the first look and at later ones."""
    changed, plain = (learner(network(inplace=inplace)) for inplace in (True, False))
    for step in range(3):
        data = batch(step)
        assert profile(changed, data) == profile(plain, data)
        curves = [one.step((data[0].clone(), data[1]), [0.1], QUANTITIES).curves for one in (changed, plain)]
        assert curves[0][0] == curves[1][0]  # type: ignore[index]
        torch.testing.assert_close(curves[0][1], curves[1][1], rtol=0, atol=0, equal_nan=True)  # type: ignore[index]


def test_only_what_changes_is_copied_after_the_first_look() -> None:
    one = learner(network(inplace=True))
    given: dict[str, Tensor] = {}
    for name, module in one.model.named_modules():
        module.register_forward_hook(lambda module, inputs, output, name=name: given.__setitem__(name, output))
    kept = []
    for step in range(2):
        seen = one.observe(batch(step))
        kept.append({name for name, value in zip(seen.modules, seen.activations, strict=True)
                     if name in given and value.data_ptr() == given[name].data_ptr()})  # fmt: skip
    assert kept == [set(), {"1", "2.linear", "2.relu", "3.linear", "3.relu", "4"}]


def test_fused_runs_record_it_too() -> None:
    members = [learner(network(inplace=True), SGD).own for _ in range(2)]
    alone = learner(network(inplace=False))
    fused = FusedLearner(members)
    one = batch(0)
    seen = fused.observe((one[0].repeat(2, 1, 1), one[1].repeat(2, 1)))
    expected = alone.observe(one)
    assert seen.modules == expected.modules
    for mine, its in zip(seen.activations, expected.activations, strict=True):
        torch.testing.assert_close(mine, its.repeat(2, *[1] * (its.ndim - 1)), rtol=1e-5, atol=1e-6)
    for mine, its in zip(seen.activation_gradients, expected.activation_gradients, strict=True):
        assert (mine is None) == (its is None)
        if mine is not None and its is not None:
            torch.testing.assert_close(mine[:1], its, rtol=1e-4, atol=1e-6)


def test_torchvision_resnet18_as_it_is() -> None:
    """All of its ReLUs are in place: a normalization is not the relu after it."""
    torch.manual_seed(0)
    one = learner(resnet18(num_classes=4))
    images = batch(0, 2, (3, 32, 32))
    seen = one.observe(images)
    outputs = dict(zip(seen.modules, seen.activations, strict=True))
    assert torch.equal(outputs["bn1"].relu(), outputs["relu"])
    assert float(outputs["bn1"].min()) < 0
    for module in one.model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    plain = one.observe(images)
    assert plain.modules == seen.modules
    assert len(plain.modules) == 61  # 20 convolutions and as many normalizations, 17 calls of a relu, and 4 more
    for mine, its in zip(seen.activations, plain.activations, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-5)
    for mine, its in zip(seen.activation_gradients[1:], plain.activation_gradients[1:], strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-3, atol=1e-6)


class Reader(nn.Module):
    """Tokens -> embedding -> a recurrent layer or attention -> classes of the last token."""

    def __init__(self, inner: nn.Module, call: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.embedding, self.inner, self.head = nn.Embedding(11, 8), inner, nn.Linear(8, 4)
        self.call = call

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(first_tensor(self.call(self.inner, self.embedding(tokens)))[:, -1])  # type: ignore[index]
        return logits


class Named(nn.Module):
    """Gives a dictionary, of numbers first."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(8))

    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"length": x.shape[1], "mask": x[..., 0] > 0, "hidden": [x @ self.weight, x]}


@pytest.mark.parametrize(
    ("inner", "call"),
    [
        (nn.LSTM(8, 8, batch_first=True), lambda inner, x: inner(x)),
        (nn.GRU(8, 8, batch_first=True), lambda inner, x: inner(x)),
        (nn.MultiheadAttention(8, 2, batch_first=True), lambda inner, x: inner(x, x, x)),
        (Named(), lambda inner, x: inner(x)["hidden"]),
    ],
    ids=["lstm", "gru", "attention", "dictionary"],
)
def test_modules_that_give_more_than_a_tensor_and_inputs_that_are_integers(
    inner: nn.Module, call: Callable[[nn.Module, Tensor], Any]
) -> None:
    torch.manual_seed(1)
    one = learner(Reader(inner, call))
    tokens = torch.randint(11, (1, 5, 6))
    data = tokens, torch.randint(4, (1, 5))
    seen = one.observe(data)
    assert seen.modules == ["input", "embedding", "inner", "head"]
    assert torch.equal(seen.activations[0], tokens.float())
    embedded = one.model.embedding(tokens[0])
    expected = first_tensor(call(inner, embedded))
    torch.testing.assert_close(seen.activations[2][0], expected, rtol=1e-5, atol=1e-6)
    assert seen.activation_gradients[2] is not None
    assert seen.activation_gradients[2].shape == (1, 5, 6, 8)
    assert float(seen.activation_gradients[2].abs().sum()) > 0
    own = ["inner"] if isinstance(inner, Named) else []
    assert seen.weight_names == ["embedding", *own, "head"]
    for step in range(2):
        result = one.step(data, [0.1], ["activation_norm", "gradient_norm"])
        assert torch.isfinite(result.curves[1]).all()  # type: ignore[index]
        assert (result.curves[1] > 0).all(), step  # type: ignore[index]


def test_attention_is_seen_once_where_its_parts_run() -> None:
    """A module that owns parameters and calls its parts is its parts; one that does not call them is itself."""

    class Parts(nn.Module):
        def __init__(self, *, calls: bool) -> None:
            super().__init__()
            self.scale, self.inside, self.calls = nn.Parameter(torch.ones(7)), nn.Linear(7, 4), calls

        def forward(self, x: Tensor) -> Tensor:
            x = x * self.scale
            return self.inside(x) if self.calls else nn.functional.linear(x, self.inside.weight)  # type: ignore[no-any-return]

    for calls, modules in ((True, ["input", "0.inside"]), (False, ["input", "0"])):
        assert learner(nn.Sequential(Parts(calls=calls))).observe(batch(0)).modules == modules


def tied() -> nn.Module:
    """7 -> 7 -> 7 -> 4, whose first two matrices are one."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(7, 7, bias=False), nn.Tanh(), nn.Linear(7, 7, bias=False), nn.Linear(7, 4))
    model[2].weight = model[0].weight
    return model


def test_shared_weights_have_one_gradient_under_both_names() -> None:
    """The gradient of a weight that two layers share is the sum over both; fused runs have it so, too."""
    model, data = tied(), batch(0)
    found = profile(learner(model), data)
    loss = nn.functional.cross_entropy(model(data[0][0]), data[1][0])
    (gradient,) = torch.autograd.grad(loss, [model[0].weight])  # type: ignore[index]
    fused = FusedLearner([learner(tied(), SGD).own for _ in range(2)])
    labels, values = measure_profile(fused.observe((data[0].repeat(2, 1, 1), data[1].repeat(2, 1))))
    together = dict(zip(labels, values[1].tolist(), strict=True))
    for index, name in ((1, "0"), (2, "2")):
        for one in (found, together):
            assert one["weight", index, name, "gradient_norm"] == pytest.approx(float(gradient.norm()), rel=1e-5)
            assert one["weight", index, name, "weight_norm"] == found["weight", 1, "0", "weight_norm"]


def test_a_penalty_pulls_a_shared_weight_once() -> None:
    """A step of the rate 1 on 1/2 w^2, with the gradient of the data loss taken off, halves every weight once."""
    model, data = tied(), batch(0)
    before = [one.detach().clone() for one in (model[0].weight, model[3].weight)]  # type: ignore[index]
    loss = nn.functional.cross_entropy(model(data[0][0]), data[1][0])
    slopes = torch.autograd.grad(loss, [model[0].weight, model[3].weight])  # type: ignore[index]
    learner(model, SGD, [L2(strength=0.5)]).step(data, [1.0])
    for weight, old, slope in zip((model[0].weight, model[3].weight), before, slopes, strict=True):  # type: ignore[index]
        torch.testing.assert_close(weight.detach(), 0.5 * old - slope, rtol=1e-5, atol=1e-6)


def test_a_parametrized_layer_is_seen_and_what_makes_its_weight_is_not() -> None:
    torch.manual_seed(2)
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(7, 6)), nn.ReLU(), nn.Linear(6, 4))
    assert learner(model).observe(batch(0)).modules == ["input", "0", "1", "2"]


def test_experts_without_an_example_have_no_point() -> None:
    """Layers keep their numbers, and activations are of the layers that they are told of."""
    torch.manual_seed(0)
    one = learner(Experts())
    seen = [(0, 1), (2,), (0, 1, 2, 3), (3,), (1,)]
    for step, chosen in enumerate(seen):
        inputs = torch.eye(5)[list(chosen)]
        with torch.no_grad():
            wanted = {
                name: float(layer(inputs[[chosen.index(place)]]).norm())
                for place, (name, layer) in enumerate(one.model.experts.named_children())
                if place in chosen
            }
        curves = one.step((inputs[None], torch.zeros(1, len(chosen), dtype=torch.int64)), [0.1],
                          ["activation_norm", "gradient_norm"]).curves  # fmt: skip
        assert curves is not None
        found = {label[1:]: value for label, value in zip(curves[0], curves[1][0].tolist(), strict=True)}
        norms = {layer: value for (_, layer, quantity), value in found.items() if quantity == "activation_norm"}
        if step != 1:  # the point at which it shows that experts come and go
            assert {name.rpartition(".")[2] for name in norms if name != "head"} == {str(place) for place in chosen}
        for name, value in norms.items():
            assert name == "head" or value == pytest.approx(wanted[name.rpartition(".")[2]], rel=1e-6)
    assert {label[1] for label in curves[0] if label[2] == "head"} == {3}
