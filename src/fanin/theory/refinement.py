"""A plain chain's law: the composition's line and the batch's own spread, in the shape of one example's exact law.

The Markov chain of chain.py knows one example's law exactly, humps and all, the composition what a batch does to its
variance. So the chain's deviations from infinite width are taken over, and shrunk to the batch's spread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from fanin.theory.bands import EXACT, FIRST_ORDER, SIGMA, Band
from fanin.theory.chain import chain_law
from fanin.theory.chain_layer import ChainLayer
from fanin.theory.composition import Composition, Step
from fanin.theory.gaussian_maps import Activation
from fanin.theory.log_law import LogLaw
from fanin.theory.logs import exp
from fanin.theory.norm_law import NormLaw
from fanin.theory.stages import Activated, Flattened, Linear, Passed

LONG = 1e-12
"""Variances below count as none."""


@dataclass(frozen=True)
class Chain:
    """A composition's steps that form a plain chain.

    Args:
        activation: the one between its layers.
        layers: of the chain.
        linear: places of the weight layers among the steps.
        activated: places of the activations, one fewer.
        normal: whether all weights are normal.
    """

    activation: Activation
    layers: tuple[ChainLayer, ...]
    linear: tuple[int, ...]
    activated: tuple[int, ...]
    normal: bool


def chain_of(steps: Sequence[Step]) -> Chain | None:
    """The chain that steps are, if they are one: weight layers with one activation between each two of them."""
    places = [at for at, step in enumerate(steps) if step.sources and not isinstance(step.stage, (Flattened, Passed))]
    if any(len(step.sources) > 1 or (step.sources and step.sources[0] != at - 1) for at, step in enumerate(steps)):
        return None
    stages = [steps[place].stage for place in places]
    linear, between = stages[::2], stages[1::2]
    layers, activation, normal = [], None, True
    for place, stage in zip(places[::2], linear, strict=True):
        if not isinstance(stage, Linear) or stage.weights.kind == "orthogonal" or stage.weights.calibrated is not None:
            return None
        if stage.weights.variance <= 0:
            return None
        normal = normal and stage.weights.kind == "normal"
        layers.append(
            ChainLayer(
                steps[place].name, stage.fan_in, stage.fan_out, stage.weights.variance, stage.weights.bias_variance
            )
        )
    for stage in between:
        if not isinstance(stage, Activated) or activation not in (None, stage.activation):
            return None
        activation = stage.activation
    fits = all(below.fan_out == above.fan_in for below, above in pairwise(layers))
    if activation is None or not fits or len(linear) != len(between) + 1:
        return None
    return Chain(activation, tuple(layers), tuple(places[::2]), tuple(places[1::2]), normal)


@dataclass(frozen=True)
class ChainBands:
    """The bands of a chain's steps, by place."""

    outputs: dict[int, Band]
    weight_gradients: dict[int, Band]


def refined(chain: Chain, found: Composition, singles: Composition, mean_square: float, *, single: bool) -> ChainBands:
    """The bands of a chain.

    Args:
        chain: of the composition's steps.
        found: the composition at the batch.
        singles: that of one example of the same steps.
        mean_square: of that example's entries.
        single: whether the batch is one example.
    """
    law = chain_law(chain.layers, mean_square, chain.activation, against_last=False)
    source = EXACT if single and chain.normal else FIRST_ORDER
    outputs, gradients = {}, {}
    exact = dict(zip(chain.linear, law.pre, strict=True)) | dict(zip(chain.activated, law.post, strict=False))
    for place, one in exact.items():
        batch, alone = found.outputs[place], singles.outputs[place]
        if batch is not None and alone is not None:
            outputs[place] = _band(batch, alone, one, source)
    for place, one in zip(chain.linear, law.from_output, strict=True):
        batch, alone = found.weight_gradients[place], singles.weight_gradients[place]
        if batch is not None and alone is not None:
            gradients[place] = _band(batch, alone, one, FIRST_ORDER)
    return ChainBands(outputs, gradients)


def _band(batch: NormLaw, single: NormLaw, exact: LogLaw, source: str) -> Band:
    """The exact deviations of one example, at the batch's line and spread."""
    ratio = batch.variance / single.variance if single.variance > LONG else 1.0
    mean = batch.mean + (exact.mean - single.mean) * min(ratio, 1.0)
    variance = exact.variance * ratio
    root = math.sqrt(ratio)
    low, middle, high = (mean + (one - exact.mean) * root for one in exact.quantiles[1:4])
    return Band(
        exp(middle / 2), exp(low / 2), exp(high / 2), exp(batch.log_level / 2), mean, math.sqrt(variance), source
    )


def plain(law: NormLaw) -> Band:
    """The band of a norm of which mean and variance are known."""
    sd = math.sqrt(law.variance)
    low, middle, high = (exp((law.mean + by * sd) / 2) for by in (-SIGMA, 0.0, SIGMA))
    return Band(middle, low, high, exp(law.log_level / 2), law.mean, sd, law.source)
