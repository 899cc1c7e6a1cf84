"""Orthonormal vectors of R runs, as an iteration finds them."""

from __future__ import annotations

import torch
from torch import Tensor

LONG = 10_000
"""Parameters from which a CPU is asked for a run at a time: a run's basis, read twice, stays in its cache."""

ENOUGH = 0.5**0.5
"""Of its length a vector must keep as its parts along the basis are taken off, or they are taken off once more."""


class Basis:
    """Room for up to m orthonormal vectors of P numbers for each of R runs.

    Args:
        most: m.
        like: [R, P], of the type and on the device of the vectors.

    Attributes:
        rows: the vectors, [R, m, P]; what has not been written means nothing.

    >>> import torch
    >>> basis = Basis(2, torch.zeros(1, 3))
    >>> basis.put(0, torch.tensor([[3.0, 0.0, 4.0]]), torch.tensor([5.0]))
    >>> basis.take_off(torch.tensor([[3.0, 1.0, 4.0]]), 1).round(decimals=4)
    tensor([[0., 1., 0.]])
    """

    def __init__(self, most: int, like: Tensor) -> None:
        runs, size = like.shape
        self.rows = torch.empty(runs, most, size, dtype=like.dtype, device=like.device)
        self._one_by_one = like.device.type == "cpu" and size >= LONG

    def put(self, at: int, vectors: Tensor, lengths: Tensor) -> None:
        """Keep vectors [R, P] of some lengths [R] as the ones at a place; 0 stays 0."""
        least = torch.finfo(self.rows.dtype).tiny
        torch.div(vectors, lengths.to(vectors).clamp(min=least).unsqueeze(-1), out=self.rows[:, at])

    def along(self, vectors: Tensor, at: int) -> Tensor:
        """Inner products [R] of vectors [R, P] with those at a place."""
        if not self._one_by_one:
            return (vectors * self.rows[:, at]).sum(-1)
        return torch.stack([torch.dot(one, own) for one, own in zip(vectors, self.rows[:, at], strict=True)])

    def take_off(self, vectors: Tensor, count: int, run: int | None = None) -> Tensor:
        """Vectors [R, P], changed, without their parts along the first `count`; [1, P] where they are of one run.

        Again where less than $sqrt(1/2)$ of a length is left, for then rounding may have left parts (Daniel et al.
        1976; "twice is enough", Kahan).
        """
        rows = self.rows[:, :count] if run is None else self.rows[run : run + 1, :count]
        if not self._one_by_one:
            self._take_off(vectors, rows)
            return vectors
        for one, own in zip(vectors, rows, strict=True):
            self._take_off(one[None], own[None])
        return vectors

    def combined(self, weights: Tensor) -> Tensor:
        """Sums [R, k, P] of the first n vectors with weights [R, k, n]."""
        return torch.bmm(weights.to(self.rows), self.rows[:, : weights.shape[-1]])

    def _take_off(self, vectors: Tensor, rows: Tensor) -> None:
        before = torch.linalg.vector_norm(vectors, dim=-1)
        for _ in range(2):
            if len(rows) == 1:
                parts = torch.mv(rows[0], vectors[0])
                vectors[0].addmv_(rows[0].mT, parts, alpha=-1)
            else:
                parts = torch.bmm(rows, vectors.unsqueeze(-1)).mT
                vectors -= torch.bmm(parts, rows).squeeze(1)
            after = torch.linalg.vector_norm(vectors, dim=-1)
            if bool((after >= ENOUGH * before).all()):
                return
            before = after
