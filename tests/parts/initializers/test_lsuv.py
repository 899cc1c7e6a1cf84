"""LSUV: the variances that it leaves behind, recomputed by hand, and what it must not touch."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fanin import streams
from fanin.parts import activations
from fanin.parts.initializers import Lsuv, Stream
from fanin.parts.models import Mlp
from fanin.parts.normalization import BatchNorm, NoNorm
from fanin.parts.regularizers import Dropout, DropoutModule


def stream(seed: int) -> Stream:
    return lambda name: streams.generator(seed, "init", name)


def inputs(seed: int, examples: int = 64, features: int = 12, scale: float = 5.0) -> Tensor:
    return scale * torch.rand(examples, features, generator=torch.Generator().manual_seed(seed))


def mlp(depth: int, norm: NoNorm | BatchNorm | None = None, dropout: Dropout | None = None) -> Mlp:
    return Mlp(
        in_features=12,
        out_features=4,
        depth=depth,
        width=20,
        activation=activations.tanh,
        normalization=norm or NoNorm(),
        dropout=dropout,
    )


@given(depth=st.integers(1, 6), seed=st.integers(0, 99), tolerance=st.sampled_from([0.5, 0.1, 1e-3]))
@settings(max_examples=15, deadline=None)
def test_every_output_has_variance_1(depth: int, seed: int, tolerance: float) -> None:
    model, batch, initializer = mlp(depth), inputs(seed), Lsuv(tolerance=tolerance)
    initializer(model, stream(seed))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    initializer.calibrate(model, batch)
    hidden = batch.double().numpy()
    for weight, drawn in zip(model.parameters(), before, strict=True):
        output = hidden @ weight.detach().double().numpy().T
        # what is measured there in float32 differs from float64 by some 1e-6
        assert abs(np.var(output) - 1) <= tolerance + 1e-5
        hidden = np.tanh(output)
        # still orthogonal: the draw times one factor
        ratio = (weight.detach() / drawn)[drawn.abs() > 1e-3]
        torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-6, atol=0)


def test_a_layer_within_the_tolerance_is_left_alone() -> None:
    model, batch = mlp(3), inputs(0)
    Lsuv()(model, stream(0))
    Lsuv(tolerance=1e-4).calibrate(model, batch)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    Lsuv(tolerance=0.1).calibrate(model, batch)
    assert all(torch.equal(now, then) for now, then in zip(model.parameters(), before, strict=True))


class Backwards(nn.Module):
    """Layers registered in the reverse of the order in which they run."""

    def __init__(self) -> None:
        super().__init__()
        self.third, self.second, self.first = nn.Linear(20, 4), nn.Linear(20, 20), nn.Linear(12, 20)

    def forward(self, x: Tensor) -> Tensor:
        third: Tensor = self.third(torch.tanh(self.second(torch.tanh(self.first(x)))))
        return third


class Recurrent(nn.Module):
    """A layer that runs three times in a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.around = nn.Linear(12, 20), nn.Linear(20, 20)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.zeros(len(x), 20)
        for _ in range(3):
            hidden = torch.tanh(self.inward(x) + self.around(hidden))
        return hidden


@pytest.mark.parametrize("kind", [Backwards, Recurrent])
def test_the_order_is_that_of_the_forward_pass_and_all_calls_count(kind: type[nn.Module]) -> None:
    model, batch = kind(), inputs(1)
    Lsuv()(model, stream(1))
    Lsuv(tolerance=0.01).calibrate(model, batch)
    seen: dict[str, list[Tensor]] = {}
    for name, layer in model.named_children():
        layer.register_forward_hook(lambda _, __, output, name=name: seen.setdefault(name, []).append(output))  # type: ignore[misc]
    model(batch)
    for outputs in seen.values():
        assert abs(torch.stack(outputs).detach().numpy().astype(float).var() - 1) <= 0.01 + 1e-5


class Explosive(nn.Module):
    """A layer that feeds itself 20 times through ReLU: twice the weight is some 2^20 times the output."""

    def __init__(self) -> None:
        super().__init__()
        self.around = nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        hidden = x
        for _ in range(20):
            hidden = torch.relu(self.around(hidden))
        return hidden


def test_a_layer_that_feeds_itself_gets_there_too() -> None:
    model, batch = Explosive(), inputs(7, scale=0.5)
    Lsuv()(model, stream(7))
    model.around.weight.data.mul_(2)  # the rule with square roots swings to and fro between 1e-6 and 1e+11
    Lsuv(max_tries=20).calibrate(model, batch)
    hidden, outputs = batch.double().numpy(), []
    for _ in range(20):
        outputs.append(hidden @ model.around.weight.detach().double().numpy().T)
        hidden = np.maximum(outputs[-1], 0)
    assert abs(np.var(outputs) - 1) <= 0.1 + 1e-4


class WeightNormed(nn.Module):
    """y = g v / |v| x: the length of v plays no part until g is set from it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(20, 12))
        self.g = nn.Parameter(torch.empty(20, 1))

    def after_init(self) -> None:
        self.g.copy_(self.weight.norm(dim=1, keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.g * self.weight / self.weight.norm(dim=1, keepdim=True)).T


def test_weights_that_others_follow_from_are_scaled_with_them() -> None:
    model, batch = nn.Sequential(WeightNormed(), nn.ReLU()), inputs(2)
    Lsuv()(model, stream(2))
    Lsuv(tolerance=0.01).calibrate(model, batch)
    assert abs(model[0](batch).detach().numpy().astype(float).var() - 1) <= 0.01 + 1e-5


def test_running_statistics_masks_and_generators_stay_as_they_were() -> None:
    model, batch = mlp(4, BatchNorm(), Dropout(p=0.4, input_p=0.2)), inputs(3)
    drops = [module for module in model.modules() if isinstance(module, DropoutModule)]
    own = torch.Generator().manual_seed(8)
    for module in drops:
        module.generator = own
    Lsuv()(model, stream(3))
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    states = own.get_state(), torch.random.get_rng_state()
    Lsuv().calibrate(model, batch)
    assert len(drops) == 4
    assert all(module.generator is own for module in drops)
    assert torch.equal(own.get_state(), states[0])
    assert torch.equal(torch.random.get_rng_state(), states[1])
    assert len(buffers) == 9  # three normalizations of mean, variance and count
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_dropout_is_the_same_at_every_pass_and_in_every_process() -> None:
    models = [mlp(4, dropout=Dropout(p=0.5)) for _ in range(2)]
    for model in models:
        Lsuv()(model, stream(4))
        Lsuv(tolerance=1e-4).calibrate(model, inputs(4))
        torch.rand(3)  # what others draw in between plays no part
    first, second = (list(model.parameters()) for model in models)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_every_dropout_has_masks_of_its_own_the_same_at_every_pass() -> None:
    model = mlp(3, dropout=Dropout(p=0.5))
    masks: dict[str, list[Tensor]] = {"dropout_1": [], "dropout_2": []}
    for name, seen in masks.items():
        model.get_submodule(name).register_forward_hook(lambda _, __, output, seen=seen: seen.append(output != 0))  # type: ignore[misc]
    Lsuv()(model, stream(8))
    Lsuv().calibrate(model, inputs(8))
    first, second = masks.values()
    assert len(first) > 3
    assert all(torch.equal(mask, first[0]) for mask in first)
    # 64 * 20 fair coins: two independent draws agree on half of them, within 5 standard deviations
    assert abs((first[0] == second[0]).float().mean().item() - 0.5) < 5 * 0.5 / 1280**0.5


@pytest.mark.parametrize(("scale", "said"), [(0.0, "variance 0"), (float("inf"), "variance nan")])
def test_a_layer_that_cannot_get_there_keeps_its_draw_and_is_told(
    scale: float, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    model, batch = mlp(2), inputs(5, scale=1.0) * scale
    Lsuv()(model, stream(5))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with caplog.at_level(logging.WARNING):
        Lsuv().calibrate(model, batch)
    assert f"lsuv: the output of linear_1 stays at {said}" in caplog.text
    assert all(torch.equal(now, then) for now, then in zip(model.parameters(), before, strict=True))


class Unmoved(nn.Module):
    """Twice its input, whatever its weight; counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2, 2))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return 2 * x


def test_the_tries_are_limited(caplog: pytest.LogCaptureFixture) -> None:
    model = Unmoved()
    Lsuv()(model, stream(6))
    Lsuv(max_tries=3).calibrate(model, torch.tensor([[1.0, -1.0]]))
    # a pass for the order, one before each of 3 rescalings and one after the last, each by sqrt(4)
    assert model.calls == 5
    torch.testing.assert_close(model.weight @ model.weight.T, torch.eye(2) / 2**6, rtol=0, atol=1e-7)
    assert "stays at variance 4" in caplog.text
