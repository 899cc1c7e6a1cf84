"""Muon: matrices step along the orthogonal matrix nearest to their momentum."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.errors import flag, number
from fanin.parts.optimizers.adam import adam_step
from fanin.parts.optimizers.base import GroupOptimizer
from fanin.parts.per_run import add_multiple, shrink, spread, stackable
from fanin.torch_internals import foreach_lerp, foreach_lerp_

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
SMALLEST = 1e-7
"""Momenta of a smaller Frobenius norm are not blown up to norm 1."""
VECTORS = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "bias_correction": True}


@stackable
class Muon(GroupOptimizer):
    """The momentum of each weight matrix made nearly orthogonal, so that steps are equally long in all directions.

    Of a matrix W [A, B]: $u <- mu u + (1 - mu) g$;  $n = mu u + (1 - mu) g$ with nesterov, else u;  $u = 0$ at first;
    $W <- (1 - a lambda) W - a sqrt(max(1, A/B)) O(n)$.
    O, the Newton-Schulz iteration: $X = n/||n||_F$, then 5 times $X <- p X + q (X X^T) X + r (X X^T)^2 X$ with
    $(p, q, r) = (3.4445, -4.7750, 2.0315)$, which leaves the singular vectors and drives the singular values (above
    some 1e-3 of $||n||_F$) to between 0.7 and 1.2.

    The same as torch.optim.Muon, which iterates in bfloat16; here it is done in the parameters' own type.
    torch.optim.Muon refuses what is not a matrix. Here a kernel [out, in, k, k] is the matrix [out, in k k], and
    vectors and scalars (biases, normalization) take steps of Adam (beta1 = 0.9, beta2 = 0.999, eps = 1e-8) with
    `vector_factor` times the learning rate and without decay. Its authors leave a network's first and last matrix to
    AdamW, too; this optimizer knows no layers and takes every matrix.
    Source: Jordan et al. 2024.

    Args:
        params: what to optimize.
        lr: a, >= 0; about the spectral norm of a square matrix's step.
        momentum: mu in [0, 1).
        nesterov: whether to look ahead.
        weight_decay: lambda, >= 0, of matrices and kernels.
        vector_factor: learning rate of vectors and scalars in units of lr, >= 0.

    Raises:
        OptionError: a value is out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0.1,
        vector_factor: float = 0.05,
    ) -> None:
        defaults = {
            "lr": number("lr", lr, 0),
            "momentum": number("momentum", momentum, 0, 1, open_high=True),
            "nesterov": flag("nesterov", nesterov),
            "weight_decay": number("weight_decay", weight_decay, 0),
            "vector_factor": number("vector_factor", vector_factor, 0),
        }
        super().__init__(params, defaults)

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """Matrices and kernels by their momentum, the others by Adam."""
        dims = 2 if self.runs is None else 3  # of a matrix, with the axis of stacked runs
        pairs = list(zip(params, grads, strict=True))
        matrices = [(param, grad) for param, grad in pairs if param.ndim >= dims]
        vectors = [(param, grad) for param, grad in pairs if param.ndim < dims]
        if matrices:
            self._step_matrices(group, *map(list, zip(*matrices, strict=True)))
        if vectors:
            numbers = {**VECTORS, "lr": group["lr"] * group["vector_factor"]}
            adam_step(self, numbers, *map(list, zip(*vectors, strict=True)))

    def _step_matrices(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        momenta, fresh = self.slots(params, "momentum"), spread(1 - group["momentum"], params)
        foreach_lerp_(momenta, grads, fresh)
        ahead = list(foreach_lerp(momenta, grads, fresh)) if group["nesterov"] else momenta
        shrink(params, group["lr"] * group["weight_decay"])
        add_multiple(params, self._orthogonal(ahead), -group["lr"])

    def _orthogonal(self, tensors: list[Tensor]) -> list[Tensor]:
        """sqrt(max(1, A/B)) O(n) for each; those of one shape go through the iteration as one batch."""
        flat = [tensor.flatten(1 if self.runs is None else 2) for tensor in tensors]
        alike: dict[torch.Size, list[int]] = {}
        for place, matrix in enumerate(flat):
            alike.setdefault(matrix.shape, []).append(place)
        made = list(tensors)
        for shape, places in alike.items():
            stepped = orthogonalized(torch.stack([flat[place] for place in places]))
            stepped *= max(1, shape[-2] / shape[-1]) ** 0.5
            for place, one in zip(places, stepped, strict=True):
                made[place] = one.reshape(tensors[place].shape)
        return made


def orthogonalized(matrices: Tensor) -> Tensor:
    """O(n) of every matrix: the singular values s of n/||n||_F become f(f(f(f(f(s))))), f(s) = p s + q s^3 + r s^5.

    Args:
        matrices: n [N, ..., A, B].

    Returns:
        [..., A, B], the singular values between 0.7 and 1.2, but for those that were next to 0.

    >>> import torch
    >>> made = torch.linalg.svdvals(orthogonalized(torch.diag(torch.tensor([1.0, 3.0]))[None]))
    >>> bool(((made > 0.68) & (made < 1.2)).all())
    True
    """
    p, q, r = COEFFICIENTS
    wide = matrices if matrices.shape[-2] <= matrices.shape[-1] else matrices.mT  # the smaller of the two products
    x = wide.flatten(0, -3)
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=SMALLEST)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=q, alpha=r), x, beta=p)
    x = x.view(wide.shape)
    return x if wide is matrices else x.mT
