"""The gradients of weights that all places of a map or times of a sequence share: sums over examples and places.

    ||dL/dW||_F^2 = sum over a, b, p, p', d of delta_a(p) delta_b(p') x_a(p + d) x_b(p' + d)

Its pairs of examples follow those of the gradient above the maps, G at the place where they are one vector, pair by
pair; up from there its spread is that of any form of G (gradient_spread.py). Within the maps each convolution adds the
noise of its own channels, of which there are few and whose gradients add up over all places; so does each time step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fanin.theory.answers import Answers
from fanin.theory.bands import MEAN_FIELD
from fanin.theory.batch import Batch
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.gradient_spread import Forms, Node, spreads
from fanin.theory.norm_law import NormLaw
from fanin.theory.signals import Base, Noises
from fanin.theory.stages import Shared
from fanin.theory.weight_gradients import numbers, of_pairs


def of_shared(
    layers: Mapping[int, tuple[int, Shared]],
    nodes: Sequence[Node | None],
    noises: Noises,
    batch: Batch,
    answers: Answers,
) -> dict[int, NormLaw]:
    """The laws of the gradients of weights that all places share.

    Args:
        layers: by the places of their rows, with the places of their stages.
        nodes: what is known of all steps.
        noises: of all stages.
        batch: of inputs.
        answers: of the loss.
    """
    some = {place: one for place, (_, one) in layers.items() if one.flow.base is not None}
    noise_of: dict[int, float] = {}
    for stage, one in layers.values():
        noise_of[stage] = max(one.noise, noise_of.get(stage, 0.0))
    if not some:
        return {}
    bases = [one.flow.base for one in some.values() if one.flow.base is not None]
    follows = [base.followed(one.follows) for one, base in zip(some.values(), bases, strict=True)]
    forms = Forms(
        [parts[0] * batch.whole for parts, _ in follows],
        [_along(parts, base, batch, nodes) for (parts, _), base in zip(follows, bases, strict=True)],
        [along * batch.whole for _, along in follows],
    )
    worked = spreads(nodes, [base.place for base in bases], forms, noises, answers.grams, answers.along)
    found = {}
    for (place, one), base, spread in zip(some.items(), bases, worked, strict=True):
        pairs = (one.follows * base.grams).sum(0)
        law = of_pairs(pairs, one.follows[0], one.flow, one.x, answers, noises, batch)
        if law is None or spread is None:
            continue
        own_variance, outputs, moved, about = numbers(spread, pairs, one.flow, one.x, noises, batch, answers)
        own_variance += one.noise + sum(noise for stage, noise in noise_of.items() if stage > layers[place][0])
        mean = law.log_level - own_variance / 2 + moved + law.moved
        variance = own_variance + outputs + law.by_batches
        found[place] = replace(law, mean=mean, variance=variance, by_input=about, source=MEAN_FIELD)
    return found


def _along(parts: FloatArray, base: Base, batch: Batch, nodes: Sequence[Node | None]) -> FloatArray | None:
    """By how much pairs follow those of a gradient along the signals above the maps, as `own` does for others."""
    node = nodes[base.place]
    if len(parts) < 2 or node is None:  # all that lies along signals is in the parts that are tied
        return np.zeros_like(parts[0]) if base.tied else None
    whole = node.signal.gram[0] * node.signal.units
    by = np.divide(parts[1], whole, out=np.zeros_like(whole), where=np.abs(whole) > 0)
    return np.asarray(by * batch.whole)
