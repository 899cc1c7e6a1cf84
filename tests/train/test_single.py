"""The learner of one run: its update, its evaluation, its verdict on what broke, and the traces it must not leave."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine import batch, learner, network, perturbed, same
from fanin.parts import activations
from fanin.parts.normalization import BatchNorm, LayerNorm
from fanin.parts.optimizers import SGD, Adam, Momentum
from fanin.parts.regularizers import L2, Dropout
from fanin.probes.probe import QUANTITIES
from fanin.streams import generator
from fanin.train.learner import Batch, Culprit
from fanin.train.single_learner import SingleLearner
from oracles import by_hand


def state_of(one: SingleLearner) -> dict[str, Any]:
    """A copy of all that training depends on."""
    return copy.deepcopy(one.state(0))


def noisy(seed: int = 0, optimizer: Any = SGD, **changes: Any) -> SingleLearner:
    """A learner whose step depends on running statistics, dropout masks and, with momentum, the past."""
    model = perturbed(network(seed, normalization=BatchNorm(), dropout=Dropout(p=0.4, input_p=0.1), bias=True))
    streams = {"dropout": generator(seed, "dropout"), "probe_dropout": partial(generator, seed, "probe", "dropout")}
    return learner(model, optimizer, **streams, **changes)


def trained_for(one: SingleLearner, steps: int, size: int = 8) -> SingleLearner:
    for step in range(steps):
        one.step(batch(step, size), [0.1])
    return one


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("settings", [{}, {"bias": True, "depth": 6}, {"normalization": LayerNorm(), "bias": True}])
@pytest.mark.parametrize("strengths", [(), (0.3,), (0.3, 0.05)])
def test_a_step_is_that_of_gradient_descent(seed: int, settings: dict[str, Any], strengths: Sequence[float]) -> None:
    """W <- W - a (dL/dW + strength W), biases without the penalty; what is reported is the loss without it."""
    model = perturbed(network(seed, dtype=torch.float64, **settings))
    one = learner(model, penalties=[L2(strength=strength) for strength in strengths])
    for step in range(3):
        data, rate = batch(10 * seed + step, dtype=torch.float64), 0.1 / (step + 1)
        seen = by_hand.run(model, data[0][0].numpy(), data[1][0].numpy())
        expected = {
            f"{name}.weight": weight - rate * (seen.weight_gradients[name] + sum(strengths) * weight)
            for name, weight in seen.weights.items()
        }
        if settings.get("bias"):
            for name, gradient in seen.bias_gradients.items():
                expected[f"{name}.bias"] = by_hand.array(model.get_submodule(name).bias) - rate * gradient
        result = one.step(data, [rate])
        assert result.loss.tolist() == pytest.approx([seen.loss], rel=1e-12)
        assert result.error.tolist() == pytest.approx([seen.error], rel=1e-12)
        for name, value in expected.items():
            # some tens of float64 roundings of values about 1
            np.testing.assert_allclose(by_hand.array(model.get_parameter(name)), value, rtol=1e-11, atol=1e-12)


def test_a_learning_rate_of_0_moves_nothing() -> None:
    one = learner(network(1))
    before = one.best_weights(0)
    one.step(batch(1), [0.0])
    assert same(one.best_weights(0), before)


def test_best_weights_are_a_copy_and_can_be_put_back() -> None:
    one = noisy(2)
    before = one.best_weights(0)
    kept = copy.deepcopy(before)
    trained_for(one, 2)
    assert same(before, kept), "training does not reach into the copy"
    assert not same(one.best_weights(0), kept)
    one.load_weights(0, before)
    assert same(one.best_weights(0), kept)


# ---- evaluation


@pytest.mark.parametrize("examples", [1, 7, 999, 1000, 1001, 2345])
@pytest.mark.parametrize("seed", [0, 3])
def test_evaluation_is_the_mean_over_the_whole_set(examples: int, seed: int) -> None:
    """Parts of 1000 with a smaller last one count by their examples."""
    one = learner(network(seed, c=6.0, dtype=torch.float64))
    inputs, targets = (part[0] for part in batch(seed, examples, dtype=torch.float64))
    seen = by_hand.run(one.model, inputs.numpy(), targets.numpy())
    loss, error = one.evaluate(inputs, targets)
    assert loss.tolist() == pytest.approx([seen.loss], rel=1e-11)
    assert error.tolist() == pytest.approx([seen.error], rel=1e-14)


def test_evaluation_drops_nothing_and_normalizes_by_running_statistics() -> None:
    one = trained_for(noisy(4), 5)
    inputs, targets = (part[0] for part in batch(44, 30))
    h = inputs.double()
    for name, module in one.model.named_children():
        parameters = {key: value.detach().double() for key, value in module.state_dict().items()}
        if name.startswith("linear"):
            h = h @ parameters["weight"].T + parameters["bias"]
        elif name.startswith("batchnorm"):
            centred = (h - parameters["running_mean"]) / (parameters["running_var"] + 1e-5).sqrt()
            h = centred * parameters["weight"] + parameters["bias"]
        elif name.startswith("relu"):
            h = h.clamp(min=0)
        else:
            assert name.startswith("dropout")
    expected = float(-F.log_softmax(h, dim=1)[torch.arange(30), targets].mean())
    # float32 against float64, 4 layers
    assert float(one.evaluate(inputs, targets)[0]) == pytest.approx(expected, rel=1e-5)
    before = state_of(one)
    one.evaluate(inputs, targets)
    assert same(state_of(one), before)


def test_training_goes_on_in_training_mode_after_an_evaluation() -> None:
    with_evaluation, without = noisy(5), noisy(5)
    for step in range(4):
        with_evaluation.evaluate(*[part[0] for part in batch(50, 20)])
        first, second = with_evaluation.step(batch(step), [0.1]), without.step(batch(step), [0.1])
        assert torch.equal(first.loss, second.loss)
    assert same(state_of(with_evaluation), state_of(without))


# ---- looks leave no trace


@pytest.mark.parametrize("optimizer", [SGD, Momentum, Adam])
@pytest.mark.parametrize("seed", [0, 6])
def test_an_observation_leaves_everything_as_it_was(optimizer: Any, seed: int) -> None:
    one = trained_for(noisy(seed, optimizer), 3)
    before = state_of(one)
    gradients = {name: (parameter.grad, parameter.grad.clone()) for name, parameter in one.model.named_parameters()}  # type: ignore[union-attr]
    global_state = torch.random.get_rng_state()
    for _ in range(2):
        one.observe(batch(77))
    assert same(state_of(one), before), "weights, running statistics, velocities and the dropout stream"
    for name, parameter in one.model.named_parameters():
        assert parameter.grad is gradients[name][0]
        assert torch.equal(parameter.grad, gradients[name][1])
    assert torch.equal(torch.random.get_rng_state(), global_state)


def test_every_observation_draws_the_same_masks() -> None:
    one = noisy(7)
    first, second = one.observe(batch(7)), one.observe(batch(7))
    assert all(map(torch.equal, first.activations, second.activations))
    kept = first.activations[first.modules.index("dropout_1")] != 0
    assert 0 < kept.float().mean() < 1


def train(one: SingleLearner, curves: Sequence[str], looks: Sequence[int], observed: Sequence[int]) -> list[Tensor]:
    losses = []
    for step in range(12):
        if step in observed:
            one.observe(batch(88))
        losses.append(one.step(batch(step), [0.1], curves if step in looks else ()).loss)
    return losses


@pytest.mark.parametrize("optimizer", [SGD, Momentum, Adam])
@pytest.mark.parametrize("curves", [QUANTITIES, ["activation_norm"], ["gradient_norm"], ["update_ratio"]], ids=len)
@pytest.mark.parametrize("seed", [0, 8])
def test_training_does_not_know_whether_it_is_looked_at(optimizer: Any, curves: Sequence[str], seed: int) -> None:
    looked_at, alone = noisy(seed, optimizer), noisy(seed, optimizer)
    losses = train(looked_at, curves, looks=[0, 3, 4, 11], observed=[0, 5, 6])
    assert same(losses, train(alone, (), looks=[], observed=[]))
    assert same(state_of(looked_at), state_of(alone))


def test_hooks_live_only_while_a_look_lasts() -> None:
    one = noisy(9)
    counts: list[int] = []
    forward = one.model.forward

    def counting(x: Tensor) -> Tensor:
        counts.append(sum(len(module._forward_hooks) for module in one.model.modules()))
        return forward(x)

    one.model.forward = counting  # type: ignore[method-assign]
    train(one, QUANTITIES, looks=[2, 5], observed=[7])
    recorded = [2, 5, 7]
    passes = [place if place <= 7 else place - 1 for place in range(13)]  # step 7 makes two passes, its look first
    assert counts[7] > 0
    assert counts[8] == 0
    assert [step for step, count in zip(passes, counts, strict=True) if count] == recorded
    one.evaluate(*[part[0] for part in batch(1)])
    assert counts[-1] == 0
    for module in one.model.modules():
        hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
        assert not any(hooks)
    assert not any(parameter._backward_hooks for parameter in one.model.parameters())


def test_hooks_are_taken_off_when_the_pass_fails() -> None:
    one = noisy(10)
    wrong = (torch.zeros(1, 8, 3), torch.zeros(1, 8, dtype=torch.int64))
    for look in (lambda: one.observe(wrong), lambda: one.step(wrong, [0.1], ["activation_norm"])):
        with pytest.raises(RuntimeError):
            look()
        assert not any(module._forward_hooks for module in one.model.modules())


# ---- what broke


def broken(layer: str, value: float, **settings: Any) -> SingleLearner:
    """A learner with the weights of one layer set to a value."""
    model = network(11, **settings)
    with torch.no_grad():
        model.get_submodule(layer).weight.fill_(value)  # type: ignore[union-attr, operator]
    return learner(model)


def positive(seed: int) -> Batch:
    """Inputs of at least 1."""
    inputs, targets = batch(seed)
    return inputs.abs() + 1, targets


@pytest.mark.parametrize("layer", ["linear_1", "linear_2", "linear_4"])
@pytest.mark.parametrize("curves", [(), QUANTITIES], ids=["unseen", "looked at"])
def test_a_weight_that_is_nan_is_named(layer: str, curves: Sequence[str]) -> None:
    one = broken(layer, math.nan)
    result = one.step(batch(0), [0.1], curves)
    assert math.isnan(result.loss)
    assert one.culprit(0) == Culprit(layer, "weight")


@pytest.mark.parametrize("layer", ["linear_1", "linear_3"])
@pytest.mark.parametrize("curves", [(), QUANTITIES], ids=["unseen", "looked at"])
def test_an_activation_that_overflows_is_named(layer: str, curves: Sequence[str]) -> None:
    """Finite weights of 3e38: inputs above 1 add up beyond float32's largest number, 3.4e38."""
    one = broken(layer, 3e38, activation=activations.identity)
    with torch.no_grad():  # so that what reaches linear_3 are sums of positive numbers
        for name, weight in one.own.weights.items():
            if name != layer:
                weight.abs_()
    one.step(positive(1), [0.1], curves)
    assert one.culprit(0) == Culprit(layer, "activation")


def test_a_loss_that_overflows_while_the_logits_are_finite_is_named() -> None:
    one = broken("linear_1", 1.0, depth=1)
    with torch.no_grad():
        one.own.weights["linear_1"][:] = torch.tensor([[3e37], [-3e37], [3e37], [-3e37]])
    inputs, targets = torch.full((1, 8, 7), 1.0), torch.ones(1, 8, dtype=torch.int64)
    # logits are +-2.1e38, their difference 4.2e38 is beyond float32
    assert math.isinf(one.step((inputs, targets), [0.1]).loss)
    assert one.culprit(0) == Culprit("loss", "loss")


def test_no_culprit_as_long_as_the_loss_is_finite() -> None:
    assert trained_for(learner(network(12)), 5).culprit(0) is None


@pytest.mark.parametrize("curves", [(), QUANTITIES], ids=["unseen", "looked at"])
def test_no_update_after_a_loss_that_is_not_finite(curves: Sequence[str]) -> None:
    one = trained_for(noisy(13, Momentum), 3)
    before = state_of(one)
    spoiled = batch(0)[0].clone()
    spoiled[0, 2, 3] = math.inf
    result = one.step((spoiled, batch(0)[1]), [0.1], curves)
    assert not math.isfinite(result.loss)
    assert result.curves is None
    parameters = [name for name, _ in one.model.named_parameters()]
    after = state_of(one)
    assert same([after["model"][name] for name in parameters], [before["model"][name] for name in parameters])
    assert same(after["optimizer"], before["optimizer"])
    assert one.culprit(0) == Culprit("input", "activation")
    for step in range(2):  # good batches do not bring it back
        refused = one.step(batch(step), [0.1], curves)
        assert math.isnan(refused.loss)
        assert math.isnan(refused.error)
        assert refused.curves is None
    assert same(state_of(one), after)


@pytest.mark.parametrize("looks", [[], [0], [2], [0, 2, 3], [3]], ids=str)
def test_goes_on_when_told_to(looks: Sequence[int]) -> None:
    """Updates and curves continue; the culprit stays the first one."""
    one = noisy(14, stop_when_diverged=False)
    for step in range(2):
        one.step(batch(step), [0.1], QUANTITIES if step in looks else ())
    with torch.no_grad():
        one.own.weights["linear_3"][0, 0] = math.nan
    for step in range(2, 5):
        result = one.step(batch(step), [0.1], QUANTITIES if step in looks else ())
        assert math.isnan(result.loss)
        assert (result.curves is not None) == (step in looks)
        if result.curves is not None:
            labels, values = result.curves
            assert [label[2] for label in labels] == [f"linear_{layer}" for layer in range(1, 5)] * len(QUANTITIES)
            found = dict(zip(((label[3], label[2]) for label in labels), values[0].tolist(), strict=True))
            # One unit for each of 8 examples (0 * NaN is NaN under dropout too); then the update has reached all 6.
            assert found["activation_nonfinite", "linear_3"] == (8 if step == 2 else 8 * 6)
            assert found["activation_nonfinite", "linear_4"] == 8 * 4
    assert one.culprit(0) == Culprit("linear_3", "weight")
    assert one.own.weights["linear_1"].isnan().all(), "the update has been made, with gradients that are NaN"


# ---- states


@pytest.mark.parametrize("optimizer", [SGD, Momentum, Adam])
@pytest.mark.parametrize("seed", [0, 15])
def test_a_state_continues_bit_by_bit(optimizer: Any, seed: int) -> None:
    """Through a file, read with weights_only, into a learner of another seed that has been elsewhere."""
    one = trained_for(noisy(seed, optimizer), 4)
    file = io.BytesIO()
    torch.save(one.state(0), file)
    file.seek(0)
    other = trained_for(noisy(seed + 100, optimizer), 2)
    other.load_state(0, torch.load(file, weights_only=True))
    assert same(state_of(other), state_of(one))
    for step in range(4, 8):
        first, second = one.step(batch(step), [0.1]), other.step(batch(step), [0.1])
        assert torch.equal(first.loss, second.loss)
    assert same(state_of(other), state_of(one))


def test_the_model_may_be_any_module() -> None:
    torch.manual_seed(0)
    convolution = nn.Sequential(nn.Unflatten(1, (1, 7)), nn.Conv1d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(15, 4))
    one = learner(convolution)
    seen = one.observe(batch(0))
    assert seen.weight_names == ["1", "4"]
    assert [tuple(weight.shape) for weight in seen.weights] == [(1, 3, 1, 3), (1, 4, 15)]
    labels, values = one.step(batch(0), [0.1], ["weight_norm", "weight_variance"]).curves  # type: ignore[misc]
    kernel = by_hand.array(seen.initial[0][0]).reshape(3, 3)
    assert [label[1:3] for label in labels[:2]] == [(1, "1"), (2, "4")]
    assert values[0, 0] == pytest.approx(by_hand.norm(kernel), rel=1e-6)
    assert values[0, 2] == pytest.approx(by_hand.scaled_variance(kernel), rel=1e-6)
