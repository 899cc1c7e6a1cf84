"""Which configurations of a race are left: those that a paired test over seeds says are worse than the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def fewest_seeds(level: float) -> int:
    """The fewest pairs with which a signed rank test can reject at a level: 2^-n, its smallest p-value, is below.

    >>> fewest_seeds(0.05)
    5
    """
    return math.floor(math.log2(1 / level)) + 1


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


def dropped(values: Mapping[int, Mapping[int, float]], level: float) -> dict[int, str]:
    """Who leaves a race, and why.

    Args:
        values: of each trial by seed, the smaller the better.
        level: the most that the chance of dropping one that is as good as the best may be, in a single comparison.

    Returns:
        why, by trial; never the best.
    """
    means = {trial: math.fsum(of.values()) / len(of) for trial, of in values.items()}
    best = min(means, key=lambda trial: (means[trial], trial))
    leave = {}
    for trial, of in values.items():
        shared = sorted(of.keys() & values[best].keys())
        if trial == best or len(shared) < fewest_seeds(level):
            continue
        p = p_worse([of[seed] for seed in shared], [values[best][seed] for seed in shared])
        if p < level:
            told = f"worse than trial {best} over {len(shared)} seeds: Wilcoxon p = {p:.2g}, below {level:g}"
            leave[trial] = told
    return leave
