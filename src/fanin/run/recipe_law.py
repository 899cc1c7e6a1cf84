"""The law of a recipe: what theory says the norms of a fresh draw of it are on the run's probe batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from fanin.parts.models.layers import is_weight_layer
from fanin.run.bounded_cache import BoundedCache
from fanin.run.part_rules import Maps, stages_of
from fanin.run.recipe import Recipe
from fanin.run.walk import INPUT, Ran, Taken, walk
from fanin.theory.bands import Band, Bands, Key, weakest
from fanin.theory.composition import Batch, Composition, Residuals, Step, compose
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.logs import exp
from fanin.theory.refinement import chain_of, plain, refined
from fanin.theory.signals import correlation
from fanin.theory.stages import BatchNormalized, Convolution, Data, Flattened, Linear, Stage, Unknown
from fanin.theory.weights import Weights

COSINE = "activation_cosine"

MOST = 48
"""Examples of the batch whose Gram matrix is carried; they stand for all."""

MOST_MAPS = 16
"""The same for maps, each place of which has a Gram matrix."""

SITES = 800
"""Places of examples, of which it is known for each two what they have in common."""

MOST_NORMALIZED = 128
"""The same where examples are normalized together: how many they are matters."""


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
    log_square: float
    by_input: dict[tuple[str, str, str], float] = field(default_factory=dict)

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


_laws: BoundedCache[_Known] = BoundedCache(most=16)


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
        reference: gives the batch that a shared law is worked out on. It must not differ from seed to seed, or a run's
            files would say which run came first in its process. None: the first probe batch.
    """
    if same is None:
        return _law(made, model, inputs, targets).law
    key = (same, tuple(inputs.shape))
    known = _laws.get(key, lambda: _law(made, model, *(reference() if reference is not None else (inputs, targets))))
    return known.at(_log_square(inputs))


def _log_square(inputs: Tensor) -> float:
    return math.log(max(float(inputs.double().square().sum()), 1e-300))


def _law(made: Recipe, model: nn.Module, inputs: Tensor, targets: Tensor) -> _Known:
    log_square = _log_square(inputs)
    walked = steps_of(made, model, inputs)
    outputs = walked.outputs
    count = len(inputs)
    kinds = {type(step.stage) for step in walked.steps}
    most = MOST_NORMALIZED if BatchNormalized in kinds else MOST_MAPS if Convolution in kinds else MOST
    rows = np.linspace(0, count - 1, min(count, most)).round().astype(int)
    some, answers = inputs[rows].detach().double().cpu().numpy(), targets[rows]
    scale = math.sqrt(exp(log_square) / max(float((some**2).sum()) * count / len(rows), 1e-300))
    some = some * scale  # as long as the whole batch's are
    classes = outputs[-1] if outputs is not None else 0
    residuals = None if outputs is None else _residuals(made, answers, inputs[rows])
    labels = answers.cpu().numpy() if made.method.loss.classification and answers.ndim == 1 else None
    batch = Batch(np.ones(len(rows)), count, labels, classes)
    steps = _with_data(walked.steps, some)
    found = compose(steps, batch, residuals, classes)
    bands, by_input = _bands(steps, walked, found, some)
    why, at = found.why, found.stopped_at
    if not why and outputs is None:
        why, at = "what the model returns comes from no part of it", ""
    if not why and found.flows_why:
        why, at = f"gradients: {found.flows_why}", found.flows_stopped_at
    source = weakest([band.source for band in bands.values()]) if bands else ""
    cosines = _cosines(walked, found)
    return _Known(RecipeLaw(bands, _told(at, why), source, at, cosines), log_square, by_input)


def _told(part: str, why: str) -> str:
    return f"the law ends at {part or 'the model'}: {why}" if why else ""


@dataclass(frozen=True)
class Walked:
    """A model as steps of theory.

    Attributes:
        steps: those of data are yet to be filled.
        parts: the part that ends with each step; None for what belongs to no part.
        outputs: the shape of the outputs, the last step's; None where no part gives what the model returns.
    """

    steps: list[Step]
    parts: list[Ran | None]
    outputs: tuple[int, ...] | None


def steps_of(made: Recipe, model: nn.Module, inputs: Tensor) -> Walked:
    """A model as steps of theory."""
    walked = walk(model, inputs)
    weights: dict[nn.Module, Weights | str] = {
        layer: law if law is not None else f"{type(made.initializer).__name__} draws weights that have no law"
        for layer, law in made.initializer.weight_laws(model).items()
    }
    steps: list[Step] = []
    parts: list[Ran | None] = []
    ends: dict[int, int] = {}
    seen: dict[tuple[int, ...], int] = {}
    maps: Maps = {}

    def add(name: str, stage: Stage, sources: tuple[int, ...], part: Ran | None = None) -> int:
        steps.append(Step(name, stage, sources))
        parts.append(part)
        return len(steps) - 1

    def source(taken: Taken) -> int | None:
        if taken.place == INPUT:
            if taken.shape not in seen:
                seen[taken.shape] = add("", _Waiting(taken.shape), ())
            return seen[taken.shape]
        if taken.place is None or taken.place not in ends:
            return None
        given = walked.parts[taken.place].shape
        if taken.shape == given:
            return ends[taken.place]
        if len(taken.shape) == 2 and len(given) > 2 and taken.shape[0] == given[0]:
            return add("", Flattened(), (ends[taken.place],))
        return None

    for place, part in enumerate(walked.parts):
        sources = [source(one) for one in part.inputs]
        stages = _stages(part, weights, maps)
        if not sources or any(one is None for one in sources):
            stages = [Unknown("what it takes was made between the parts, where no rule sees it")]
            sources = [one for one in sources if one is not None]
        before = tuple(one for one in sources if one is not None)
        for number, stage in enumerate(stages):
            before = (add(part.label, stage, before, part if number == len(stages) - 1 else None),)
        ends[place] = before[0]
    if walked.last is None:
        return Walked(steps, parts, None)
    end = ends[walked.last] + 1
    return Walked(steps[:end], parts[:end], walked.parts[walked.last].shape)


def _stages(part: Ran, weights: dict[nn.Module, Weights | str], maps: Maps) -> list[Stage]:
    stages = stages_of(part.module, weights, maps)
    if part.again and any(isinstance(stage, (Linear, Convolution)) for stage in stages):
        return [Unknown("its weights are used more than once")]
    return stages


@dataclass(frozen=True)
class _Waiting(Stage):
    """The model's input, in the shape in which a part takes it."""

    shape: tuple[int, ...]

    def forward(self, inputs: Sequence[object], at: object) -> object:  # type: ignore[override]
        """Not before it is filled."""
        raise NotImplementedError

    def backward(self, *arguments: object) -> Sequence[object]:  # type: ignore[override]
        """Not before it is filled."""
        raise NotImplementedError


def _with_data(steps: Sequence[Step], inputs: FloatArray) -> list[Step]:
    """The steps with a batch in them."""
    return [
        replace(step, stage=_data(inputs, step.stage.shape)) if isinstance(step.stage, _Waiting) else step
        for step in steps
    ]


def _data(inputs: FloatArray, shape: tuple[int, ...]) -> Data:
    """A batch as units and places: [B, F] are units; [B, T, F] are T places; [B, C, H, W] are H x W places."""
    count = len(inputs)
    size = shape[2:] if len(shape) == 4 else None
    units = inputs.reshape(count, *shape[1:])
    places = np.moveaxis(units, 1, -1).reshape(count, -1, shape[1]) if len(shape) != 3 else units
    across = places.transpose(1, 0, 2)
    flat = inputs.reshape(count, -1)
    square = (flat**2).mean(1)
    kurtosis = np.divide((flat**4).mean(1), square**2, out=np.ones_like(square), where=square > 0)
    gram = across @ across.transpose(0, 2, 1) / places.shape[2]
    field = None
    if len(across) > 1:
        some = places[: max(1, SITES // len(across))].reshape(-1, places.shape[2])
        field = some @ some.T / some.shape[1]
    return Data(gram, places.shape[2], kurtosis, size, field)


def _residuals(made: Recipe, targets: Tensor, inputs: Tensor) -> Residuals:
    """How the recipe's loss answers to outputs."""
    loss = made.method.loss

    def answers(outputs: FloatArray) -> FloatArray:
        found = torch.tensor(outputs, dtype=torch.float32, device=targets.device, requires_grad=True)
        rows = found.shape[0]
        wanted, given = targets.expand(rows, *targets.shape), inputs.expand(rows, *inputs.shape)
        torch.autograd.backward(loss(found, wanted, given).sum())
        assert found.grad is not None
        return np.asarray(found.grad.double().cpu().numpy())

    return answers


def _bands(
    steps: Sequence[Step], walked: Walked, found: Composition, inputs: FloatArray
) -> tuple[dict[tuple[str, str, str], Band], dict[tuple[str, str, str], float]]:
    """The bands by the rows of profiles.csv, and how each follows the input's length."""
    outputs = {place: (plain(law), law.by_input) for place, law in enumerate(found.outputs) if law is not None}
    gradients = {place: (plain(law), law.by_input) for place, law in enumerate(found.weight_gradients) if law}
    chain = chain_of(steps)
    if chain is not None:
        square = float((inputs**2).mean())
        one = np.full((1, *inputs.shape[1:]), math.sqrt(square))
        if len(inputs) == 1:
            one = inputs
        alone = compose(_alone(steps, one), Batch(np.ones(1), 1), lambda outputs: outputs * 0 + 1, 1)
        exact = refined(chain, found, alone, square, single=len(inputs) == 1)
        outputs |= {place: (band, outputs[place][1]) for place, band in exact.outputs.items()}
        gradients |= {place: (band, gradients[place][1]) for place, band in exact.weight_gradients.items()}
    flows = {place: (plain(law), law.by_input) for place, law in enumerate(found.output_gradients) if law is not None}
    table = {}
    parts = {place: part for place, part in enumerate(walked.parts) if part is not None}
    for place, part in parts.items():
        if place in outputs:
            table["module", part.label, "activation_norm"] = outputs[place]
        if place in flows:
            table["module", part.label, "activation_gradient_norm"] = flows[place]
        if place in gradients and part.module.get_parameter("weight").requires_grad:
            table["weight", part.label, "gradient_norm"] = gradients[place]
    for layer, end in _blocks(walked).items():
        if end in outputs:
            table["weight", layer, "activation_norm"] = outputs[end]
    return {key: band for key, (band, _) in table.items()}, {key: by for key, (_, by) in table.items()}


def _cosines(walked: Walked, found: Composition) -> dict[Key, float]:
    """The mean over pairs of K_ab / sqrt(K_aa K_bb), of each part and of each weight layer's block."""
    cosines = {}
    for place, signal in enumerate(found.signals):
        if signal is not None:
            ratios = correlation(signal.gram.mean(0))
            some = np.diagonal(ratios) > 0
            count = int(some.sum())
            if count > 1:
                cosines[place] = float((ratios[np.ix_(some, some)].sum() - count) / (count * (count - 1)))
    named = {place: part for place, part in enumerate(walked.parts) if part is not None}
    table = {("module", part.label, COSINE): cosines[place] for place, part in named.items() if place in cosines}
    for layer, end in _blocks(walked).items():
        if end in cosines:
            table["weight", layer, COSINE] = cosines[end]
    return table


def _blocks(walked: Walked) -> dict[str, int]:
    """The step that ends each weight layer's block, by the layer."""
    parts = {place: part for place, part in enumerate(walked.parts) if part is not None}
    weights = [place for place, part in parts.items() if is_weight_layer(part.module) and not part.again]
    ends = [*weights[1:], len(walked.steps)][: len(weights)]
    return {
        parts[place].label: max(one for one in parts if one < end) for place, end in zip(weights, ends, strict=True)
    }


def _alone(steps: Sequence[Step], example: FloatArray) -> list[Step]:
    """The steps with one example."""
    return [
        replace(step, stage=Data(np.full((1, 1, 1), float((example**2).mean())), step.stage.units, np.ones(1)))
        if isinstance(step.stage, Data)
        else step
        for step in steps
    ]
