"""What a look at a fresh model says of each weight layer: sizes of what flows, and the variance that holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from fanin.devices import widened
from fanin.parts.models.layers import weight_layers
from fanin.probes.capture import Observation
from fanin.run.model_steps import Walked, steps_of
from fanin.streams import undisturbed
from fanin.theory.composition import Step
from fanin.theory.gaussian_maps import Activation
from fanin.theory.phase import FixedPoint, critical_point
from fanin.theory.stages import Activated, BatchNormalized, Convolution, Dropped, Flattened, Linear, Normalized, Passed
from fanin.theory.weights import Weights


@dataclass(frozen=True)
class LayerState:
    """A weight layer of a fresh model.

    Attributes:
        name: of the layer.
        fan_in: how many inputs one output sums over.
        variance: fan_in times the mean square of its weights.
        entries: of its weight.
        size: root mean square of what the layer's block gives on.
        flow: of the gradient with respect to it; nan where none is known.
        critical: v at which its block, a variance of v / fan_in in it, holds norms and gradients; None if not known.
        why: why it is not known.
    """

    name: str
    fan_in: int
    variance: float
    entries: int
    size: float
    flow: float
    critical: float | None
    why: str = ""


def layer_states(model: nn.Module, seen: Observation, inputs: Tensor | None) -> list[LayerState]:
    """The weight layers that ran, in their order.

    Args:
        model: the network itself.
        seen: a whole look at it.
        inputs: what it takes, where that is one tensor of numbers.
    """
    critical = {} if inputs is None else _critical_variances(model, inputs)
    states = []
    for place, name in enumerate(seen.weight_names):
        end, weight = seen.block_ends[place], seen.weights[place]
        found = critical.get(name, "what its block does to norms has no rule")
        flow = seen.activation_gradients[end]
        states.append(
            LayerState(
                name=name,
                fan_in=seen.fan_ins[place],
                variance=seen.fan_ins[place] * rms(weight) ** 2,
                entries=weight.numel(),
                size=rms(seen.activations[end]),
                flow=math.nan if flow is None else rms(flow),
                critical=found if isinstance(found, float) else None,
                why="" if isinstance(found, float) else found,
            )
        )
    return states


def rms(tensor: Tensor) -> float:
    """Root mean square of the entries of a tensor, in float64.

    >>> import torch
    >>> rms(torch.tensor([3.0, 4.0, 0.0, 0.0]))
    2.5
    """
    return float(widened(tensor.detach()).square().mean().sqrt())


def _critical_variances(model: nn.Module, inputs: Tensor) -> Mapping[str, float | str]:
    """The critical variance of each weight layer that stands alone before one activation, or why there is none."""
    assumed = {layer: Weights(1.0) for _, layer in weight_layers(model)}
    try:
        with undisturbed(inputs.device):
            walked = steps_of(assumed, model, inputs)
    except Exception:  # of the user's code
        return {}
    steps, maps = walked.steps, dict[int, float | str]()
    takers = [[at for at, step in enumerate(steps) if place in step.sources] for place in range(len(steps))]
    found: dict[str, float | str] = {}
    for place, part in enumerate(walked.parts):
        if part is not None and isinstance(steps[place].stage, (Linear, Convolution)):
            found[part.label] = _of_block(_block(walked, place, takers), maps)
    return found


def _block(walked: Walked, place: int, takers: Sequence[Sequence[int]]) -> list[Step] | str:
    """What runs from a weight layer to the next or to the end, or why that is no chain."""
    block: list[Step] = []
    while above := takers[place]:
        if len(above) > 1 or len(walked.steps[above[0]].sources) > 1:
            return "another branch goes past it"
        place = above[0]
        if isinstance(walked.steps[place].stage, (Linear, Convolution)):
            return block
        block.append(walked.steps[place])
    if walked.outputs is not None and place == len(walked.steps) - 1:
        return block
    return "what the model itself does with its output, between its modules, has no rule"


def _of_block(block: Sequence[Step] | str, known: dict[int, float | str]) -> float | str:
    """The critical variance of the weights before a block's parts; 1 of none, which are a linear map."""
    if isinstance(block, str):
        return block
    if any(isinstance(step.stage, (Normalized, BatchNormalized)) for step in block):
        return "a normalization in its block takes the size of its weights out again"
    acts = [step.stage.activation for step in block if isinstance(step.stage, Activated)]
    others = [step for step in block if not isinstance(step.stage, (Activated, Dropped, Passed, Flattened))]
    if others or len(acts) > 1:
        return "there is more in its block than weights and one activation"
    variance: float | str = 1.0
    for act in acts:
        if id(act) not in known:
            known[id(act)] = _critical(act)
        variance = known[id(act)]
    if isinstance(variance, str):
        return variance
    return variance * math.prod(step.stage.keep for step in block if isinstance(step.stage, Dropped))


def _critical(activation: Activation) -> float | str:
    found = critical_point(activation)
    return found.variance if isinstance(found, FixedPoint) else f"no weight variance is critical: {found.why}"
