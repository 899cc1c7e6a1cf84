"""Passes that are captured once and replayed: what a captured pass sees and leaves behind.

The captures here are emulated: the function runs again at every replay and its results are copied to where they were
at the capture. What a GPU adds to that is tested where there is one (test_fused.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from fanin.fused import FusedLearner
from fanin.graph import Pass, Repeated, Results
from fanin.normalization import BatchNorm
from fanin.optimizers import Adam
from together import batches, joined, pair, rates


class Emulated:
    """Captures by a dry run, as warm-up passes are; replays into the captured results."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def __call__(self, function: Pass, inputs: Sequence[Tensor]) -> tuple[Callable[[], None], Results]:
        self.captures += 1
        results = list(function(*inputs))

        def replay() -> None:
            self.replays += 1
            for held, one in zip(results, function(*inputs), strict=True):
                if held is not None and one is not None:
                    held.copy_(one)

        return replay, results


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_captured_program_takes_the_steps_of_the_plain_one(dropout: float) -> None:
    """Steps with curves are not captured, and batches of another size are captured anew."""
    runs = [{"seed": seed, "optimizer": Adam, "normalization": BatchNorm(), "p": dropout} for seed in range(3)]
    (_, plain), (_, captured) = pair(runs), pair(runs)
    emulated = Emulated()
    captured._repeated = Repeated(captured._pass, list(captured.buffers.values()), emulated)
    for step in range(8):
        batch = joined(batches(3, step, size=20 if step < 5 else 14))
        curves = ("gradient_norm",) if step == 3 else ()
        expected, result = (one.step(batch, rates(3, step), curves) for one in (plain, captured))
        assert torch.equal(result.loss, expected.loss)
        assert torch.equal(result.error, expected.error)
    assert (emulated.captures, emulated.replays) == (2, 7)
    for run in range(3):
        ours, theirs = (one.best_weights(run) for one in (captured, plain))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_results_are_overwritten_by_the_next_call_only() -> None:
    repeated = Repeated(lambda x: [2 * x], [], Emulated())
    (first,) = repeated(torch.tensor([1.0]))
    assert first is not None
    assert first.item() == 2
    repeated(torch.tensor([5.0]))
    assert first.item() == 10


def test_a_program_on_the_cpu_is_not_captured() -> None:
    _, fused = pair([{"seed": 0}, {"seed": 1}])
    assert isinstance(fused, FusedLearner)
    assert fused._repeated is None
