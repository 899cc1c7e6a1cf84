"""Newton's method that saddles repel: the Hessian by the absolute values of its eigenvalues."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.parts.optimizers.newton import Newton


class SaddleFreeNewton(Newton):
    """Newton's step with its sign turned round along directions of negative curvature, so that it descends in all.

    $theta <- theta - a (|H| + damping I)^-1 g$, with the gradient g and the Hessian H of the batch's objective; with
    H = V diag(l) V^T, |H| = V diag(|l|) V^T. Along an eigenvector it goes as far as Newton's method, to where the local
    quadratic is stationary if its curvature l is positive, and just as far away from there if l is negative: a saddle
    repels it, by the factor 1 + a a step however flat the saddle is. Where H is positive definite it is Newton's
    method. All eigenvectors are known here, by a dense decomposition in float64; Dauphin et al. take those of a Krylov
    subspace. H costs P backward passes, the decomposition about 10 P^3 operations.
    Source: Dauphin et al. 2014.

    Args:
        params: what to optimize.
        lr: a, >= 0.
        damping: added to every |l|, >= 0; needed where H is singular, as softmax regression's is.
        max_parameters: refuse a model with more, >= 1.

    Raises:
        OptionError: a value is out of range.
    """

    def __init__(self, params: ParamsT, lr: float = 1.0, damping: float = 0.001, max_parameters: int = 2000) -> None:
        super().__init__(params, lr, damping, max_parameters)

    def solution(self, matrix: Tensor, gradient: Tensor, damping: float) -> Tensor | None:
        """(|H| + damping I)^-1 g [P]; nan where H is not finite, None where the sum is singular to rounding."""
        if not torch.isfinite(matrix).all():
            return torch.full_like(gradient, torch.nan)
        values, vectors = torch.linalg.eigh(0.5 * (matrix + matrix.mT))
        sizes = values.abs() + damping
        if sizes.min() <= len(sizes) * torch.finfo(sizes.dtype).eps * sizes.max():
            return None
        step: Tensor = vectors @ ((vectors.mT @ gradient) / sizes)
        return step
