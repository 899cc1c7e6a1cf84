"""What a loss answers to outputs that are drawn from their law: where gradients start."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from fanin.theory.batch import Batch
from fanin.theory.drawn_maps import root
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.signals import Noises, Signal

OUTPUTS = 512
"""Draws of the outputs, in pairs of opposite sign."""

OTHERS = (5, 17, 37, 83)
"""How many draws further on outputs are drawn that have nothing to do with a draw's own."""

Residuals = Callable[[FloatArray], FloatArray]
"""From outputs [draws, B, classes] to dL/d outputs of each draw, of the same shape."""


@dataclass(frozen=True)
class Answers:
    """What the loss answers to drawn outputs.

    Attributes:
        grams: R R^T of each draw, [OUTPUTS, B, B].
        stray: how far the logarithm of the outputs' squared norm lay off in each draw, [OUTPUTS].
        elasticity: by which that follows the noises of the network, [noises, 1].
        along: o_a R_a, what the answers have along the outputs themselves, [OUTPUTS, B].
        coupled: how much more E o_a R_a o_b R_b is than of answers to outputs of other draws, [B, B].
    """

    grams: FloatArray
    stray: FloatArray
    elasticity: FloatArray
    along: FloatArray
    coupled: FloatArray


def answers_to(top: Signal, noises: Noises, batch: Batch, residuals: Residuals, classes: int) -> Answers:
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((OUTPUTS // 2, top.gram.shape[1], classes))
    outputs = np.einsum("ab,mbc->mac", root(top.gram[0]), np.concatenate([drawn, -drawn]))
    # The outputs' variance strays, too, for all examples together as far as they do.
    each = top.squares[0] * batch.counted
    each = each if each.sum() > 0 else batch.counted
    elasticity = top.elasticity.copy()
    elasticity[len(noises.forward) - 1] = 0.0  # the last layer's own noise is in the draws
    spread = math.sqrt(max(noises.variance(elasticity, each / each.sum()), 0.0))
    # Norms of outputs stray by factors, and rare draws weigh most: quantiles, in random order, instead of chance.
    quantiles = np.array([NormalDist().inv_cdf((at + 0.5) / len(drawn)) for at in range(len(drawn))])
    half = rng.permutation(quantiles / quantiles.std()) * spread
    stray = np.concatenate([half, half])
    outputs *= np.exp(np.clip(stray, -60, 60) / 2 + float(top.shift @ each / each.sum()) / 2)[:, None, None]
    answers = residuals(outputs)
    common = (elasticity * each).sum(1, keepdims=True) / each.sum()
    along = (answers * outputs).sum(2)
    # The same outputs stand in both, so that answers that do not depend on them have none of it, not by chance either.
    others = [(np.roll(answers, by, axis=0) * outputs).sum(2) for by in OTHERS]
    coupled = along.T @ along / OUTPUTS - sum(one.T @ one for one in others) / (OUTPUTS * len(OTHERS))
    return Answers(np.asarray(answers @ answers.transpose(0, 2, 1)), stray, common, along, coupled)


def of_draws(draws: FloatArray, answers: Answers) -> tuple[float, float, float]:
    """How the logarithm of draws follows the outputs' own stray, its variance besides, and its mean less ln mean."""
    draws = np.maximum(draws, 1e-12 * max(float(draws.max()), 1e-300))
    logs = np.log(draws) - math.log(float(draws.mean()))
    about = answers.stray - answers.stray.mean()
    square = float(about @ about)
    follows = float(about @ logs / square) if square > 1e-12 else 0.0
    return follows, float((logs - follows * about).var()), float(logs.mean())
