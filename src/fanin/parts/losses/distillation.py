"""The loss of a network that learns from the probabilities of another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor

from fanin.errors import OptionError, number
from fanin.parts.losses.base import CrossEntropy, Loss
from fanin.parts.per_run import stackable

KIND = "the folder of a finished run"


@dataclass
class Teacher:
    """A network that answers and is not trained; copies of a loss share it.

    Attributes:
        network: from inputs [N, *shape], as the student takes them, to scores [N, K]; None until a run has it.
    """

    network: Callable[[Tensor], Tensor] | None = None

    @torch.no_grad()
    def scores(self, inputs: Tensor, leading: int) -> Tensor:
        """Scores [..., B, K] for inputs [..., B, *shape] with so many leading axes, B among them."""
        if self.network is None:
            raise OptionError("teacher", None, KIND)
        alike = leading == 2 and inputs.stride(0) == 0  # the same examples for every run
        given = inputs[:1] if alike else inputs
        answers = self.network(given.flatten(0, leading - 1))
        return answers.view(*given.shape[:leading], answers.shape[-1])


@stackable
@dataclass(kw_only=True)
class Distillation(Loss):
    """The student's scores s against those of a trained network, the teacher's z, and against the classes.

    $loss = alpha T^2 1/B sum_b KL(p_b, q_b) + (1 - alpha) 1/B sum_b -ln softmax(s_b)_(y_b)$,
    $p_b = softmax(z_b/T)$, $q_b = softmax(s_b/T)$, $KL(p, q) = sum_k p_k ln(p_k/q_k)$, in nats.
    Hinton's first term is the cross-entropy of p and q: that is this with the entropy of p added, which has no
    gradient, so that here a student that answers as its teacher does loses 0. $T^2$ keeps the size of the gradient,
    which falls as $1/T^2$. Label smoothing is of the second term alone. The teacher sees every batch as the student
    does, augmented too, in evaluation mode; its passes are not counted among a run's FLOPs.
    Source: Hinton, Vinyals & Dean 2015.

    Args:
        teacher: folder of the run whose network it is, with the weights that run ended with. It was trained on inputs
            preprocessed as the student's are, and tells as many classes apart.
        temperature: T, > 0.
        alpha: the share of the teacher's term, in [0, 1]; 0 is cross-entropy.

    Raises:
        OptionError: a value is out of range.

    >>> loss = Distillation(teacher="RUN", temperature=2.0, alpha=1.0)
    >>> loss.taught.network = lambda inputs: torch.tensor([[2.0, 0.0]])
    >>> loss(torch.tensor([[0.0, 0.0]]), torch.tensor([0]), torch.zeros(1, 3))  # 4 (ln 2 - entropy of 0.731, 0.269)
    tensor(0.4438)
    """

    name: ClassVar[str] = "distillation"

    teacher: str | None = None
    temperature: float = 4.0
    alpha: float = 0.9
    taught: Teacher = field(default_factory=Teacher, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.teacher is not None and not isinstance(self.teacher, str):
            raise OptionError("teacher", self.teacher, KIND)
        self.temperature = number("temperature", self.temperature, 0, open_low=True)
        self.alpha = number("alpha", self.alpha, 0, 1)

    def __call__(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """The mean over the batch, in nats; shapes as in Loss."""
        hard = self._hard(outputs, targets, inputs)
        scores = self.taught.scores(inputs, targets.ndim).to(outputs.dtype)
        wanted = (scores / self.temperature).log_softmax(-1)
        answered = (outputs / self.temperature).log_softmax(-1)
        soft = (wanted.exp() * (wanted - answered)).sum(-1).mean(-1)
        return self.alpha * self.temperature**2 * soft + (1 - self.alpha) * hard

    def guess(self, classes: int) -> float | None:
        """ln K for alpha = 0; else None: it depends on the teacher."""
        return CrossEntropy().guess(classes) if self.alpha == 0 else None

    def smoothed(self, eps: float) -> Self:
        """The same loss with (1 - eps) onehot + eps/K in its second term."""
        return super().smoothed(eps)

    def _hard(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        loss = CrossEntropy().smoothed(self.smoothing) if self.smoothing else CrossEntropy()
        return loss(outputs, targets, inputs)
