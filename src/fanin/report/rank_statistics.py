"""What is said of several sides at once: corrected p values, effect sizes, ranks and who improves on whom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fanin.report.statistics import Floats, overlap_of

RESAMPLES = 2000
DRAWS = 2000
ALPHA = 0.05


class Bounded(NamedTuple):
    """Estimates with the ends of their 95 % percentile bootstrap intervals, [k] each."""

    estimate: Floats
    low: Floats
    high: Floats


def holm(values: Sequence[float]) -> list[float]:
    """p values corrected for being m:  p_(i) -> max over j <= i of min(1, (m + 1 - j) p_(j)),  p_(1) the smallest.

    The chance of one or more false rejections stays below the level whatever the tests depend on each other. A nan, of
    a test that says nothing, stays one and is not counted among the m.

    Source: Holm, A simple sequentially rejective multiple test procedure (1979).

    >>> holm([0.25, 0.125])
    [0.25, 0.25]
    """
    corrected, largest = list(map(float, values)), 0.0
    order = sorted((value, i) for i, value in enumerate(values) if not math.isnan(value))
    for before, (value, i) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - before) * value))
        corrected[i] = largest
    return corrected


def standardized(differences: Floats) -> float:
    """Cohen's d of pairs, mean / sd of the differences; nan where all of them are equal.

    >>> standardized(np.array([1.0, 2.0, 3.0]))
    2.0
    """
    return float(differences.mean() / differences.std(ddof=1)) if np.ptp(differences) else math.nan


def rank_biserial(differences: Floats) -> float:
    """(W+ - W-) / (W+ + W-) of Wilcoxon's sums of ranks, from -1, all below zero, to 1; nan where all are zero.

    Source: Kerby, The simple difference formula (2014).

    >>> rank_biserial(np.array([-1.0, 2.0, 3.0]))  # ranks 1, 2 and 3: (5 - 1) / 6
    0.6666666666666666
    """
    there = differences[differences != 0]
    ranks = ranked(np.abs(there)[None])[0]
    return float((np.sign(there) * ranks).sum() / ranks.sum()) if len(there) else math.nan


def blocks_of(strata: Sequence[Floats]) -> Floats:
    """What is ranked, [blocks, k]: of several data sets the median over the runs of each, of one its runs.

    Runs of one data set are no independent blocks where conclusions are to hold for other data sets (Demsar 2006).
    """
    return strata[0] if len(strata) == 1 else np.array([np.median(values, axis=0) for values in strata])


def ranked(values: Floats) -> Floats:
    """Ranks within each row, 1 the smallest, ties shared; what scipy's do, which take most of a second to import.

    >>> ranked(np.array([[0.3, 0.1, 0.3], [1.0, np.inf, 0.0]])).tolist()
    [[2.5, 1.0, 2.5], [2.0, 3.0, 1.0]]
    """
    return np.asarray(pd.DataFrame(values).rank(axis=1), float)


def mean_ranks(strata: Sequence[Floats], seed: int = 0) -> Bounded:
    """Mean ranks of k sides over blocks, 1 the smallest value, ties shared; runs are resampled within each data set.

    Args:
        strata: for each data set the values [runs, k], those of a row matched; inf is worse than any number.
        seed: of the bootstrap.

    >>> mean_ranks([np.array([[0.1, 0.2, 0.2], [0.3, 0.1, 0.4]])]).estimate.tolist()
    [1.5, 1.75, 2.75]
    """
    random = np.random.default_rng(seed)
    draws = [random.integers(len(values), size=(RESAMPLES, len(values))) for values in strata]
    ranks = ranked(blocks_of(strata))
    if len(strata) == 1:
        means = counts_of(draws[0]) @ ranks / len(ranks)
    else:
        medians = [np.median(values[draw], axis=1) for values, draw in zip(strata, draws, strict=True)]
        means = np.mean([ranked(one) for one in medians], axis=0)
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return Bounded(ranks.mean(axis=0), low, high)


def counts_of(draws: NDArray[np.intp]) -> NDArray[np.intp]:
    """How often each of n blocks is in each resample [r, n], [r, n]: their product with values is n times the means.

    Whole numbers, so that the mean of ranks that are all 1 is 1 to the last bit.

    >>> counts_of(np.array([[0, 0], [1, 0]])).tolist()
    [[2, 0], [1, 1]]
    """
    resamples, n = draws.shape
    counts = np.bincount((draws + n * np.arange(resamples)[:, None]).ravel(), minlength=resamples * n)
    return np.asarray(counts.reshape(resamples, n))


def first_places(values: Floats, folds: int | None = None, seed: int = 0) -> Floats:
    """How likely each side has the smallest mean, [k], from the joint t distribution of the means; ties share it.

        means ~ m + t (S (1/n + overlap))^(1/2),    t of n - 1 degrees of freedom

    m and S are the means and the covariance of the n blocks. The difference of two means is then distributed as the
    paired t-test of the two has it, so that this share and that test say the same: of two sides one is first with a
    probability of 1 - p/2. Blocks that are drawn again (a bootstrap) would be too sure where they are few.

    Args:
        values: [blocks, k], those of a row matched; a side that has an inf is behind all that have none.
        folds: k of a cross-validation, whose training sets overlap; see `overlap_of`.
        seed: of the 2,000 draws.

    Source: Geisser and Cornfield, Posterior distributions for multivariate normal parameters (1963).

    >>> first_places(np.array([[0.1, 0.2], [0.1, 0.2]])).tolist()
    [1.0, 0.0]
    """
    random, n = np.random.default_rng(seed), len(values)
    finite = np.isfinite(values).all(axis=0)
    if not finite.any():
        return np.full(values.shape[1], np.nan)
    inside = np.where(finite, values, 0)
    centre = inside.mean(axis=0)
    normal = random.normal(size=(DRAWS, n)) @ (inside - centre) * math.sqrt((1 / n + overlap_of(folds)) / (n - 1))
    means = centre + normal / np.sqrt(random.chisquare(n - 1, size=(DRAWS, 1)) / (n - 1))
    means[:, ~finite] = np.inf
    first = means == means.min(axis=1, keepdims=True)
    return np.asarray((first / first.sum(axis=1, keepdims=True)).mean(axis=0))


def friedman(blocks: Floats) -> float:
    """p of Friedman's test that all sides rank alike, [blocks, k] with k >= 3; nan where all tie in every block.

    Source: Friedman (1937), with the correction for ties.
    """
    from scipy.stats import friedmanchisquare

    ranks = ranked(blocks)
    return math.nan if not np.ptp(ranks) else float(friedmanchisquare(*ranks.T).pvalue)


def critical_difference(k: int, blocks: int) -> float:
    """How far two mean ranks must lie apart, q sqrt(k (k + 1) / (6 N)), at 5 % (Nemenyi's test of all pairs).

    q is the quantile of the studentized range of k and infinitely many degrees of freedom, over sqrt(2).

    Source: Demsar, Statistical comparisons of classifiers over multiple data sets (2006), section 3.2.2.

    >>> round(critical_difference(4, 14), 2)  # Demsar's example, CD = 1.25
    1.25
    """
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - ALPHA, k, math.inf)) / math.sqrt(2)
    return q * math.sqrt(k * (k + 1) / (6 * blocks))


def cliques(ranks: Floats, critical: float) -> list[NDArray[np.intp]]:
    """The largest groups of two or more sides whose mean ranks lie within the critical difference, best first.

    >>> [group.tolist() for group in cliques(np.array([3.0, 1.0, 1.5, 2.3]), 1.0)]
    [[1, 2], [2, 3], [3, 0]]
    """
    order = np.argsort(ranks, kind="stable")
    ends = np.searchsorted(ranks[order], ranks[order] + critical, side="right")
    groups = [(start, end) for start, end in enumerate(ends) if end - start > 1]
    return [order[start:end] for start, end in groups if start == 0 or end > ends[start - 1]]


def improvement(strata: Sequence[Floats], seed: int = 0) -> Bounded:
    """The probability that a run of each side is better than one of the first, ties half: the mean over data sets.

    P = mean over data sets of  1/(n n) sum over runs i, j of  [x_i < y_j] + [x_i = y_j] / 2. For the interval the
    runs of either side are resampled within each data set.

    Args:
        strata: see mean_ranks; the first column is what the others are held against.
        seed: of the bootstrap.

    Source: Agarwal et al., Deep reinforcement learning at the edge of the statistical precipice (2021).

    >>> improvement([np.array([[0.2, 0.1], [0.4, 0.3]])]).estimate.tolist()  # of four pairs one is worse
    [0.5, 0.75]
    """
    random = np.random.default_rng(seed)
    sides = strata[0].shape[1]
    estimate, drawn = np.zeros(sides), np.zeros((RESAMPLES, sides))
    for values in strata:
        n = len(values)
        weights = [random.multinomial(n, np.full(n, 1 / n), RESAMPLES) / n for _ in range(2)]
        for side in range(sides):
            one, other = values[:, None, side], values[None, :, 0]
            better = (one < other) + 0.5 * (one == other)
            estimate[side] += better.mean() / len(strata)
            drawn[:, side] += ((weights[0] @ better) * weights[1]).sum(axis=1) / len(strata)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return Bounded(estimate, low, high)
