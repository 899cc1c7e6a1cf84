"""Who leaves a race: scipy's Wilcoxon test, and a count by hand of all signs."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import comb

import numpy as np
import pytest
from scipy.stats import rankdata, wilcoxon

from fanin.record.search_files import RungRow
from fanin.search.racing import dropped, fewest_seeds, p_worse, p_worse_at_any_time
from fanin.search.rung_results import halved, raced


@pytest.mark.parametrize("seed", range(5))
def test_decisions_are_those_of_scipy(seed: int) -> None:
    drawn = np.random.default_rng(seed)
    values = {trial: dict(enumerate(drawn.normal(0.3 * (trial % 4), 1, 8))) for trial in range(12)}
    best = min(values, key=lambda trial: np.mean(list(values[trial].values())))
    expected = {
        trial
        for trial, of in values.items()
        if trial != best
        and wilcoxon(np.array(list(of.values())) - list(values[best].values()), alternative="greater").pvalue < 0.05
    }
    left = dropped(values, 0.05)
    assert set(left) == expected
    assert all(f"trial {best} over 8 seeds" in why for why in left.values())


def test_the_p_value_is_a_count_of_all_signs() -> None:
    """Under the null every pattern of signs is as likely; the share of those with a rank sum as large is p."""
    drawn = np.random.default_rng(0)
    differences = drawn.normal(0.5, 1, 7)
    ranks = rankdata(np.abs(differences))
    observed = ranks[differences > 0].sum()
    sums = [sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign) for signs in product((0, 1), repeat=7)]
    expected = np.mean(np.array(sums) >= observed)
    assert p_worse(list(differences), [0.0] * 7) == pytest.approx(expected, abs=1e-12)


def test_fewest_seeds_can_just_drop() -> None:
    for level in (0.3, 0.1, 0.05, 0.03125, 0.01):
        n = fewest_seeds(level)
        assert p_worse([1.0 + seed for seed in range(n)], [0.0] * n) < level
        assert 2.0 ** -(n - 1) >= level
        n = fewest_seeds(level, "sign")
        assert (
            p_worse_at_any_time([1.0] * n, [0.0] * n) < level <= p_worse_at_any_time([1.0] * (n - 1), [0.0] * (n - 1))
        )


def evidence(larger: int, pairs: int) -> Fraction:
    """2^(n+1) times the integral of p^k (1 - p)^(n - k) from 1/2 to 1, term by term of (1 - p)^(n - k)."""
    terms = (
        Fraction((-1) ** i * comb(pairs - larger, i), larger + i + 1) * (1 - Fraction(1, 2 ** (larger + i + 1)))
        for i in range(pairs - larger + 1)
    )
    return 2 ** (pairs + 1) * sum(terms, Fraction(0))


@pytest.mark.parametrize("seed", range(3))
def test_decisions_by_signs_are_those_of_a_sum_in_fractions(seed: int) -> None:
    drawn = np.random.default_rng(seed)
    values = {trial: dict(enumerate(drawn.normal(0.5 * (trial % 4), 1, 20).round(1))) for trial in range(12)}
    best = min(values, key=lambda trial: np.mean(list(values[trial].values())))
    expected = {}
    for trial, of in values.items():
        signs = [np.sign(of[place] - values[best][place]) for place in range(20) if of[place] != values[best][place]]
        most = max(evidence(signs[:n].count(1), n) for n in range(len(signs) + 1))
        if trial != best:
            p = p_worse_at_any_time(list(of.values()), list(values[best].values()))
            assert p == pytest.approx(float(1 / most), rel=1e-9)
            if most > 20:
                expected[trial] = most
    left = dropped(values, 0.05, "sign")
    assert set(left) == set(expected)
    assert all("over 20 seeds: sign test p = " in why for why in left.values())


def test_a_sign_test_at_every_seed_errs_no_more_than_its_level() -> None:
    """Of all sequences of fair signs, at most the share `level` is ever told worse; and some are."""
    n, level = 10, 0.1
    told = [p_worse_at_any_time(list(signs), [0.5] * n) < level for signs in product((0.0, 1.0), repeat=n)]
    assert 0 < np.mean(told) <= level


def test_a_run_that_diverged_is_worse_than_any_other_and_as_bad_as_its_like() -> None:
    inf = float("inf")
    assert p_worse([inf] * 5, [1e300, 5.0, 2.0, 3.0, 4.0]) == pytest.approx(
        p_worse([9.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0])
    )
    assert p_worse([inf] * 5, [inf] * 5) == 1.0
    rows = [
        RungRow(0, 1, trial, f"r{trial}", seed, 9, (value if seed else 0.1,), "paused")
        for trial, value in enumerate((0.1, inf, 0.1))
        for seed in range(6)
    ]
    assert set(raced(rows, 0.05, 1)) == {1}


def test_the_best_is_never_dropped_and_fewer_seeds_drop_nobody() -> None:
    values = {0: dict.fromkeys(range(4), 0.0), 1: dict.fromkeys(range(4), 9.0)}
    assert dropped(values, 0.05) == {}
    assert set(dropped({trial: of | {4: of[0]} for trial, of in values.items()}, 0.05)) == {1}


@pytest.mark.parametrize("sign", [1, -1])
def test_halving_keeps_the_best_by_the_mean_over_seeds(sign: int) -> None:
    means = (0.4, 0.1, 0.3, 0.2)
    rows = [
        RungRow(0, 0, trial, "", seed, 3, (sign * (mean + (-1) ** seed * 0.05),), "paused")
        for trial, mean in enumerate(means)
        for seed in (0, 1)
    ]
    assert halved(rows, 2, sign) == {
        2: "rank 3 of 4 at step 3, of which 2 go on",
        0: "rank 4 of 4 at step 3, of which 2 go on",
    }
