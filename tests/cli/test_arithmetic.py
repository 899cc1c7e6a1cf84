"""Formulas in configurations: Python's own arithmetic on the same text, and what is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from fanin.cli.arithmetic import compute
from fanin.cli.resolvers import register_resolvers

numbers = st.floats(0.1, 9).map(lambda x: round(x, 2)).map(str)
formulas = st.recursive(
    numbers,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/"]), inner).map("({0[0]} {0[1]} {0[2]})".format),
        inner.map("-{}".format),
        inner.map("sqrt(({0})**2)".format),
    ),
    max_leaves=6,
)


@given(formula=formulas)
def test_it_is_arithmetic(formula: str) -> None:
    try:
        expected = eval(formula, {"sqrt": math.sqrt})
    except (ZeroDivisionError, OverflowError):
        return
    assert compute(formula) == expected


def test_functions() -> None:
    assert compute("exp(log(3)) - 3") == pytest.approx(0, abs=1e-15)
    assert compute(" 2 ** -1 ") == 0.5


@pytest.mark.parametrize(
    "formula",
    ["", "1 +", "x", "1 if 2 else 3", "__import__('os')", "sqrt(1, 2)", "sqrt", "'a'", "True + 1j", "1/0", "1e308*10",
     "sqrt(-1)", "(-1) ** 0.5", "9 ** 9 ** 9", "7 // 2"],
)  # fmt: skip
def test_nothing_else_is_computed(formula: str) -> None:
    with pytest.raises(ValueError, match="cannot compute"):
        compute(formula)


def test_a_configuration_computes() -> None:
    register_resolvers()
    made = OmegaConf.create({"k": 49, "lr": '${fanin.compute:"2/(1+${k})"}'})
    assert made.lr == 0.04
    made.k = 3
    assert made.lr == 0.5
