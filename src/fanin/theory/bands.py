"""Where a norm of a freshly drawn network lies: a law's median and band, or those of redraws, and which it is.

What is known of a recipe is a table of bands, one for each row of its profile at initialization, whatever their source.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fanin.theory.logs import exp, log

EXACT, FIRST_ORDER, MEAN_FIELD = "exact law", "first order in 1/n", "mean field"
"""The sources of a law, from the strongest to the weakest: a composition is as strong as its weakest part."""

Key = tuple[str, str, str]
"""Axis, layer and quantity of a row of profiles.csv."""


def redraw_source(redraws: int) -> str:
    """The source of a band that fresh draws of the recipe gave.

    >>> redraw_source(64)
    'redraw of 64'
    """
    return f"redraw of {redraws}"


@dataclass(frozen=True)
class Band:
    """What the norm of a fresh draw is expected to be.

    Args:
        median, low, high: of the norm: its quantiles at 50, 16 and 84 %.
        mean_square: sqrt(E norm^2); None where only the logarithm's law is known.
        log_mean, log_sd: of ln norm^2.
        source: EXACT, FIRST_ORDER, MEAN_FIELD, or `redraw_source`.
        draws: the norms that the band was made of, in order; none of a law.

    >>> band = Band.lognormal(0.0, 1.0, FIRST_ORDER)
    >>> round(band.median, 3), round(band.high, 3), band.deviation(band.median)
    (1.0, 1.644, 0.0)
    """

    median: float
    low: float
    high: float
    mean_square: float | None
    log_mean: float
    log_sd: float
    source: str
    draws: tuple[float, ...] = field(default=(), repr=False)

    @classmethod
    def lognormal(cls, log_mean: float, log_sd: float, source: str) -> Band:
        """The band of a norm whose ln norm^2 is normal."""
        median, low, high = (exp((log_mean + by * log_sd) / 2) for by in (0.0, -SIGMA, SIGMA))
        return cls(median, low, high, exp((log_mean + log_sd**2 / 2) / 2), log_mean, log_sd, source)

    @classmethod
    def of_draws(cls, norms: Sequence[float], source: str) -> Band | None:
        """The band of fresh draws; None where they differ by no more than rounding does.

        The quantile p of R draws lies at place p (R + 1) among them in order, between two on a line: then a further
        draw falls below it with probability p. A norm that is not finite counts as infinite.

        >>> band = Band.of_draws([3.0, 1.0, 2.0], redraw_source(3))
        >>> band.median, band.low, band.quantile(2.5)
        (2.0, 1.0, 0.625)
        """
        draws = sorted(norm if math.isfinite(norm) else math.inf for norm in norms)
        median, low, high = (_at(draws, share) for share in (0.5, 0.16, 0.84))
        if draws[0] == draws[-1] or high - low <= ROUNDED * median < math.inf:
            return None
        logs = [2 * log(norm) if norm > 0 else -math.inf for norm in draws]
        mean, sd = math.fsum(logs) / len(logs) if -math.inf not in logs else -math.inf, math.nan
        if math.isfinite(mean):
            sd = math.sqrt(math.fsum((one - mean) ** 2 for one in logs) / (len(logs) - 1))
        return cls(median, low, high, None, mean, sd, source, tuple(draws))

    def quantile(self, norm: float) -> float:
        """The share of fresh draws whose norm is smaller: counted in draws, by a normal where there is a law."""
        norm = norm if math.isfinite(norm) else math.inf
        if self.draws:
            below, upto = bisect_left(self.draws, norm), bisect_right(self.draws, norm)
            return (below + upto + 1) / 2 / (len(self.draws) + 1)
        return (1 + math.erf(self.deviation(norm) / math.sqrt(2))) / 2

    def deviation(self, norm: float) -> float:
        """z = (ln norm^2 - mean) / sd; -inf for a norm of 0, inf for one not finite, nan for a law without sd."""
        if norm == 0 or not math.isfinite(norm):
            return -math.inf if norm == 0 else math.inf
        return (2 * log(norm) - self.log_mean) / self.log_sd if self.log_sd > 0 else math.nan


SIGMA = 0.994457883209753
"""Standard deviations from the median to the 84 % quantile of a normal."""

ROUNDED = 1e-5
"""The width of a band, relative to its median, that is rounding's: norms that a normalization fixes have it."""

Bands = Mapping[Key, Band]


def _at(ordered: Sequence[float], share: float) -> float:
    """The quantile of numbers in order at place share (n + 1), from 1, between two on a line."""
    place = min(max(share * (len(ordered) + 1) - 1, 0.0), len(ordered) - 1.0)
    low = int(place)
    below, above = ordered[low], ordered[min(low + 1, len(ordered) - 1)]
    return below if place == low or below == above else below + (place - low) * (above - below)


def weakest(sources: Sequence[str]) -> str:
    """The source of a composition.

    >>> weakest([EXACT, MEAN_FIELD, FIRST_ORDER])
    'mean field'
    """
    order: tuple[str, ...] = (EXACT, FIRST_ORDER, MEAN_FIELD)
    return max(sources, key=order.index)


Expected = Literal["auto", "law", "redraw", "both", "off"]
"""The values of `probe.band`."""
