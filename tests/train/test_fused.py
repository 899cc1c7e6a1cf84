"""Runs fused are the runs alone: for every optimizer, normalization and model, and all that makes up a step."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fanin.parts.models
import fanin.parts.normalization
from engine import batch
from fanin.parts import activations
from fanin.parts.averaging import Averaging, Ema, Polyak, Swa
from fanin.parts.clipping import ClipNorm, Clipping, ClipValue
from fanin.parts.losses import CrossEntropy
from fanin.parts.models import Cnn, Mlp
from fanin.parts.normalization import BatchNorm, InstanceNorm, LayerNorm
from fanin.parts.normalization.base import PLACEMENTS
from fanin.parts.optimizers import SGD, Adam, Momentum
from fanin.parts.optimizers.base import GroupOptimizer
from fanin.parts.per_run import is_stackable
from fanin.parts.regularizers import L1, L2, MaxNorm, WeightDecay
from fanin.probes.probe import QUANTITIES, measure_profile
from fanin.train.fused_learner import FusedLearner
from fanin.train.single_learner import SingleLearner
from fanin.train.step import Method
from fanin.train.trained_model import TrainedModel
from together import IMAGE, SIZES, batches, close, different, fuse, joined, model_of, pair, rates, train


def kinds(base: type[Any]) -> Iterator[type[Any]]:
    """All of fanin's classes that are made of one."""
    for kind in base.__subclasses__():
        yield from kinds(kind)
        if kind.__module__.startswith("fanin."):
            yield kind


OPTIMIZERS = sorted(kinds(GroupOptimizer), key=lambda kind: kind.__name__)
NORMS = [
    getattr(fanin.parts.normalization, name) for name in fanin.parts.normalization.__all__ if name.endswith("Norm")
]
PROFILE = {torch.float32: 1e-6, torch.float64: 1e-13}
LOSSES = {torch.float32: 1e-4, torch.float64: 1e-10}
EACH = {"ids": lambda kind: kind.__name__}


def assert_fused_equals_alone(
    runs: Sequence[dict[str, Any]],
    steps: int = 20,
    dtype: torch.dtype = torch.float64,
    *,
    curves: Sequence[str] = (),
    shape: Sequence[int] = (12,),
    lr: float = 0.02,
) -> tuple[list[SingleLearner], FusedLearner]:
    """Profiles at init, the losses of some steps and, in float64, what the runs come to."""
    alone, fused = pair([{**run, "dtype": dtype} for run in runs])
    data = {"dtype": dtype, "features": shape}
    own = batches(len(runs), 999, **data)
    labels, values = measure_profile(fused.observe(joined(own)))
    for run, one in enumerate(alone):
        its_labels, expected = measure_profile(one.observe(own[run]))
        assert labels == its_labels
        torch.testing.assert_close(values[run], expected[0], rtol=PROFILE[dtype], atol=PROFILE[dtype], equal_nan=True)
    expected, losses = train(alone, fused, range(steps), curves=curves, lr=lr, **data)
    torch.testing.assert_close(losses, expected, rtol=LOSSES[dtype], atol=0)
    assert len(set(losses.flatten().tolist())) == steps * len(runs), "each run and each step has a loss of its own"
    for run, one in enumerate(alone if dtype is torch.float64 else ()):
        assert close(fused.state(run), one.state(0), 1e-8, 1e-11)
    return alone, fused


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, **EACH)
def test_every_optimizer_that_takes_stacks(optimizer: type[Any], dtype: torch.dtype) -> None:
    """Eight runs, each with a seed, a variance, a learning rate and further numbers of its own.

    4 layers: a change of one rounding in the inputs changes these losses by some roundings, not more (in deeper
    networks by more: see below), so that 1e-4 in float32 has room for what Adam and its kin make of small gradients.
    """
    assert_fused_equals_alone(different(optimizer, bias=OPTIMIZERS.index(optimizer) % 2 == 0), dtype=dtype)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("norm", NORMS, **EACH)
def test_every_normalization(norm: type[Any], placement: str) -> None:
    """Instance normalization in a convolutional network, for it is of maps."""
    kind, shape = (Cnn, IMAGE["input_shape"]) if norm is InstanceNorm else (Mlp, (12,))
    settings = {"normalization": norm(placement=placement), "activation": activations.tanh, "kind": kind}
    assert_fused_equals_alone(different(Momentum, 4, **settings), 8, shape=shape)


@pytest.mark.parametrize("kind", SIZES, **EACH)
def test_every_model(kind: type[Any]) -> None:
    """With dropout where there is some, each run's rates and masks being its own, a penalty, biases and curves."""
    shape = SIZES[kind].get("input_shape", (12,))
    takes_dropout = "dropout" in inspect.signature(kind).parameters
    runs = different(Momentum, 3, kind=kind, bias=True, l2=True, dropout=takes_dropout)
    alone, fused = assert_fused_equals_alone(runs, 5, shape=shape, curves=QUANTITIES)
    inputs, targets = (part[0] for part in batch(5, 7, shape, dtype=torch.float64))
    expected = [torch.cat(found) for found in zip(*(one.evaluate(inputs, targets) for one in alone), strict=True)]
    for found, wanted in zip(fused.evaluate(inputs, targets), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-14)


def test_these_are_all_models_that_say_that_they_can_be_stacked() -> None:
    """But for surfaces, whose outputs are no scores: theirs is a test of their own."""
    offered = [getattr(fanin.parts.models, name) for name in fanin.parts.models.__all__ if name[0].isupper()]
    assert {kind for kind in offered if is_stackable(kind) and kind.__name__ != "Surface"} == set(SIZES)


@pytest.mark.parametrize("averaging", [Ema(decay=0.7), Polyak(start=2), Swa(start=3, every=2)], ids=str)
@pytest.mark.parametrize("clipping", [ClipNorm(bound=0.5), ClipValue(bound=0.02)], ids=str)
def test_what_is_done_beside_the_optimizers_step(clipping: Clipping, averaging: Averaging) -> None:
    """Penalties, decay and bounds have a number for each run; clipping looks at each run's gradient alone."""
    runs = different(Adam, 4, normalization=BatchNorm())
    for number, run in enumerate(runs):
        run["method"] = {
            "smoothed": CrossEntropy().smoothed(0.1),
            "penalties": [L2(strength=0.01 * number), L1(strength=0.002 * (1 + number))],
            "decays": [WeightDecay(rate=0.01 * number)],
            "bounds": [MaxNorm(bound=0.5 + 0.2 * number)],
            "clipping": clipping,
            "averaging": averaging,
        }
    alone, fused = assert_fused_equals_alone(runs, 8)
    inputs, targets = (part[0] for part in batch(5, 30, (12,), dtype=torch.float64))
    losses, errors = fused.evaluate(inputs, targets)
    outputs = fused.predict(inputs)
    for run, one in enumerate(alone):
        for found, expected in zip((losses, errors), one.evaluate(inputs, targets), strict=True):
            torch.testing.assert_close(found[run], expected[0], rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(outputs[run], one.predict(inputs)[0], rtol=1e-9, atol=1e-12)
        assert close(fused.best_weights(run), one.best_weights(0), 1e-9, 1e-12)


def test_runs_that_train_different_parameters_are_refused() -> None:
    def learner(*, frozen: bool) -> SingleLearner:
        model = model_of(Mlp, 0)
        model.linear_1.weight.requires_grad_(not frozen)
        return SingleLearner(TrainedModel(model, SGD([one for one in model.parameters() if one.requires_grad], lr=0.1)))

    assert fuse([learner(frozen=True), learner(frozen=True)]).runs == 2
    with pytest.raises(ValueError, match=r"linear_1\.weight"):
        fuse([learner(frozen=False), learner(frozen=True)])


@pytest.mark.parametrize("frozen", ["linear_1*", "linear_*.weight", "*[12].*"])
def test_frozen_parameters_stay(frozen: str) -> None:
    """Some layers; all matrices, so that biases alone are trained; layers whose biases are trained no more either."""

    def learners() -> list[SingleLearner]:
        made = []
        for seed in range(3):
            model = model_of(Mlp, seed, dtype=torch.float64, bias=True, activation=activations.tanh)
            for name, one in model.named_parameters():
                one.requires_grad_(not fnmatchcase(name, frozen))
            trained = [one for one in model.parameters() if one.requires_grad]
            method = Method(penalties=[L2(strength=0.1)], decays=[WeightDecay(rate=0.1)], bounds=[MaxNorm(bound=1.0)])
            made.append(SingleLearner(TrainedModel(model, Adam(trained, lr=0.1), method)))
        return made

    alone, fused = learners(), fuse(learners())
    before = copy.deepcopy(fused.best_weights(1))
    expected, losses = train(alone, fused, range(4), dtype=torch.float64, curves=QUANTITIES)
    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=0)
    for name, one in fused.best_weights(1).items():
        assert torch.equal(one, before[name]) == fnmatchcase(name, frozen)
    own = batches(3, 9, dtype=torch.float64)
    look, wanted = fused.observe(joined(own)), alone[1].observe(own[1])
    for mine, its in zip(look.gradients, wanted.gradients, strict=True):
        torch.testing.assert_close(mine[1], its[0], rtol=1e-9, atol=1e-12)


class Twice(nn.Module):
    """One layer used twice, a parameter that is not trained, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shared, self.last = nn.Linear(12, 6), nn.Linear(6, 6), nn.Linear(6, 4)
        self.tanh, self.scale = nn.Tanh(), nn.Parameter(torch.tensor([1.5]), requires_grad=False)
        self.register_buffer("offset", torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        h = self.tanh(self.first(x))
        h = self.tanh(self.shared(h) + self.offset)
        return self.scale * self.last(self.tanh(self.shared(h)))


def convolution() -> nn.Module:
    parts = (nn.Unflatten(1, (1, 12)), nn.Conv1d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(30, 4))
    return nn.Sequential(*parts)


@pytest.mark.parametrize("make", [Twice, convolution])
def test_the_model_may_be_any_module(make: Any) -> None:
    def learners() -> list[SingleLearner]:
        torch.manual_seed(0)
        models = [make().double() for _ in range(3)]
        trained = [[one for one in model.parameters() if one.requires_grad] for model in models]
        return [
            SingleLearner(TrainedModel(model, Momentum(parameters, lr=0.1)))
            for model, parameters in zip(models, trained, strict=True)
        ]

    alone, fused = learners(), fuse(learners())
    expected, losses = train(alone, fused, range(6), dtype=torch.float64, curves=QUANTITIES)
    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=0)
    own = batches(3, 77, dtype=torch.float64)
    seen = fused.observe(joined(own))
    for run, one in enumerate(alone):
        expected_seen = one.observe(own[run])
        assert (seen.modules, seen.block_ends) == (expected_seen.modules, expected_seen.block_ends)
    assert [close(fused.state(run), one.state(0), 1e-10) for run, one in enumerate(alone)] == [True] * 3


def test_autocast_is_that_of_a_run_alone() -> None:
    """bfloat16 products are 2^-9 apart at worst; the weights stay float32."""
    runs = different(runs=4, dropout=True, learning={"autocast": torch.bfloat16}, normalization=LayerNorm())
    alone, fused = pair(runs)
    expected, losses = train(alone, fused, range(10))
    torch.testing.assert_close(losses, expected, rtol=0.02, atol=0)
    full, _ = train(pair(different(runs=4, dropout=True, normalization=LayerNorm()))[0], fused, range(10))
    assert not torch.allclose(full, expected, rtol=1e-4), "autocast does change numbers"
    assert {parameter.dtype for parameter in fused.parameters.values()} == {torch.float32}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("optimizer", [SGD, Momentum, Adam])
def test_on_a_gpu(optimizer: Any) -> None:
    """Without dropout, whose masks a GPU draws otherwise."""
    runs = different(optimizer, runs=4, l2=True, normalization=BatchNorm(), dtype=torch.float64, device="cuda")
    alone, fused = pair(runs)
    for step in range(10):
        own = [(inputs.cuda(), targets.cuda()) for inputs, targets in batches(4, step, dtype=torch.float64)]
        results = [one.step(data, [rate]).loss for one, data, rate in zip(alone, own, rates(4, step), strict=True)]
        together = fused.step(joined(own), rates(4, step), QUANTITIES).loss
        torch.testing.assert_close(together, torch.cat(results), rtol=1e-10, atol=0)
