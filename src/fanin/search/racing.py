"""Which configurations of a race are left: those that a paired test over seeds says are worse than the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import count

TESTS = ("wilcoxon", "sign")


def fewest_seeds(level: float, test: str = "wilcoxon") -> int:
    """The fewest pairs with which a test can reject at a level, where all of them say the same.

    The smallest p-value of n pairs is 2^-n of the signed rank test, (n + 1)/(2^(n+1) - 1) of the sign test.

    >>> fewest_seeds(0.05), fewest_seeds(0.05, "sign")
    (5, 7)
    """
    if test == "wilcoxon":
        return math.floor(math.log2(1 / level)) + 1
    return next(n for n in count(1) if (n + 1) / (2 ** (n + 1) - 1) < level)


def p_worse(values: Sequence[float], best: Sequence[float]) -> float:
    """The p-value of Wilcoxon's signed rank test that the first values are larger, pair by pair, by chance alone.

    One-sided; pairs that are equal count half to each side ("zsplit"), as in Optuna's WilcoxonPruner. A value that is
    infinite, of a run that diverged or failed, is larger than all that are finite.

    Args:
        values: of a configuration, one for each seed, the smaller the better.
        best: those of the best at the same seeds.

    Source: Wilcoxon, Individual comparisons by ranking methods (1945).

    >>> p_worse([2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 1.0, 1.0, 1.0, 1.0])
    0.03125
    """
    from scipy.stats import wilcoxon  # takes a while to import

    finite = [abs(one) for one in (*values, *best) if math.isfinite(one)]
    beyond = 3 * max(finite, default=1.0) + 1  # more than any difference of finite values
    pairs = [
        (min(max(one, -beyond), beyond), min(max(other, -beyond), beyond))
        for one, other in zip(values, best, strict=True)
    ]
    differences = [one - other for one, other in pairs]
    if not any(differences):
        return 1.0
    return float(wilcoxon(differences, alternative="greater", zero_method="zsplit").pvalue)


def p_worse_at_any_time(values: Sequence[float], best: Sequence[float]) -> float:
    """The p-value of a sign test that the first values are larger, which holds however often one looks.

    Of n pairs that differ, k are larger. Were larger and smaller as likely, the evidence
    $E_n = 2^(n+1) int_(1/2)^1 p^k (1 - p)^(n-k) dp$, the mean likelihood ratio of all chances p above a half, would
    be a martingale from 1, and its largest value so far passes 1/a with probability a at most (Ville). So
    $p = 1/max_(m <= n) E_m$ over the pairs in their order; equal pairs say nothing.

    Args:
        values: of a configuration, one for each seed in order, the smaller the better; infinite ones are the largest.
        best: those of the best at the same seeds.

    Source: Ville, Étude critique de la notion de collectif (1939); Robbins, Statistical methods related to the law of
    the iterated logarithm (1970).

    >>> p_worse_at_any_time([2.0, 3.0, 4.0], [1.0, 1.0, 1.0])  # 4/15
    0.26666666666666666
    """
    from scipy.special import betainc, betaln  # takes a while to import

    larger, different, most = 0, 0, 1.0
    for one, other in zip(values, best, strict=True):
        if one == other:
            continue
        different, larger = different + 1, larger + (one > other)
        a, b = larger + 1, different - larger + 1
        above = float(betainc(b, a, 0.5))  # the share of Beta(a, b) above a half
        most = max(most, above * math.exp((different + 1) * math.log(2) + float(betaln(a, b))))
    return 1 / most


def dropped(values: Mapping[int, Mapping[int, float]], level: float, test: str = "wilcoxon") -> dict[int, str]:
    """Who leaves a race, and why.

    Args:
        values: of each trial by seed, the smaller the better.
        level: the most that the chance of dropping one that is as good as the best may be, in a single comparison.
        test: wilcoxon or sign; of the latter that chance holds over all the seeds that are looked at one by one.

    Returns:
        why, by trial; never the best.
    """
    means = {trial: math.fsum(of.values()) / len(of) for trial, of in values.items()}
    best = min(means, key=lambda trial: (means[trial], trial))
    worse, name = (p_worse, "Wilcoxon") if test == "wilcoxon" else (p_worse_at_any_time, "sign test")
    leave = {}
    for trial, of in values.items():
        shared = sorted(of.keys() & values[best].keys())
        if trial == best or len(shared) < fewest_seeds(level, test):
            continue
        p = worse([of[seed] for seed in shared], [values[best][seed] for seed in shared])
        if p < level:
            told = f"worse than trial {best} over {len(shared)} seeds: {name} p = {p:.2g}, below {level:g}"
            leave[trial] = told
    return leave
