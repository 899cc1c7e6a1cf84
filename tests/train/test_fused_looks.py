"""Fused runs looked at: dropout masks, profiles and curves that leave no trace, and evaluations."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from engine import batch, same
from fanin.parts import activations
from fanin.parts.normalization import BatchNorm
from fanin.parts.optimizers import SGD, Adam, Momentum
from fanin.probes.probe import QUANTITIES
from fanin.train.fused_learner import FusedLearner
from together import batches, different, fuse, joined, pair, rates, single, train


def noisy(optimizer: Any = Momentum, **common: Any) -> list[dict[str, Any]]:
    """Four runs whose step depends on running statistics, dropout masks, a penalty and the past."""
    return different(optimizer, 4, normalization=BatchNorm(), dropout=True, l2=True, bias=True, **common)


def states(fused: FusedLearner) -> list[dict[str, Any]]:
    return [copy.deepcopy(fused.state(run)) for run in range(fused.runs)]


# ---- dropout


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


def test_the_masks_of_two_runs_have_nothing_in_common() -> None:
    """Runs of one rate and one batch: each drops its share, two drop the same unit as often as chance has it.

    Of n independent units with probability q the share is within 5 sqrt(q (1 - q) / n) of q, but for one time in a
    million; and in no step does a run draw the masks of another step.
    """
    p, size = 0.3, 200
    fused = fuse([single(seed, p=p, activation=activations.tanh) for seed in range(4)])
    own = joined([batches(1, 0, size)[0]] * 4)
    drawn = []
    for _ in range(2):
        streams = {run: member.dropout for run, member in enumerate(fused.members)}
        masks = fused._masks(fused.program.trace(own[0]), torch.device("cpu"), streams)
        drawn.append(torch.cat([mask.flatten(1) for mask in masks[1:]], dim=1) == 0)  # the first is of the inputs

    def by_chance(dropped: Tensor, share: float) -> bool:
        error = (share * (1 - share) / dropped.numel()) ** 0.5
        return abs(float(dropped.double().mean()) - share) < 5 * error

    for run in range(4):
        assert all(by_chance(step[run], p) for step in drawn)
        assert by_chance(drawn[0][run] & drawn[1][run], p * p)
        assert all(by_chance(drawn[0][run] & drawn[0][other], p * p) for other in range(run))


def test_training_with_dropout_is_that_of_each_run_alone() -> None:
    """Each run's own masks, step after step: nothing less than the same losses will do."""
    alone, fused = pair(different(Momentum, 4, dropout=True, dtype=torch.float64))
    expected, losses = train(alone, fused, range(6), dtype=torch.float64)
    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=0)


# ---- looks


@pytest.mark.parametrize("name", ["activation_norm", "activation_gradient_norm", "gradient_norm", "update_ratio"])
def test_curves_are_those_of_a_run_alone(name: str) -> None:
    """Each kind by itself; all at once they are in test_fused.py."""
    alone, fused = pair(noisy(dtype=torch.float64))
    expected, losses = train(alone, fused, range(3), dtype=torch.float64, curves=[name])
    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("optimizer", [SGD, Momentum, Adam])
def test_looks_leave_no_trace(optimizer: Any) -> None:
    """Neither do evaluations; training is bit by bit what it is without them."""
    looked_at, left = (fuse([single(**run) for run in noisy(optimizer=optimizer)]) for _ in range(2))
    for step in range(4):
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


@pytest.mark.parametrize("examples", [1, FusedLearner.chunk - 1, FusedLearner.chunk, 2 * FusedLearner.chunk + 7])
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
