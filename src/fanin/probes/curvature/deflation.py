"""Eigenvalues that a Lanczos iteration has passed over."""

from __future__ import annotations

import torch
from torch import Tensor

from fanin.probes.curvature.lanczos import Spectrum, lanczos
from fanin.probes.curvature.operators import Operator, unit


def completed(
    operator: Operator, found: Spectrum, *, low: bool, tolerance: float, most: int, generators: list[torch.Generator]
) -> Spectrum:
    """The ends of spectra with what the iteration from one vector has passed over.

    Of eigenvalues that lie close together an iteration finds one well before the next, and may end between the two.
    With V [P, n] the vectors that were found, the rest of the spectrum is that of
    $(1 - V V^T) A (1 - V V^T) + c V V^T$, c between both ends; where a new iteration with it, from a random vector,
    finds more than the k-th largest, or less than the k-th smallest, that is put in its place, and so on until there is
    nothing further that differs by more than the tolerance. Source: Parlett 1980, chapter 5 (deflation).

    Args:
        operator: R matrices.
        found: of `lanczos`.
        low: whether the smallest were to converge as well.
        tolerance: relative, of `lanczos`.
        most: products of each iteration at most.
        generators: one per run, of the CPU.

    >>> import torch
    >>> a = torch.diag(torch.tensor([5.0, 5.0, 1.0, 0.0, 0.0], dtype=torch.float64))
    >>> v = torch.eye(5, dtype=torch.float64)[None, [0, 2]]  # the second 5 has been passed over
    >>> of = Spectrum(torch.tensor([[5.0, 1.0]]).double(), torch.zeros(1, 2), v, v[:, :0], [4], [True])
    >>> completed(Operator(lambda u: u @ a, torch.zeros(1, 5, dtype=torch.float64)), of, low=False, tolerance=0.01,
    ...           most=4, generators=[torch.Generator()]).largest
    tensor([[5., 5.]], dtype=torch.float64)
    """
    k = found.largest.shape[1]
    fine = torch.tensor(found.converged) & (torch.tensor(found.products) >= 2 * k)
    for _ in range(2 * k if bool(fine.any()) and 2 * k < operator.size else 0):
        known = torch.cat([found.vectors, found.low_vectors], 1) * fine.to(operator.like)[:, None, None]
        start = torch.stack([torch.randn(operator.size, generator=one) for one in generators]).to(operator.like)
        middle = (0.5 * (found.largest[:, -1:] + found.smallest[:, -1:])).to(operator.like)
        rest = lanczos(
            _deflated(operator, known, middle), _without(known, start), low=low, tolerance=tolerance, most=most,
            generators=generators,
        )  # fmt: skip
        products = [one + more for one, more in zip(found.products, rest.products, strict=True)]
        slack = tolerance * torch.maximum(found.largest[:, 0].abs(), found.smallest[:, 0].abs())
        above = fine & (rest.largest[:, 0] > found.largest[:, -1] + slack)
        below = fine & (rest.smallest[:, 0] < found.smallest[:, -1] - slack) & low
        largest, vectors = _put_in(found.largest, found.vectors, rest.largest, rest.vectors, above, falling=True)
        smallest, low_vectors = _put_in(found.smallest, found.low_vectors, rest.smallest, rest.low_vectors, below)
        found = Spectrum(largest, smallest, vectors, low_vectors, products, found.converged)
        if not bool((above | below).any()):
            break
    return found


def _without(known: Tensor, vectors: Tensor) -> Tensor:
    """Vectors [R, P] without their parts along orthonormal ones [R, n, P]."""
    for _ in range(2):
        vectors = vectors - torch.bmm(torch.bmm(known, vectors.unsqueeze(-1)).mT, known).squeeze(1)
    return vectors


def _deflated(operator: Operator, known: Tensor, middle: Tensor) -> Operator:
    def product(vectors: Tensor) -> Tensor:
        rest = _without(known, vectors)
        return _without(known, operator.matvec(rest)) + middle * (vectors - rest)

    return Operator(
        product, operator.like, lambda runs: _deflated(operator.only(runs), known[list(runs)], middle[list(runs)])
    )


def _put_in(
    values: Tensor, vectors: Tensor, value: Tensor, vector: Tensor, where: Tensor, *, falling: bool = False
) -> tuple[Tensor, Tensor]:
    """Values [R, k] and vectors [R, k, P] with one more in order, the innermost left out, of some runs."""
    values, vectors = values.clone(), vectors.clone()
    for run in where.nonzero().flatten().tolist():
        every = torch.cat([values[run], value[run]])
        order = every.argsort(descending=falling, stable=True)[: values.shape[1]]
        values[run] = every[order]
        vectors[run] = unit(torch.cat([vectors[run], vector[run]])[order])
    return values, vectors
