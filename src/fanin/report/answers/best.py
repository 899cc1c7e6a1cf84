"""Which configuration is best, what is not to be told from it, and what choosing the best of many costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fanin.report.answers.scores import Metric, Score, between, matched
from fanin.report.rank_statistics import ALPHA, Bounded, first_places, holm, mean_ranks
from fanin.report.statistics import NO_DIFFERENCE, Difference, Floats

FEWEST_DRAWN = 3  # runs; the spread of fewer says nothing
FEWEST_HALVED = 4  # runs; each half is to have two
HALVES = 200


@dataclass(frozen=True)
class Contest:
    """Configurations against the best of them.

    Attributes:
        scores: the best first.
        differences: of each to the best; nan for the best itself.
        paired: whether it is over runs that both have.
        p: of the t-tests of these differences, corrected by Holm's method for how many there are.
        ranks: mean ranks over the runs that the best has, nan for what lacks one of them; None with fewer than two.
        first: how likely each has the best mean, by the t distribution of the means; None with fewer than three runs.
        held_out: the mean on one half of these runs of what is best on the other half; None with fewer than four.
    """

    scores: list[Score]
    differences: list[Difference]
    paired: list[bool]
    p: list[float]
    ranks: Bounded | None = None
    first: Floats | None = None
    held_out: float | None = None

    @property
    def best(self) -> Score:
        """Of the least mean among those without a diverged run."""
        return self.scores[0]

    @property
    def tested(self) -> int:
        """How many tests there are."""
        return sum(not math.isnan(p) for p in self.p)

    @property
    def alike(self) -> list[int]:
        """Positions of those that a test does not tell from the best, at 5 % after the correction."""
        return [i for i, p in enumerate(self.p) if p > ALPHA]


def contest(scores: Sequence[Score], metric: Metric, *, ranked: bool = True) -> Contest:
    """Hold configurations against the best of them, which `scores` has first.

    Holm's correction over the tests against the best also covers that the best was chosen by the same runs: for the
    truly best one to be told from the chosen one, the chosen one must beat it in one of k - 1 two-sided tests, which at
    the level 5 % / (k - 1) each happens with 2.5 % at most. Where all others are told apart, the last level is 5 %.

    Args:
        scores: the best first.
        metric: what they are scores of.
        ranked: also ranks, and what is best on half of the runs.

    Source: Holm, A simple sequentially rejective multiple test procedure (1979); Hsu, Constrained simultaneous
        confidence intervals for multiple comparisons with the best (1984).
    """
    against = [between(scores[0], other) for other in scores[1:]]
    corrected = holm([found.p for found, _ in against])
    differences, paired = zip((NO_DIFFERENCE, True), *against, strict=True)
    made = Contest([*scores], [*differences], [*paired], [math.nan, *corrected])
    there, values = matched(scores)
    signed = np.where(np.isfinite(values), metric.sign * values, np.inf)
    if len(scores) < 2 or len(there) < 2:
        return made
    first = _spread(first_places(signed, scores[0].folds), there, len(scores)) if len(values) >= FEWEST_DRAWN else None
    if not ranked or len(values) < 2:
        return replace(made, first=first)
    ranks = Bounded(*(_spread(one, there, len(scores)) for one in mean_ranks([signed])))
    halved = len(values) >= FEWEST_HALVED and scores[0].folds is None
    held_out = metric.sign * best_on_half(signed) if halved else None
    return replace(made, ranks=ranks, first=first, held_out=held_out)


def best_on_half(values: Floats, seed: int = 0) -> float:
    """The mean on one half of the runs of the side that is best on the other half, over HALVES random halves.

    The least of k means is too low an estimate of what that side does on new runs, the more so the more sides there
    are; runs that had no part in the choice are not. A side with a diverged run in the half is not chosen.

    Args:
        values: [n, k], smaller is better, inf where a run diverged; n is 4 or more.
        seed: of the halves.

    >>> best_on_half(np.array([[1.0, 2.0]] * 4))
    1.0
    """
    random = np.random.default_rng(seed)
    n = len(values)
    order = random.permuted(np.tile(np.arange(n), (HALVES, 1)), axis=1)
    choosing, measuring = order[:, : n // 2], order[:, n // 2 :]
    chosen = np.argmin(values[choosing].mean(axis=1), axis=1)
    told = values[measuring, chosen[:, None]]
    return float(told[np.isfinite(told)].mean()) if np.isfinite(told).any() else math.nan


def _spread(values: Floats, there: Sequence[int], count: int) -> Floats:
    """Values of some sides among all of them, nan for the others."""
    spread = np.full(count, np.nan)
    spread[list(there)] = values
    return spread
