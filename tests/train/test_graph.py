"""Passes that are captured once and replayed: what a captured pass sees and leaves behind.

The captures here are emulated: the function runs again at every replay and its results are copied to where they were
at the capture. What a GPU adds to that is tested where there is one (test_fused.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import fanin.parts.normalization
from fanin.catalogue import config_folder
from fanin.parts import activations
from fanin.parts.losses import BinaryCrossEntropy, CrossEntropy, Hinge, Loss, Squared
from fanin.parts.models import Cnn, Mlp
from fanin.parts.normalization import BatchNorm, InstanceNorm
from fanin.parts.optimizers import Adam
from fanin.train.cuda_graph import Pass, Repeated, Results
from fanin.train.fused_learner import FusedLearner
from together import IMAGE, SIZES, batches, joined, pair, rates


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


def test_what_cannot_be_captured_is_run_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """The log says so once, and what the attempt left in the running statistics is taken back."""
    tried = []

    def refuse(function: Pass, inputs: Sequence[Tensor]) -> tuple[Callable[[], None], Results]:
        tried.append(function(*inputs))
        raise RuntimeError("operation not permitted when stream is capturing")

    runs = [{"seed": seed, "normalization": BatchNorm()} for seed in range(2)]
    (_, plain), (_, refused) = pair(runs), pair(runs)
    refused._repeated = Repeated(refused._pass, list(refused.buffers.values()), refuse)
    for step in range(3):
        batch = joined(batches(2, step, size=20 - step))
        assert torch.equal(refused.step(batch, rates(2, step)).loss, plain.step(batch, rates(2, step)).loss)
    assert all(torch.equal(refused.buffers[name], held) for name, held in plain.buffers.items())
    assert len(tried) == 1
    assert [one.getMessage().endswith("stream is capturing") for one in caplog.records] == [True]


class ForCapture(TorchDispatchMode):
    """Collects the operations that a CUDA graph cannot hold: what asks a tensor for its content, or makes one of it."""

    ASKING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique", "lift_fresh")

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), keywords: dict[str, Any] | None = None
    ) -> Any:
        name = function.overloadpacket.__name__
        by_mask = name.startswith("index") and any(
            isinstance(one, Tensor) and one.dtype in (torch.bool, torch.uint8)
            for one in (arguments[1] if isinstance(arguments[1], (list, tuple)) else ())
        )
        if by_mask or any(word in name for word in self.ASKING):
            self.asked.append(str(function))
        return function(*arguments, **(keywords or {}))


def captured_operations(learner: FusedLearner, batch: tuple[Tensor, Tensor]) -> list[str]:
    """What a graph could not hold of the pass that is captured on a GPU."""
    learner.step(batch, rates(learner.runs, 0))  # as a capture comes after warm-up passes
    learner.program.train(True)
    with ForCapture() as mode:
        learner._pass(*batch)
    return mode.asked


@pytest.mark.parametrize("kind", SIZES)
def test_the_pass_of_every_model_can_be_captured(kind: type[Any]) -> None:
    shape = SIZES[kind].get("input_shape", (12,))
    _, fused = pair([{"seed": seed, "kind": kind} for seed in range(2)])
    assert captured_operations(fused, joined(batches(2, 0, features=shape))) == []


@pytest.mark.parametrize("name", [name for name in fanin.parts.normalization.__all__ if name.endswith("Norm")])
def test_the_pass_of_every_normalization_can_be_captured(name: str) -> None:
    norm = getattr(fanin.parts.normalization, name)
    kind, shape = (Cnn, IMAGE["input_shape"]) if norm is InstanceNorm else (Mlp, (12,))
    _, fused = pair([{"seed": seed, "kind": kind, "normalization": norm()} for seed in range(2)])
    assert captured_operations(fused, joined(batches(2, 0, features=shape))) == []


@pytest.mark.parametrize("name", sorted(path.stem for path in (config_folder() / "activation").glob("*.yaml")))
def test_the_pass_of_every_activation_can_be_captured(name: str) -> None:
    _, fused = pair([{"seed": seed, "activation": getattr(activations, name)} for seed in range(2)])
    assert captured_operations(fused, joined(batches(2, 0))) == []


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", [CrossEntropy, Squared, BinaryCrossEntropy, Hinge])
def test_the_pass_of_every_loss_can_be_captured(kind: type[Loss], smoothing: float) -> None:
    """The hinge loss has no smoothed form."""
    loss, smoothing = kind(), 0.0 if kind is Hinge else smoothing
    method = {"loss": loss, "smoothed": loss.smoothed(smoothing) if smoothing else None}
    _, fused = pair([{"seed": seed, "method": method} for seed in range(2)])
    assert captured_operations(fused, joined(batches(2, 0))) == []


def test_what_asks_is_found() -> None:
    """The mode that the test above trusts."""
    x = torch.arange(4.0)
    asking: list[Callable[[], Any]] = [
        lambda: x[0].item(), lambda: x[x > 1], lambda: x.nonzero(), lambda: bool(x[0]), lambda: torch.tensor(2),
    ]  # fmt: skip
    for ask in asking:
        with ForCapture() as mode:
            ask()
        assert mode.asked, ask


def test_a_program_on_the_cpu_is_not_captured() -> None:
    _, fused = pair([{"seed": 0}, {"seed": 1}])
    assert isinstance(fused, FusedLearner)
    assert fused._repeated is None
