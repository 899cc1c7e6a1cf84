"""The ends of the spectra of R runs, whatever their size: of small matrices whole, of others by Lanczos iteration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fanin.probes.curvature.deflation import completed
from fanin.probes.curvature.lanczos import lanczos
from fanin.probes.curvature.operators import Operator, unit

SMALL = 32
"""Parameters up to which a matrix is made whole in any case: all its eigenvalues are known, and a saddle's index.

So it is where all of them are asked for."""

STIR = 0.1
"""Of a random direction that an earlier eigenvector starts with: another may have become the largest since."""


@dataclass(frozen=True)
class Ends:
    """Ends of the spectra of R runs.

    Args:
        largest, smallest: [R, k] in float64, from the outermost inwards.
        top: eigenvectors of the largest, [R, k, P].
        vectors: where the next look begins, [R, P].
        every: all eigenvalues, rising, [R, P]; None where they are not known.
        converged: whether all of them, of every run that is finite, met the tolerance.
    """

    largest: Tensor
    smallest: Tensor
    top: Tensor
    vectors: Tensor
    every: Tensor | None
    converged: bool = True


def ends_of(
    operator: Operator,
    k: int,
    *,
    low: bool,
    tolerance: float,
    most: int,
    started: Sequence[Tensor | None],
    generators: list[torch.Generator],
) -> Ends:
    """The k largest eigenvalues of R matrices and, with `low`, the k smallest, to a relative tolerance.

    Args:
        operator: R matrices.
        k: how many of each end, at most P of them.
        low: whether the smallest are to converge as well.
        tolerance: relative, of `lanczos`.
        most: products at most, of each iteration; more than one of each end takes two or more, see `completed`.
        started: what an earlier look says is near them, `Ends.vectors` of each run [P], or None.
        generators: one per run, of the CPU.

    >>> import torch
    >>> a = torch.diag(torch.tensor([4.0, -1.0]))
    >>> found = ends_of(Operator(lambda v: v @ a, torch.zeros(1, 2)), 1, low=True, tolerance=0.01, most=9,
    ...                 started=[None], generators=[torch.Generator()])
    >>> found.largest, found.smallest
    (tensor([[4.]], dtype=torch.float64), tensor([[-1.]], dtype=torch.float64))
    """
    k = min(k, operator.size)
    if operator.size <= SMALL or k == operator.size <= most:  # as many products, and no iteration to look into
        return _whole(operator, k)
    drawn = torch.stack([torch.randn(operator.size, generator=one) for one in generators]).to(operator.like)
    start = unit(drawn)
    known = torch.zeros_like(start)
    for run, one in enumerate(started):
        if one is not None and bool(torch.isfinite(one).all()):  # not of a look at a network that had broken
            known[run] = one.to(start)
    found = lanczos(
        operator, warm_start(known, start), k=k, low=low, tolerance=tolerance, most=most, generators=generators
    )
    if k > 1:
        found = completed(operator, found, low=low, tolerance=tolerance, most=most, generators=generators)
    vectors = unit(found.vectors[:, 0] + (found.low_vectors[:, 0] if low else 0.0))
    converged = all(found.converged) or not bool(torch.isfinite(found.largest).any())
    return Ends(found.largest, found.smallest, found.vectors, vectors, None, converged)


def warm_start(known: Tensor, drawn: Tensor) -> Tensor:
    """Where an iteration begins, [R, P]: at an earlier vector, stirred with a drawn one, or at that where it is 0.

    Args:
        known, drawn: of length 1, or 0, [R, P].

    >>> import torch
    >>> warm_start(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])).round(decimals=3)
    tensor([[0.9950, 0.1000],
            [0.0000, 1.0000]])
    """
    return unit(unit(known) + STIR * drawn)


def _whole(operator: Operator, k: int) -> Ends:
    """Of matrices that are small enough to be made whole."""
    dense = operator.dense().double().cpu()
    dense = 0.5 * (dense + dense.mT)
    bad = ~torch.isfinite(dense).all(-1).all(-1)
    dense[bad] = 0.0
    values, vectors = torch.linalg.eigh(dense)
    values[bad] = torch.nan
    top = vectors.mT.flip(1)[:, :k].to(operator.like)
    return Ends(values.flip(-1)[:, :k], values[:, :k], top, unit(top[:, 0]), values)
