"""Small real networks, learners and loops, made of fanin's own parts."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from fanin.parts import activations
from fanin.parts.data import Dataset, Gaussian
from fanin.parts.initializers import Initializer, VarianceScaling
from fanin.parts.models import Mlp
from fanin.parts.normalization import NoNorm
from fanin.parts.optimizers import SGD
from fanin.parts.regularizers import Penalty
from fanin.parts.schedules import Constant
from fanin.probes import NoProbe
from fanin.record.recorder import Recorder
from fanin.record.run_folder import RunFolder
from fanin.run.execute import Begun, RequestedRun, assemble, batches_of
from fanin.run.identity import Identity
from fanin.run.recipe import Recipe
from fanin.run.request import Request
from fanin.run.theory_overlay import Overlay
from fanin.streams import generator
from fanin.train.learner import Batch
from fanin.train.loop import Loop
from fanin.train.settings import Trainer
from fanin.train.single_learner import SingleLearner
from fanin.train.step import Method
from fanin.train.trained_model import TrainedModel

EPSILON = 2.0**-24  # relative rounding error of one float32 operation


def network(
    seed: int = 0,
    *,
    c: float = 2.0,
    initializer: Initializer | None = None,
    dtype: torch.dtype = torch.float32,
    **changes: Any,
) -> Mlp:
    """An initialized network, by default 7 -> 6 -> 6 -> 6 -> 4."""
    settings = {
        "in_features": 7,
        "out_features": 4,
        "depth": 4,
        "width": 6,
        "activation": activations.relu,
        "normalization": NoNorm(),
        **changes,
    }
    model = Mlp(**settings).to(dtype)
    (initializer or VarianceScaling(c=c))(model, lambda name: generator(seed, "init", name))
    return model


def perturbed(model: nn.Module) -> nn.Module:
    """The network with biases and normalization parameters away from 0 and 1, so that they matter."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.linspace(-0.4, 0.6, len(parameter), dtype=parameter.dtype))
    return model


def learner(
    model: nn.Module,
    optimizer: Callable[..., torch.optim.Optimizer] = SGD,
    penalties: Sequence[Penalty] = (),
    **changes: Any,
) -> SingleLearner:
    """A learner of a network; the learning rate comes with each step."""
    method = changes.pop("method", Method(penalties=penalties))
    return SingleLearner(TrainedModel(model, optimizer(list(model.parameters()), lr=0.0), method, **changes))


def batch(seed: int, size: int = 8, features: Sequence[int] = (7,), dtype: torch.dtype = torch.float32) -> Batch:
    """A batch of one run: standard normal inputs [1, size, *features] and labels of 4 classes."""
    random = torch.Generator().manual_seed(seed)
    inputs = torch.randn(1, size, *features, generator=random, dtype=torch.float64).to(dtype)
    return inputs, torch.randint(4, (1, size), generator=random)


def clouds(**changes: Any) -> Dataset:
    """200 training, 30 validation and 50 test examples of 4 classes, 12 features."""
    settings = {"examples": 230, "features": 12, "classes": 4, "val_size": 30, "test_size": 50, "separation": 3.0}
    return Gaussian(**settings | changes).load()


def recipe(**changes: Any) -> Recipe:
    """A recipe without a probe: 12 -> 16 -> 16 -> 4, SGD, batches of 20 (10 steps an epoch), 30 steps.

    `model`, `trainer` and `optimizer` (a class) with `optimizer_keys` are dictionaries of changes; the others
    replace the recipe's own.
    """
    model = {
        "depth": 3,
        "width": 16,
        "activation": activations.relu,
        "normalization": NoNorm(),
        "dropout": changes.get("dropout"),
        **changes.pop("model", {}),
    }
    trainer = {"steps": 30, "batch_size": 20, "log_every": 4, "device": "cpu", **changes.pop("trainer", {})}
    optimizer, keys, lr = changes.pop("optimizer", SGD), changes.pop("optimizer_keys", {}), changes.pop("lr", 0.05)
    settings = {
        "seed": 0,
        "trainer": Trainer(**trainer),
        "data": None,
        "make_model": lambda shape, outputs: Mlp(in_features=math.prod(shape), out_features=outputs, **model),
        "initializer": VarianceScaling(c=2.0),
        "make_optimizer": partial(optimizer, lr=lr, **keys),
        "lr": lr,
        "schedule": Constant(),
        "method": Method(penalties=changes.pop("penalties", [])),
        "dropout": None,
        "early_stopping": None,
        "probe": NoProbe(),
        **changes,
    }
    return Recipe(**settings)


def loop(
    folder: Path,
    made: Recipe,
    data: Dataset | None = None,
    *,
    resume_step: int | None = None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> tuple[Loop[RequestedRun], Overlay]:
    """The loop of one run in a folder, ready to train, as a command would make it."""
    run_folder = RunFolder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = clouds() if data is None else data
    one = assemble([begun(run_folder, made, resume_step)], data, batches_of([made], data), stop_requested)
    one.first = one.runs[0]  # type: ignore[attr-defined]  # a run that ends early leaves the loop
    return one, one.runs[0].overlay


def begun(folder: RunFolder, made: Recipe, resume_step: int | None = None) -> Begun:
    """A recipe that is about to be trained in a folder, which is there."""
    request = Request(OmegaConf.create(), Identity("runs", folder.path.name, {}, "hash", {}), folder)
    return Begun(request, made, Recorder(folder, resume_step))


def trained(folder: Path, made: Recipe, data: Dataset | None = None) -> Loop[RequestedRun]:
    """A loop after its training, its files closed."""
    one, _ = loop(folder, made, data)
    one.train()
    one.first.recorder.close(one.first.state)
    return one


def weights(one: Loop[RequestedRun]) -> dict[str, Tensor]:
    """The state of the only run's model, buffers too."""
    return one.learner.best_weights(0)


def losses_of(one: Loop[RequestedRun]) -> list[tuple[float, float]]:
    """A list that fills with (loss, error) of every step that the loop will take."""
    seen: list[tuple[float, float]] = []
    step = one.learner.step

    def spied(*arguments: Any, **keywords: Any) -> Any:
        result = step(*arguments, **keywords)
        seen.append((float(result.loss), float(result.error)))
        return result

    one.learner.step = spied  # type: ignore[method-assign]
    return seen


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def metrics(folder: Path) -> list[dict[str, float | None]]:
    """The rows of metrics.csv as numbers, None where a column is empty."""
    return [
        {key: float(value) if value else None for key, value in row.items()} for row in rows(folder / "metrics.csv")
    ]


def same(first: Any, second: Any) -> bool:
    """Whether two nested structures are equal, tensors bit by bit (NaN equal to NaN)."""
    if isinstance(first, Tensor):
        return first.dtype == second.dtype and first.shape == second.shape and _bits(first) == _bits(second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def _bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().numpy().tobytes()
