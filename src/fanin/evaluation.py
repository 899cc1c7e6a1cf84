"""What a trained classifier is worth beside its loss, and what a step of its training costs."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor, nn

METRICS = ("accuracy", "error", "precision", "recall", "f1", "roc_auc", "confusion")
LARGE = 1e300  # stands for an infinite score: far above all others, and finite when two are subtracted


def evaluate(outputs: Tensor, targets: Tensor) -> dict[str, Any]:
    """The usual measures of a classifier on a data set, computed by scikit-learn.

    accuracy = share of right answers, error = 1 - accuracy; with C the confusion matrix
    precision_k = C_kk / sum_i C_ik, recall_k = C_kk / sum_j C_kj, f1_k their harmonic mean, 0/0 being 0; precision,
    recall and f1 are means over classes in which every class counts the same (f1 is the mean of the f1_k, not the f1
    of the means). roc_auc is the mean over classes k of the probability that an example of class k gets a larger p_k
    than one of another class, equal ones counting half; p = softmax(scores) whatever the loss was.
    Of equal outputs the first class is the answer; a logit of 0 is class 0.

    The first call of a process imports scikit-learn, which takes most of a second.

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
    from sklearn import config_context, metrics

    scores = outputs.detach().double().cpu().clamp(-LARGE, LARGE)
    if scores.shape[1] == 1:
        scores = torch.cat([torch.zeros_like(scores), scores], dim=1)
    classes = scores.shape[1]
    true, answers = targets.cpu(), scores.argmax(dim=1)
    wrong = int((answers != true).sum())
    # Its checks of arguments and of finite values take a third of the time, and both are known here.
    with config_context(assume_finite=True, skip_parameter_validation=True):
        labels = range(classes)
        confusion = metrics.confusion_matrix(true.numpy(), answers.numpy(), labels=labels)
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            true.numpy(), answers.numpy(), labels=labels, average="macro", zero_division=0
        )
        area = None
        if confusion.sum(axis=1).all():
            indicator = nn.functional.one_hot(true, classes).numpy()
            area = float(metrics.roc_auc_score(indicator, log_odds(scores).numpy(), average="macro"))
    return {
        "accuracy": (len(true) - wrong) / len(true),
        "error": wrong / len(true),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "roc_auc": area,
        "confusion": confusion.tolist(),
    }


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
