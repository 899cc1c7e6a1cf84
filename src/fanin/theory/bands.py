"""Where a norm of a freshly drawn network lies: a law's median and band, or those of redraws, and which it is.

What is known of a recipe is a table of bands, one for each row of its profile at initialization, whatever their source.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

    @classmethod
    def lognormal(cls, log_mean: float, log_sd: float, source: str) -> Band:
        """The band of a norm whose ln norm^2 is normal."""
        median, low, high = (exp((log_mean + by * log_sd) / 2) for by in (0.0, -SIGMA, SIGMA))
        return cls(median, low, high, exp((log_mean + log_sd**2 / 2) / 2), log_mean, log_sd, source)

    def deviation(self, norm: float) -> float:
        """z = (ln norm^2 - mean) / sd; -inf for a norm of 0, inf for one not finite, nan for a law without sd."""
        if norm == 0 or not math.isfinite(norm):
            return -math.inf if norm == 0 else math.inf
        return (2 * log(norm) - self.log_mean) / self.log_sd if self.log_sd > 0 else math.nan


SIGMA = 0.994457883209753
"""Standard deviations from the median to the 84 % quantile of a normal."""

Bands = Mapping[Key, Band]


def weakest(sources: Sequence[str]) -> str:
    """The source of a composition.

    >>> weakest([EXACT, MEAN_FIELD, FIRST_ORDER])
    'mean field'
    """
    order: tuple[str, ...] = (EXACT, FIRST_ORDER, MEAN_FIELD)
    return max(sources, key=order.index)


Expected = Literal["auto", "law", "redraw", "both", "off"]
"""The values of `probe.band`."""
