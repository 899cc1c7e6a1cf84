"""Orthonormal vectors of R runs, as an iteration finds them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LONG = 10_000
"""Parameters from which a CPU is asked for a run at a time: a run's basis, read twice, stays in its cache."""

ENOUGH = 0.5**0.5
"""Of its length a vector must keep as its parts along the basis are taken off, or they are taken off once more."""

FIRST = 8
"""Vectors that there is room for at first. Room for all would be gigabytes, cleared anew by the system at each look."""


class Basis:
    """Up to m orthonormal vectors of P numbers for each of R runs; room for as many again is made as they come.

    Args:
        most: m.
        like: [R, P], of the type and on the device of the vectors.

    >>> import torch
    >>> basis = Basis(2, torch.zeros(1, 3))
    >>> basis.put(0, torch.tensor([[3.0, 0.0, 4.0]]), torch.tensor([5.0]), [0])
    >>> basis.take_off(torch.tensor([[3.0, 1.0, 4.0]]), 1, [0]).round(decimals=4)
    tensor([[0., 1., 0.]])
    """

    def __init__(self, most: int, like: Tensor) -> None:
        self._most, self._like = most, like
        self._parts: list[Tensor] = []  # [R, some, P] each, one after the other
        self._one_by_one = like.device.type == "cpu" and like.shape[1] >= LONG

    def at(self, place: int) -> Tensor:
        """The vectors at a place, [R, P]."""
        for part in self._parts:
            if place < part.shape[1]:
                return part[:, place]
            place -= part.shape[1]
        room = sum(part.shape[1] for part in self._parts)
        runs, size = self._like.shape
        self._parts.append(self._like.new_empty(runs, min(room or FIRST, self._most - room), size))
        return self.at(room + place)

    def put(self, place: int, vectors: Tensor, lengths: Tensor, runs: Sequence[int]) -> None:
        """Keep vectors [n, P] of n runs and of some lengths [n] as the ones at a place; 0 stays 0."""
        lengths = lengths.to(vectors).clamp(min=torch.finfo(vectors.dtype).tiny)
        rows = self.at(place)
        if len(runs) == len(rows):
            torch.div(vectors, lengths.unsqueeze(-1), out=rows)
            return
        for run, one, length in zip(runs, vectors, lengths, strict=True):
            torch.div(one, length, out=rows[run])
        for run in set(range(len(rows))).difference(runs):
            rows[run].zero_()  # what memory happens to hold may be no number, and 0 times that is none either

    def along(self, vectors: Tensor, place: int, runs: Sequence[int]) -> Tensor:
        """Inner products [n] of vectors [n, P] of n runs with those at a place."""
        rows = self.at(place)
        if not self._one_by_one:
            return (vectors * _of(rows, runs)).sum(-1)
        return torch.stack([torch.dot(one, rows[run]) for run, one in zip(runs, vectors, strict=True)])

    def take_off(self, vectors: Tensor, count: int, runs: Sequence[int]) -> Tensor:
        """Vectors [n, P] of n runs, changed, without their parts along the first `count`.

        Again where less than $sqrt(1/2)$ of a length is left, for then rounding may have left parts (Daniel et al.
        1976; "twice is enough", Kahan).
        """
        if not self._one_by_one:
            self._take_off(vectors, [_of(part, runs) for part in self._first(count)])
            return vectors
        for run, one in zip(runs, vectors, strict=True):
            self._take_off(one[None], [part[run : run + 1] for part in self._first(count)])
        return vectors

    def combined(self, weights: Tensor) -> Tensor:
        """Sums [R, k, P] of the first n vectors with weights [R, k, n]."""
        parts = self._first(weights.shape[-1])
        shares = torch.split(weights.to(self._like), [part.shape[1] for part in parts], -1)
        total = torch.bmm(shares[0], parts[0])
        for share, part in zip(shares[1:], parts[1:], strict=True):
            total.baddbmm_(share, part)
        return total

    def _first(self, count: int) -> list[Tensor]:
        """The first `count` vectors, [R, some, P] each."""
        found = []
        for part in self._parts:
            if count > 0:
                found.append(part[:, :count])
            count -= part.shape[1]
        return found

    def _take_off(self, vectors: Tensor, parts: Sequence[Tensor]) -> None:
        before = torch.linalg.vector_norm(vectors, dim=-1)
        for _ in range(2):
            for rows in parts:
                if len(rows) == 1:
                    vectors[0].addmv_(rows[0].mT, torch.mv(rows[0], vectors[0]), alpha=-1)
                else:
                    vectors -= torch.bmm(torch.bmm(rows, vectors.unsqueeze(-1)).mT, rows).squeeze(1)
            after = torch.linalg.vector_norm(vectors, dim=-1)
            if bool((after >= ENOUGH * before).all()):
                return
            before = after


def _of(rows: Tensor, runs: Sequence[int]) -> Tensor:
    """The rows of some runs; themselves where they are those of all."""
    return rows if len(runs) == len(rows) else rows[list(runs)]
