"""The laws that parameters are drawn from, and what a sample has to say to each: p values, exact where they can be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["normal", "uniform", "truncated_normal", "orthogonal", "constant"]
Floats = NDArray[np.float64]

FEWEST = 8
"""Entries from which a variance is tested where its law is known by a series only."""

MOST = 2**17
"""Entries of which the whole distribution is looked at; larger parameters are thinned."""

NODES = 400


@dataclass(frozen=True)
class Law:
    """One law of the entries of a parameter.

    Args:
        name: as it was declared.
        kind: normal N(mean, scale^2); uniform U(mean - scale, mean + scale); truncated_normal, N(mean, scale^2) between
            low and high; orthogonal, scale times a matrix with orthonormal rows or columns; constant, all `mean`.
        scale: see `kind`.
        mean: of a symmetric law.
        low, high: where a truncated normal is cut off.

    >>> Law("xavier", "uniform", 0.3).std
    0.17320508075688773
    """

    name: str
    kind: Kind
    scale: float = 0.0
    mean: float = 0.0
    low: float = -math.inf
    high: float = math.inf

    @property
    def drawn(self) -> bool:
        """Whether entries are independent draws."""
        return self.kind in ("normal", "uniform", "truncated_normal")

    @property
    def distribution(self) -> Any:
        """That of scipy.stats."""
        return _distribution(self.kind, self.scale, self.mean, self.low, self.high)

    @property
    def std(self) -> float:
        """Of one entry."""
        if self.kind == "uniform":
            return self.scale / math.sqrt(3)
        if self.kind == "normal":  # without scipy, whose import takes longer than a look at a small model
            return self.scale
        return float(self.distribution.std()) if self.drawn else 0.0


@lru_cache(maxsize=256)
def _distribution(kind: Kind, scale: float, mean: float, low: float, high: float) -> Any:
    from scipy import stats

    if kind == "normal":
        return stats.norm(mean, scale)
    if kind == "uniform":
        return stats.uniform(mean - scale, 2 * scale)
    return stats.truncnorm((low - mean) / scale, (high - mean) / scale, mean, scale)


def p_values(entries: Floats, law: Law, rounding: float) -> dict[str, float]:
    """How improbable a sample is under a law of independent draws, by four tests; 0 where it is impossible.

    mean: sqrt(n) (mean - mu) / sigma ~ N(0, 1), exact for normal draws; bounded ones have lighter tails.
    variance: sum (w - mu)^2 / sigma^2 ~ chi^2_n, exact for normal draws; for bounded ones by the saddlepoint of
    Lugannani & Rice 1980, whose relative error is 1/n in the tails, too.
    tails: P(max |w - mu| <= m) = F(m)^n, exact; too small for any law, too large for a normal one; and nothing lies
    beyond a bound.
    shape: Kolmogorov & Smirnov's distance to the law's distribution function, exact.

    Args:
        entries: [n].
        law: `drawn`.
        rounding: relative error of an entry.

    >>> sample = np.random.default_rng(0).uniform(-1, 1, 1000)
    >>> min(p_values(sample, Law("uniform", "uniform", 1.0), 1e-7).values()) > 0.001
    True
    >>> p_values(sample, Law("normal", "normal", 3**-0.5), 1e-7)["tails"] < 1e-6
    True
    """
    from scipy import special, stats

    n, centre, sigma = len(entries), law.distribution.mean(), law.std
    deviations = (entries - centre) / sigma
    found = {"mean": 2 * float(stats.norm.sf(abs(deviations.mean()) * math.sqrt(n)))}
    square = float(np.square(deviations).mean())
    if law.kind == "normal":
        found["variance"] = 2 * float(
            min(special.gammainc(n / 2, n * square / 2), special.gammaincc(n / 2, n * square / 2))
        )
    elif n >= FEWEST:
        found["variance"] = saddlepoint(square, n, *_squares(law))
    found["tails"] = _tails(entries, law, centre, rounding)
    if rounding < 1e-4:  # bfloat16 has 256 numbers an octave: a distribution of steps
        thinned = np.sort(entries[:: max(1, n // MOST)])
        steps, below = np.arange(len(thinned) + 1) / len(thinned), law.distribution.cdf(thinned)
        distance = float(max((steps[1:] - below).max(), (below - steps[:-1]).max()))
        found["shape"] = float(stats.kstwo.sf(distance, len(thinned)))
    return {name: min(1.0, value) for name, value in found.items()}


def _tails(entries: Floats, law: Law, centre: float, rounding: float) -> float:
    lowest, highest = law.distribution.support()
    slack = rounding * max(abs(one) for one in (lowest, highest, centre) if math.isfinite(one))
    if entries.min() < lowest - slack or entries.max() > highest + slack:
        return 0.0
    largest = float(np.abs(entries - centre).max())
    outside = float(law.distribution.cdf(centre - largest) + law.distribution.sf(centre + largest))
    log_p = len(entries) * math.log1p(-outside) if outside < 1 else -math.inf
    below = math.exp(log_p)
    return 2 * min(below, -math.expm1(log_p)) if math.isinf(highest) else below


@lru_cache(maxsize=256)
def _squares(law: Law) -> tuple[Floats, Floats]:
    """Squares of standardized draws at the nodes of a quadrature, and the weights."""
    lowest, highest = law.distribution.support()
    centre, sigma = law.distribution.mean(), law.std
    reach = 40 * sigma
    lowest, highest = max(lowest, centre - reach), min(highest, centre + reach)
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    places = (highest + lowest) / 2 + nodes * (highest - lowest) / 2
    density = law.distribution.pdf(places) * weights
    return np.square((places - centre) / sigma), density / density.sum()


def saddlepoint(mean: float, n: int, values: Floats, weights: Floats) -> float:
    """Two-sided p value of a mean of n independent draws of a bounded law.

    K(t) = ln E exp(t x); with K'(t) = mean: P = 1 - Phi(w) + phi(w) (1/u - 1/w), w = sign(t) sqrt(2 n (t mean - K)),
    u = t sqrt(n K'').

    Args:
        mean: of the sample.
        n: its size.
        values, weights: of the law, at the nodes of a quadrature.
    """
    from scipy import optimize, stats

    def tilted(t: float) -> tuple[float, Floats]:
        exponents = t * values
        top = exponents.max()
        mass = weights * np.exp(exponents - top)
        return float(top + math.log(mass.sum())), mass / mass.sum()

    def slope(t: float) -> float:
        return float(tilted(t)[1] @ values) - mean

    if slope(-200.0) > 0 or slope(200.0) < 0:  # far beyond anything that n draws give
        t = -200.0 if slope(-200.0) > 0 else 200.0
        return math.exp(-n * max(0.0, t * mean - tilted(t)[0]))
    t = float(optimize.brentq(slope, -200.0, 200.0, xtol=1e-12))
    cumulant, mass = tilted(t)
    spread = float(mass @ np.square(values)) - float(mass @ values) ** 2
    w = math.copysign(math.sqrt(max(0.0, 2 * n * (t * mean - cumulant))), t)
    u = t * math.sqrt(n * spread)
    if abs(w) < 1e-3:
        return 1.0
    above = float(stats.norm.sf(w) + stats.norm.pdf(w) * (1 / u - 1 / w))
    return 2 * min(max(above, 0.0), max(1 - above, 0.0)) if abs(w) < 4 else 2 * _far(w, u)


def _far(w: float, u: float) -> float:
    """The same far out, where 1 - P would round to 0: by symmetry the tail that w points to."""
    from scipy import stats

    w, u = abs(w), abs(u)
    return max(0.0, float(stats.norm.sf(w) + stats.norm.pdf(w) * (1 / u - 1 / w)))
