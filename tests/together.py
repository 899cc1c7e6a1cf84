"""The same runs twice: each alone, and all of them fused."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from engine import batch
from fanin.parts import activations
from fanin.parts.initializers import VarianceScaling
from fanin.parts.models import Attention, Cnn, Gru, LinearModel, Lstm, Mamba, Mlp, ResidualMlp, Resnet, Rnn
from fanin.parts.normalization import NoNorm
from fanin.parts.optimizers import SGD
from fanin.parts.regularizers import L2, Dropout
from fanin.streams import generator
from fanin.train.fused_learner import FusedLearner
from fanin.train.learner import Batch, Learner
from fanin.train.single_learner import SingleLearner
from fanin.train.step import Method
from fanin.train.trained_model import TrainedModel

FLAT, IMAGE, ROWS = {"in_features": 12}, {"input_shape": (1, 6, 4)}, {"input_shape": (1, 4, 3)}
SIZES: dict[type[Any], dict[str, Any]] = {
    Mlp: {**FLAT, "width": 24, "depth": 4},
    ResidualMlp: {**FLAT, "width": 12, "depth": 6, "scale": "depth"},
    LinearModel: FLAT,
    Cnn: {**IMAGE, "channels": (3, 4), "width": 8},
    Resnet: {**IMAGE, "channels": (3, 4)},
    Rnn: {**ROWS, "width": 6, "layers": 2},
    Lstm: {**ROWS, "width": 6, "variational": True},
    Gru: {**ROWS, "width": 6},
    Attention: {**ROWS, "width": 8, "heads": 2, "hidden": 6, "layers": 1},
    Mamba: {**ROWS, "width": 6, "states": 3, "layers": 1},
}
"""Small networks of every kind, for examples of 12 entries or of 24."""


def model_of(kind: type[Any], seed: int, *, c: float = 2.0, dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    """A network with weights of variance c / fan_in drawn from a seed, 4 outputs, by default of ReLUs alone."""
    known = inspect.signature(kind).parameters
    settings = {"activation": activations.relu, "normalization": NoNorm(), **SIZES[kind], "out_features": 4, **changes}
    model = kind(**{key: value for key, value in settings.items() if key in known}).to(dtype)
    VarianceScaling(c=c)(model, lambda name: generator(seed, "init", name))
    return model


def numbers_of(optimizer: type[Any], run: int) -> dict[str, float]:
    """Numbers of a run's own in place of all the optimizer's defaults, the flags and the learning rate apart."""
    defaults = {key: one.default for key, one in inspect.signature(optimizer).parameters.items() if key != "lr"}
    numbers = {key: default for key, default in defaults.items() if isinstance(default, float)}
    return {key: default * (1 - 0.05 * run) if default else 0.05 * (1 + run) for key, default in numbers.items()}


def different(
    optimizer: Any = SGD, runs: int = 8, *, dropout: bool = False, l2: bool = False, **common: Any
) -> list[dict[str, Any]]:
    """Runs, as keywords of `single`, with seeds, variances and numbers of the optimizer of their own.

    Args:
        optimizer: its class.
        runs: how many.
        dropout: whether with dropout, at rates of their own.
        l2: whether with a penalty, of strengths of their own.
        common: what they share.
    """
    return [
        {
            "seed": run,
            "c": 1 + run / 4,
            "optimizer": optimizer,
            "numbers": numbers_of(optimizer, run),
            "p": 0.1 + 0.05 * run if dropout else 0.0,
            "strength": 0.01 * run if l2 else None,
            **common,
        }
        for run in range(runs)
    ]


def single(
    seed: int,
    optimizer: Any = SGD,
    *,
    kind: type[Any] = Mlp,
    numbers: dict[str, float] | None = None,
    p: float = 0.0,
    strength: float | None = None,
    method: dict[str, Any] | None = None,
    learning: dict[str, Any] | None = None,
    device: str = "cpu",
    **net: Any,
) -> SingleLearner:
    """The learner of one run, by default without dropout (`p`) and penalty (`strength`)."""
    dropout = Dropout(p=p, input_p=p / 2) if p else None
    model = model_of(kind, seed, dropout=dropout, **net).to(device)
    streams = {
        "dropout": generator(seed, "dropout", device=device),
        "probe_dropout": partial(generator, seed, "probe", "dropout", device=device),
    }
    penalties = {} if strength is None else {"penalties": [L2(strength=strength)]}
    own = TrainedModel(
        model,
        optimizer([one for one in model.parameters() if one.requires_grad], lr=0.1, **(numbers or {})),
        method=Method(**penalties, **(method or {})),
        **(streams if dropout else {}),
        **(learning or {}),
    )
    return SingleLearner(own)


def fuse(learners: Sequence[SingleLearner]) -> FusedLearner:
    """One learner of the runs of several."""
    return FusedLearner([one.own for one in learners])


def pair(runs: Sequence[dict[str, Any]]) -> tuple[list[SingleLearner], FusedLearner]:
    """Learners of some runs, given by the keywords of `single`: each alone, and fused."""
    return [single(**run) for run in runs], fuse([single(**run) for run in runs])


def joined(batches: Sequence[Batch]) -> Batch:
    """One batch of R runs."""
    inputs, targets = zip(*batches, strict=True)
    return torch.cat(inputs), torch.cat(targets)


def batches(runs: int, step: int, size: int = 20, scale: float = 1.0, **changes: Any) -> list[Batch]:
    """Each run's own batch of a step; inputs of standard deviation `scale`."""
    own = [batch(1000 * run + step, size, **{"features": (12,), **changes}) for run in range(runs)]
    return [(scale * inputs, targets) for inputs, targets in own]


def rates(runs: int, step: int, lr: float = 0.05) -> list[float]:
    """Each run's own learning rate of a step."""
    return [lr * (1 + run) / (runs * (1 + 0.1 * step)) for run in range(runs)]


def train(
    alone: Sequence[SingleLearner],
    fused: Learner,
    steps: range,
    *,
    curves: Sequence[str] = (),
    lr: float = 0.05,
    tolerance: dict[str, Any] | None = None,
    **data: Any,
) -> tuple[Tensor, Tensor]:
    """Losses of both, [steps, R] each, in float64; curves, where asked for, are compared on the way."""
    losses: tuple[list[Tensor], list[Tensor]] = [], []
    tolerance = tolerance or {"rtol": 1e-10, "atol": 1e-12, "equal_nan": True}  # for float64
    for step in steps:
        own, each = batches(len(alone), step, **data), rates(len(alone), step, lr)
        results = [one.step(mine, [rate], curves) for one, mine, rate in zip(alone, own, each, strict=True)]
        together = fused.step(joined(own), each, curves)
        losses[0].append(torch.cat([result.loss for result in results]).double())
        losses[1].append(together.loss.double())
        if curves and together.curves is not None:
            for run, result in enumerate(results):
                if result.curves is not None:  # a run that is broken has none
                    assert together.curves[0] == result.curves[0]
                    torch.testing.assert_close(together.curves[1][run], result.curves[1][0], **tolerance)
    return torch.stack(losses[0]), torch.stack(losses[1])


def close(first: Any, second: Any, rel: float, absolute: float = 0.0) -> bool:
    """Whether two nested structures have the same form, and numbers that are equal up to a tolerance."""
    if isinstance(first, Tensor):
        if first.dtype != second.dtype or first.shape != second.shape:
            return False
        if not first.is_floating_point():
            return torch.equal(first, second)
        return bool(torch.allclose(first, second, rel, absolute, equal_nan=True))
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(close(first[k], second[k], rel, absolute) for k in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(close(a, b, rel, absolute) for a, b in zip(first, second, strict=True))
    if isinstance(first, float):
        return math.isclose(first, second, rel_tol=rel, abs_tol=absolute) or first != first
    return type(first) is type(second) and bool(first == second)
