"""What training minimizes, and the share of wrong answers that is reported beside it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from fanin.devices import widest
from fanin.errors import OptionError, UserError, number
from fanin.parts.per_run import stackable


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Softmax cross-entropy, in nats, as a mean over the batch.

    $loss = 1/B sum_b [ln sum_k exp(s_bk) - s_(b, y_b)]$; equal logits give $ln K$.

    Args:
        logits: s [..., B, K], unnormalized; leading axes are runs.
        targets: y [..., B], int64 class indices.

    Returns:
        [...], a scalar tensor for one run, of the logits' dtype.

    >>> import torch
    >>> cross_entropy(torch.zeros(1, 10), torch.tensor([3]))
    tensor(2.3026)
    """
    if logits.ndim == 2:
        return F.cross_entropy(logits, targets)
    each = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none")
    return each.view(targets.shape).mean(-1)


def error(logits: Tensor, targets: Tensor) -> Tensor:
    """The share of samples whose largest logit is not the target's, in [0, 1].

    Of equal logits the first class is taken, so a network whose outputs vanished answers class 0 everywhere.

    Args:
        logits: [..., B, K]; leading axes are runs.
        targets: [..., B], int64 class indices.

    Returns:
        [...] float64 tensor: 2 wrong of 100 are 0.02 when written out.

    >>> import torch
    >>> error(torch.tensor([[2.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 0]))
    tensor(0.5000, dtype=torch.float64)
    """
    return (logits.argmax(dim=-1) != targets).to(widest(logits.device)).mean(-1)


class Loss(ABC):
    """What training minimizes, as a mean over the batch; one object serves any number of runs."""

    name: ClassVar[str]
    """The option's name."""
    task: ClassVar[str] = "classification"
    """What it asks of a network, a key of `fanin.record.outcome.TASKS`: the words for its numbers and its outcome."""
    needs_model: ClassVar[str | None] = None
    """The option of the model group without which the loss has no meaning."""
    smoothing: float = 0.0
    """eps of the smoothed targets; `smoothed` sets it."""

    @property
    def classification(self) -> bool:
        """Whether the targets are classes that the outputs answer with."""
        return self.task == "classification"

    @abstractmethod
    def __call__(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """The loss of each run.

        Args:
            outputs: of the network, [..., B, K]; leading axes are runs, as many as targets has but one.
            targets: [..., B], int64 class indices.
            inputs: of the network, [..., B, *shape].

        Returns:
            [...], of the outputs' dtype.
        """

    def error(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """The share of wrong answers, [...] float64; see `error`."""
        return error(outputs, targets)

    def out_features(self, classes: int) -> int:
        """How many outputs a network needs."""
        return classes

    @abstractmethod
    def guess(self, classes: int) -> float | None:
        """The loss of the best constant answer where all classes are equally frequent; None if it is unknown."""

    def of_numbers(self) -> Loss:
        """The loss where the targets are numbers, [..., B] floating point, and no classes.

        Raises:
            UserError: it compares outputs with classes.
        """
        if self.classification:
            raise UserError(f"loss={self.name}: compares with classes, and the targets are numbers; take loss=squared")
        return self

    def smoothed(self, eps: float) -> Self:
        """The same loss against the targets (1 - eps) onehot + eps/K. Source: Szegedy et al. 2016.

        Args:
            eps: in [0, 1).

        Raises:
            OptionError: eps is out of range, or the loss has no probabilities for targets.
        """
        made = copy(self)
        made.smoothing = number("label_smoothing.eps", eps, 0, 1, open_high=True)
        return made

    def check(self, inputs: Tensor) -> None:  # noqa: B027  most losses have nothing to refuse
        """Raise OptionError where the loss has no meaning for examples [N, *shape]; by default it has for all."""

    def _unsmoothed(self, eps: float, why: str) -> Self:
        if eps:
            raise OptionError("label_smoothing.eps", eps, "0 with this loss", f"{why}: leave label_smoothing out")
        return self


@stackable
class CrossEntropy(Loss):
    """Softmax cross-entropy; see `cross_entropy`. Source: Bridle 1990.

    With smoothing: $1/B sum_b sum_k -t_bk ln softmax(s_b)_k$, $t = (1 - eps) onehot + eps/K$.

    >>> import torch
    >>> CrossEntropy().smoothed(0.5)(torch.zeros(1, 2), torch.tensor([0]), torch.zeros(1, 3))
    tensor(0.6931)
    """

    name: ClassVar[str] = "cross_entropy"

    def __call__(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """The mean over the batch, in nats; shapes as in Loss."""
        if not self.smoothing:
            return cross_entropy(outputs, targets)
        wanted = _probabilities(outputs, targets, self.smoothing)
        return -(wanted * outputs.log_softmax(-1)).sum(-1).mean(-1)

    def guess(self, classes: int) -> float:
        """ln K, of equal scores; smoothed targets change nothing in it."""
        return math.log(classes)


@stackable
@dataclass(kw_only=True)
class Hinge(Loss):
    """Multi-class margin loss: every wrong class whose score comes within the margin of the right one's counts.

    $loss = 1/B sum_b sum_(j != y_b) max(0, s_bj - s_(b, y_b) + margin)$. torch's multi_margin_loss is this divided by
    K. Source: Weston & Watkins 1999.
    Args:
        margin: > 0.

    Raises:
        OptionError: the margin is out of range.

    >>> import torch
    >>> Hinge()(torch.tensor([[1.0, 0.5, -1.0]]), torch.tensor([0]), torch.zeros(1, 3))
    tensor(0.5000)
    """

    name: ClassVar[str] = "hinge"

    margin: float = 1.0

    def __post_init__(self) -> None:
        self.margin = number("margin", self.margin, 0, open_low=True)

    def __call__(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """The mean over the batch; shapes as in Loss."""
        right = targets.unsqueeze(-1)
        lacking = (outputs - outputs.gather(-1, right) + self.margin).clamp(min=0)
        return lacking.scatter(-1, right, 0.0).sum(-1).mean(-1)

    def guess(self, classes: int) -> float:
        """(K - 1) margin, of equal scores."""
        return (classes - 1) * self.margin

    def smoothed(self, eps: float) -> Self:
        """Itself for eps = 0; else OptionError, for its targets are no probabilities."""
        return self._unsmoothed(eps, "the hinge loss compares scores, not probabilities")


@stackable
class Squared(Loss):
    """Squared error between the outputs themselves and the one-hot targets.

    $loss = 1/B sum_b sum_k (s_bk - t_bk)^2$, t = onehot, or $(1 - eps) onehot + eps/K$. No factor 1/2, and a sum over
    the classes, where torch's mse_loss has the mean: that is this divided by K. Source: Bishop 2006, section 4.1.3.
    Where the targets are numbers (regression): see `SquaredOfNumbers`.

    >>> import torch
    >>> Squared()(torch.tensor([[0.5, 0.5]]), torch.tensor([0]), torch.zeros(1, 3))
    tensor(0.5000)
    """

    name: ClassVar[str] = "squared"

    def __call__(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """The mean over the batch; shapes as in Loss."""
        return (outputs - _probabilities(outputs, targets, self.smoothing)).square().sum(-1).mean(-1)

    def guess(self, classes: int) -> float | None:
        """(1 - eps)^2 (1 - 1/K), of outputs 1/K."""
        return (1 - self.smoothing) ** 2 * (1 - 1 / classes)

    def of_numbers(self) -> Loss:
        """`SquaredOfNumbers`."""
        return SquaredOfNumbers()


@stackable
class SquaredOfNumbers(Squared):
    """Squared error between one output and a target that is a number: $loss = 1/B sum_b (s_b - t_b)^2$.

    It is 0 for the right answer and the variance of the targets for their mean; beside it stands the absolute error,
    and of the test part $R^2 = 1 - sum_b (s_b - t_b)^2 / sum_b (t_b - mean t)^2$.

    >>> import torch
    >>> SquaredOfNumbers()(torch.tensor([[0.5], [2.0]]), torch.tensor([0.0, 2.0]), torch.zeros(2, 3))
    tensor(0.1250)
    """

    task: ClassVar[str] = "regression"

    def __call__(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """The mean over the batch; outputs [..., B, 1], targets [..., B]."""
        return (outputs.squeeze(-1) - targets).square().mean(-1)

    def error(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """No share of wrong answers but the mean of abs(s - t), [...] float64."""
        return (outputs.squeeze(-1) - targets).abs().to(widest(outputs.device)).mean(-1)

    def guess(self, classes: int) -> None:
        """None: it depends on the targets."""

    def of_numbers(self) -> Loss:
        """Itself."""
        return self

    def smoothed(self, eps: float) -> Self:
        """Itself for eps = 0; else OptionError, for there are no classes."""
        return self._unsmoothed(eps, "numbers are no classes")


@stackable
class BinaryCrossEntropy(Loss):
    """Logistic loss: one output, the log-odds of class 1, for two classes; for more one output each, one vs. rest.

    $loss = 1/B sum_b sum_k [ln(1 + exp(s_bk)) - t_bk s_bk]$, t the target's probability; one output: $t = y$, or
    $(1 - eps) y + eps/2$. A sum over the outputs, as K independent answers have; torch's
    binary_cross_entropy_with_logits takes the mean over them: that is this divided by K.
    Source: Cox 1958; one vs. rest: Rifkin & Klautau 2004.

    >>> import torch
    >>> BinaryCrossEntropy()(torch.tensor([[0.0]]), torch.tensor([1]), torch.zeros(1, 3))
    tensor(0.6931)
    """

    name: ClassVar[str] = "binary_cross_entropy"

    def __call__(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """The mean over the batch, in nats; shapes as in Loss, K = 1 for two classes."""
        if outputs.shape[-1] == 1:
            wanted = ((1 - self.smoothing) * targets.to(outputs.dtype) + self.smoothing / 2).unsqueeze(-1)
        else:
            wanted = _probabilities(outputs, targets, self.smoothing)
        return F.binary_cross_entropy_with_logits(outputs, wanted, reduction="none").sum(-1).mean(-1)

    def error(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """The share of wrong answers; one output answers class 1 where it is positive, else class 0."""
        if outputs.shape[-1] > 1:
            return error(outputs, targets)
        return ((outputs.squeeze(-1) > 0) != targets.bool()).to(widest(outputs.device)).mean(-1)

    def out_features(self, classes: int) -> int:
        """1 for two classes, K for more."""
        return 1 if classes == 2 else classes

    def guess(self, classes: int) -> float:
        """ln 2 for two classes; for more K H(1/K), H(p) = -p ln p - (1 - p) ln(1 - p), of probabilities 1/K."""
        return math.log(classes) - (classes - 1) * math.log1p(-1 / classes) if classes > 2 else math.log(2)


def _probabilities(outputs: Tensor, targets: Tensor, eps: float) -> Tensor:
    """(1 - eps) onehot + eps/K, [..., B, K] like the outputs."""
    rest = eps / outputs.shape[-1]
    # A comparison and no scatter_, which torch.vmap has no rule for.
    right = targets.unsqueeze(-1) == torch.arange(outputs.shape[-1], device=outputs.device)
    return torch.where(right, outputs.new_full((), 1 - eps + rest), outputs.new_full((), rest))
