"""The loss of a variational autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch.nn.functional as F
from torch import Tensor

from fanin.devices import widest
from fanin.errors import OptionError, choice, number
from fanin.parts.losses.base import Loss
from fanin.parts.per_run import stackable

RECONSTRUCTIONS = ("bernoulli", "gaussian")


@stackable
@dataclass(kw_only=True)
class Elbo(Loss):
    """The negative evidence lower bound of a variational autoencoder: reconstruction and divergence.

    $loss = 1/B sum_b [R(x_b, r_b) + beta KL_b]$, $KL = 1/2 sum_z (mu^2 + sigma^2 - 1 - ln sigma^2)$ between
    $N(mu, sigma^2)$ and $N(0, 1)$. R is a sum over the D entries of an example:
    bernoulli: $ln(1 + exp(r)) - x r$, in nats, r the log-odds of a pixel, x in [0, 1] (not clamped);
    gaussian: $1/2 (x - r)^2$, the normal law of variance 1 without its constant $1/2 ln(2 pi)$.
    Outputs [..., B, D + 2 Z] are r, mu and ln sigma^2, one after the other. Targets are not used. One output more is
    $ln q(z)$ of a code that is a constant for the gradient: the loss is the same number, and its gradient has
    $R d ln q(z)$ in place of $dR/dz dz$, the score function's estimate.
    Source: Kingma & Welling 2014; beta: Higgins et al. 2017.

    Args:
        beta: weight of the divergence, >= 0; 1 is the bound itself.
        reconstruction: bernoulli or gaussian.

    Raises:
        OptionError: a value is out of range.

    >>> import torch
    >>> r, mu, log_variance = 0.0, 1.0, 0.0
    >>> Elbo()(torch.tensor([[r, mu, log_variance]]), torch.tensor([0]), torch.tensor([[1.0]]))  # ln 2 + 1/2
    tensor(1.1931)
    """

    name: ClassVar[str] = "elbo"
    task: ClassVar[str] = "reconstruction"
    needs_model: ClassVar[str | None] = "vae"

    beta: float = 1.0
    reconstruction: str = "bernoulli"

    def __post_init__(self) -> None:
        self.beta = number("beta", self.beta, 0)
        choice("reconstruction", self.reconstruction, RECONSTRUCTIONS)

    def __call__(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """The mean over the batch; shapes as in Loss, K = D + 2 Z."""
        x = inputs.flatten(targets.ndim)
        r, code = outputs[..., : x.shape[-1]], outputs[..., x.shape[-1] :]
        if self.reconstruction == "bernoulli":
            each = F.binary_cross_entropy_with_logits(r, x, reduction="none").sum(-1)
        else:
            each = 0.5 * (x - r).square().sum(-1)
        if code.shape[-1] % 2:
            score = code[..., -1]
            each = each + each.detach() * (score - score.detach())
        mu, log_variance = code[..., : code.shape[-1] // 2 * 2].chunk(2, dim=-1)
        return (each + self.beta * divergence(mu, log_variance)).mean(-1)

    def error(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """No share of wrong answers but the mean of abs(x - reconstruction) over all entries, [...] float64.

        The reconstruction is 1/(1 + exp(-r)) for bernoulli, so that the number is in [0, 1], and r for gaussian.
        """
        x = inputs.flatten(targets.ndim)
        r = outputs[..., : x.shape[-1]]
        difference = x - (r.sigmoid() if self.reconstruction == "bernoulli" else r)
        return difference.abs().to(widest(x.device)).mean((-2, -1))

    def guess(self, classes: int) -> None:
        """None: it depends on the images."""

    def smoothed(self, eps: float) -> Self:
        """Itself for eps = 0; else OptionError, for there are no labels."""
        return self._unsmoothed(eps, "the elbo compares images, not labels")

    def check(self, inputs: Tensor) -> None:
        """OptionError for bernoulli and examples [N, *shape] with entries outside [0, 1], where no bound is below."""
        if self.reconstruction == "bernoulli" and not bool(((inputs >= 0) & (inputs <= 1)).all()):
            fix = "choose preprocess=none or minmax"
            raise OptionError("reconstruction", "bernoulli", "gaussian for inputs outside of [0, 1]", f"or {fix}")


def divergence(mu: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of N(mu, diag sigma^2) from N(0, I), in nats.

    KL = 1/2 sum_z (mu^2 + sigma^2 - 1 - ln sigma^2). Source: Kingma & Welling 2014, appendix B.

    Args:
        mu, log_variance: ln sigma^2, [..., Z] each.

    Returns:
        [...].

    >>> import torch
    >>> divergence(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.0]))
    tensor(1.)
    """
    return 0.5 * (mu.square() + log_variance.exp() - 1 - log_variance).sum(-1)
