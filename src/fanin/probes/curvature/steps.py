"""How far a step may go before the loss rises, and how much it rises within a ball."""

from __future__ import annotations

import torch
from torch import Tensor

from fanin.probes.curvature.operators import dots, unit
from fanin.probes.curvature.stacked_loss import StackedLoss

FURTHEST = 40
"""Doublings, or halvings, from the first guess before none is found."""


def critical_sharpness(
    losses: StackedLoss, direction: Tensor, guess: Tensor, refinements: int = 2
) -> tuple[Tensor, Tensor]:
    """2/eta_c of R runs, eta_c the smallest step along a direction that raises the loss: f(theta + eta d) > f(theta).

    From a guess eta is doubled, or halved, until f rises between two neighbours; then the bracket is cut where the
    straight line through $r(eta) = (f(theta + eta d) - f(theta))/eta$ at its ends is 0, for on a quadratic r is that
    line, and $2/eta_c = d^T H d / (-g^T d)$ is exact: the curvature along d, for gradient descent. With the last look's
    eta_c as the guess that is 5 or 6 forward passes. Source: Kalra et al. 2026, who bisect.

    Args:
        losses: of R runs, at theta.
        direction: d [R, P], the update divided by the learning rate.
        guess: eta [R] to begin with, > 0.
        refinements: cuts.

    Returns:
        2/eta_c and eta_c, [R] each in float64: inf and 0 where the loss rises at any step, 0 and inf where at none.

    >>> import torch
    >>> from fanin.probes.curvature.stacked_loss import Piece
    >>> bowl = Piece(outputs=lambda theta: theta.unsqueeze(1), loss=lambda out: 3 * (out**2).sum((1, 2)))
    >>> one = StackedLoss(torch.tensor([[1.0]]), [bowl])  # curvature 6
    >>> critical_sharpness(one, -one.gradient(), torch.tensor([0.1], dtype=torch.float64))[0].round(decimals=4)
    tensor([6.], dtype=torch.float64)
    """
    guess = guess.cpu().double()
    start = losses.losses().cpu().double()

    def rise(eta: Tensor) -> Tensor:
        """r(eta); positive where the loss has risen, and where it is no number."""
        there = losses.losses(losses.theta + eta.to(losses.theta).unsqueeze(-1) * direction).cpu().double()
        return ((there - start) / eta).nan_to_num(nan=torch.inf)

    eta, slope = guess.clone(), rise(guess)
    low, high = torch.zeros_like(eta), torch.full_like(eta, torch.inf)
    low_slope, high_slope = torch.full_like(eta, torch.nan), torch.full_like(eta, torch.nan)
    open_ = torch.ones_like(eta, dtype=torch.bool)
    for _ in range(FURTHEST):
        up = slope > 0
        high, high_slope = torch.where(open_ & up, eta, high), torch.where(open_ & up, slope, high_slope)
        low, low_slope = torch.where(open_ & ~up, eta, low), torch.where(open_ & ~up, slope, low_slope)
        open_ = (low == 0) | high.isinf()
        if not bool(open_.any()):
            break
        eta = torch.where(open_, torch.where(up, eta / 2, eta * 2), eta)
        slope = torch.where(open_, rise(eta), slope)
    for _ in range(refinements):
        eta = _cut(low, high, low_slope, high_slope)
        slope = rise(eta)
        up = slope > 0
        high, high_slope = torch.where(~open_ & up, eta, high), torch.where(~open_ & up, slope, high_slope)
        low, low_slope = torch.where(~open_ & ~up, eta, low), torch.where(~open_ & ~up, slope, low_slope)
    eta = _cut(low, high, low_slope, high_slope)
    eta = torch.where(open_, torch.where(low == 0, 0.0, torch.inf), eta)
    return torch.where(eta == 0, torch.inf, 2 / eta), eta


def _cut(low: Tensor, high: Tensor, low_slope: Tensor, high_slope: Tensor) -> Tensor:
    """Where a line through the ends is 0; the middle where one of them is not finite."""
    at = low + (high - low) * -low_slope / (high_slope - low_slope)
    fine = torch.isfinite(at) & (at >= low) & (at <= high)
    return torch.where(fine, at, torch.where(high.isinf() | (low == 0), torch.ones_like(low), (low + high) / 2))


def sam_sharpness(losses: StackedLoss, gradient: Tensor, rho: float) -> Tensor:
    """How much the loss rises at a step of length rho along its gradient, [R]: f(theta + rho g/|g|) - f(theta).

    To first order the largest rise within that ball. Source: Foret et al. 2021.

    >>> import torch
    >>> from fanin.probes.curvature.stacked_loss import Piece
    >>> bowl = Piece(outputs=lambda theta: theta.unsqueeze(1), loss=lambda out: (out**2).sum((1, 2)))
    >>> one = StackedLoss(torch.tensor([[3.0]], dtype=torch.float64), [bowl])
    >>> sam_sharpness(one, one.gradient(), 1.0)
    tensor([7.], dtype=torch.float64)
    """
    there = losses.losses(losses.theta + rho * unit(gradient))
    return (there - losses.losses()).cpu().double()


def alignment(gradient: Tensor, vectors: Tensor) -> Tensor:
    """The share of the squared gradient that lies in the span of eigenvectors, [R]. Source: Gur-Ari et al. 2018.

    Args:
        gradient: [R, P].
        vectors: orthonormal, [R, k, P].

    >>> import torch
    >>> alignment(torch.tensor([[3.0, 4.0]]), torch.tensor([[[1.0, 0.0]]]))
    tensor([0.3600], dtype=torch.float64)
    """
    parts = torch.bmm(vectors, gradient.unsqueeze(-1)).squeeze(-1)
    return dots(parts, parts) / dots(gradient, gradient)
