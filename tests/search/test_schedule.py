"""How many configurations for how many steps: the tables of the papers."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanin.search.schedule import halving, hyperband, racing, rounds

TABLE = [
    [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
    [(34, 3), (11, 9), (3, 27), (1, 81)],
    [(15, 9), (5, 27), (1, 81)],
    [(8, 27), (2, 81)],
    [(5, 81)],
]
"""Li et al. (2018), table 1: n_i and r_i of every bracket, for R = 81 and eta = 3."""


def told(brackets: object) -> list[list[tuple[int, Fraction]]]:
    return [[(rung.keep, 81 * rung.share) for rung in bracket.rungs] for bracket in brackets]  # type: ignore[attr-defined]


def test_the_brackets_of_hyperband_are_those_of_li_et_al() -> None:
    assert told(hyperband(None, 81, 1, 3, seeds=1)) == TABLE
    assert told(hyperband(143, 81, 1, 3, seeds=1)) == TABLE
    assert told(hyperband(100, 81, 1, 3, seeds=1)) == [TABLE[0], [(19, 3), (6, 9), (2, 27), (1, 81)]]
    twice = told(hyperband(286, 81, 1, 3, seeds=1))
    assert twice == TABLE + TABLE


def test_successive_halving_is_its_first_bracket() -> None:
    assert told(halving(81, 81, None, 3, seeds=1)) == told(halving(81, 81, 1, 3, seeds=1)) == TABLE[:1]
    assert told(halving(81, 81, 9, 3, seeds=1)) == [[(81, 9), (27, 27), (9, 81)]]
    assert told(halving(9, 81, None, 3, seeds=1)) == [[(9, 9), (3, 27), (1, 81)]]  # no rung for one configuration


@given(st.integers(2, 5), st.integers(1, 40), st.integers(40, 4000))
def test_no_bracket_costs_more_than_the_paper_allows(eta: int, least: int, steps: int) -> None:
    """Each bracket spends at most (s_max + 1) R plus what rounding n up adds: one configuration on each rung."""
    brackets = list(hyperband(None, steps, least, eta, seeds=1))
    assert all(steps * bracket.rungs[0].share >= least for bracket in brackets)
    for bracket in brackets:
        assert bracket.rungs[-1].share == 1
        spent = sum(rung.keep * rung.share for rung in bracket.rungs)
        assert spent <= len(brackets) + len(bracket.rungs)
        assert all(
            later.share == eta * rung.share for rung, later in zip(bracket.rungs, bracket.rungs[1:], strict=False)
        )


def test_a_race_grows_in_steps_and_in_seeds() -> None:
    (bracket,) = racing(20, 900, None, 3, 10, 5)
    assert [(900 * rung.share, rung.seeds) for rung in bracket.rungs] == [(100, 5), (300, 8), (900, 10)]
    (short,) = racing(20, 2, None, 3, 10, 5)  # no rung before the end
    assert [(rung.share, rung.seeds) for rung in short.rungs] == [(1, 10)]


@pytest.mark.parametrize(("trials", "size", "counts"), [(10, 4, [4, 4, 2]), (3, 8, [3]), (8, 8, [8])])
def test_without_a_budget_all_go_to_the_end(trials: int, size: int, counts: list[int]) -> None:
    brackets = list(rounds(trials, size, 2))
    assert [bracket.count for bracket in brackets] == counts
    assert {(rung.share, rung.seeds) for bracket in brackets for rung in bracket.rungs} == {(1, 2)}
