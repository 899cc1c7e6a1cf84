"""Symmetric matrices of R runs, known by their products alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Operator:
    """R symmetric matrices A [P, P], by what they make of vectors: those of all runs at once.

    Args:
        product: vectors [R, P], one for each run -> their products [R, P].
        like: [R, P], of the type and on the device of the vectors.
        narrowed: makes what `only` hands out, where that is less work.

    Attributes:
        runs, size: R and P.
        count: products so far.

    >>> import torch
    >>> double = Operator(lambda v: 2 * v, torch.zeros(1, 3))
    >>> double.matvec(torch.ones(3)), double.count
    (tensor([2., 2., 2.]), 1)
    """

    def __init__(
        self,
        product: Callable[[Tensor], Tensor],
        like: Tensor,
        narrowed: Callable[[Sequence[int]], Operator] | None = None,
    ) -> None:
        self._product, self.like, self._narrowed = product, like, narrowed
        self.runs, self.size = like.shape
        self.count = 0

    def matvec(self, vectors: Tensor) -> Tensor:
        """A v for each run: [R, P] of [R, P], or [P] of [P] for a single run."""
        self.count += 1
        return self._product(vectors.view(self.runs, self.size)).view_as(vectors)

    def block(self, start: int, stop: int) -> Operator:
        """The diagonal block of some coordinates, as that of a layer: A[start:stop, start:stop].

        >>> import torch
        >>> a = torch.tensor([[1.0, 2.0], [2.0, 5.0]])
        >>> Operator(lambda v: v @ a, torch.zeros(1, 2)).block(1, 2).matvec(torch.ones(1))
        tensor([5.])
        """

        def product(vectors: Tensor) -> Tensor:
            whole = torch.zeros_like(self.like)
            whole[:, start:stop] = vectors
            return self.matvec(whole)[:, start:stop]

        return Operator(product, self.like[:, start:stop], lambda runs: self.only(runs).block(start, stop))

    def only(self, runs: Sequence[int]) -> Operator:
        """The matrices of some runs.

        >>> import torch
        >>> scales = torch.tensor([[2.0], [3.0], [4.0]])
        >>> Operator(lambda v: scales * v, torch.zeros(3, 1)).only([2, 0]).matvec(torch.ones(2, 1))
        tensor([[4.],
                [2.]])
        """
        chosen = list(runs)
        if self._narrowed is not None:
            return self._narrowed(chosen)

        def product(vectors: Tensor) -> Tensor:
            whole = torch.zeros_like(self.like)
            whole[chosen] = vectors
            return self.matvec(whole)[chosen]

        return Operator(product, self.like[chosen])

    def dense(self) -> Tensor:
        """The matrices themselves, [R, P, P], by P products: for a few hundred parameters.

        >>> import torch
        >>> Operator(lambda v: 3 * v, torch.zeros(1, 2)).dense()
        tensor([[[3., 0.],
                 [0., 3.]]])
        """
        rows = torch.eye(self.size, dtype=self.like.dtype, device=self.like.device)
        return torch.stack([self.matvec(row.expand(self.runs, -1)) for row in rows], dim=1)


def dots(one: Tensor, other: Tensor) -> Tensor:
    """Inner products of vectors [..., P] in float64, [...]; the sum itself is taken in the vectors' type.

    >>> import torch
    >>> dots(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([11.], dtype=torch.float64)
    """
    return (one * other).sum(-1).cpu().double()


def unit(vectors: Tensor) -> Tensor:
    """Vectors [R, P] of length 1 in the same directions; 0 stays 0.

    >>> import torch
    >>> unit(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / lengths.clamp(min=torch.finfo(vectors.dtype).tiny)
