"""Attention: what each place takes from all others, by how alike their queries and keys are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fanin.theory.bands import MEAN_FIELD, weakest
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.signals import Flow, Signal, correlation
from fanin.theory.stages.base import NoRule, Place, Stage, field_of_all
from fanin.theory.weights import Weights

HEADS = 32
"""Heads that are drawn."""

STEP = 0.1
"""By which scores are changed to see how what is attended to follows them."""


@dataclass(frozen=True)
class Attended(Stage):
    """y_i = sum_j A_ij V x_j, A = softmax(Q x_i . K x_j / sqrt(d)), of each head: K_y = E A (v_V K_x + s) A^T.

    Scores of heads with d entries are drawn from the Gram matrix; over them is averaged, as over infinitely many. The h
    heads that there are, and their values' n entries, add the noise of their number. Source: Hron et al. 2020.

    Args:
        width: n, of all heads together.
        heads: h.
        query, key, value: weights of the three matrices.
    """

    width: int
    heads: int
    query: Weights
    key: Weights
    value: Weights

    most_examples: ClassVar[int] = 20

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        (x,) = inputs
        places, examples = x.gram.shape[:2]
        field = field_of_all(x, "places")
        scores = self._scores(field, examples, at)
        values = self.value.variance * field + self.value.bias_variance
        attention = _softmax(scores)
        energies, total = [], np.zeros_like(field)
        for one in attention:
            half = (one @ values.reshape(examples, places, -1)).reshape(values.shape)
            whole = (one @ half.T.reshape(examples, places, -1)).reshape(values.shape)
            total += whole / HEADS
            energies.append(np.diagonal(whole).reshape(examples, places).sum(1))
        gram = np.einsum("apbp->pab", total.reshape(examples, places, examples, places))
        each = np.array(energies)
        level = np.maximum(each.mean(0), 1e-300)
        squares = (total**2).reshape(examples, places, examples, places).sum((1, 3))
        noise = np.cov(each.T / level[:, None], bias=True).reshape(examples, examples) / self.heads
        noise = noise + 2 * squares / np.outer(level, level) / self.width
        at.noises.forward[at.index] = noise
        follows = 1 + self._follows(scores, values, level, examples)
        share = np.divide(level - places * self.value.bias_variance, level)
        elasticity = share * follows * x.elasticity
        elasticity[at.index] = 1.0
        return Signal(
            gram,
            self.width,
            elasticity,
            share * x.shift - np.diagonal(noise) / 2,
            np.zeros(gram.shape[:2]),
            np.full(examples, 3.0),
            fresh=True,
            field=total if places > 1 else None,
            source=weakest([x.source, MEAN_FIELD]),
        )

    def _scores(self, field: FloatArray, examples: int, at: Place) -> FloatArray:
        """Scores of drawn heads, [HEADS, B, P, P]."""
        rng = np.random.default_rng([at.index, 8])
        size = self.width // self.heads
        lift = 1e-9 * max(float(np.trace(field)), 1e-300) / len(field)
        lower = np.linalg.cholesky(field + lift * np.eye(len(field)))

        def drawn(weights: Weights) -> FloatArray:
            normals = rng.standard_normal((len(field), HEADS * size))
            found = math.sqrt(weights.variance) * (lower @ normals)
            found += math.sqrt(weights.bias_variance) * rng.standard_normal(HEADS * size)
            return found.reshape(examples, -1, HEADS, size).transpose(2, 0, 1, 3)

        return np.asarray(drawn(self.query) @ drawn(self.key).transpose(0, 1, 3, 2) / math.sqrt(size))

    def _follows(self, scores: FloatArray, values: FloatArray, level: FloatArray, examples: int) -> FloatArray:
        """How ln of what is taken follows the size of the scores, [B], which is that of x squared."""
        places = len(values) // examples
        own = np.stack([values.reshape(examples, places, examples, places)[a, :, a] for a in range(examples)])
        attention = _softmax(scores * (1 + STEP))
        taken = np.einsum("haij,ajk,haik->a", attention, own, attention, optimize=True) / HEADS
        return np.asarray(np.log(np.maximum(taken, 1e-300) / level) / math.log(1 + STEP))

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        raise NoRule("theory has no law for the gradients of attention")


@dataclass(frozen=True, eq=False)
class Shifted(Stage):
    """y_p = x_p + t_p, what is the same for all examples: K_y(p, p') = K_x(p, p') + t_p . t_p' / n, of fresh x.

    Args:
        table: t, [P, n].
    """

    table: FloatArray

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        (x,) = inputs
        places, examples = x.gram.shape[:2]
        if not x.fresh or len(self.table) != places or (places > 1 and x.field is None):
            raise NoRule("what it adds to is no weighted sum")
        common = self.table @ self.table.T / x.units
        gram = x.gram + np.diagonal(common)[:, None, None]
        before, after = x.squares.sum(0), np.diagonal(gram, axis1=1, axis2=2).sum(0)
        share = before / np.maximum(after, 1e-300)
        field = x.gram[0] if x.field is None else x.field
        some = len(field) // places
        cross = (field.reshape(some, places, some, places) * common[:, None]).sum((1, 3))
        if some < examples:
            raise NoRule("it is not known what the places have in common")
        at.noises.forward[at.index] = 4 * cross[:examples, :examples] / np.outer(after, after) / x.units
        elasticity = share * x.elasticity
        spread = at.noises.variances(x.elasticity)
        elasticity[at.index] = 1.0
        shift = share * x.shift + share * (1 - share) * spread / 2 - np.diagonal(at.noises.forward[at.index]) / 2
        return Signal(
            gram,
            x.units,
            elasticity,
            shift,
            x.mean + self.table.mean(1)[:, None],
            x.kurtosis,
            field=None if x.field is None else x.field + np.tile(common, (some, some)),
            source=x.source,
        )

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        return [flow]


@dataclass(frozen=True)
class MeanOfPlaces(Stage):
    """The mean over all places: K_y = mean over p and p' of K_x(p, p').

    The noise is that of what places have in common, their own lengths given: of C = K_x of one example, with w = 1/P,
    2 (1 - g^T (C C)^-1 g / (w^T C w)^2)/n, C C entry by entry, g_p = (C w)_p^2.
    """

    most_examples: ClassVar[int] = 20

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        (x,) = inputs
        places, examples = x.gram.shape[:2]
        if x.field is None or len(x.field) != places * examples:
            raise NoRule("it is not known what the places have in common")
        across = x.field.reshape(examples, places, examples, places)
        gram = across.mean((1, 3))
        own = np.stack([across[a, :, a] for a in range(examples)])
        parts = own.mean(2) ** 2
        squares = own**2 + 1e-9 * np.trace(own, axis1=1, axis2=2)[:, None, None] ** 2 / places**2 * np.eye(places)
        known = (parts * np.linalg.solve(squares, parts[..., None])[..., 0]).sum(1)
        rest = np.sqrt(np.maximum(1 - known / np.maximum(own.mean((1, 2)) ** 2, 1e-300), 0))
        noise = 2 * np.outer(rest, rest) * correlation(gram) ** 2 / x.units
        at.noises.forward[at.index] = noise
        elasticity = x.elasticity.copy()
        elasticity[at.index] = 1.0
        return Signal(
            gram[None],
            x.units,
            elasticity,
            x.shift - np.diagonal(noise) / 2,
            x.mean.mean(0, keepdims=True),
            x.kurtosis,
            source=weakest([x.source, MEAN_FIELD]),
        )

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        raise NoRule("the gradients of the places that it averages are one")


def _softmax(scores: FloatArray) -> FloatArray:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))
