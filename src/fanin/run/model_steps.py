"""A model as steps of theory: the stages of its parts, in the order in which they run, with data at their start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, nn

from fanin.run.part_rules import Maps, compound_rule, is_compound, stages_of
from fanin.run.recipe import Recipe
from fanin.run.walk import INPUT, Ran, Taken, walk
from fanin.theory.composition import Step
from fanin.theory.drawn_maps import single
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.stages import Convolution, Data, Flattened, Linear, Stage, Unknown
from fanin.theory.weights import Weights

SITES = 800
"""Places of examples, of which it is known for each two what they have in common."""


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


Drawn = Mapping[nn.Module, Weights | str]
"""What each weight layer is drawn from, or why that has no law."""


def drawn_by(made: Recipe, model: nn.Module) -> Drawn:
    """What a recipe draws the weight layers of its model from."""
    lawless = f"{type(made.initializer).__name__} draws weights that have no law"
    pruned = {model.get_submodule(name) for name in made.mask.masks()} if made.mask is not None else set()
    return {
        layer: "pruned weights have no law" if layer in pruned else law if law is not None else lawless
        for layer, law in made.initializer.weight_laws(model).items()
    }


def steps_of(weights: Drawn, model: nn.Module, inputs: Tensor) -> Walked:
    """A model as steps of theory."""
    walked = walk(model, inputs, is_compound)
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

    compounds = {one.first: one for one in walked.compounds}
    known_to = 0
    for place, part in enumerate(walked.parts):
        if (whole := compounds.get(place)) is not None:
            inside = walked.parts[place : whole.end]
            given = [source(one) for one in whole.inputs]
            rule = compound_rule(whole.module, inside, weights, maps) if len(given) == 1 else None
            if rule is not None and (of := given[0]) is not None:
                start = len(steps)
                for stage, takes, at in rule:
                    whence = tuple(of if one is None else start + one for one in takes)
                    ends[place + at] = add(inside[at].label, stage, whence, inside[at])
                known_to = whole.end
        if place < known_to:
            continue
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


def _stages(part: Ran, weights: Drawn, maps: Maps) -> list[Stage]:
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


def with_data(steps: Sequence[Step], inputs: FloatArray) -> list[Step]:
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
    maps = single(across) if len(shape) > 2 else None
    return Data(gram, places.shape[2], kurtosis, size, field, maps)


def one_example(steps: Sequence[Step], example: FloatArray) -> list[Step]:
    """The steps with one example."""
    return [
        replace(step, stage=Data(np.full((1, 1, 1), float((example**2).mean())), step.stage.units, np.ones(1)))
        if isinstance(step.stage, Data)
        else step
        for step in steps
    ]
