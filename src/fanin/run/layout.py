"""What the network of a recipe is to theory, whatever its seed: a plain chain or none, its widths, its variances."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from fanin.parts.models.layers import fans, is_weight_layer
from fanin.run.bounded_cache import BoundedCache
from fanin.run.model_steps import Drawn, Walked, drawn_by, steps_of
from fanin.run.recipe import Recipe
from fanin.theory.plain_chain import INDEPENDENT, Chain, chain_of
from fanin.theory.stages import Convolution, Linear
from fanin.theory.weights import Weights


@dataclass(frozen=True)
class Layout:
    """What a network is to theory.

    Attributes:
        chain: of its steps; None where they are no plain chain.
        widths: how many outputs each weight layer has, of a line of fully connected ones; empty of other networks.
        variances: of weight layers of independent weights, by name: fan_in Var(W) and the standard deviation with which
            a draw shows it.
    """

    chain: Chain | None = None
    widths: tuple[int, ...] = ()
    variances: Mapping[str, tuple[float, float]] = field(default_factory=dict)


_known: BoundedCache[Layout] = BoundedCache(most=16)


def layout_of(made: Recipe, model: nn.Module, inputs: Tensor) -> Layout:
    """That of a recipe's model; recipes that differ in their seed alone share one.

    Args:
        made: the recipe.
        model: of it, left as it was.
        inputs: a batch, [B, ...].
    """
    if made.drawn_of is None:
        return model_layout(drawn_by(made, model), model, inputs)
    return _known.get(made.drawn_of, lambda: model_layout(drawn_by(made, model), model, inputs))


def model_layout(weights: Drawn, model: nn.Module, inputs: Tensor) -> Layout:
    """That of a model whose weight layers are drawn from known laws."""
    walked = steps_of(weights, model, inputs)
    chain = chain_of(walked.steps) if walked.outputs is not None else None
    variances = {
        step.name: _variance(step.stage.weights, part.module.get_parameter("weight").numel())
        for step, part in zip(walked.steps, walked.parts, strict=True)
        if part is not None and isinstance(step.stage, (Linear, Convolution)) and _is_shown(step.stage.weights)
    }
    return Layout(chain, _widths(walked), variances)


def _widths(walked: Walked) -> tuple[int, ...]:
    line = all(step.sources == ((at - 1,) if at else ()) for at, step in enumerate(walked.steps))
    if walked.outputs is None or not line:
        return ()
    layers = [part.module for part in walked.parts if part is not None and is_weight_layer(part.module)]
    flat = all(layer.get_parameter("weight").ndim == 2 for layer in layers)
    return tuple(fans(layer)[1] for layer in layers) if flat else ()


def _is_shown(weights: Weights) -> bool:
    """Whether draws of the weights show their variance, and no data has changed it."""
    return weights.kind in INDEPENDENT and weights.calibrated is None and weights.variance > 0


def _variance(weights: Weights, entries: int) -> tuple[float, float]:
    """v, and v sqrt(2 / (N - 1) + (k - 3) / N) for N entries of kurtosis k: the sample variance's spread."""
    spread = math.sqrt(2 / (entries - 1) + (weights.kurtosis - 3) / entries) if entries > 1 else math.nan
    return weights.variance, weights.variance * spread
