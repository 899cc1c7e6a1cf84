"""How far the gradient of a weight strays, for a batch whose examples' gradients add up before they are measured.

    ||dL/dW_l||_F^2 = sum_ab G_ab n K_ab

is a quadratic form in the gradients of all examples, and it follows the pairs of the gradient at every later place with
weights M_ab that are carried up from the layer, stage by stage: d of the form = sum_ab M_ab delta_a delta_b. Of n units
with gradients delta_i there its noise has n times the variance of delta_i^T M delta_i, of drawn units; of normal ones
2 tr (M G M G)/n. What a stage adds is what it makes of these more than they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.signals import Flow, Noises, Signal
from fanin.theory.stages import Activated, Dropped, Linear
from fanin.theory.stages.base import Place, Stage

MOST = 12
"""Layers that are worked out; the spread of those between is interpolated."""


@dataclass(frozen=True)
class Node:
    """What is known of one step of a composition.

    Args:
        stage: of the step.
        sources: where its inputs come from.
        signal: that it gives.
        flow: the gradient with respect to it, of all that take it.
        met: the parts of that gradient, one for each part that takes it.
        below: the gradients with respect to its inputs.
    """

    stage: Stage
    sources: tuple[int, ...]
    signal: Signal
    flow: Flow
    met: Sequence[Flow]
    below: Sequence[Flow]


@dataclass(frozen=True)
class Forms:
    """Sums over pairs of a gradient at some places.

    Args:
        own: weights of the pairs in each, [B, B], n K of what a weight layer takes; 0 for examples that do not count.
        along: the same for the part of the gradient that lies along the signals, where it differs.
        tied: weights of the pairs of o_a R_a in each, where there are some.
    """

    own: Sequence[FloatArray]
    along: Sequence[FloatArray | None] | None = None
    tied: Sequence[FloatArray] | None = None


@dataclass
class Spread:
    """Of one layer's squared gradient, relative to its mean.

    Attributes:
        backward: variance by the noises of the gradients' way down.
        mixed: covariance of these with the forward noise of each stage, [noises, B].
        draws: the square in each draw of the outputs, [draws].
    """

    backward: float
    mixed: FloatArray
    draws: FloatArray


def spreads(
    nodes: Sequence[Node | None],
    layers: Sequence[int],
    forms: Forms,
    noises: Noises,
    answers: FloatArray,
    along: FloatArray,
) -> list[Spread | None]:
    """The spread of some layers' gradients.

    Args:
        nodes: all steps, the last one giving the outputs; None where nothing is known.
        layers: places whose gradient's pairs each of some forms is of.
        forms: these.
        noises: of all stages.
        answers: R R^T of drawn outputs, [draws, B, B].
        along: o_a R_a of these, [draws, B].

    Returns:
        Of each layer; None where its gradient does not follow pair by pair up to the outputs.
    """
    count, examples, own = len(layers), noises.examples, forms.own
    differing = _differing(layers, forms.along)
    carried: dict[int, FloatArray] = {}
    totals = np.array([_total(nodes[place], pairs) for place, pairs in zip(layers, own, strict=True)])
    backward, mixed = np.zeros(count), np.zeros((count, noises.rows // 3, examples))
    lost = np.zeros(count, dtype=bool)
    coupled = np.zeros((count, examples, examples))
    if forms.tied is not None:
        coupled += np.stack(forms.tied)
    for place, node in enumerate(nodes):
        if node is None:
            continue
        below = [carried.get(source) for source in node.sources]
        pairs = None
        begun = np.array(layers) < place  # the pairs of the others are 0 yet
        if any(one is not None for one in below):
            pairs = node.stage.adjoint(below, node.below)
            if pairs is None:
                lost |= np.any([one.any(axis=(1, 2, 3)) for one in below if one is not None], axis=0)
            else:
                under = [None if one is None else one[begun] for one in below]
                noise, cross = _noise(node, under, pairs[begun], [nodes[source] for source in node.sources])
                backward[begun] += noise
                tied = _along(node, place, nodes, carried, noises, differing)
                if tied is not None and isinstance(node.stage, Linear):
                    coupled += tied
                    pairs = pairs - (tied * node.stage.free(node.signal, Place(place + 1, noises)))[:, None]
                if cross is not None:
                    mixed[begun, place + 1] += cross / totals[begun, None]
        if place in layers:
            if pairs is None:
                pairs = np.zeros((count, 1, examples, examples))
            for number, layer in enumerate(layers):
                if layer == place:
                    pairs[number] = own[number]
        if pairs is not None:
            carried[place] = pairs
            if len(node.met) > 1:
                backward += _meeting(node, pairs)
    top = carried.get(len(nodes) - 1)
    if top is None:
        return [None] * count
    draws = top[:, 0].reshape(count, -1) @ answers.reshape(len(answers), -1).T + _forms(along, coupled)
    found: list[Spread | None] = [None] * count
    for number in range(count):
        if not lost[number] and totals[number] > 0:
            variance = max(float(backward[number]) / totals[number] ** 2, 0.0)
            found[number] = Spread(variance, mixed[number], draws[number])
    return found


def _differing(
    layers: Sequence[int], along: Sequence[FloatArray | None] | None
) -> dict[int, list[tuple[int, FloatArray]]]:
    found: dict[int, list[tuple[int, FloatArray]]] = {}
    for number, (layer, one) in enumerate(zip(layers, along or [None] * len(layers), strict=True)):
        if one is not None:
            found.setdefault(layer, []).append((number, one))
    return found


def _along(
    node: Node,
    place: int,
    nodes: Sequence[Node | None],
    carried: dict[int, FloatArray],
    noises: Noises,
    differing: Mapping[int, Sequence[tuple[int, FloatArray]]],
) -> FloatArray | None:
    """How each layer's form follows the pairs of o_a R_a that the gradients have along the signals, [layers, B, B]."""
    source = nodes[node.sources[0]]
    if not isinstance(node.stage, Linear) or source is None:
        return None
    pattern = node.stage.along(source.signal, node.signal, Place(place + 1, noises))
    pairs = carried.get(node.sources[0])
    if pairs is not None and node.sources[0] in differing:
        pairs = pairs.copy()
        for number, one in differing[node.sources[0]]:
            pairs[number] = one
    if isinstance(source.stage, Activated) and source.sources[0] in carried:
        below = nodes[source.sources[0]]
        if below is not None and below.signal.normal:
            pairs = carried[source.sources[0]] * source.stage.along(below.signal)
    if pattern is None or pairs is None:
        return None
    return np.asarray((pairs * pattern)[:, 0])


def _total(node: Node | None, pairs: FloatArray) -> float:
    """The squared gradient's mean."""
    return 0.0 if node is None else float((node.flow.gram[0] * pairs).sum())


def _noise(
    node: Node, below: Sequence[FloatArray | None], pairs: FloatArray, sources: Sequence[Node | None]
) -> tuple[FloatArray, FloatArray | None]:
    """The variance that a stage adds to each layer's form, and its covariance with the stage's forward noise."""
    under, source, flow = below[0], sources[0], node.below[0]
    if under is None or source is None:
        return np.zeros(len(pairs)), None
    n = source.signal.units
    if isinstance(node.stage, Linear):
        return _normal(under[:, 0], flow.gram[0]) / n * (1 - node.stage.rotation_down), None
    if not isinstance(node.stage, (Activated, Dropped)) or flow.draw is None or node.flow.draw is None:
        return np.zeros(len(pairs)), None
    delta, before = flow.draw(), node.flow.draw()
    form, earlier = _forms(delta, under[:, 0]), _forms(before, pairs[:, 0])
    squares = node.signal.draw() ** 2 if node.signal.draw is not None else None
    cross = None
    if squares is not None:
        means = np.maximum(squares.mean(0), 1e-300)
        cross = form @ (squares / means - 1) / len(delta)
        if isinstance(node.stage, Dropped) and source.signal.draw is not None:
            first = source.signal.draw() ** 2
            cross = cross - earlier @ (first / np.maximum(first.mean(0), 1e-300) - 1) / len(delta)
    added = n * (form.var(1) - earlier.var(1))
    if isinstance(node.stage, Activated) and source.signal.normal:
        radial, crossed = node.stage.radial(source.signal, under[:, 0] * flow.gram[0])
        added = added - radial / n
        cross = None if cross is None else cross - crossed / n
    return added, cross


def _meeting(node: Node, pairs: FloatArray) -> FloatArray:
    """The cross terms of gradients that meet."""
    total = np.zeros(len(pairs))
    gram = node.met[0].gram[0]
    for other in node.met[1:]:
        product = (pairs[:, 0] @ gram) @ (pairs[:, 0] @ other.gram[0])
        total += 4 * np.trace(product, axis1=1, axis2=2) / node.signal.units
        gram = gram + other.gram[0]
    return total


def _normal(pairs: FloatArray, gram: FloatArray) -> FloatArray:
    """2 tr (M G M G), [layers]."""
    product = pairs @ gram
    return np.asarray(2 * (product * product.transpose(0, 2, 1)).sum((1, 2)))


def _forms(delta: FloatArray, pairs: FloatArray) -> FloatArray:
    """delta_i^T M delta_i of each drawn unit, [layers, samples]."""
    layers, examples, _ = pairs.shape
    product = (delta @ pairs.transpose(1, 0, 2).reshape(examples, -1)).reshape(len(delta), layers, examples)
    product *= delta[:, None]
    return np.asarray(product.sum(2).T)
