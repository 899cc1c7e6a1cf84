"""Reports of searches: importances, Pareto fronts, and what a real search's report says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from command_line import TINY, fanin, table
from fanin.report.search.importance import importances, tree, variance_shares
from fanin.report.search.pareto import front
from fanin.report.search.searched import Axis, Searched


def even(name: str, bins: int, *, ordered: bool = True) -> Axis:
    """An axis of bins of one size."""
    return Axis(name, tuple(map(str, range(bins))), np.full(bins, 1 / bins), ordered)


@pytest.mark.parametrize("ordered", [True, False])
def test_the_shares_of_a_sum_of_axes_are_its_variances(ordered: bool) -> None:
    """f = sum_j a_j x_j over bins x = 0, 1, 2, 3: an axis has a_j^2 of the variance, no interactions."""
    weights = np.array([4.0, 3.0, 2.0])
    axes = [even(name, 4, ordered=ordered) for name in "abc"]
    places = np.random.default_rng(3).integers(0, 4, (250, 3))
    known = dict(zip("abc", weights**2 / (weights @ weights), strict=True))
    found = importances(axes, places, places @ weights)
    assert [one.name for one in found] == list("abc")
    for one in found:
        assert one.low <= known[one.name] <= one.high
        assert one.high - one.low < 0.2


def test_a_tree_of_a_whole_grid_is_the_function_itself() -> None:
    """A product of signs over two axes has no share of either alone; the third axis has all that is left."""
    axes = [even("a", 2), even("b", 2), even("c", 3, ordered=False)]
    places = np.array([[a, b, c] for a in range(2) for b in range(2) for c in range(3)])
    signs = 2.0 * places - 1
    values = signs[:, 0] * signs[:, 1] + np.array([5.0, -1.0, 2.0])[places[:, 2]]
    boxes, heights = tree(axes, places, values)
    held = np.prod([mask[:, places[:, j]] for j, mask in enumerate(boxes)], axis=0)
    assert held.sum(axis=0) == pytest.approx(1)
    assert heights @ held == pytest.approx(values)
    third = np.var([5.0, -1.0, 2.0])
    assert variance_shares(axes, places, values) == pytest.approx([0, 0, third / (third + 1)])


def test_what_is_good_lies_where_the_good_ones_are() -> None:
    """The value is the place on one axis, and the other says nothing."""
    places = np.random.default_rng(5).integers(0, 10, (300, 2))
    first, second = importances([even("a", 10), even("b", 10)], places, places[:, 0].astype(float), good=True)
    assert (first.name, second.name) == ("a", "b")
    assert first.low > second.high
    assert first.share + second.share == pytest.approx(1)


def test_of_few_or_equal_configurations_nothing_is_said() -> None:
    axes, places = [even("a", 4)], np.arange(20)[:, None] % 4
    assert importances(axes, places[:5], np.arange(5.0)) == []
    assert importances(axes, places, np.ones(20)) == []
    assert importances(axes, places, np.full(20, np.nan)) == []


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_the_front_is_that_of_a_count_of_all_pairs(objectives: int) -> None:
    random = np.random.default_rng(objectives)
    costs = random.integers(0, 6, (60, objectives)).astype(float)
    costs[random.integers(0, 60, 4), 0] = np.nan

    def beaten(one: int) -> bool:
        others = (other for other in range(60) if np.isfinite(costs[other]).all())
        return any((costs[o] <= costs[one]).all() and (costs[o] < costs[one]).any() for o in others)

    assert front(costs) == [one for one in range(60) if np.isfinite(costs[one]).all() and not beaten(one)]


def test_a_searchs_report_says_what_its_rungs_hold(tmp_path: Path) -> None:
    words = ("trainer.steps=4", "probe=off", "hydra/launcher=auto", "hydra.launcher.n_jobs=1", "hydra.sweeper.trials=9")
    axes = ("optimizer.lr=tag(log,interval(1e-3,1))", "activation=relu,tanh")
    budget = ("hydra/sweeper=search", "hydra.sweeper.budget=halving", "hydra.sweeper.eta=2", "hydra.sweeper.seeds=2")
    said = fanin(tmp_path, "-m", *TINY[:3], *words, *axes, *budget)
    assert said.code == 0, said
    grid = tmp_path / "outputs" / "runs"
    report, rungs = grid / "report", table(grid / "search" / "rungs.csv")
    rows = {row["trial"]: row for row in table(report / "search.csv")}
    assert rows.keys() == {row["trial"] for row in rungs}
    for trial, row in rows.items():
        values = [float(one["value"]) for one in rungs if (one["trial"], one["steps"]) == (trial, row["steps"])]
        assert float(row["val_error"]) == pytest.approx(sum(values) / len(values))
    full = max(int(row["steps"]) for row in rungs)
    ends: dict[str, list[float]] = {}
    for row in rungs:
        if int(row["steps"]) == full:
            ends.setdefault(row["trial"], []).append(float(row["value"]))
    best = min(ends, key=lambda trial: (sum(ends[trial]) / 2, int(trial)))
    told = " ".join(said.out)
    first = table(report / "best.csv")[0]
    assert (first["metric"], float(first["mean"])) == ("val_error", pytest.approx(sum(ends[best]) / 2))
    assert f"best: {first['configuration']}: val error {50 * sum(ends[best]):.3g} % [" in told
    assert told.count("best: ") == 1
    assert f"the best is trial {best} of 9" in told
    assert f"lr={float(rows[best]['optimizer.lr']):g}" in first["configuration"]
    assert f"activation={rows[best]['activation']}" in first["configuration"]
    assert {row["axis"] for row in table(report / "importance.csv")} == {"optimizer.lr", "activation"}
    page = (report / "index.html").read_text()
    cells = [
        re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", page.partition("<h3>Rungs")[2])
    ]
    for number, cell in enumerate(cells[1:]):
        here = [row for row in rungs if row["rung"] == str(number)]
        if not here:
            break
        trials = {row["trial"] for row in here}
        means = {one: np.mean([float(row["value"]) for row in here if row["trial"] == one]) for one in trials}
        left = len({row["trial"] for row in here if row["reason"]})
        counts = [str(number), here[0]["steps"], str(len(trials)), str(len(here)), str(left or "")]
        top = min(means, key=lambda one: (means[one], int(one)))
        assert cell == [*counts, top, f"{means[top]:.4g}"]
    assert number == len({row["rung"] for row in rungs})
    assert all(f'"{name} figure"' in page for name in ("search", "rungs", "parallel"))


def test_a_configuration_that_was_tried_twice_is_one() -> None:
    """Of four trials two are of one configuration; (2, 4) is worse than (1, 3) in both."""
    values = np.array([[1.0, 3.0], [2.0, 4.0], [3.0, 1.0], [1.0, 3.0]])
    settings = [["relu", 4], ["tanh", 4], ["relu", 8], ["relu", 4]]
    found = Searched([], [0, 1, 2, 3], np.zeros((4, 0), np.intp), values, settings, 6)
    assert len(found.distinct) == 3
    on_front = found.front(np.ones(2))
    assert {repr(found.settings[row]) for row in on_front} == {"['relu', 4]", "['relu', 8]"}
    assert len(on_front) == 2
