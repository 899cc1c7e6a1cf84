"""The loss of R runs as a function of their parameters, [R, P] -> [R], and products with its second derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor
from torch.func import grad, jvp, vjp

from fanin.probes.curvature.operators import Operator

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Piece:
    """Some examples of the data.

    Args:
        outputs: theta [R, P] -> the networks' outputs [R, B, K]; the same draws and statistics at every call.
        loss: outputs -> their mean loss, [R].
        share: of all examples.
    """

    outputs: Function
    loss: Function
    share: float = 1.0


@dataclass
class StackedLoss:
    """f(theta) = sum over pieces of share * loss(outputs(theta)), plus the penalty: R functions of P numbers each.

    One run's numbers touch no other's, so the gradient of the sum of all is, row by row, that of each.
    A product is the gradient of $g^T v$ (Pearlmutter 1994), reverse over reverse: about two backward passes. Of one
    piece the gradient g with its graph is kept from the first product on; of several each product makes it anew, a
    piece at a time, for the memory of one.

    Args:
        theta: [R, P], where derivatives are taken.
        pieces: the data.
        penalty: theta -> what regularizers add, [R]; None for nothing.
        blocks: the coordinates of each layer, first and one past the last, by its name.
        only: makes the losses of some of the runs, at the same theta; None where there are none to be made.

    >>> import torch
    >>> bowl = Piece(outputs=lambda theta: theta.unsqueeze(1), loss=lambda out: (out**2).sum((1, 2)))
    >>> one = StackedLoss(torch.tensor([[1.0, 3.0]]), [bowl])
    >>> one.losses(), one.gradient(), one.hessian().matvec(torch.ones(1, 2))
    (tensor([10.]), tensor([[2., 6.]]), tensor([[2., 2.]]))
    """

    theta: Tensor
    pieces: Sequence[Piece]
    penalty: Function | None = None
    blocks: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    only: Callable[[Sequence[int]], StackedLoss] | None = None

    @torch.no_grad()
    def losses(self, theta: Tensor | None = None) -> Tensor:
        """f at theta [R, P], or where derivatives are taken: [R]."""
        at = self.theta if theta is None else theta
        total = torch.stack([piece.share * piece.loss(piece.outputs(at)) for piece in self.pieces]).sum(0)
        return total if self.penalty is None else total + self.penalty(at)

    def gradient(self, theta: Tensor | None = None) -> Tensor:
        """The gradient of each run's f, [R, P]."""
        at = (self.theta if theta is None else theta).detach().requires_grad_()
        with torch.enable_grad():
            found = [_slope(term(at), at) for term in self._terms()]
        return torch.stack(found).sum(0)

    def hessian(self) -> Operator:
        """H [P, P] of each run, the second derivatives of f at theta."""
        only = self.only
        narrowed = None if only is None else lambda runs: only(runs).hessian()
        if len(self.pieces) > 1:
            return Operator(self._product_by_pieces(self._terms()), self.theta, narrowed)
        at = self.theta.detach().requires_grad_()
        with torch.enable_grad():
            slopes = reduce(torch.add, [_slope(term(at), at, create_graph=True) for term in self._terms()])
        return Operator(lambda v: _pulled(slopes, at, v), self.theta, narrowed)

    def gauss_newton(self) -> Operator:
        """G = J^T H_L J + H_p of each run: J of the outputs, H_L of the loss by the outputs, H_p of the penalty.

        H without the term that has second derivatives of the network. Source: Schraudolph 2002.
        """
        terms = [self._gauss_newton_product(piece) for piece in self.pieces]
        if self.penalty is not None:
            terms.append(self._product_by_pieces([self.penalty]))
        only = self.only
        narrowed = None if only is None else lambda runs: only(runs).gauss_newton()
        return Operator(lambda v: torch.stack([term(v) for term in terms]).sum(0), self.theta, narrowed)

    def _terms(self) -> list[Function]:
        """What f is the sum of."""
        terms: list[Function] = [_term(piece) for piece in self.pieces]
        return terms if self.penalty is None else [*terms, self.penalty]

    def _product_by_pieces(self, terms: Sequence[Function]) -> Function:
        def product(v: Tensor) -> Tensor:
            total = torch.zeros_like(self.theta)
            for term in terms:
                at = self.theta.detach().requires_grad_()
                with torch.enable_grad():
                    slope = _slope(term(at), at, create_graph=True)
                total += _pulled(slope, at, v, keep=False)
            return total

        return product

    def _gauss_newton_product(self, piece: Piece) -> Function:
        def product(v: Tensor) -> Tensor:
            outputs, pushed = jvp(piece.outputs, (self.theta,), (v,))[:2]
            bent = jvp(grad(_summed(piece.loss)), (outputs,), (pushed,))[1]
            pulled: Tensor = vjp(piece.outputs, self.theta)[1](bent)[0].detach()
            return piece.share * pulled

        return product


def _term(piece: Piece) -> Function:
    return lambda theta: piece.share * piece.loss(piece.outputs(theta))


def _summed(function: Function) -> Function:
    return lambda at: function(at).sum()


def _slope(values: Tensor, by: Tensor, *, create_graph: bool = False) -> Tensor:
    """The gradient of the sum; 0 where nothing depends on it."""
    if not values.requires_grad:
        return torch.zeros_like(by)
    found = torch.autograd.grad(values.sum(), by, create_graph=create_graph, allow_unused=True)[0]
    return torch.zeros_like(by) if found is None else found


def _pulled(slopes: Tensor, by: Tensor, v: Tensor, *, keep: bool = True) -> Tensor:
    """v^T d slopes / d by; `keep` where the graph is needed again."""
    if not slopes.requires_grad:  # a loss that is linear in all of them
        return torch.zeros_like(v)
    found = torch.autograd.grad(slopes, by, v, retain_graph=keep, allow_unused=True)[0]
    return torch.zeros_like(v) if found is None else found
