"""What is said of a search whose repetitions are folds: their intervals are widened, and they are called folds."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from scipy import stats

from fanin.record.search_files import RungRow
from fanin.report.search.searched import Searched
from fanin.report.search.told import SearchTold

BEST, SECOND = [2.0, 2.5, 1.5, 2.25, 1.75], [3.0, 3.75, 2.5, 3.0, 2.75]


def lines(folds: dict[int, int]) -> list[str]:
    rows = [
        RungRow(0, 0, trial, f"trial={trial},fold={place}", place, 100, (value,), "done")
        for trial, values in enumerate((BEST, SECOND))
        for place, value in enumerate(values)
    ]
    found = Searched([], [], np.empty((0, 0)), np.empty((0, 1)), [], 100)
    return SearchTold(["val_loss"], np.array([1.0]), rows, found, [], [], folds).lines()


@pytest.mark.parametrize(("folds", "overlap", "word"), [({}, 0.0, "seeds"), ({0: 5, 1: 5}, 1 / 4, "folds")])
def test_intervals_have_the_factor_of_nadeau_and_bengio(folds: dict[int, int], overlap: float, word: str) -> None:
    best, second = lines(folds)
    assert f"over 5 {word}" in best
    assert f"over 5 paired {word}: apart" in second
    differences = np.array(SECOND) - np.array(BEST)
    for said, values in ((best, np.array(BEST)), (second, differences)):
        low, high = map(float, re.findall(r"\[([-\d.]+), ([-\d.]+)\]", said)[0])
        half = stats.t.ppf(0.975, 4) * values.std(ddof=1) * math.sqrt(1 / 5 + overlap)
        digits = 4 if said is best else 3  # significant ones that are said
        assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), rel=10.0 ** (1 - digits))
