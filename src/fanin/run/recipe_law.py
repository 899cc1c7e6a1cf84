"""The law of a recipe: what theory says the norms of a fresh draw of it are on the run's probe batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from fanin.devices import widened
from fanin.run.law_bands import bands_of, cosines_of
from fanin.run.model_steps import Drawn, drawn_by, steps_of, with_data
from fanin.run.recipe import Recipe
from fanin.run.shared_cache import SharedCache
from fanin.theory.answers import Residuals
from fanin.theory.bands import Band, Bands, Key, weakest
from fanin.theory.batch import Batch
from fanin.theory.composition import compose
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.logs import exp

Answers = Callable[[NDArray[np.intp]], Residuals | None]


@dataclass(frozen=True)
class RecipeLaw:
    """The law of a recipe.

    Attributes:
        bands: of every norm that the law reaches, by axis, layer and quantity as in profiles.csv.
        no_law: why it does not reach all of them; empty where it does.
        source: the weakest of its bands'; empty without one.
        stopped_at: the part that ended it; empty where none did.
        cosines: the mean correlation between examples at infinite width, by the same keys.
    """

    bands: Bands
    no_law: str
    source: str
    stopped_at: str
    cosines: Mapping[Key, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Known:
    """A law and the batch that it was worked out for."""

    law: RecipeLaw
    by_input: Mapping[Key, float]
    log_square: float

    def at(self, log_square: float) -> RecipeLaw:
        """The law at a batch of another length."""
        change = log_square - self.log_square
        bands = {key: _moved(band, self.by_input[key] * change) for key, band in self.law.bands.items()}
        return replace(self.law, bands=bands)


def _moved(band: Band, by: float) -> Band:
    factor = exp(by / 2)
    square = None if band.mean_square is None else band.mean_square * factor
    return replace(
        band,
        median=band.median * factor,
        low=band.low * factor,
        high=band.high * factor,
        mean_square=square,
        log_mean=band.log_mean + by,
    )


_laws: SharedCache[_Known] = SharedCache("laws", most=16)


def recipe_law(
    made: Recipe,
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    same: str | None = None,
    reference: Callable[[], tuple[Tensor, Tensor]] | None = None,
) -> RecipeLaw:
    """What theory says of a model that a recipe has initialized.

    Args:
        made: the recipe.
        model: of it, its weights drawn or not; left as it was.
        inputs, targets: the probe batch, [B, ...] and [B].
        same: what recipes that differ in their seed alone have in common, as a configuration without it: they share
            one law, moved to the length of each one's batch. None: nothing is known and nothing shared.
        reference: gives the examples that a shared law is worked out on, as many as the batch or more. They must not
            differ from seed to seed, or a run's files would say which run came first in its process. None: the first
            probe batch.
    """
    of = len(inputs)
    if same is None:
        return _law(made, model, inputs, targets, of).law
    key = (same, tuple(inputs.shape))
    known = _laws.get(
        key, lambda: _law(made, model, *(reference() if reference is not None else (inputs, targets)), of)
    )
    return known.at(_log_square(inputs))


def _log_square(inputs: Tensor, of: int | None = None) -> float:
    """ln of the squared norm of a batch; of one of another size like it."""
    share = 1.0 if of is None else of / len(inputs)
    return math.log(max(float(widened(inputs).square().sum()) * share, 1e-300))


def _law(made: Recipe, model: nn.Module, inputs: Tensor, targets: Tensor, of: int) -> _Known:
    labels = targets.cpu().numpy() if made.method.loss.classification and targets.ndim == 1 else None
    answers = partial(_residuals, made, targets, inputs)
    law = model_law(model, drawn_by(made, model), inputs, labels, answers, of=of)
    return _Known(*law, _log_square(inputs, of))


def model_law(
    model: nn.Module,
    weights: Drawn,
    inputs: Tensor,
    labels: NDArray[Any] | None,
    answers: Answers,
    *,
    of: int | None = None,
    alone: bool = False,
) -> tuple[RecipeLaw, dict[Key, float]]:
    """What theory says of a model whose weights are drawn from known laws, and how each band follows inputs' length.

    Args:
        model: left as it was.
        weights: what its weight layers are drawn from.
        inputs: a batch, [B, ...], or examples like those of one.
        labels: the class of each example, [B], where the loss compares outputs with that alone; else None.
        answers: from the places of some examples to how the loss answers to their outputs; None for no gradients.
        of: how many examples a batch has; None: as many as there are here.
        alone: whether it is this batch that other draws of the weights see, too, and no other of its size.
    """
    with threadpool_limits(1, user_api="blas"):  # of small matrices: more threads only wait for each other
        return _composed(model, weights, inputs, labels, answers, of or len(inputs), alone)


def _composed(
    model: nn.Module,
    weights: Drawn,
    inputs: Tensor,
    labels: NDArray[Any] | None,
    answers: Answers,
    of: int,
    alone: bool,
) -> tuple[RecipeLaw, dict[Key, float]]:
    log_square = _log_square(inputs, of)
    walked = steps_of(weights, model, inputs)
    outputs = walked.outputs
    count = len(inputs)
    stages = [step.stage for step in walked.steps]
    most = min((stage.most_examples for stage in stages), default=1)
    mixed = max((stage.least_examples for stage in stages), default=1)
    most = max(most, min(mixed, of))  # what mixes the examples of a batch sees no more than it has
    if mixed > 1:
        most = min(most, of)
    rows = np.linspace(0, count - 1, min(count, most)).round().astype(int)
    if labels is not None and len(rows) < count:
        rows = _of_each_class(labels, len(rows))
    some = inputs[rows].detach().cpu().double().numpy()
    scale = math.sqrt(exp(log_square) / max(float((some**2).sum()) * of / len(rows), 1e-300))
    some = some * scale  # as long as the whole batch's are
    classes = outputs[-1] if outputs is not None else 0
    residuals = None if outputs is None else answers(rows)
    batch = Batch(np.ones(len(rows)), of)
    if labels is not None and labels.max() < classes:
        whole = np.bincount(labels, minlength=classes).astype(np.float64) * (of / count)
        batch = Batch(np.ones(len(rows)), of, labels[rows], classes, whole, is_mean=of != count, alone=alone)
    steps = with_data(walked.steps, some)
    found = compose(steps, batch, residuals, classes)
    bands, by_input = bands_of(steps, walked, found, some)
    why, at = found.why, found.stopped_at
    if not why and outputs is None:
        why, at = "what the model returns comes from no part of it", ""
    if not why and found.flows_why:
        why, at = f"gradients: {found.flows_why}", found.flows_stopped_at
    source = weakest([band.source for band in bands.values()]) if bands else ""
    cosines = cosines_of(walked, found)
    return RecipeLaw(bands, _told(at, why), source, at, cosines), by_input


def _of_each_class(labels: NDArray[np.int64], most: int) -> NDArray[np.intp]:
    """Rows of a batch: of each class as large a part as the batch has, and two if there is room for two of each."""
    order = np.argsort(labels, kind="stable")
    _, starts, having = np.unique(labels[order], return_index=True, return_counts=True)
    least = np.minimum(having, 2)
    if least.sum() > most:
        return np.asarray(order[np.linspace(0, len(labels) - 1, most).round().astype(int)])
    taken = least.copy()
    for _ in range(most - int(least.sum())):
        taken[np.argmax(np.where(taken < having, having / taken, 0))] += 1
    each = [
        start + np.linspace(0, n - 1, k).round().astype(int) for start, n, k in zip(starts, having, taken, strict=True)
    ]
    return np.asarray(order[np.concatenate(each)])


def _told(part: str, why: str) -> str:
    return f"the law ends at {part or 'the model'}: {why}" if why else ""


def _residuals(made: Recipe, targets: Tensor, inputs: Tensor, rows: NDArray[np.intp]) -> Residuals:
    """How the recipe's loss answers to the outputs of some examples."""
    loss, targets, inputs = made.method.loss, targets[rows], inputs[rows]

    def answers(outputs: FloatArray) -> FloatArray:
        found = torch.tensor(outputs, dtype=torch.float32, device=targets.device, requires_grad=True)
        rows = found.shape[0]
        wanted, given = targets.expand(rows, *targets.shape), inputs.expand(rows, *inputs.shape)
        torch.autograd.backward(loss(found, wanted, given).sum())
        assert found.grad is not None
        return np.asarray(found.grad.double().cpu().numpy())

    return answers
