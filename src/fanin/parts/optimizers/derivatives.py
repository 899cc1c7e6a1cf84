"""Derivatives of tensors by parameters, as flat vectors and matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]
"""A matrix A [P, P] by its products: v [P] -> A v, and k vectors at once, [k, P] -> [k, P].

It holds the graph of a forward pass: good as long as theta stays where it is."""


def derivative(of: Tensor, by: Sequence[Tensor], along: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
    """along^T (d of / d by), flat; 0 where `of` does not depend on a tensor of `by`.

    Args:
        of: what to differentiate, of any shape.
        by: n entries in all.
        along: of the shape of `of`, or [k, *of.shape] for k derivatives at once; None: 1, for a scalar `of`.
        create_graph: whether the result can be differentiated again.

    Returns:
        [n], or [k, n].

    >>> import torch
    >>> x = torch.tensor([3.0, 5.0], requires_grad=True)
    >>> derivative((x**2).sum(), [x])
    tensor([ 6., 10.])
    """
    many = along is not None and along.ndim > of.ndim
    lead = along.shape[:1] if along is not None and many else ()
    parts: Sequence[Tensor | None] = [None] * len(by)
    if of.requires_grad:
        parts = torch.autograd.grad(
            of, by, along, retain_graph=True, create_graph=create_graph, allow_unused=True, is_grads_batched=many
        )
    flat = [
        x.new_zeros(*lead, x.numel()) if part is None else part.flatten(int(many))
        for part, x in zip(parts, by, strict=True)
    ]
    return torch.cat(flat, -1)


def dense(product: Product, like: Tensor, at_once: int = 64) -> Tensor:
    """The matrix [P, P] of a symmetric product, row by row, some rows at once; `like` is a vector [P].

    >>> import torch
    >>> dense(lambda v: 2 * v, torch.zeros(2))
    tensor([[2., 0.],
            [0., 2.]])
    """
    rows = torch.eye(len(like), dtype=like.dtype, device=like.device)
    return torch.cat([product(some) for some in torch.split(rows, at_once)])
