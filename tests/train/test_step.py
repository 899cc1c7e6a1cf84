"""One step, with every part that can be in it, against the same step written out."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from engine import batch, learner, network, perturbed
from fanin.parts import activations
from fanin.parts.clipping import ClipValue
from fanin.parts.losses import CrossEntropy
from fanin.parts.normalization import BatchNorm
from fanin.parts.optimizers import SGD, Adam
from fanin.parts.regularizers import L1, L2, SAM, Dropout, LabelSmoothing, MaxNorm, WeightDecay
from fanin.probes.probe import QUANTITIES
from fanin.streams import generator
from fanin.train.step import Method
from oracles import by_hand
from steps_by_hand import EXACT, Array, ByHand, curve_values, gradients_by_hand, length, method_of, parameters, values


def maybe(low: float, high: float) -> st.SearchStrategy[float | None]:
    return st.one_of(st.none(), st.floats(low, high))


PARTS = st.fixed_dictionaries(
    {
        "l1": maybe(0.001, 0.3),
        "l2": maybe(0.001, 0.3),
        "clip": maybe(0.05, 2.0),  # gradients here have norms about 1
        "decay": maybe(0.001, 0.3),
        "bound": maybe(0.3, 3.0),  # and rows of weights too
    }
)


@settings(max_examples=25, deadline=None)
@given(parts=PARTS, optimizer=st.sampled_from([SGD, Adam]), depth=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_a_step_is_its_formulas(
    parts: dict[str, float | None], optimizer: type[torch.optim.Optimizer], depth: int, seed: int
) -> None:
    """Biases are clipped with the rest, and neither penalized, nor decayed, nor bounded; the loss stands alone."""
    model = perturbed(network(seed, depth=depth, bias=True, activation=activations.tanh, dtype=torch.float64))
    one, expected = learner(model, optimizer, method=method_of(parts)), ByHand(parts, optimizer)
    for step in range(3):
        data, rate = batch(seed + step, dtype=torch.float64), 0.3 / (step + 1)
        theta = parameters(model)
        loss = by_hand.run(model, data[0][0].numpy(), data[1][0].numpy()).loss
        wanted = expected.step(theta, gradients_by_hand(model, data), rate)
        assert one.step(data, [rate]).loss.item() == pytest.approx(loss, rel=1e-12)
        for name, value in parameters(model).items():
            # Adam divides by the root of g^2, which may be small: a relative error of g is one of the step
            np.testing.assert_allclose(value, wanted[name], rtol=1e-8, atol=1e-10, err_msg=name)


def test_the_order_of_the_parts_matters_and_is_the_documented_one() -> None:
    """One weight, w = 2, loss of gradient 3 at a rate of 0.1: numbers that another order would change.

    The penalty's gradient is 0.5 * 2 = 1; (3 + 1) clipped to 2 is 2; the weight decays to 0.9 * 2 = 1.8, steps to
    1.8 - 0.1 * 2 = 1.6 and is projected to 1.5.
    """

    class Slope(CrossEntropy):
        def __call__(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
            return 3 * outputs.mean()

    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(model.weight, 2.0)
    parts = {"l1": None, "l2": 0.5, "clip": 2.0, "decay": 0.1, "bound": 1.5}
    one = learner(model, method=method_of(parts, loss=Slope()))
    data = (torch.ones(1, 4, 1, dtype=torch.float64), torch.zeros(1, 4, dtype=torch.int64))
    assert one.step(data, [0.1]).loss.item() == 6.0
    assert model.weight.item() == pytest.approx(1.5, rel=1e-15)
    one = learner(model, method=method_of(parts | {"bound": None}, loss=Slope()))
    nn.init.constant_(model.weight, 2.0)
    one.step(data, [0.1])
    assert model.weight.item() == pytest.approx(1.6, rel=1e-15)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("eps", [0.1, 0.6])
def test_label_smoothing_changes_the_gradient_and_not_the_reported_loss(eps: float, seed: int) -> None:
    model = perturbed(network(seed, bias=True, dtype=torch.float64))
    method = Method(smoothed=CrossEntropy().smoothed(LabelSmoothing(eps=eps).eps))
    one, data = learner(model, method=method), batch(seed, dtype=torch.float64)
    other = copy.deepcopy(model)
    F.cross_entropy(other(data[0][0]), data[1][0], label_smoothing=eps).backward()  # type: ignore[no-untyped-call]
    plain = by_hand.run(model, data[0][0].numpy(), data[1][0].numpy())
    result = one.step(data, [0.1])
    assert result.loss.item() == pytest.approx(plain.loss, rel=1e-12)
    assert result.error.item() == plain.error
    for name, parameter in other.named_parameters():
        wanted = parameter.detach() - 0.1 * parameter.grad  # type: ignore[operator]
        torch.testing.assert_close(model.get_parameter(name).detach(), wanted, **EXACT)
    loss, _ = one.evaluate(data[0][0], data[1][0])
    after = by_hand.run(model, data[0][0].numpy(), data[1][0].numpy()).loss
    assert loss.item() == pytest.approx(after, rel=1e-12)


# ---- sharpness-aware minimization


def masks_from(model: nn.Module, random: torch.Generator, size: int) -> dict[str, Array]:
    """What each dropout layer of a chain multiplies by in one pass, drawn as it draws: in the order of the pass."""
    masks, features = {}, model.linear_1.in_features  # type: ignore[union-attr]
    for name, module in model.named_children():
        features = getattr(module, "out_features", features)
        if name.startswith("dropout"):
            kept = 1 - module.p
            drawn = torch.empty(size, features, dtype=torch.float64).bernoulli_(kept, generator=random)
            masks[name] = (drawn / kept).numpy()
    return masks


@pytest.mark.parametrize("rho", [0.05, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_sam_takes_the_gradient_uphill(seed: int, rho: float) -> None:
    """g at theta, then the gradient at theta + rho g/||g|| through the same masks; statistics move once, at theta."""
    model = perturbed(
        network(seed, bias=True, normalization=BatchNorm(), dropout=Dropout(p=0.3, input_p=0.1), dtype=torch.float64)
    )
    method = Method(sam=SAM(rho=rho), penalties=[L2(strength=0.1)])
    one = learner(model, method=method, dropout=generator(seed, "dropout"))
    ours = generator(seed, "dropout")
    for step in range(3):
        data, there = batch(10 * seed + step, dtype=torch.float64), copy.deepcopy(model)
        masks = masks_from(model, ours, 8)
        x, y = data[0][0].numpy(), data[1][0].numpy()
        at_theta = chain_gradients(there, data, masks)
        up = rho / length(list(at_theta.values()))
        with torch.no_grad():
            for name, parameter in there.named_parameters():
                parameter += up * torch.from_numpy(at_theta[name])
        uphill = chain_gradients(there, data, masks)
        wanted = {
            name: theta - 0.1 * (uphill[name] + 0.1 * theta * (theta.ndim > 1))
            for name, theta in parameters(model).items()
        }
        seen = by_hand.run(model, x, y, masks)
        for name, module in model.named_children():
            if isinstance(module, nn.BatchNorm1d):
                entered = seen.outputs[seen.names.index(name) - 1]
                wanted[f"{name}.running_mean"] = 0.9 * by_hand.array(module.running_mean) + 0.1 * entered.mean(0)
                variance = entered.var(0, ddof=1)
                wanted[f"{name}.running_var"] = 0.9 * by_hand.array(module.running_var) + 0.1 * variance
                wanted[f"{name}.num_batches_tracked"] = np.array(step + 1.0)
        assert one.step(data, [0.1]).loss.item() == pytest.approx(seen.loss, rel=1e-12)
        for name, value in values(model).items():
            np.testing.assert_allclose(value, wanted[name], rtol=1e-9, atol=1e-11, err_msg=name)
    assert torch.equal(one.own.dropout.get_state(), ours.get_state()), "one pass's draws a step"  # type: ignore[union-attr]


def chain_gradients(model: nn.Module, data: Any, masks: dict[str, Array]) -> dict[str, Array]:
    """By every parameter, those of batch normalization by torch, which by_hand does not tell."""
    model = copy.deepcopy(model)
    h = data[0][0]
    for name, module in model.named_children():
        h = h * torch.from_numpy(masks[name]) if name in masks else module(h)
    F.cross_entropy(h, data[1][0]).backward()  # type: ignore[no-untyped-call]
    found = {name: by_hand.array(parameter.grad) for name, parameter in model.named_parameters()}
    for name, gradient in by_hand.run(model, data[0][0].numpy(), data[1][0].numpy(), masks).weight_gradients.items():
        np.testing.assert_allclose(found[f"{name}.weight"], gradient, rtol=1e-8, atol=1e-11)
    return found


def test_sam_climbs_the_smoothed_loss() -> None:
    """Both gradients are of what is minimized; what is reported is the plain loss."""
    model = perturbed(network(5, bias=True, dtype=torch.float64))
    method = Method(sam=SAM(rho=0.5), smoothed=CrossEntropy().smoothed(0.4))
    one, data, other = learner(model, method=method), batch(5, dtype=torch.float64), copy.deepcopy(model)
    trained = list(other.parameters())

    def slopes() -> Sequence[Tensor]:
        return torch.autograd.grad(F.cross_entropy(other(data[0][0]), data[1][0], label_smoothing=0.4), trained)

    first = slopes()
    size = torch.sqrt(sum(slope.square().sum() for slope in first))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter, slope in zip(trained, first, strict=True):
            parameter += 0.5 / size * slope
    second = slopes()
    wanted = [parameter - 0.1 * slope for parameter, slope in zip(model.parameters(), second, strict=True)]
    plain = F.cross_entropy(model(data[0][0]), data[1][0]).item()
    assert one.step(data, [0.1]).loss.item() == pytest.approx(plain, rel=1e-12)
    torch.testing.assert_close(list(model.parameters()), [w.detach().requires_grad_() for w in wanted], **EXACT)


# ---- curves


@pytest.mark.parametrize("curves", [QUANTITIES, ["gradient_norm"], ["gradient_norm", "weight_norm"]], ids=len)
@pytest.mark.parametrize("sam", [None, SAM(rho=0.5)], ids=["plain", "sam"])
def test_curves_show_the_gradient_of_the_loss_alone(curves: Sequence[str], sam: SAM | None) -> None:
    """Without penalties, clipping and ascent, as profiles do; the update's size is that of what was done."""
    model = perturbed(network(8, bias=True, dtype=torch.float64))
    method = Method(
        penalties=[L1(strength=0.2), L2(strength=0.5)], clipping=ClipValue(bound=0.01), sam=sam,
        decays=[WeightDecay(rate=0.1)], bounds=[MaxNorm(bound=0.7)],
    )  # fmt: skip
    one = learner(model, method=method)
    for step in range(3):  # the first look is of another kind than the following ones
        data = batch(step, dtype=torch.float64)
        seen, before = by_hand.run(model, data[0][0].numpy(), data[1][0].numpy()), parameters(model)
        result = one.step(data, [0.1], curves)
        found = curve_values(result)
        after = parameters(model)
        for name, gradient in seen.weight_gradients.items():
            assert found["gradient_norm", name] == pytest.approx(by_hand.norm(gradient), rel=1e-11)
            if "weight_norm" in curves:
                assert found["weight_norm", name] == pytest.approx(by_hand.norm(seen.weights[name]), rel=1e-11)
            if "update_ratio" in curves:
                old, new = before[f"{name}.weight"], after[f"{name}.weight"]
                ratio = by_hand.norm(new - old) / by_hand.norm(old)
                assert found["update_ratio", name] == pytest.approx(ratio, rel=1e-9)
        assert {quantity for quantity, _ in found} == set(curves)
