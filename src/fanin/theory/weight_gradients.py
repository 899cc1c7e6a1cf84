"""The law of the gradients of weights: sums over pairs of examples, with a spread of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fanin.theory.answers import Answers, of_draws
from fanin.theory.bands import weakest
from fanin.theory.batch import Batch
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.gradient_spread import MOST, Forms, Node, Spread, spreads
from fanin.theory.norm_law import NormLaw, sum_law
from fanin.theory.signals import Flow, Noises, Signal


def of_weights(flow: Flow, x: Signal, answers: Answers, noises: Noises, batch: Batch) -> NormLaw | None:
    if flow.gram.shape[0] > 1:
        return None
    gram = x.units * x.gram[0]
    return of_pairs(flow.gram[0] * gram, gram, flow, x, answers, noises, batch)


def of_pairs(
    pairs: FloatArray, gram: FloatArray, flow: Flow, x: Signal, answers: Answers, noises: Noises, batch: Batch
) -> NormLaw | None:
    """The law of a gradient's square.

    Args:
        pairs: what two examples' gradients have in common, [B, B].
        gram: by how much these follow the pairs of the answers, [B, B].
        flow, x: the gradient behind the weights and what they take.
        answers, noises, batch: as of `with_own_spread`.
    """
    total, moved, more = batch.over_batches(pairs)
    pairs = pairs * batch.whole
    if not 0 < total < math.inf or not pairs.sum() > 0:
        return None
    draws = answers.grams.reshape(len(answers.grams), -1) @ (gram * batch.whole).ravel()
    elasticity, shift = flow.elasticity + x.elasticity, flow.shift + x.shift
    both = Signal(x.gram, x.units, elasticity, shift, x.mean, x.kurtosis, source=weakest([x.source, flow.source]))
    law = sum_law(pairs.sum(1) / pairs.sum(), draws, total, both, noises, answers)
    return replace(law, mean=law.mean + moved, variance=law.variance + more, moved=moved, by_batches=more)


def with_own_spread(
    laws: Sequence[NormLaw | None],
    nodes: Sequence[Node | None],
    signals: Sequence[Signal | None],
    noises: Noises,
    batch: Batch,
    answers: Answers,
) -> list[NormLaw | None]:
    """The laws with the gradients' own spread in the place of that of single examples, where it is known.

    Args:
        laws: of each step's weights, None for steps without.
        nodes, signals: what is known of the steps.
        noises: of all stages.
        batch: of inputs.
        answers: of the loss.
    """
    found = list(laws)
    known = {
        place: (law, node.flow, x)
        for place, (law, node) in enumerate(zip(laws, nodes, strict=True))
        if law is not None and node is not None and (x := signals[node.sources[0]]) is not None
    }
    if not known:
        return found
    layers = list(known)
    chosen = sorted({layers[round(at)] for at in np.linspace(0, len(layers) - 1, min(MOST, len(layers)))})
    inputs = {place: x for place, (_, _, x) in known.items()}
    own = [inputs[place].units * inputs[place].gram[0] * batch.whole for place in chosen]
    worked = spreads(nodes, chosen, Forms(own), noises, answers.grams, answers.along)
    places = [place for place, one in zip(chosen, worked, strict=True) if one is not None]
    if not places:
        return found
    turned = {place: by_correlations(flow, x, batch) for place, (_, flow, x) in known.items()}
    rows = [
        numbers(
            one, known[place][1].gram[0] * inputs[place].gram[0], known[place][1], inputs[place], noises, batch, answers
        )
        for place, one in zip(chosen, worked, strict=True)
        if one is not None
    ]
    columns = np.array(rows).T
    for place, (law, _, _) in known.items():
        if places[0] <= place <= places[-1]:
            own_variance, outputs, moved, about = (float(np.interp(place, places, column)) for column in columns)
            mean = law.log_level - own_variance / 2 + moved + law.moved
            variance = own_variance + outputs + law.by_batches + turned[place]
            found[place] = replace(law, mean=mean, variance=variance, by_input=about)
    return found


def by_correlations(flow: Flow, x: Signal, batch: Batch) -> float:
    """The variance that a gradient's square has because correlations of the signals stray, relative to its mean.

    G_ab K_ab of two examples strays by G_ab sqrt(K_aa K_bb) times the standard deviation of their correlation; where
    examples are nearly orthogonal, that is most of what the sum over pairs does.
    """
    if x.turned is None or len(flow.gram) > 1 or len(x.gram) > 1:
        return 0.0
    pairs, lengths = flow.gram[0] * batch.whole, np.sqrt(x.squares[0])
    total = float((pairs * x.gram[0]).sum())
    strays = (pairs * np.outer(lengths, lengths)) ** 2 * x.turned
    return 2 * float(strays.sum()) / total**2 if total > 0 else 0.0


def numbers(
    spread: Spread,
    pairs: FloatArray,
    flow: Flow,
    x: Signal,
    noises: Noises,
    batch: Batch,
    answers: Answers,
) -> tuple[float, float, float, float]:
    """Variance by the network's noises, what drawn outputs add, their mean logarithm, and how it follows the input."""
    pairs = pairs * batch.whole
    weights = pairs.sum(1) / pairs.sum()
    ahead = flow.elasticity + x.elasticity
    ahead[noises.rows // 3 :] = 0.0
    follows, more, moved = of_draws(spread.draws, answers)

    def variance(elasticity: FloatArray) -> float:
        mixed = float((elasticity[: noises.rows // 3] * weights * spread.mixed).sum())
        return max(noises.variance(elasticity, weights) + spread.backward + 2 * mixed, 0.0)

    with_outputs = (
        ahead + follows * np.where(np.arange(noises.rows) < noises.rows // 3, 1, 0)[:, None] * answers.elasticity
    )
    alone = variance(ahead)
    about = float((with_outputs[0] * weights).sum())
    return alone, variance(with_outputs) - alone + more, moved, about
