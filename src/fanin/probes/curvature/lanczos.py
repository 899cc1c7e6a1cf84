"""The ends of spectra by Lanczos iteration, for R matrices in step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fanin.probes.curvature.basis import Basis
from fanin.probes.curvature.operators import Operator, unit

LEAST = 4
"""Products before an iteration may end: a start that is an eigenvector, of another eigenvalue, would end at once."""

SPARED = 2 / 3
"""Of the runs in a product, on a CPU: where as few are left the others are left out, which one product repays."""


@dataclass(frozen=True)
class Spectrum:
    """Ends of the spectra of R matrices.

    Args:
        largest: the k largest eigenvalues, falling, [R, k] in float64 on the CPU; nan where there are fewer.
        smallest: the k smallest, rising, [R, k].
        vectors: of the largest, [R, k, P].
        low_vectors: of the smallest, [R, k, P]; [R, 0, P] where they were not to converge.
        products: taken for each run.
        converged: whether every eigenvalue that was asked for met the tolerance, of each run.
    """

    largest: Tensor
    smallest: Tensor
    vectors: Tensor
    low_vectors: Tensor
    products: list[int]
    converged: list[bool]


@dataclass(frozen=True)
class Tridiagonal:
    """Q^T A Q of R runs: alpha [R, m] on the diagonal, beta [R, m] below it, the last one beyond the matrix."""

    alpha: Tensor
    beta: Tensor


class Iteration:
    """Lanczos iteration with full reorthogonalization, a product at a time. Source: Lanczos 1950; Parlett 1980.

    Where a run's vectors span an invariant subspace it goes on with a random one, so that equal eigenvalues are all
    found, and none is missed for a start that has no part in its eigenvector.

    Args:
        operator: R matrices.
        start: [R, P]; 0 for a random one.
        most: products at most.
        generators: one per run, of the CPU.

    Attributes:
        runs: those that are worked on; of the others what is found from then on is 0.
    """

    def __init__(
        self, operator: Operator, start: Tensor, most: int, generators: list[torch.Generator] | None = None
    ) -> None:
        self.operator, self.most = operator, min(most, operator.size)
        self.runs = list(range(operator.runs))
        self.generators = generators or [torch.Generator().manual_seed(0) for _ in self.runs]
        self.alpha: list[Tensor] = []
        self.beta: list[Tensor] = []
        self._product = operator
        self._basis = Basis(self.most, start)
        lengths = torch.linalg.vector_norm(start, dim=-1)
        self._basis.put(0, start, lengths, self.runs)
        self._fill_in(0, (lengths == 0).cpu())

    @property
    def done(self) -> int:
        """Products so far."""
        return len(self.alpha)

    def narrow(self, runs: Sequence[int]) -> None:
        """Go on with some of the runs that are worked on; what has been found of the others stays."""
        self.runs = list(runs)
        self._product = self.operator.only(self.runs)

    def step(self) -> None:
        """One product, one more row of the tridiagonal matrices."""
        j, runs = self.done, self.runs
        q = self._of_runs(self._basis.at(j))
        w = self._product.matvec(q)
        if w.data_ptr() == q.data_ptr():  # of a product that hands on what it is given
            w = w.clone()
        alpha = self._basis.along(w, j, runs)
        w.addcmul_(q, alpha.unsqueeze(-1), value=-1)
        if j:
            last = self._of_runs(self.beta[-1]).to(w)
            w.addcmul_(self._of_runs(self._basis.at(j - 1)), last.unsqueeze(-1), value=-1)
        w = self._basis.take_off(w, j + 1, runs)
        lengths = torch.linalg.vector_norm(w, dim=-1)
        beta = lengths.cpu().double()
        self.alpha.append(self._for_all(alpha))
        scale = self._of_runs(torch.stack([*self.alpha, *self.beta]).abs().amax(0))
        spent = beta <= 30 * torch.finfo(w.dtype).eps * scale
        self.beta.append(self._for_all(torch.where(spent, 0.0, beta)))
        if j + 1 < self.most:
            self._basis.put(j + 1, w, lengths, runs)
            self._fill_in(j + 1, spent)

    def matrices(self) -> Tridiagonal:
        """What has been found so far."""
        return Tridiagonal(torch.stack(self.alpha, 1), torch.stack(self.beta, 1))

    def ritz(self) -> tuple[Tensor, Tensor]:
        """Ritz values, rising, [R, m], and the tridiagonal matrices' eigenvectors, in columns: [R, m, m]."""
        made = self.matrices()
        t = torch.diag_embed(made.alpha) + torch.diag_embed(made.beta[:, :-1], -1)
        if not bool(torch.isfinite(t).all()):
            bad = ~torch.isfinite(t).all(-1).all(-1)
            t[bad] = 0.0
            values, vectors = torch.linalg.eigh(t)
            values[bad] = torch.nan
            return values, vectors
        found: tuple[Tensor, Tensor] = torch.linalg.eigh(t)
        return found

    def combined(self, weights: Tensor) -> Tensor:
        """Vectors [R, k, P] from their coefficients in what has been found, [R, k, m]."""
        return self._basis.combined(weights)

    def _of_runs(self, rows: Tensor) -> Tensor:
        """Those of the runs that are worked on."""
        return rows if len(self.runs) == len(rows) else rows[self.runs]

    def _for_all(self, values: Tensor) -> Tensor:
        """Values [R] in float64 on the CPU, of those of the runs that are worked on; 0 for the others."""
        every = torch.zeros(self.operator.runs, dtype=torch.float64)
        every[self.runs] = values.cpu().double()
        return every

    def _fill_in(self, place: int, which: Tensor) -> None:
        """Random unit vectors of some of the runs, orthogonal to the first ones; the others draw nothing."""
        for run in (self.runs[at] for at in which.nonzero().flatten().tolist()):
            drawn = torch.randn(self.operator.size, generator=self.generators[run]).to(self.operator.like)[None]
            self._basis.at(place)[run] = unit(self._basis.take_off(unit(drawn), place, [run]))[0]


def lanczos(
    operator: Operator,
    start: Tensor,
    *,
    k: int = 1,
    low: bool = False,
    tolerance: float = 0.01,
    most: int = 100,
    generators: list[torch.Generator] | None = None,
) -> Spectrum:
    """The k largest eigenvalues of R matrices with their eigenvectors and, with `low`, the k smallest.

    A Ritz value theta with the residual norm r errs by at most r, and by about r^2/gap where the next Ritz value is
    further off than that. A run has converged where, twice running, the smaller of the two is at most
    tolerance * |theta|, or a tenth of that of the largest Ritz value in size. What it found at that product stays its
    own, whatever the others still need.

    Args:
        operator: R matrices.
        start: [R, P]: an earlier eigenvector, or a random one.
        k: how many of each end.
        low: whether the smallest are to converge as well.
        tolerance: relative.
        most: products at most.
        generators: of random vectors, one per run.

    Source: Lanczos 1950; the bounds: Parlett 1980, chapters 11 and 13.

    >>> import torch
    >>> a = torch.diag(torch.arange(1.0, 9.0))
    >>> found = lanczos(Operator(lambda v: v @ a, torch.zeros(1, 8)), torch.ones(1, 8), k=2, tolerance=1e-6)
    >>> found.largest.round(decimals=3)
    tensor([[8., 7.]], dtype=torch.float64)
    """
    going = Iteration(operator, start, most, generators)
    runs, k = operator.runs, min(k, operator.size)
    ended: dict[int, tuple[int, Tensor, Tensor, bool]] = {}  # at which product, Ritz values, their vectors, converged
    before = torch.zeros(runs, dtype=torch.bool)
    while len(ended) < runs:
        going.step()
        values, vectors = going.ritz()
        errors = _errors(values, vectors, going.beta[-1], k, low)
        met = (errors <= tolerance).all(-1) if going.done >= k else torch.zeros(runs, dtype=torch.bool)
        last, broken = going.done == going.most, ~torch.isfinite(values).all(-1)
        whole = going.done == operator.size
        for run in set(range(runs)) - ended.keys():
            settled = bool(met[run] and before[run]) and going.done >= LEAST
            if settled or last or bool(broken[run]):
                fine = (settled or bool(whole)) and not bool(broken[run])
                ended[run] = going.done, values[run], vectors[run], fine
        before = met
        left = [run for run in going.runs if run not in ended]
        if left and len(left) <= SPARED * len(going.runs) and operator.like.device.type == "cpu":
            going.narrow(left)
    count = going.done
    largest, smallest = torch.full((2, runs, k), torch.nan, dtype=torch.float64)
    high, lower = torch.zeros(2, runs, k, count, dtype=torch.float64)
    for run, (at, found, inner, _) in ended.items():
        there = min(k, at)
        largest[run, :there], smallest[run, :there] = found.flip(-1)[:there], found[:there]
        high[run, :there, :at], lower[run, :there, :at] = inner.mT.flip(0)[:there], inner.mT[:there]
    tops, bottoms = going.combined(high), going.combined(lower if low else lower[:, :0])
    results = [ended[run] for run in range(runs)]
    return Spectrum(largest, smallest, tops, bottoms, [one[0] for one in results], [one[3] for one in results])


def _errors(values: Tensor, vectors: Tensor, beta: Tensor, k: int, low: bool) -> Tensor:
    """Bounds on the relative errors of the Ritz values that are wanted, [R, k or 2 k]."""
    residuals = (beta.unsqueeze(-1) * vectors[:, -1].abs()).nan_to_num(torch.inf)
    gaps = torch.full_like(values, torch.inf)
    if values.shape[-1] > 1:
        between = values.diff(dim=-1)
        gaps[:, 1:], gaps[:, :-1] = between, torch.minimum(gaps[:, :-1], between)
        gaps[:, 1:-1] = torch.minimum(between[:, :-1], between[:, 1:])
    errors = torch.where(gaps > residuals, residuals.square() / gaps, residuals)
    scale = torch.maximum(values.abs(), 0.1 * values.abs().amax(-1, keepdim=True))
    errors = torch.where(residuals == 0, 0.0, errors / scale)
    wanted = [errors[:, -k:], *([errors[:, :k]] if low else [])]
    return torch.cat(wanted, -1)
