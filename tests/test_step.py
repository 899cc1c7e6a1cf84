"""One step, with every part that can be in it, against the same step written out or taken by torch's own means."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

import engine
from engine import batch, learner, loop, metrics, network, perturbed, recipe, rows, same
from fanin import activations
from fanin.averaging import Averaging, Ema, Polyak, Swa
from fanin.batches import Batches
from fanin.clipping import ClipNorm, ClipValue
from fanin.initializers import TorchDefault
from fanin.learner import StepResult
from fanin.loop import Interrupted
from fanin.losses import CrossEntropy, Squared
from fanin.method import Method
from fanin.models.linear import LinearModel
from fanin.normalization import BatchNorm
from fanin.optimizers import SGD, Adam, Momentum
from fanin.optimizers.newton import Newton
from fanin.optimizers.saga import SAGA
from fanin.optimizers.svrg import SVRG
from fanin.probes import Probe
from fanin.probes.probe import QUANTITIES
from fanin.regularizers import L1, L2, SAM, Dropout, EarlyStopping, LabelSmoothing, MaxNorm, WeightDecay
from fanin.single import SingleLearner
from fanin.streams import generator
from optimizers.objective_problems import cross_entropy, tanh_network
from oracles import by_hand

Array = npt.NDArray[np.float64]
EXACT = {"rtol": 1e-10, "atol": 1e-12}
"""Some hundreds of float64 roundings of values about 1, in sums whose terms may cancel to a hundredth."""


def values(model: nn.Module) -> dict[str, Array]:
    """Parameters and buffers as float64 copies."""
    return {name: by_hand.array(tensor) for name, tensor in model.state_dict().items()}


def parameters(model: nn.Module) -> dict[str, Array]:
    """The parameters among them."""
    return {name: by_hand.array(parameter) for name, parameter in model.named_parameters()}


def length(vectors: Sequence[Array]) -> float:
    """Of all of them as one."""
    return by_hand.norm(np.concatenate([vector.ravel() for vector in vectors]))


def curve_values(result: StepResult) -> dict[tuple[str, str], float]:
    """What a step measured, by quantity and layer."""
    assert result.curves is not None
    labels, numbers = result.curves
    return {
        (quantity, layer): value for (_, _, layer, quantity), value in zip(labels, numbers[0].tolist(), strict=True)
    }


# ---- every part, by hand


def gradients_by_hand(model: nn.Module, data: Any, masks: dict[str, Array] | None = None) -> dict[str, Array]:
    """Of the cross-entropy by every parameter of a chain with biases: backpropagation written out in numpy."""
    seen = by_hand.run(model, data[0][0].numpy(), data[1][0].numpy(), masks)
    found = {f"{name}.weight": gradient for name, gradient in seen.weight_gradients.items()}
    return found | {f"{name}.bias": gradient for name, gradient in seen.bias_gradients.items()}


class ByHand:
    """The update as formulas on arrays: penalties, clipping, decay, SGD or Adam, max-norm, in this order."""

    def __init__(self, parts: dict[str, float | None], optimizer: type[torch.optim.Optimizer]) -> None:
        self.parts, self.adam, self.past = parts, optimizer is Adam, list[dict[str, Array]]()

    def step(self, theta: dict[str, Array], gradients: dict[str, Array], rate: float) -> dict[str, Array]:
        g, weights = dict(gradients), [name for name in theta if name.endswith("weight")]
        for name in weights:
            g[name] = g[name] + (self.parts["l1"] or 0) * np.sign(theta[name]) + (self.parts["l2"] or 0) * theta[name]
        if self.parts["clip"] is not None:
            shrink = min(1.0, self.parts["clip"] / length(list(g.values())))
            g = {name: shrink * gradient for name, gradient in g.items()}
        self.past.append(g)
        new = dict(theta)
        for name in weights:
            new[name] = (1 - (self.parts["decay"] or 0)) * new[name]
        for name in new:
            new[name] = new[name] - rate * (self.direction(name) if self.adam else g[name])
        if self.parts["bound"] is not None:
            for name in weights:
                lengths = np.array([[by_hand.norm(row)] for row in new[name]])
                new[name] = new[name] * np.minimum(1, self.parts["bound"] / lengths)
        return new

    def direction(self, name: str) -> Array:
        """Adam's: bias-corrected averages as weighted means of all gradients so far, beta = 0.9 and 0.999."""

        def mean(values: list[Array], beta: float) -> Array:
            weights = [beta**age for age in range(len(values))][::-1]
            return sum(w * value for w, value in zip(weights, values, strict=True)) / sum(weights)  # type: ignore[return-value]

        own = [g[name] for g in self.past]
        return mean(own, 0.9) / (np.sqrt(mean([g**2 for g in own], 0.999)) + 1e-8)


def method_of(parts: dict[str, float | None], **more: Any) -> Method:
    """The same parts as fanin's."""

    def made(key: str, kind: Any, name: str) -> list[Any]:
        return [] if parts[key] is None else [kind(**{name: parts[key]})]

    return Method(
        penalties=made("l1", L1, "strength") + made("l2", L2, "strength"),
        decays=made("decay", WeightDecay, "rate"),
        bounds=made("bound", MaxNorm, "bound"),
        **({"clipping": ClipNorm(bound=parts["clip"])} if parts["clip"] is not None else {}),
        **more,
    )


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
    assert torch.equal(one.dropout.get_state(), ours.get_state()), "one pass's draws a step"  # type: ignore[union-attr]


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


# ---- averages of the iterates


AVERAGES = [Polyak(start=2), Ema(decay=0.8), Swa(start=3, every=2)]


def averages(kind: Averaging, iterates: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Of the states 0 (the start), 1, ..., T after each update, by the definition of the kind; counts are the last."""
    last = len(iterates) - 1
    if isinstance(kind, Polyak):
        weights = dict.fromkeys(range(3, last + 1), 1.0)  # of updates 2, 3, ..., counted from 0
    elif isinstance(kind, Swa):
        weights = dict.fromkeys(range(4, last + 1, 2), 1.0)  # of updates 3, 5, ...
    else:
        weights = {1: 0.8 ** (last - 1)} | {at: 0.2 * 0.8 ** (last - at) for at in range(2, last + 1)}
    weights = weights or {0: 1.0}
    total, newest = sum(weights.values()), iterates[max(weights)]
    return {
        name: sum(w / total * iterates[at][name].double() for at, w in weights.items())  # type: ignore[misc]
        if newest[name].is_floating_point()
        else newest[name]
        for name in newest
    }


def dropping(seed: int, **changes: Any) -> SingleLearner:
    """A float64 learner with running statistics, masks and momentum."""
    model = perturbed(network(seed, normalization=BatchNorm(), dropout=Dropout(p=0.4), bias=True, dtype=torch.float64))
    return learner(model, Momentum, dropout=generator(seed, "dropout"), **changes)


@pytest.mark.parametrize("kind", AVERAGES, ids=lambda kind: type(kind).__name__)
@pytest.mark.parametrize("seed", [0, 3])
def test_evaluation_is_of_the_average_and_training_of_the_iterates(kind: Averaging, seed: int) -> None:
    one, plain = dropping(seed, method=Method(averaging=kind)), dropping(seed)
    iterates = [copy.deepcopy(plain.model.state_dict())]
    inputs, targets = (part[0] for part in batch(77, 30, dtype=torch.float64))
    other = copy.deepcopy(plain.model)
    for step in range(9):
        data = batch(step, dtype=torch.float64)
        assert torch.equal(one.step(data, [0.1]).loss, plain.step(data, [0.1]).loss)
        iterates.append(copy.deepcopy(plain.model.state_dict()))
        assert same(dict(one.model.state_dict()), dict(iterates[-1])), "the average takes no part in training"
        wanted = averages(kind, iterates)
        other.load_state_dict(wanted)
        outputs = other.eval()(inputs).detach()
        torch.testing.assert_close(one.predict(inputs)[0], outputs, **EXACT)
        loss, error = one.evaluate(inputs, targets)
        assert loss.item() == pytest.approx(F.cross_entropy(outputs, targets).item(), rel=1e-10)
        assert error.item() == (outputs.argmax(1) != targets).double().mean().item()
        best = one.best_weights(0)
        assert best.keys() == wanted.keys()
        for name, value in best.items():
            assert value.dtype == iterates[0][name].dtype
            torch.testing.assert_close(value.double(), wanted[name].double(), **EXACT)
        assert same(dict(one.model.state_dict()), dict(iterates[-1])), "evaluation puts the iterate back"


@pytest.mark.parametrize("kind", AVERAGES, ids=lambda kind: type(kind).__name__)
@pytest.mark.parametrize("stop", [1, 4, 9])
def test_a_resumed_run_goes_on_with_its_average(tmp_path: Path, kind: Averaging, stop: int) -> None:
    made: dict[str, Any] = {
        "method": Method(averaging=kind),
        "model": {"normalization": BatchNorm()},
        "trainer": {"steps": 12, "eval_every": 2, "log_every": 1},
    }
    whole, _ = loop(tmp_path / "whole", recipe(**copy.deepcopy(made)))
    whole.train()
    whole.first.recorder.close()
    asked = iter(range(20))
    part, _ = loop(tmp_path / "part", recipe(**copy.deepcopy(made)), stop_requested=lambda: next(asked) == stop)
    with pytest.raises(Interrupted):
        part.train()
    part.first.recorder.close()
    state = torch.load(tmp_path / "part" / "checkpoints" / "last.pt", weights_only=True)
    again, _ = loop(tmp_path / "part", recipe(**copy.deepcopy(made)), resume_step=stop)
    again.train(again.resume([state]))
    again.first.recorder.close()
    assert same(again.learner.state(0), whole.learner.state(0))
    assert same(again.learner.best_weights(0), whole.learner.best_weights(0))
    tables = [[row | {"seconds": None} for row in metrics(tmp_path / name)] for name in ("whole", "part")]
    assert tables[0] == tables[1]


def test_the_best_weights_of_a_run_are_those_of_the_average_that_was_best(tmp_path: Path) -> None:
    """Early stopping ends with them; metrics.csv and best.pt tell the same ones."""
    made = recipe(
        method=Method(averaging=Ema(decay=0.6)),
        early_stopping=EarlyStopping(monitor="val_loss", patience=2),
        trainer={"steps": 300, "eval_every": 3},
        lr=0.5,
    )
    one, _ = loop(tmp_path, made, engine.clouds(separation=1.5))
    evaluate, during = one.learner.evaluate, list[tuple[float, dict[str, Tensor]]]()

    def spy(inputs: Tensor, targets: Tensor) -> Any:
        found = evaluate(inputs, targets)
        if inputs is one.data.val_x:
            during.append((found[0].item(), engine.weights(one)))
        return found

    one.learner.evaluate = spy  # type: ignore[method-assign]
    one.train()
    one.first.recorder.close()
    assert one.first.stopped_by == "early_stopping"
    best = min(during[:-1], key=lambda pair: pair[0])
    saved = torch.load(tmp_path / "checkpoints" / "best.pt", weights_only=True)["model"]
    assert same(saved, best[1])
    assert same(engine.weights(one), best[1])
    assert metrics(tmp_path)[-1]["val_loss"] == best[0]
    with torch.no_grad():
        outputs = functional_call(one.learner.model, saved, (one.data.val_x,))  # type: ignore[attr-defined]
    # float32 outputs, whose mean is taken in another order
    assert F.cross_entropy(outputs, one.data.val_y).item() == pytest.approx(best[0], rel=1e-5)
    assert not same(dict(one.learner.model.state_dict()), during[-2][1]), "an average is no iterate"  # type: ignore[attr-defined]


# ---- parameters that are not trained


EVERYTHING = Method(
    penalties=[L1(strength=0.01), L2(strength=0.1)],
    clipping=ClipNorm(bound=0.5),
    decays=[WeightDecay(rate=0.01)],
    bounds=[MaxNorm(bound=0.8)],
    sam=SAM(rho=0.1),
    averaging=Ema(decay=0.5),
)


def frozen(names: Sequence[str], optimizer: Any = Momentum, **changes: Any) -> SingleLearner:
    """A learner of 7 -> 6 -> 6 -> 6 -> 4 in which parameters whose names begin so are not trained."""
    model = perturbed(network(2, bias=True, dtype=torch.float64, activation=activations.tanh))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(tuple(names)))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return SingleLearner(model, optimizer(trained, lr=0.0), **{"method": EVERYTHING, **changes})


FROZEN = [
    ["linear_1"],
    ["linear_2.weight", "linear_3.bias"],
    ["linear_4"],
    [f"linear_{index}.weight" for index in range(1, 5)],  # biases alone are trained
    ["linear_1", "linear_2", "linear_3", "linear_4.weight"],
    ["linear_1.bias", "linear_2", "linear_3", "linear_4"],  # the first weight alone is
]


@pytest.mark.parametrize("names", FROZEN, ids=lambda names: f"{len(names)} {names[0]}")
@pytest.mark.parametrize("optimizer", [Momentum, Adam])
def test_what_is_frozen_stays_whatever_the_recipe(names: list[str], optimizer: Any) -> None:
    one = frozen(names, optimizer)
    before = copy.deepcopy(one.model.state_dict())
    for step in range(3):
        result = one.step(batch(step, dtype=torch.float64), [0.1], QUANTITIES)
        found = curve_values(result)
        for layer in (f"linear_{index}" for index in range(1, 5)):
            held = f"{layer}.weight".startswith(tuple(names))
            for quantity in ("gradient_norm", "weight_movement", "update_ratio"):
                if quantity != "weight_movement" or step:
                    assert (found[quantity, layer] == 0) == held, (quantity, layer)
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith(tuple(names)), name
        averaged = one.best_weights(0)[name]
        # an average of equal numbers: exact but for the rounding of a + w (a - a)
        assert torch.equal(averaged, before[name]) == name.startswith(tuple(names)), name
    seen = one.observe(batch(9, dtype=torch.float64))
    zero = [not gradient.any() for gradient in seen.gradients]
    assert zero == [f"linear_{index}.weight".startswith(tuple(names)) for index in range(1, 5)]


@pytest.mark.parametrize("names", FROZEN, ids=lambda names: f"{len(names)} {names[0]}")
def test_the_others_train_as_if_the_frozen_ones_were_constants(names: list[str]) -> None:
    """The norms of clipping and of SAM's ascent go over what is trained alone."""
    parts: dict[str, float | None] = {"l1": 0.01, "l2": 0.1, "clip": 0.3, "decay": 0.05, "bound": 0.9}
    one = frozen(names, SGD, method=method_of(parts, sam=SAM(rho=0.2)))
    data, theta, other = batch(4, dtype=torch.float64), parameters(one.model), copy.deepcopy(one.model)
    trained = [name for name in theta if not name.startswith(tuple(names))]
    gradients = gradients_by_hand(other, data)
    up = 0.2 / length([gradients[name] for name in trained])
    with torch.no_grad():
        for name in trained:
            other.get_parameter(name).add_(torch.from_numpy(up * gradients[name]))
    gradients = gradients_by_hand(other, data)
    wanted = ByHand(parts, SGD).step({name: theta[name] for name in trained}, {n: gradients[n] for n in trained}, 0.1)
    one.step(data, [0.1])
    for name, value in parameters(one.model).items():
        np.testing.assert_allclose(value, wanted.get(name, theta[name]), rtol=1e-10, atol=1e-12, err_msg=name)


def test_profiles_of_a_run_with_frozen_layers(tmp_path: Path) -> None:
    """They show gradient 0 there, and a movement of 0; what flows through the layer is measured as ever."""

    class Freezing(TorchDefault):
        def __call__(self, model: nn.Module, stream: Any) -> None:
            super().__call__(model, stream)
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(not name.startswith("linear_2"))

    made = recipe(initializer=Freezing(), probe=Probe(batch_size=30, every=4), model={"bias": True, "depth": 3})
    engine.trained(tmp_path, made)
    for snapshot in ("init", "final"):
        found = {
            (row["axis"], row["quantity"], row["layer"]): float(row["value"])
            for row in rows(tmp_path / "profiles.csv")
            if row["snapshot"] == snapshot and row["value"]
        }
        zero = [found["weight", "gradient_norm", f"linear_{index}"] == 0 for index in (1, 2, 3)]
        assert zero == [False, True, False]
        passed = ("linear_1", "relu_1", "linear_2", "relu_2", "linear_3")
        assert all(found["module", "activation_gradient_norm", name] > 0 for name in passed)
    moved = [found["weight", "weight_movement", f"linear_{index}"] > 0 for index in (1, 2, 3)]
    assert moved == [True, False, True]


# ---- optimizers that ask for more than the gradient


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_newton_solves_least_squares_in_one_step(seed: int, strength: float) -> None:
    """1/N sum ||W x + b - t||^2 + s/2 ||W||^2: (2/N Z^T Z + s D) (W, b)^T = 2/N Z^T T, Z = (X, 1), D = 1 but for b."""
    inputs, targets = (part[0] for part in batch(seed, 50, features=(5,), dtype=torch.float64))
    model = LinearModel(in_features=5, out_features=4).double()
    TorchDefault()(model, lambda name: generator(seed, "init", name))
    batches = Batches(inputs, targets, 50, [seed])
    method = Method(loss=Squared(), penalties=[L2(strength=strength)] if strength else [])
    one = learner(model, partial(Newton, damping=0.0), method=method, batches=batches)
    one.step(batches(0), [1.0])
    z = np.column_stack([inputs.numpy(), np.ones(50)])
    onehot = np.eye(4)[targets.numpy()]
    matrix = 2 / 50 * z.T @ z + strength * np.diag([1.0] * 5 + [0.0])
    solution = np.linalg.solve(matrix, 2 / 50 * z.T @ onehot)
    # condition numbers of some tens
    np.testing.assert_allclose(by_hand.array(model.linear_1.weight), solution[:5].T, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(by_hand.array(model.linear_1.bias), solution[5], rtol=1e-9, atol=1e-11)
    minimum = one.best_weights(0)
    one.step(batches(1), [1.0])
    for name, value in one.best_weights(0).items():
        torch.testing.assert_close(value, minimum[name], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", [SVRG, SAGA])
@pytest.mark.parametrize("drop", [0.0, 0.3])
@pytest.mark.parametrize("seed", [0, 4])
def test_variance_reduction_gets_the_rows_of_its_batch(kind: Any, drop: float, seed: int) -> None:
    """Against the optimizers' own test harness, which is handed the rows of the data order over three epochs."""
    problem, twin = (tanh_network(seed, strength=0.02, dropout=drop) for _ in range(2))

    class Plain(CrossEntropy):
        def __call__(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
            return cross_entropy(outputs, targets, inputs)

    batches = Batches(twin.inputs, twin.targets, 5, [seed])  # 24 examples: 4 steps an epoch
    method = Method(loss=Plain(), penalties=[L2(strength=0.02)])
    dropout = torch.Generator().manual_seed(11) if drop else None  # as Problem has it
    one = learner(twin.model, kind, method=method, dropout=dropout, batches=batches)
    expected = kind(problem.parameters, lr=0.0)
    for step in range(12):
        epoch, place = divmod(step, 4)
        order = torch.randperm(24, generator=generator(seed, "data", epoch))
        expected.param_groups[0]["lr"] = 0.2
        problem.step(expected, order[5 * place : 5 * place + 5])
        one.step(batches(step), [0.2])
        # the same sums in float64, up to the order of the penalty's
        torch.testing.assert_close(twin.theta, problem.theta, **EXACT)


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
