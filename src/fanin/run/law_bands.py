"""The law of a model by the rows of its profiles."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fanin.parts.models.layers import is_weight_layer
from fanin.run.model_steps import Walked, one_example
from fanin.theory.bands import Band, Key
from fanin.theory.batch import Batch
from fanin.theory.composition import Composition, Step, compose
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.plain_chain import chain_of
from fanin.theory.refinement import plain, refined
from fanin.theory.signals import correlation

COSINE = "activation_cosine"


def bands_of(
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
        alone = compose(one_example(steps, one), Batch(np.ones(1), 1), lambda outputs: outputs * 0 + 1, 1)
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


def cosines_of(walked: Walked, found: Composition) -> dict[Key, float]:
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
