"""What the axes of a sweep are taken for, and which of them explain a metric."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kruskal

from fanin.report.read.axes import axes_of, explained, grouped, importance, scale_of
from fanin.report.read.configurations import Configuration


def sweep(**columns: list[object]) -> list[Configuration]:
    """Configurations with these values, key by key."""
    return [Configuration("x", dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize(
    ("values", "kind", "scale", "ordered"),
    [
        ([0.1, 0.001, 0.01], "number", "log", [0.001, 0.01, 0.1]),
        ([3, 1, 2.0], "number", "linear", [1, 2.0, 3]),
        ([128, 32, 64], "number", "log", [32, 64, 128]),
        ([0, 0.1, 0.001, 0.01], "ordered", "", [0, 0.001, 0.01, 0.1]),
        ([0, 1, 2], "number", "linear", [0, 1, 2]),
        ([10, None, 1], "ordered", "", [None, 1, 10]),
        ([True, False], "ordered", "", [False, True]),
        (["net10", "net2"], "ordered", "", ["net2", "net10"]),
        (["relu", "tanh"], "choice", "", ["relu", "tanh"]),
        (["adam", "sgd2"], "choice", "", ["adam", "sgd2"]),
        ([[1, 2], [1]], "choice", "", [[1, 2], [1]]),
    ],
)
def test_what_varies_is_a_number_a_row_of_values_or_a_choice(
    values: list[object], kind: str, scale: str, ordered: list[object]
) -> None:
    (axis,) = axes_of(sweep(**{"a.b": values}))
    assert (axis.name, axis.kind, axis.scale, list(axis.values)) == ("b", kind, scale, ordered)
    assert [axis.values[rank] for rank in axis.ranks] == values


def test_numbers_drawn_evenly_or_evenly_by_their_logarithm_are_told_apart() -> None:
    random = np.random.default_rng(3)
    even = np.sort(random.uniform(0.0, 1.0, 300))
    assert (scale_of(even.tolist()), scale_of((10 ** (-4 * even))[::-1].tolist())) == ("linear", "log")


def test_the_share_an_axis_explains_is_that_of_kruskal_and_wallis() -> None:
    """epsilon^2 = (H - g + 1) / (n - g)."""
    random = np.random.default_rng(5)
    options, metric = random.integers(0, 4, 60), random.normal(size=60)
    metric[:7] = np.nan  # diverged: last, all equal
    (axis,) = axes_of(sweep(option=[f"option {'abcd'[i]}" for i in options]))
    ranked = np.where(np.isfinite(metric), metric, 1e9)
    h = kruskal(*(ranked[options == i] for i in range(4))).statistic
    # scipy corrects H for ties, which is to divide by the variance of the ranks themselves.
    assert explained(axis, metric.tolist()) == pytest.approx((h - 3) / 56, abs=1e-12)


def test_the_axis_that_decides_comes_first_also_where_every_number_is_another() -> None:
    random = np.random.default_rng(7)
    lr, width = random.uniform(0, 1, (2, 300))
    metric = (lr - 0.3) ** 2 + random.normal(0, 0.02, 300)
    axes = axes_of(sweep(lr=lr.tolist(), width=width.tolist()))
    shares = importance(axes, metric.tolist())
    assert list(shares) == ["lr", "width"]
    assert shares["lr"] > 0.5
    assert abs(shares["width"]) < 4 / np.sqrt(300)
    groups, labels = grouped(axes[0], 4)
    assert [groups.count(i) for i in range(4)] == [75] * 4
    assert labels[0] == f"lr {lr.min():.3g} to {np.sort(lr)[74]:.3g}"
