"""Paired differences: their mean with an interval, and two tests of whether it is zero."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from fanin.report.statistics import mean_interval, overlap_of


@dataclass(frozen=True)
class Paired:
    """What n differences d_i = b_i - a_i say; p values are two-sided, nan where the test says nothing.

    Attributes:
        n, mean, sd, median: of the differences; sd with n - 1.
        low, high: ends of the 95 % interval of the mean.
        t_p: paired t-test; nan where all differences are equal.
        wilcoxon_p: Wilcoxon's signed-rank test, which asks for symmetry, not for normality; nan where all are zero.
        below, above: how many differences are negative and positive.
    """

    n: int
    mean: float
    sd: float
    median: float
    low: float
    high: float
    t_p: float
    wilcoxon_p: float
    below: int
    above: int


def paired(differences: Sequence[float], folds: int | None = None) -> Paired:
    """Mean, interval and tests of paired differences.

    The interval is that of `mean_interval`, and T = mean / (s sqrt(1/n + 1/(k - 1))) has n - 1 degrees of freedom;
    without 1/(k - 1) it is the ordinary paired t-test, for independent pairs such as seeds.

    Args:
        differences: finite, 2 or more.
        folds: k where pairs are folds of a cross-validation, see `mean_interval`.

    Raises:
        ValueError: fewer than two differences, which have no interval.

    Source: Student (1908); Wilcoxon (1945); Nadeau and Bengio, Inference for the generalization error (2003).

    >>> one = paired([1.0, 2.0, 3.0])
    >>> one.mean, one.sd, round(one.high - one.low, 3)  # 2 * 4.303 / sqrt(3)
    (2.0, 1.0, 4.968)
    """
    d = np.asarray(differences, float)
    n = len(d)
    if n < 2:
        raise ValueError(f"an interval needs at least two pairs, not {n}")
    if (d == d[0]).all():  # without the rounding of a mean
        mean, low, high, sd = float(d[0]), float(d[0]), float(d[0]), 0.0
    else:
        (mean, low, high, *_), sd = mean_interval(d.tolist(), folds), float(d.std(ddof=1))
    error = sd * math.sqrt(1 / n + overlap_of(folds))
    return Paired(
        n=n, mean=mean, sd=sd, median=float(np.median(d)), low=low, high=high,
        t_p=2 * float(stdtr(n - 1, -abs(mean / error))) if error > 0 else math.nan,
        wilcoxon_p=_wilcoxon(d) if d.any() else math.nan, below=int((d < 0).sum()), above=int((d > 0).sum()),
    )  # fmt: skip


def _wilcoxon(differences: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """The p value, zeros left out; exact for small n where scipy has it."""
    from scipy.stats import wilcoxon

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ties in a small sample: an approximation, as good as there is
        return float(wilcoxon(differences).pvalue)
