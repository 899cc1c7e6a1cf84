"""What a trained classifier is worth beside its loss, and what a step of its training costs."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor, nn

METRICS = ("accuracy", "error", "precision", "recall", "f1", "roc_auc", "confusion")
LARGE = 1e300  # stands for an infinite score: far above all others, and finite when two are subtracted


def evaluate(outputs: Tensor, targets: Tensor) -> dict[str, Any]:
    """The usual measures of a classifier on a data set.

    accuracy = share of right answers, error = 1 - accuracy; with C the confusion matrix
    precision_k = C_kk / sum_i C_ik, recall_k = C_kk / sum_j C_kj, f1_k their harmonic mean, 0/0 being 0; precision,
    recall and f1 are means over classes in which every class counts the same (f1 is the mean of the f1_k, not the f1
    of the means). roc_auc is the mean over classes k of the probability that an example of class k gets a larger p_k
    than one of another class, equal ones counting half; p = softmax(scores) whatever the loss was.
    Of equal outputs the first class is the answer; a logit of 0 is class 0.

    By their closed forms and not by scikit-learn, whose import takes most of a second at the end of every run, and
    whose ten curves a quarter of the time of a run of one step.

    Args:
        outputs: [N, K] scores, or [N, 1] logits of class 1 against class 0.
        targets: [N] class indices below K (2 for logits).

    Returns:
        accuracy, error, precision, recall, f1, roc_auc as floats and confusion as [K][K] counts, rows the true class,
        columns the answer. roc_auc is None where a class has no example. All are None without examples, and where an
        output is nan.

    Source: Fawcett, An introduction to ROC analysis (2006).
    """
    if not len(outputs) or bool(outputs.isnan().any()):
        return dict.fromkeys(METRICS)
    scores = outputs.detach().double().cpu().clamp(-LARGE, LARGE)
    if scores.shape[1] == 1:
        scores = torch.cat([torch.zeros_like(scores), scores], dim=1)
    classes = scores.shape[1]
    true, answers = targets.cpu(), scores.argmax(dim=1)
    confusion = torch.bincount(true * classes + answers, minlength=classes**2).view(classes, classes)
    right, examples, answered = confusion.diagonal().double(), confusion.sum(dim=1), confusion.sum(dim=0)
    wrong = len(true) - int(right.sum())

    def mean_share(parts: Tensor, wholes: Tensor) -> float:
        return float((parts / wholes.clamp(min=1)).mean())  # no part of nothing: 0/0 = 0

    return {
        "accuracy": (len(true) - wrong) / len(true),
        "error": wrong / len(true),
        "precision": mean_share(right, answered),
        "recall": mean_share(right, examples),
        "f1": mean_share(2 * right, examples + answered),
        "roc_auc": float(area_under_curve(log_odds(scores), true).mean()) if examples.all() else None,
        "confusion": confusion.tolist(),
    }


def area_under_curve(scores: Tensor, targets: Tensor) -> Tensor:
    """For each class, the share of pairs of an example of it and one of another in which its own scores higher.

    The Mann-Whitney statistic: with r the ranks of the P examples of class k among all N by their scores for it, the
    mean of the places that equal scores share, the area is (sum r - P (P + 1) / 2) / (P (N - P)).

    Args:
        scores: [N, K].
        targets: [N] classes; each of the K has an example.

    Returns:
        [K] float64.

    Source: Hanley and McNeil, The meaning and use of the area under a ROC curve (1982).
    """
    columns = scores.T.contiguous()
    ordered = columns.sort(dim=1).values
    below, up_to = torch.searchsorted(ordered, columns), torch.searchsorted(ordered, columns, right=True)
    own = nn.functional.one_hot(targets, len(columns)).T
    count = own.sum(dim=1)
    twice_ranks = ((below + up_to + 1) * own).sum(dim=1)
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


_COUNTED: dict[tuple[Hashable, torch.Size], int] = {}


def flops_of_step(model: nn.Module, inputs: Tensor, structure: Hashable = None) -> int:
    """Floating point operations of one forward and backward pass: those of matrix products and convolutions.

    For a chain of matrices [in_l, out_l] it is 3 * 2 B sum_l in_l out_l - 2 B in_1 out_1: forward, the gradients of the
    weights, and those of the inputs, which the first layer does not need. Elementwise work (activations, normalization,
    the update) is not counted, nor are further passes that an optimizer makes.

    One pass in evaluation mode, which leaves no trace in the model: no gradient, no statistics, no random draw.

    Args:
        model: on the inputs' device.
        inputs: [B, ...], one training batch; values do not matter.
        structure: what tells models of different structure apart, e.g. their configuration as text: a structure is
            counted once per process and batch shape. None counts anew.

    Returns:
        FLOPs, of which a multiplication and an addition are two.
    """
    known = (structure, inputs.shape)
    if structure is not None and known in _COUNTED:
        return _COUNTED[known]
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        total = _counted(model, inputs.detach())
    finally:
        for module, training in modes:
            module.training = training
    if structure is not None:
        _COUNTED[known] = total
    return total


def _counted(model: nn.Module, inputs: Tensor) -> int:
    """Count with torch's formulas, but not with its FlopCounterMode, whose first use imports sympy: 0.8 s."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
        total = 0

        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            return False  # true, the default, imports torch._dynamo and sympy; nothing here is compiled

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            formula = flop_registry.get(func._overloadpacket)
            if formula is not None:
                self.total += formula(*args, **(kwargs or {}), out_val=result)
            return result

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.enable_grad(), Counter() as counter:  # type: ignore[no-untyped-call]
        outputs = model(inputs)
        torch.autograd.grad(outputs.sum(), parameters, allow_unused=True)
    return int(counter.total)
