"""What the scores of a classifier say beside its answers: ROC, precision and recall, the first k, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from fanin.report.statistics import Floats

BINS = 15
"""Of the reliability diagram, of equal width."""

RECALLS = np.linspace(0, 1, 201)
"""At which the mean over classes is taken of curves whose own places differ."""


@dataclass(frozen=True)
class ClassCurve:
    """Of one class against the rest; a point for each threshold that some score is, from none to all.

    Attributes:
        label: the class.
        threshold: in log-odds; inf at the first point.
        false_positive, recall: shares of the others and of the class above it.
        precision: the share of the class among all above it; 1 at the first point.
    """

    label: int
    threshold: Floats
    false_positive: Floats
    recall: Floats
    precision: Floats

    @property
    def area(self) -> float:
        """Under the ROC curve, by trapezoids: equal scores count half."""
        return float(np.trapezoid(self.recall, self.false_positive))

    @property
    def average_precision(self) -> float:
        """Sum over the thresholds of the precision times what the recall gains there."""
        return float(np.sum(np.diff(self.recall) * self.precision[1:]))


class Reliability(NamedTuple):
    """A bin of confidences: its ends, how many examples, their mean confidence and the share of right answers."""

    low: float
    high: float
    examples: int
    confidence: float
    accuracy: float


def as_classes(scores: Floats) -> Floats:
    """Scores of two classes in the place of one logit: [N, K], K >= 2."""
    scores = np.asarray(scores, float)
    return np.column_stack([np.zeros(len(scores)), scores]) if scores.shape[1] == 1 else scores


def class_curves(scores: Floats, targets: NDArray[np.intp]) -> list[ClassCurve]:
    """The curves of every class that some examples have and some have not.

    Examples are ordered by the log-odds $s_k - ln sum_(j != k) exp(s_j)$, which order them as softmax does, and still
    where that rounds to 1. Scores are one threshold where they are no further apart than rounding takes equal ones: 64
    units in the last place of an example's largest score.

    Args:
        scores: finite, [N, K], K >= 2.
        targets: [N].

    Source: Fawcett, An introduction to ROC analysis (2006); Davis and Goadrich (2006).
    """
    rounding = 64 * np.finfo(float).eps * np.maximum(np.abs(scores).max(axis=1), 1)
    found = []
    for label in range(scores.shape[1]):
        own = targets == label
        if not own.any() or own.all():
            continue
        odds = scores[:, label] - logsumexp(np.delete(scores, label, axis=1), axis=1)
        order = np.argsort(-odds, kind="stable")
        ranked, allowed = odds[order], rounding[order]
        last = np.flatnonzero(np.append(-np.diff(ranked) > np.maximum(allowed[1:], allowed[:-1]), True))
        above = np.append(0, np.cumsum(own[order])[last])
        taken = np.append(0, last + 1)
        found.append(
            ClassCurve(
                label,
                np.append(np.inf, ranked[last]),
                (taken - above) / (~own).sum(),
                above / own.sum(),
                np.where(taken > 0, above / np.maximum(taken, 1), 1.0),
            )
        )
    return found


def macro_roc(curves: Sequence[ClassCurve]) -> tuple[Floats, Floats]:
    """The mean over classes of the recall at every false positive rate that one of them has; its area is their mean."""
    places = np.unique(np.concatenate([one.false_positive for one in curves]))
    both = []
    for side in ("left", "right"):  # a vertical step has two values, and the trapezoids need both
        rows = [_at(one.false_positive, one.recall, places, side) for one in curves]
        both.append(np.mean(rows, axis=0))
    return np.repeat(places, 2), np.column_stack(both).ravel()


def _at(x: Floats, y: Floats, places: Floats, side: str) -> Floats:
    """A rising curve at some places: between its points straight, at a step its lower (left) or upper end."""
    found = np.interp(places, x, y)
    ends = np.searchsorted(x, places, "left" if side == "left" else "right") - (side == "right")
    there = x[np.minimum(ends, len(x) - 1)] == places
    return np.where(there, y[np.minimum(ends, len(x) - 1)], found)


def macro_precision(curves: Sequence[ClassCurve]) -> Floats:
    """The mean over classes, at RECALLS, of the best precision with that recall or more."""
    rows = []
    for one in curves:
        best = np.maximum.accumulate(one.precision[::-1])[::-1]
        rows.append(best[np.searchsorted(one.recall, RECALLS - 1e-12).clip(max=len(best) - 1)])
    return np.asarray(np.mean(rows, axis=0))


def top_k(scores: Floats, targets: NDArray[np.intp]) -> Floats:
    """The share of examples whose class is among the k first answers, k = 1..K; of equal scores the first class leads.

    >>> top_k(np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]]), np.array([2, 1])).tolist()
    [0.0, 1.0, 1.0]
    """
    own = scores[np.arange(len(targets)), targets][:, None]
    places = np.arange(scores.shape[1])
    before = (scores > own) | ((scores == own) & (places < targets[:, None]))
    return np.asarray(np.cumsum(np.bincount(before.sum(axis=1), minlength=len(places)))[: len(places)] / len(targets))


def reliability(scores: Floats, targets: NDArray[np.intp]) -> list[Reliability]:
    """The bins (low, high] of the largest probability that have examples.

    Source: DeGroot and Fienberg (1983); Guo et al., On calibration of modern neural networks (2017).
    """
    p = softmax(scores, axis=1)
    sure, right = p.max(axis=1), scores.argmax(axis=1) == targets
    place = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)
    return [
        Reliability(i / BINS, (i + 1) / BINS, int(own.sum()), float(sure[own].mean()), float(right[own].mean()))
        for i in range(BINS)
        if (own := place == i).any()
    ]


def calibration_error(bins: Sequence[Reliability]) -> float:
    """ECE: the mean over examples of |accuracy - confidence| of their bin. Source: Naeini, Cooper, Hauskrecht (2015).

    >>> round(calibration_error([Reliability(0.8, 1.0, 3, 0.9, 1.0), Reliability(0.6, 0.8, 1, 0.7, 0.0)]), 6)
    0.25
    """
    examples = sum(one.examples for one in bins)
    return sum(one.examples * abs(one.accuracy - one.confidence) for one in bins) / examples
