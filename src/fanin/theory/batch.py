"""How the examples of a batch stand for those that are not looked at, and for other batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fanin.theory.gaussian_maps import FloatArray

BATCHES = 256
"""Other batches that are drawn."""


@dataclass(frozen=True)
class Batch:
    """How the examples of a law count.

    Args:
        counted: weight of each of the B examples, [B], 1 or 0; those of weight 0 only come along.
        of: examples of the whole batch, which those of weight 1 stand for.
        classes: of each example, [B]; None where they have none.
        among: how many classes there are.
        whole_counts: how many examples of each class the whole batch has, [classes]; the mean of batches, if it is one.
        is_mean: whether they are the mean of batches whose examples are drawn one by one.
        alone: whether it is this batch that is asked about, and no other of its size.
    """

    counted: FloatArray
    of: int
    classes: NDArray[np.int64] | None = None
    among: int = 0
    whole_counts: NDArray[np.int64] | FloatArray | None = None
    is_mean: bool = False
    alone: bool = False

    def over_batches(self, pairs: FloatArray) -> tuple[float, float, float]:
        """The sum over pairs in other batches of as many examples: its mean, and its logarithm's mean and variance.

        How many examples a batch has of each class decides how far their gradients cancel. With m_kl the mean of pairs
        of classes k and l, and o_k that of a class's own squares, counts n have sum_kl n_k (n_l - [k = l]) m_kl +
        sum_k n_k o_k. Where classes are as frequent in the batch as equal ones would be, they are equal.

        Args:
            pairs: of these examples, with 1/B^2 in it, [B, B].
        """
        known = float((pairs * self.pair_weights()).sum())
        counts, members = self._counts, self._members
        if counts is None or members is None:
            return known, 0.0, 0.0
        having = members.sum(0)
        own = (np.diagonal(pairs) @ members) / having
        between = members.T @ (pairs - np.diag(np.diagonal(pairs))) @ members
        between /= np.outer(having, having) - np.diag(having)
        forms = np.einsum("nk,kl,nl->n", counts, between, counts) + counts @ (own - np.diagonal(between))
        forms *= (self.counted.sum() / self.of) ** 2
        mean = float(forms.mean())
        if mean <= 0:
            return known, 0.0, 0.0
        logs = np.log(np.maximum(forms, 0.05 * mean) / mean)
        return mean, float(logs.mean()), float(logs.var())

    @cached_property
    def _counts(self) -> FloatArray | None:
        """Examples of each class in other batches, [draws, classes]; None where classes are not known to be equal."""
        if self.alone or self._members is None or self._members.sum(0).min() < 2:
            return None
        having = self._members.sum(0)
        number, equal = int(having.sum()), 1 / self.among
        share = float((having * (having - 1)).sum() / (number * (number - 1)))
        if abs(share - equal) > 4 * math.sqrt(2 * equal / number**2):  # classes that are not equally frequent
            return None
        return np.random.default_rng(0).multinomial(self.of, [equal] * self.among, size=BATCHES).astype(float)

    @property
    def whole(self) -> FloatArray:
        """Which pairs count, [B, B]."""
        return np.outer(self.counted, self.counted)

    def pair_weights(self) -> FloatArray:
        """How pairs count in a sum over all pairs of the whole batch that has 1/B^2 in it, [B, B].

        Each pair of classes has the weight in the sum that it has in the whole batch.
        """
        counted = int(self.counted.sum())
        known = self._members
        classes, having, whole = np.zeros(len(self.counted), np.int64), np.array([counted]), np.array([self.of])
        if known is not None and self.classes is not None and self.whole_counts is not None:
            classes, having, whole = self.classes, known.sum(0), self.whole_counts
        each = np.divide(whole, having, out=np.zeros(len(having)), where=having > 0)
        pairs, of = np.outer(having, having) - np.diag(having), np.outer(whole, whole) - np.diag(whole)
        if self.is_mean:
            of = np.outer(whole, whole) * (1 - 1 / self.of)
        between = np.divide(of, pairs, out=np.ones(pairs.shape), where=pairs > 0)
        weights = between[np.ix_(classes, classes)]
        np.fill_diagonal(weights, each[classes])
        return np.asarray(weights * self.whole * (counted / self.of) ** 2)

    @cached_property
    def _members(self) -> FloatArray | None:
        """Which class each example that counts has, [B, classes]; None where a class has no pair that could be seen."""
        if self.classes is None or self.among < 2 or not 0 <= self.classes.min() <= self.classes.max() < self.among:
            return None
        members = (self.classes[:, None] == np.arange(self.among)) * self.counted[:, None]
        enough = members.sum(0) > 1
        return members if (enough | (not self.is_mean and members.sum(0) == self.whole_counts)).all() else None
