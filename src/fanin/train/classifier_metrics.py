"""What a trained classifier is worth beside its loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

METRICS = ("accuracy", "error", "precision", "recall", "f1", "roc_auc", "confusion")
LARGE = 1e300  # stands for an infinite score: far above all others, and finite when two are subtracted


def evaluate(outputs: Tensor, targets: Tensor) -> dict[str, Any]:
    """The usual measures of a classifier on a data set.

    accuracy = share of right answers, error = 1 - accuracy; with C the confusion matrix
    precision_k = C_kk / sum_i C_ik, recall_k = C_kk / sum_j C_kj, f1_k their harmonic mean, 0/0 being 0; precision,
    recall and f1 are means over the classes that are true or answered at least once, as scikit-learn's "macro", every
    class counting the same (f1 is the mean of the f1_k, not the f1 of the means). roc_auc is the mean over classes k
    of the probability that an example of class k gets a larger p_k than one of another class, equal ones counting
    half; p = softmax(scores) whatever the loss was. Of equal outputs the first class is the answer; a logit of 0 is
    class 0.

    By their closed forms and not by scikit-learn, whose import takes a second or two of every run (beside the training
    too, for both need the interpreter), and whose ten curves a quarter of the time of a run of one step. The tests hold
    them against it.

    Args:
        outputs: [N, K] scores, or [N, 1] logits of class 1 against class 0.
        targets: [N] class indices below K (2 for logits).

    Returns:
        accuracy, error, precision, recall, f1, roc_auc as floats and confusion as [K][K] counts, rows the true class,
        columns the answer. roc_auc is None if a class has no example. All are None without examples, and where an
        output is nan.

    Source: Fawcett, An introduction to ROC analysis (2006).
    """
    if not len(outputs) or bool(outputs.isnan().any()):
        return dict.fromkeys(METRICS)
    scores = two_scores(outputs.detach().cpu().double().clamp(-LARGE, LARGE))
    classes = scores.shape[1]
    true, answers = targets.cpu(), scores.argmax(dim=1)
    confusion = torch.bincount(true * classes + answers, minlength=classes**2).view(classes, classes)
    right, examples, answered = confusion.diagonal().double(), confusion.sum(dim=1), confusion.sum(dim=0)
    wrong = len(true) - int(right.sum())

    met = examples + answered > 0

    def mean_share(parts: Tensor, wholes: Tensor) -> float:
        return float((parts / wholes.clamp(min=1))[met].mean())  # no part of nothing: 0/0 = 0

    return {
        "accuracy": (len(true) - wrong) / len(true),
        "error": wrong / len(true),
        "precision": mean_share(right, answered),
        "recall": mean_share(right, examples),
        "f1": mean_share(2 * right, examples + answered),
        "roc_auc": float(area_under_curve(log_odds(scores), true, rounding(scores)).mean()) if examples.all() else None,
        "confusion": confusion.tolist(),
    }


def two_scores(scores: Tensor) -> Tensor:
    """Scores [N, K] as they are; of logits [N, 1] of class 1 against class 0 both classes', [N, 2]."""
    return torch.cat([torch.zeros_like(scores), scores], dim=1) if scores.shape[1] == 1 else scores


def rounding(scores: Tensor) -> Tensor:
    """How far apart `log_odds` [N] may come out where they are equal: 64 units in the last place of the largest score.

    Args:
        scores: [N, K] float64.
    """
    return 64 * torch.finfo(scores.dtype).eps * scores.abs().amax(dim=1).clamp(min=1)


def area_under_curve(scores: Tensor, targets: Tensor, tolerance: Tensor) -> Tensor:
    """For each class, the share of pairs of an example of it and one of another in which its own scores higher.

    The Mann-Whitney statistic: with r the ranks of the P examples of class k among all N by their scores for it, the
    mean of the places that equal scores share, the area is (sum r - P (P + 1) / 2) / (P (N - P)). Scores count as
    equal where the next larger one is no further away than rounding takes it.

    Args:
        scores: [N, K].
        targets: [N] classes; each of the K has an example.
        tolerance: [N], how far each example's scores may be off.

    Returns:
        [K] float64.

    Source: Hanley and McNeil, The meaning and use of the area under a ROC curve (1982).
    """
    ordered, order = scores.T.contiguous().sort(dim=1)
    allowed = tolerance[order]
    apart = ordered.diff(dim=1) > torch.maximum(allowed[:, 1:], allowed[:, :-1])
    places = torch.arange(len(targets)).expand_as(order)
    edge = apart.new_ones(len(order), 1)
    first = places.where(torch.cat([edge, apart], dim=1), 0).cummax(dim=1).values
    last = places.where(torch.cat([apart, edge], dim=1), len(targets)).flip(1).cummin(dim=1).values.flip(1)
    own = targets[order] == torch.arange(len(order)).unsqueeze(1)
    count = own.sum(dim=1)
    twice_ranks = ((first + last + 2) * own).sum(dim=1)
    pairs = count * (len(targets) - count)
    return (twice_ranks - count * (count + 1)).double() / (2 * pairs)


def log_odds(scores: Tensor) -> Tensor:
    """Each class against the rest: ln(p_k / (1 - p_k)) with p = softmax(s), which is s_k - ln sum_(j != k) exp(s_j).

    It orders examples as p_k does, and still where p_k rounds to 1, as with the large scores of an exploding network.

    Args:
        scores: s [N, K] float64, finite, K >= 2.

    Returns:
        [N, K].
    """
    top = scores.argmax(dim=1, keepdim=True)
    log_p = scores.log_softmax(dim=1)
    odds = log_p - torch.log1p(-log_p.exp().clamp(max=0.5))  # p <= 1/2 but for the largest, which is apart:
    rest = scores.scatter(1, top, -torch.inf).logsumexp(dim=1, keepdim=True)
    return odds.scatter(1, top, scores.gather(1, top) - rest)
