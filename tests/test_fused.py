"""Runs fused are the runs alone: steps, looks, evaluations, divergence, checkpoints, and leaving."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine import batch, same
from fanin import activations
from fanin.fused import CHUNK, FusedLearner
from fanin.normalization import BatchNorm, LayerNorm, NoNorm
from fanin.optimizers import SGD, Adam, Momentum
from fanin.probes.probe import QUANTITIES, measure_profile
from fanin.single import SingleLearner
from together import batches, close, joined, pair, rates, single, train

RUNS = 8
NORMS = {
    "none": NoNorm(),
    "batch": BatchNorm(),
    "batch after": BatchNorm(placement="post_activation"),
    "layer": LayerNorm(),
    "layer after": LayerNorm(placement="post_activation"),
}
NUMBERS: dict[Any, Any] = {
    SGD: lambda run: {},
    Momentum: lambda run: {"momentum": 0.1 * run},
    Adam: lambda run: {"beta1": 0.5 + 0.05 * run, "beta2": 1 - 0.1 ** (1 + run % 3), "eps": 10.0 ** -(2 + run % 4)},
}
PROFILE = {torch.float32: 1e-6, torch.float64: 1e-13}
LOSSES = {torch.float32: 1e-4, torch.float64: 1e-10}


def different(optimizer: Any = SGD, runs: int = RUNS, **common: Any) -> list[dict[str, Any]]:
    """Runs with seeds, variances, optimizer's numbers, dropout rates and penalties of their own."""
    noisy, held = common.pop("dropout", False), common.pop("l2", False)
    return [
        {
            "seed": run,
            "c": 1 + run / 4,
            "optimizer": optimizer,
            "numbers": NUMBERS[optimizer](run),
            "p": 0.1 + 0.05 * run if noisy else 0.0,
            "strength": 0.01 * run if held else None,
            **common,
        }
        for run in range(runs)
    ]


def noisy(**common: Any) -> list[dict[str, Any]]:
    """Four runs whose step depends on running statistics, dropout masks, a penalty and the past."""
    settings = {"optimizer": Momentum, "runs": 4, "normalization": BatchNorm(), "dropout": True, "l2": True}
    return different(**settings | {"bias": True} | common)


def states(fused: FusedLearner) -> list[dict[str, Any]]:
    return [copy.deepcopy(fused.state(run)) for run in range(fused.runs)]


# ---- steps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("dropout", [False, True], ids=["", "dropout"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("optimizer", [SGD, Momentum, Adam])
def test_fused_equals_alone(optimizer: Any, norm: str, dropout: bool, dtype: torch.dtype) -> None:
    """Half of the cases with a penalty, half with tanh, half with biases; every run has its own numbers."""
    case = list(NORMS).index(norm) + [SGD, Momentum, Adam].index(optimizer)
    settings = {"activation": activations.tanh if case % 2 else activations.relu, "bias": bool(case // 2 % 2)}
    runs = different(
        optimizer, dropout=dropout, l2=(case + dropout) % 2 == 0, normalization=NORMS[norm], dtype=dtype, **settings
    )
    alone, fused = pair(runs)
    own = batches(RUNS, 999, dtype=dtype)
    labels, values = measure_profile(fused.observe(joined(own)))
    for run, one in enumerate(alone):
        its_labels, expected = measure_profile(one.observe(own[run]))
        assert labels == its_labels
        torch.testing.assert_close(values[run], expected[0], rtol=PROFILE[dtype], atol=PROFILE[dtype], equal_nan=True)
    expected, losses = train(alone, fused, range(20), dtype=dtype, lr=0.02)
    torch.testing.assert_close(losses, expected, rtol=LOSSES[dtype], atol=0)
    assert len(set(losses.flatten().tolist())) == 20 * RUNS, "each run and each step has a loss of its own"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_study_network_fused_equals_alone(dtype: torch.dtype) -> None:
    """50 layers of 100 units; c = 3 leaves the finite numbers of float32 within a few steps, and then both do.

    Where a unit's sign flips its gradient jumps, so that a deep network may grow a rounding error a thousandfold in 20
    steps. How much, the same run tells with the examples of each batch in another order: the same mathematics.
    """
    runs = [
        {"seed": run, "c": c, "depth": 50, "width": 100, "in_features": 784, "out_features": 10, "dtype": dtype}
        for run, c in enumerate((1.0, 2.0, 2.0, 3.0))
    ]
    alone, fused = pair(runs)
    data = {"size": 100, "features": (784,), "scale": 0.33, "dtype": dtype}  # as long as MNIST's images are
    own = batches(4, 99, **data)
    _, values = measure_profile(fused.observe(joined(own)))
    for run, one in enumerate(alone):
        expected = measure_profile(one.observe(own[run]))[1]
        torch.testing.assert_close(values[run], expected[0], rtol=PROFILE[dtype], atol=0, equal_nan=True)
    expected, losses = train(alone, fused, range(20), lr=0.003, **data)
    other = [single(**run) for run in runs]
    shuffled = torch.stack([
        torch.cat([
            one.step((inputs.flip(1), targets.flip(1)), [rate]).loss.double()
            for one, (inputs, targets), rate in zip(other, batches(4, step, **data), rates(4, step, 0.003), strict=True)
        ])
        for step in range(20)
    ])  # fmt: skip
    grown = (shuffled / expected - 1).abs().nan_to_num().amax(0)
    deviation = (losses / expected - 1).abs().nan_to_num().amax(0)
    assert (deviation <= torch.clamp(10 * grown, min=LOSSES[dtype])).all(), (deviation, grown)
    assert torch.equal(losses.isfinite(), expected.isfinite())
    assert losses[:, :3].isfinite().all()
    assert [fused.culprit(run) for run in range(4)] == [one.culprit(0) for one in alone]
    assert fused.culprit(3) is not None


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
        return [SingleLearner(m, Momentum([p for p in m.parameters() if p.requires_grad], lr=0.1)) for m in models]

    alone, fused = learners(), FusedLearner(learners())
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


def test_every_run_draws_the_masks_that_it_draws_alone() -> None:
    """Which outputs of the dropout layers are 0, for rates of 0.1 to 0.25 on hidden units."""
    alone, fused = pair(different(runs=4, dropout=True, activation=activations.tanh))
    own = batches(4, 0)
    seen = fused.observe(joined(own))
    for run, one in enumerate(alone):
        expected = one.observe(own[run])
        for name, mine, its in zip(seen.modules, seen.activations, expected.activations, strict=True):
            if name.startswith("dropout"):
                assert torch.equal(mine[run] == 0, its[0] == 0)
                assert 0 < (its == 0).double().mean() < 0.5


# ---- looks


@pytest.mark.parametrize("curves", [QUANTITIES, *[[name] for name in QUANTITIES]], ids=lambda c: c[0] + str(len(c)))
def test_curves_are_those_of_a_run_alone(curves: Sequence[str]) -> None:
    alone, fused = pair(noisy(dtype=torch.float64))
    expected, losses = train(alone, fused, range(6), dtype=torch.float64, curves=curves)
    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("optimizer", [SGD, Momentum, Adam])
def test_looks_leave_no_trace(optimizer: Any) -> None:
    """Neither do evaluations; training is bit by bit what it is without them."""
    looked_at, left = (FusedLearner([single(**run) for run in noisy(optimizer=optimizer)]) for _ in range(2))
    for step in range(6):
        own, each = joined(batches(4, step)), rates(4, step)
        before = states(looked_at)
        gradients = [p.grad for p in looked_at.parameters.values()]
        global_state = torch.random.get_rng_state()
        seen = looked_at.observe(joined(batches(4, 50)))
        again = looked_at.observe(joined(batches(4, 50)))
        looked_at.evaluate(own[0][0], own[1][0])
        assert all(map(torch.equal, seen.activations, again.activations)), "the same masks at every look"
        assert same(states(looked_at), before)
        assert all(p.grad is g for p, g in zip(looked_at.parameters.values(), gradients, strict=True))
        assert torch.equal(torch.random.get_rng_state(), global_state)
        first, second = looked_at.step(own, each, QUANTITIES if step % 2 else ()), left.step(own, each)
        assert torch.equal(first.loss, second.loss)
    assert same(states(looked_at), states(left))


def test_hooks_and_masks_are_taken_off_when_the_pass_fails() -> None:
    _, fused = pair(noisy())
    wrong = (torch.zeros(4, 8, 3), torch.zeros(4, 8, dtype=torch.int64))
    fused.observe(joined(batches(4, 0)))
    for look in (lambda: fused.observe(wrong), lambda: fused.step(wrong, [0.1] * 4, ["activation_norm"])):
        with pytest.raises(RuntimeError):
            look()
        assert not any(module._forward_hooks for module in fused.program.template.modules())
        assert all(module.masks is None for module in fused.program.dropouts.values())


# ---- evaluation


@pytest.mark.parametrize("examples", [1, CHUNK - 1, CHUNK, 2 * CHUNK + 7])
def test_evaluations_are_those_of_a_run_alone(examples: int) -> None:
    alone, fused = pair(noisy(dtype=torch.float64))
    train(alone, fused, range(3), dtype=torch.float64)
    inputs, targets = (part[0] for part in batch(5, examples, (12,), dtype=torch.float64))
    losses, errors = fused.evaluate(inputs, targets)
    for run, one in enumerate(alone):
        loss, error = one.evaluate(inputs, targets)
        assert float(losses[run]) == pytest.approx(float(loss), rel=1e-10)
        assert float(errors[run]) == pytest.approx(float(error), rel=1e-14)
    assert len(set(losses.tolist())) == 4
