"""What a test part says of the true risk, and what can be said without one: intervals and bounds in closed form."""

from __future__ import annotations

import math
from statistics import NormalDist

LEVEL = 0.05
"""One minus the confidence of every interval and bound here."""

FEW = 30
"""Examples below which the quantile of the t distribution is not expanded."""


def wilson_interval(wrong: float, examples: int) -> tuple[float, float]:
    """The 95 % interval of a probability, from how often it has come true: the score interval.

    $(p + z^2/2n -+ z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n)$, p = wrong/n. Source: Wilson 1927.

    Args:
        wrong: how often.
        examples: n, of how many, >= 1.

    >>> low, high = wilson_interval(0, 100)
    >>> low, round(high, 4)
    (0.0, 0.037)
    """
    z, n = NormalDist().inv_cdf(1 - LEVEL / 2), examples
    p = wrong / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return max(low, 0.0) if wrong else 0.0, min(high, 1.0) if wrong < n else 1.0


def t_interval(mean: float, deviation: float, examples: int) -> tuple[float, float]:
    """The 95 % interval of an expectation: $mean -+ t_(n-1) s/sqrt(n)$; nan for a single example. Source: Student 1908.

    Args:
        mean: of the examples.
        deviation: s, their standard deviation with n - 1 in the denominator.
        examples: n.
    """
    half = _t_quantile(examples - 1) * deviation / math.sqrt(examples) if examples > 1 else math.nan
    return mean - half, mean + half


def hoeffding_half(examples: int) -> float:
    """Half the width of the 95 % interval of an error of n independent examples: $sqrt(ln(2/0.05)/(2 n))$.

    It holds for every n and every error, of a network that has not seen these examples, and is wider than Wilson's.
    Source: Hoeffding 1963.

    >>> round(hoeffding_half(10_000), 4)
    0.0136
    """
    return math.sqrt(math.log(2 / LEVEL) / (2 * examples))


def vc_bound(dimension: int, examples: int) -> float:
    """How far, at most, true and training error are apart in a class of functions: with 95 % probability, for all.

    $sqrt((8/n) (ln m + ln(4/0.05)))$ with $ln m = d ln(2 e n/d)$, or $2 n ln 2$ where d is 2 n or more: the logarithm
    of the growth function of 2 n examples, by Sauer's lemma. Above 1 it says nothing, as of almost every network.

    Args:
        dimension: d, the Vapnik-Chervonenkis dimension, >= 1. Taking the number of weights for it is generous: that of
            a relu network of W weights and L layers is of the order W L ln W (Bartlett et al. 2019).
        examples: n, of training, >= 1.

    Source: Vapnik & Chervonenkis 1971; Abu-Mostafa, Magdon-Ismail & Lin 2012, theorem 2.5.

    >>> round(vc_bound(3, 10_000), 2), vc_bound(10_000, 1000) > 1
    (0.16, True)
    """
    d, n = dimension, examples
    growth = 2 * n * math.log(2) if d >= 2 * n else d * math.log(2 * math.e * n / d)
    return math.sqrt(8 / n * (growth + math.log(4 / LEVEL)))


def _t_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, by its expansion in 1/nu, or for few examples by scipy (a slow import).

    Source: Abramowitz & Stegun 1964, 26.7.5; from 29 degrees of freedom on right to 1e-6.
    """
    if freedom < FEW - 1:
        from scipy.special import stdtrit

        return float(stdtrit(freedom, 1 - LEVEL / 2))
    z = NormalDist().inv_cdf(1 - LEVEL / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / freedom**power for power, term in enumerate(terms, start=1))
