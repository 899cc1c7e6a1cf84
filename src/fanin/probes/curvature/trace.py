"""The trace of a matrix, and its spectrum as a density, from products with random vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fanin.probes.curvature.lanczos import Iteration
from fanin.probes.curvature.operators import Operator, dots

Generators = Sequence[torch.Generator]


def hutchpp_trace(operator: Operator, vectors: int, generators: Generators) -> tuple[Tensor, Tensor]:
    """tr A of R matrices by Hutch++, and its standard error, [R] each in float64.

    With n = vectors // 3: Q, an orthonormal basis of A S for n random vectors S; $tr(Q^T A Q)$ is exact, and the trace
    of the rest is estimated by n random vectors g of signs, $g^T (1 - QQ^T) A (1 - QQ^T) g$, whose scatter gives the
    error. Where 3 P products or more are allowed, the trace is the sum of P exact ones. Source: Meyer et al. 2021.

    Args:
        operator: R matrices.
        vectors: products, >= 6.
        generators: one per run, of the CPU.

    >>> import torch
    >>> a = torch.diag(torch.tensor([5.0, 3.0, 1.0]))
    >>> hutchpp_trace(Operator(lambda v: v @ a, torch.zeros(1, 3)), 9, [torch.Generator()])
    (tensor([9.], dtype=torch.float64), tensor([0.], dtype=torch.float64))
    """
    n, runs, size = max(2, vectors // 3), operator.runs, operator.size
    if n >= size:
        rows = torch.eye(size, dtype=operator.like.dtype, device=operator.like.device)
        diagonal = torch.stack([dots(operator.matvec(row.expand(runs, -1)), row) for row in rows])
        return diagonal.sum(0), torch.zeros(runs, dtype=torch.float64)
    sketch = torch.stack([operator.matvec(signs(operator, generators)) for _ in range(n)], -1)
    basis = torch.linalg.qr(sketch)[0].mT  # [R, n, P]
    exact = torch.stack([dots(operator.matvec(basis[:, at]), basis[:, at]) for at in range(n)]).sum(0)
    rest = []
    for _ in range(n):
        g = signs(operator, generators)
        g = g - torch.bmm(torch.bmm(basis, g.unsqueeze(-1)).mT, basis).squeeze(1)
        rest.append(dots(operator.matvec(g), g))
    each = torch.stack(rest)
    return exact + each.mean(0), each.std(0) / n**0.5


def signs(operator: Operator, generators: Generators) -> Tensor:
    """Random vectors [R, P] of entries 1 and -1."""
    drawn = [torch.randint(2, (operator.size,), generator=one) * 2 - 1 for one in generators]
    return torch.stack(drawn).to(operator.like)


def slq_density(operator: Operator, vectors: int, steps: int, generators: Generators) -> tuple[Tensor, Tensor]:
    """The spectra of R matrices as points with weights that sum to 1: stochastic Lanczos quadrature.

    Of each random unit vector u, m Lanczos steps give the quadrature of u^T f(A) u: at the Ritz values, with the
    squares of the first entries of the tridiagonal matrix's eigenvectors as weights.
    Source: Golub & Welsch 1969; Ubaru, Chen & Saad 2017.

    Args:
        operator: R matrices.
        vectors: random ones.
        steps: m, products of each.
        generators: one per run, of the CPU.

    Returns:
        values, weights: [R, vectors * m] each, in float64 on the CPU.

    >>> import torch
    >>> a = torch.diag(torch.tensor([4.0, 1.0]))
    >>> values, weights = slq_density(Operator(lambda v: v @ a, torch.zeros(1, 2)), 1, 2, [torch.Generator()])
    >>> values.round(decimals=4), weights
    (tensor([[1., 4.]], dtype=torch.float64), tensor([[0.5000, 0.5000]], dtype=torch.float64))
    """
    found = []
    for _ in range(vectors):
        going = Iteration(operator, signs(operator, generators), steps, list(generators))
        while going.done < going.most:
            going.step()
        values, inner = going.ritz()
        found.append((values, inner[:, 0].square() / vectors))
    return torch.cat([one for one, _ in found], -1), torch.cat([one for _, one in found], -1)


def smoothed(values: Tensor, weights: Tensor, grid: Tensor) -> Tensor:
    """A density on a grid: a normal curve of one grid step's width around each point, of its weight.

    Args:
        values, weights: of one run, [n] each.
        grid: [bins], evenly spaced.

    >>> import torch
    >>> grid = torch.linspace(-1.0, 1.0, 201, dtype=torch.float64)
    >>> curve = smoothed(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64), grid)
    >>> torch.trapezoid(curve, grid).round(decimals=6)
    tensor(1., dtype=torch.float64)
    """
    width = grid[1] - grid[0]
    away = (grid.unsqueeze(-1) - values) / width
    curves = torch.exp(-0.5 * away.square()) / (width * (2 * torch.pi) ** 0.5)
    curve: Tensor = (curves * weights).sum(-1)
    return curve


@dataclass(frozen=True)
class Density:
    """The spectrum of one run as a curve, and what is told by the points that it is made of.

    Args:
        at: eigenvalues, evenly spaced, [bins].
        curve: the density there, [bins]; its integral is 1.
        negative_share: of the eigenvalues.
        condition: the largest over the smallest positive point; nan where none is positive.
    """

    at: Tensor
    curve: Tensor
    negative_share: float
    condition: float


def density_of(values: Tensor, weights: Tensor, bins: int, tolerance: float) -> Density:
    """From the points of `slq_density` of one run, [n] each.

    Args:
        values, weights: the points.
        bins: of the curve.
        tolerance: what is smaller than this share of the largest in size counts as 0.

    >>> import torch
    >>> found = density_of(torch.tensor([-1.0, 2.0, 8.0]), torch.tensor([0.25, 0.5, 0.25]), 50, 0.01)
    >>> found.negative_share, found.condition
    (0.25, 4.0)
    """
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.5 * abs(high) or 0.5
    grid = torch.linspace(low - margin, high + margin, bins, dtype=torch.float64)
    bound = tolerance * max(abs(low), abs(high))
    share = float(weights[values < -bound].sum()) if math.isfinite(low) else math.nan
    positive = values[values > bound]
    condition = high / float(positive.min()) if len(positive) else math.nan
    return Density(grid, smoothed(values, weights, grid), share, condition)
