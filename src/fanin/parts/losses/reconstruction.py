"""The loss of an autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch.nn.functional as F
from torch import Tensor

from fanin.devices import widest
from fanin.errors import OptionError, choice
from fanin.parts.losses.base import Loss
from fanin.parts.per_run import stackable

RECONSTRUCTIONS = ("bernoulli", "gaussian")


@stackable
@dataclass(kw_only=True)
class Reconstruction(Loss):
    """How far an autoencoder's outputs r are from the examples x themselves; targets are not used.

    $loss = 1/B sum_b R(x_b, r_b)$, a sum over the D entries of an example: bernoulli $ln(1 + exp(r)) - x r$, in nats, r
    the log-odds of a pixel and x in [0, 1]; gaussian $1/2 (x - r)^2$. It is the reconstruction part of the loss elbo.
    Source: Vincent et al. 2008.

    Args:
        reconstruction: bernoulli or gaussian.

    Raises:
        OptionError: it is neither.

    >>> import torch
    >>> Reconstruction()(torch.tensor([[0.0]]), torch.tensor([0]), torch.tensor([[1.0]]))  # ln 2
    tensor(0.6931)
    """

    name: ClassVar[str] = "reconstruction"
    task: ClassVar[str] = "reconstruction"
    needs_model: ClassVar[str | None] = "autoencoder"

    reconstruction: str = "bernoulli"

    def __post_init__(self) -> None:
        choice("reconstruction", self.reconstruction, RECONSTRUCTIONS)

    def __call__(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """The mean over the batch; shapes as in Loss, K = D."""
        x = inputs.flatten(targets.ndim)
        if self.reconstruction == "bernoulli":
            return F.binary_cross_entropy_with_logits(outputs, x, reduction="none").sum(-1).mean(-1)
        return 0.5 * (x - outputs).square().sum(-1).mean(-1)

    def error(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """No share of wrong answers but the mean of abs(x - reconstruction) over all entries, [...] float64."""
        x = inputs.flatten(targets.ndim)
        difference = x - (outputs.sigmoid() if self.reconstruction == "bernoulli" else outputs)
        return difference.abs().to(widest(x.device)).mean((-2, -1))

    def guess(self, classes: int) -> None:
        """None: it depends on the examples."""

    def smoothed(self, eps: float) -> Self:
        """Itself for eps = 0; else OptionError, for there are no labels."""
        return self._unsmoothed(eps, "the reconstruction compares examples, not labels")

    def check(self, inputs: Tensor) -> None:
        """OptionError for bernoulli and examples [N, *shape] with entries outside [0, 1], where no bound is below."""
        if self.reconstruction == "bernoulli" and not bool(((inputs >= 0) & (inputs <= 1)).all()):
            fix = "or choose preprocess=none or minmax"
            raise OptionError("reconstruction", "bernoulli", "gaussian for inputs outside of [0, 1]", fix)
