"""What was typed is refused in one line that a terminal can show."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from fanin.errors import LARGEST, OptionError, choice, integer, number


def test_the_largest_number_is_float32s() -> None:
    assert float(np.finfo(np.float32).max) == LARGEST == number("lr", LARGEST)
    for value in (math.nextafter(LARGEST, math.inf), -1e39, 10**400):
        with pytest.raises(
            OptionError, match=r"must be a finite number >= -1e\+300 and within float32's range, up to 3.4e\+38$"
        ):
            number("lr", value, -1e300)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, True, "1", None])
def test_what_is_no_number(value: object) -> None:
    with pytest.raises(OptionError, match=r": must be a finite number > 0$"):
        number("lr", value, 0, open_low=True)


@pytest.mark.parametrize(
    ("check", "line"),
    [
        (lambda: integer("seed", 2**63, 0), f"seed={2**63}: must be an integer >= 0 and of 64 bits"),
        (lambda: integer("seed", 10**5000), "seed=(an integer of 5001 digits or so): must be an integer of 64 bits"),
        (lambda: choice("kind", "x" * 10_000, ["a"]), f"kind={'x' * 200}... (10000 characters): must be one of a"),
    ],
)  # fmt: skip
def test_a_value_that_fills_the_terminal_is_cut(check: Callable[[], object], line: str) -> None:
    with pytest.raises(OptionError) as caught:
        check()
    assert str(caught.value) == line
