"""The law of a norm over a batch, from what is known of a signal or of a gradient at its place."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fanin.theory.answers import Answers, of_draws
from fanin.theory.batch import Batch
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.signals import Flow, Noises, Signal


@dataclass(frozen=True)
class NormLaw:
    """The law of a norm, of its logarithm ln norm^2.

    Attributes:
        mean, variance: of ln norm^2.
        log_level: ln E norm^2.
        by_input: how ln norm^2 follows that of the input.
        source: of it.
        moved, by_batches: what of mean and variance other batches bring.
    """

    mean: float
    variance: float
    log_level: float
    by_input: float
    source: str
    moved: float = 0.0
    by_batches: float = 0.0


def sum_law(
    weights: FloatArray,
    draws: FloatArray | None,
    total: float,
    of: Signal | Flow,
    noises: Noises,
    answers: Answers | None = None,
) -> NormLaw:
    """The law of a sum over examples, from their shares in it and what it is in draws of the outputs."""
    elasticity, log_square = of.elasticity, math.log(total)
    mean, more = 0.0, 0.0
    if draws is not None and answers is not None:
        follows, more, moved = of_draws(draws, answers)
        mean += moved
        elasticity = elasticity + follows * answers.elasticity
    spreads = noises.variances(of.elasticity)
    exponents = of.shift + spreads / 2
    top = float(exponents.max())
    level = top + math.log(max(float((weights * np.exp(exponents - top)).sum()), 1e-300))
    own = max(noises.variance(of.elasticity, weights, spreads), 0.0)
    variance = own if elasticity is of.elasticity else max(noises.variance(elasticity, weights), 0.0)
    by_input = float((elasticity[0] * weights).sum())
    level += log_square
    return NormLaw(mean + level - own / 2, variance + more, level, by_input, of.source)


def of_signal(signal: Signal, noises: Noises, batch: Batch) -> NormLaw | None:
    each = signal.squares.sum(0) * batch.counted
    total = float(each.sum())
    if not 0 < total < math.inf:
        return None
    return sum_law(each / total, None, total * signal.units * batch.of / float(batch.counted.sum()), signal, noises)


def of_flow(flow: Flow, answers: Answers, noises: Noises, batch: Batch) -> NormLaw | None:
    counts = batch.counted * batch.counted.sum() / batch.of
    each = flow.squares.sum(0) * counts
    total = float(each.sum())
    if not 0 < total < math.inf:
        return None
    draws = np.diagonal(answers.grams, axis1=1, axis2=2) @ batch.counted
    return sum_law(each / total, draws, total, flow, noises, answers)
