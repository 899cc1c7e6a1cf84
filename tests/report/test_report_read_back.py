"""Every panel of a report, drawn by fanin.plots and read back, against summary.csv and what scipy makes of it."""

from __future__ import annotations

import csv
import functools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fanin import plots
from fanin.api import sweep_plots
from fanin.errors import OptionError, UserError
from fanin.record import columns
from fanin.record.search_files import RungRow, write_rungs, write_search
from fanin.report.make import write_report
from read_back import bands, cells, drawn, intervals, lines, names, points, rows, scattered

WriteRun = Callable[..., Path]
OPTIMIZERS, RATES, SEEDS = ("adam", "lion", "sgd"), (0.001, 0.01, 0.1), range(4)
SIDES = [f"optimizer={name}" for name in OPTIMIZERS]
STEPS = tuple(range(10, 90, 10))
KEYS = ["optimizer", "optimizer.lr"]


@pytest.fixture(scope="module")
def grid(write_run: WriteRun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three optimizers at three rates and four seeds, of random errors; sgd at 0.1 diverged at two seeds."""
    folder = tmp_path_factory.mktemp("grid")
    random = np.random.default_rng(np.random.randint(2**31))
    shift = random.normal(0, 0.02, len(SEEDS))
    for i, optimizer in enumerate(OPTIMIZERS):
        for j, lr in enumerate(RATES):
            centre = 0.3 + 0.02 * i + 0.05 * abs(j - 1)
            for seed in SEEDS:
                error = float(centre + shift[seed] + random.normal(0, 0.02))
                ended = {"test_error": error, "val_error": float(random.uniform(0.1, 0.9))}
                state = "diverged" if (i, j) == (2, 2) and seed < 2 else "done"
                run = write_run(
                    folder, seed=seed, overrides={"optimizer": optimizer, "optimizer.lr": lr}, state=state,
                    metrics=ended if state == "done" else dict.fromkeys(ended), depth=2, width=4, count=2,
                    experiment="runs",
                )  # fmt: skip
                curve = np.linspace(0.9, 0.1, len(STEPS)) + random.uniform(0, 0.25, len(STEPS))
                with (run / "metrics.csv").open("w", newline="") as file:
                    writer = csv.DictWriter(file, columns.names(columns.METRICS), lineterminator="\n")
                    writer.writeheader()
                    for step, value in zip(STEPS, curve, strict=True):
                        writer.writerow({"step": step, "batch_error": value, "batch_loss": 2 * value})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fanin.report.pictures.pictures", lambda *_: {})
        write_report([folder])
        patch.setattr(sweep_plots, "runs_of", functools.cache(sweep_plots.runs_of))  # read once
        yield folder


@pytest.fixture(scope="module")
def summary(grid: Path) -> pd.DataFrame:
    """summary.csv of runs that are done, errors in per cent."""
    table = pd.read_csv(grid / "summary.csv")
    table = table[table["state"] == "done"]
    return table.assign(**{name: 100 * table[name] for name in ("test_error", "val_error")})


@pytest.fixture(scope="module")
def order(summary: pd.DataFrame) -> list[tuple[str, float]]:
    """The configurations, the best first; what diverged is behind all others."""
    means = summary.groupby(KEYS)["test_error"].mean().drop(("sgd", 0.1)).sort_values()
    return [*means.index, ("sgd", 0.1)]


@pytest.fixture(scope="module")
def of(summary: pd.DataFrame) -> Callable[..., pd.Series]:
    """The runs of a configuration by their seed."""
    groups = {key: group.set_index("seed") for key, group in summary.groupby(KEYS)}
    return lambda key, name="test_error": groups[key][name]


@pytest.fixture(scope="module")
def searched(grid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same runs as a search by halving for the test error: after ten steps three configurations go on."""
    folder = shutil.copytree(grid, tmp_path_factory.mktemp("search") / "runs")
    search(folder, ["test_error"])
    return folder


def search(folder: Path, metrics: list[str]) -> None:
    """Write what a search for these metrics writes beside the runs of the grid."""
    axes = [
        {"key": "optimizer", "kind": "choice", "choices": list(OPTIMIZERS)},
        {"key": "optimizer.lr", "kind": "float", "low": 1e-3, "high": 1e-1, "log": True},
    ]
    content = {"metrics": metrics, "directions": ["minimize"] * len(metrics), "budget": "halving", "axes": axes}
    (folder / "search").mkdir(exist_ok=True)
    write_search(folder, content)
    written = []
    for rung, steps in enumerate((10, 40)):
        for trial, (optimizer, lr) in enumerate((one, rate) for one in OPTIMIZERS for rate in RATES):
            if rung and trial % 3 != 1:
                continue
            for seed in SEEDS:
                (run,) = folder.glob(f"optimizer={optimizer},optimizer.lr={lr},seed={seed}")
                told = json.loads((run / "result.json").read_text())["metrics"]
                values = tuple(np.inf if told[name] is None else told[name] + 0.1 * (1 - rung) for name in metrics)
                reason = "halving" if not rung and trial % 3 != 1 else ""
                state = "done" if rung else "paused"
                written.append(RungRow(0, rung, trial, run.name, seed, steps, values, state, reason))
    write_rungs(folder, written)


def interval(values: Any) -> tuple[float, float]:
    """Student's."""
    return stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))


def test_the_best_with_intervals_and_runs(grid: Path, order: Any, of: Any) -> None:
    axes = drawn(plots.best, grid)
    assert names(axes) == [f"optimizer={name}, lr={lr:g}" for name, lr in order]
    assert rows(axes) == pytest.approx([of(key).mean() for key in order])
    found = intervals(axes)
    for row, key in enumerate(order):
        low, high = interval(of(key))
        assert found[row] == pytest.approx((max(low, 0), min(high, 100)))
    dots = [one for one in lines(axes, "o") if len(one) > 1]
    for row, key in enumerate(order):
        assert sorted(dots[row][:, 0]) == pytest.approx(sorted(of(key)))


def test_differences_and_which_of_them_holm_tells(grid: Path, order: Any, of: Any) -> None:
    axes = drawn(plots.differences, grid)
    apart = [(of(key) - of(order[0])).dropna() for key in order[1:]]
    assert rows(axes) == pytest.approx([one.mean() for one in apart])
    found = intervals(axes)
    assert [found[row] for row in range(1, len(order))] == [pytest.approx(interval(one)) for one in apart]
    p = np.array([stats.ttest_1samp(one, 0).pvalue for one in apart])
    sorted_p = np.maximum.accumulate(np.minimum(1, np.sort(p) * np.arange(len(p), 0, -1)))
    hollow = [line.get_markerfacecolor() == "white" for line in axes.get_lines() if line.get_marker() == "D"]
    assert hollow == (sorted_p[np.argsort(np.argsort(p))] > 0.05).tolist()


def test_ranks_with_bootstrap_intervals(grid: Path, order: Any, of: Any) -> None:
    axes = drawn(plots.ranks, grid)
    values = pd.DataFrame({key: of(key) for key in order}).reindex(SEEDS).fillna(np.inf).to_numpy()
    assert rows(axes) == pytest.approx(stats.rankdata(values, axis=1).mean(axis=0))
    table = pd.read_csv(grid / "report" / "best.csv")
    found = intervals(axes)
    told = table[["mean_rank_low", "mean_rank_high"]].to_numpy()
    assert np.array([found[row] for row in range(len(order))]) == pytest.approx(told)


def test_the_metric_over_a_number_for_each_choice(grid: Path, of: Any) -> None:
    axes = drawn(plots.sensitivity, grid, "optimizer.lr")
    assert len(axes.get_lines()) == len(bands(axes)) == 3
    for name, line, (x, low, high) in zip(OPTIMIZERS, axes.get_lines(), bands(axes), strict=True):
        assert points(line) == pytest.approx(np.array([(lr, of((name, lr)).mean()) for lr in RATES]))
        ends = np.clip([interval(of((name, lr))) for lr in RATES], 0, 100)
        assert (x.tolist(), low, high) == (list(RATES), pytest.approx(ends[:, 0]), pytest.approx(ends[:, 1]))
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == SIDES


def test_a_map_of_two_keys_and_where_runs_diverged(grid: Path, summary: pd.DataFrame, order: Any) -> None:
    axes = drawn(plots.heat_map, grid, "optimizer", "optimizer.lr")
    assert cells(axes) == pytest.approx(summary.pivot_table("test_error", *KEYS).to_numpy())
    (star,) = lines(axes, "*")
    best = OPTIMIZERS.index(order[0][0]), RATES.index(order[0][1])
    assert (round(star[0, 1]), star[0, 0]) == best
    other = drawn(plots.heat_map, grid, "optimizer.lr", "optimizer", metric="val_error")
    assert cells(other) == pytest.approx(summary.pivot_table("val_error", *KEYS).to_numpy().T)
    every = pd.read_csv(grid / "summary.csv")
    shares = every.assign(diverged=100.0 * (every["state"] == "diverged")).pivot_table("diverged", *KEYS)
    assert cells(drawn(plots.diverged, grid)) == pytest.approx(shares.to_numpy())


def test_importances_slices_and_parallel_coordinates_of_a_grid(grid: Path, summary: pd.DataFrame) -> None:
    axes = drawn(plots.importance, grid)
    table = pd.read_csv(grid / "report" / "importance.csv")
    table = table[table["method"] == "fANOVA"].iloc[::-1]
    found = intervals(axes)
    assert names(axes) == table["axis"].tolist()
    page = (grid / "report" / "index.html").read_text()
    assert all(said in page for said in ("The best by test error", "share of the variance of test_error: "))
    filled = [points(one)[0] for one in axes.get_lines() if one.get_marker() == "o" and one.get_ms() == 5]
    assert [x for x, _ in filled] == pytest.approx(table["share"].tolist())
    assert [found[row] for row in range(2)] == [
        pytest.approx((low, high)) for low, high in zip(table["low"], table["high"], strict=True)
    ]
    means = summary.groupby(KEYS)["test_error"].mean() / 100  # what the answer goes by
    means[("sgd", 0.1)] = np.nan  # two of its runs have none
    told = scattered(drawn(plots.slices, grid, "optimizer"))
    expected = np.array([(OPTIMIZERS.index(name), value) for (name, _), value in means.items()])
    assert np.nan_to_num(told, nan=-1) == pytest.approx(np.nan_to_num(expected, nan=-1))
    others = summary.groupby(KEYS)["val_error"].mean() / 100
    others[("sgd", 0.1)] = np.nan
    other = scattered(drawn(plots.slices, grid, "optimizer", metric="val_error"))
    assert other[:, 1] == pytest.approx(others.to_numpy(), nan_ok=True)
    assert intervals(drawn(plots.importance, grid, metric="val_error")) != found
    assert drawn(plots.parallel, grid, metric="val_error").get_xticklabels()[-1].get_text() == "rank of val_error"
    there = means.dropna()
    axes = drawn(plots.parallel, grid)
    ranks = (len(there) - stats.rankdata(there)) / (len(there) - 1)
    heights = sorted(
        ((OPTIMIZERS.index(name) + 0.5) / 3, (RATES.index(lr) + 0.5) / 3, rank)
        for (name, lr), rank in zip(there.index, ranks, strict=True)
    )
    found_lines = sorted(tuple(one[:, 1]) for one in lines(axes) if len(one) == 3)
    assert np.array(found_lines) == pytest.approx(np.array(heights))


def test_the_course_and_the_rungs_of_a_search(searched: Path, of: Any) -> None:
    """The best so far by a running minimum, and the means of every rung; the answer goes by what was searched for."""
    trials = [(one, rate) for one in OPTIMIZERS for rate in RATES]
    first = np.array([of(key).mean() / 100 + 0.1 if key != ("sgd", 0.1) else np.nan for key in trials])
    axes = drawn(plots.best_so_far, searched)
    dots, course = lines(axes)
    assert np.nan_to_num(dots[:, 1], nan=-1) == pytest.approx(np.nan_to_num(first, nan=-1))
    assert course[:, 1] == pytest.approx(np.fmin.accumulate(first))
    axes = drawn(plots.rungs, searched)
    for trial, line in enumerate(lines(axes, "o")):
        ends = [first[trial], *([of(trials[trial]).mean() / 100] if trial % 3 == 1 else [])]
        assert np.nan_to_num(line, nan=-1) == pytest.approx(
            np.nan_to_num(np.column_stack([(10, 40)[: len(ends)], ends]), nan=-1)
        )
    assert len(lines(axes, "x")) == 6
    assert drawn(plots.best, searched).get_xlabel() == "test error (%)"
    with pytest.raises(OptionError, match="bracket=1: must be one of 0"):
        plots.rungs(searched, bracket=1)


def test_a_pareto_front(searched: Path, of: Any) -> None:
    search(searched, ["test_error", "val_error"])
    axes = drawn(plots.pareto, searched)
    trials = [(one, rate) for one in OPTIMIZERS for rate in RATES if (one, rate) != ("sgd", 0.1)]
    every = np.array([[of(key, name).mean() / 100 + 0.1 for name in ("test_error", "val_error")] for key in trials])
    cloud, front = lines(axes)
    assert cloud[np.isfinite(cloud).all(axis=1)] == pytest.approx(every)
    kept = [one for one in every if not any((other <= one).all() and (other < one).any() for other in every)]
    assert front == pytest.approx(np.array(sorted(map(tuple, kept))))
    search(searched, ["test_error"])


def test_pairs_ranks_and_improvement_of_sides(grid: Path, of: Any) -> None:
    folders = [path for path in grid.glob("optimizer=*") if "lr=0.01," in path.name]
    values = np.array([of((name, 0.01)) for name in OPTIMIZERS]).T / 100
    axes = drawn(plots.pairs, tuple(folders), SIDES)
    apart = values[:, 1:] - values[:, :1]
    assert rows(axes) == pytest.approx(apart.mean(axis=0))
    found = intervals(axes)
    assert [found[row + 0.27] for row in range(2)] == [pytest.approx(interval(one)) for one in apart.T]
    dots = [sorted(one[:, 0]) for one in lines(axes, "o")]
    assert dots == [pytest.approx(sorted(one)) for one in apart.T]
    axes = drawn(plots.critical_differences, tuple(folders), SIDES)
    ranks = stats.rankdata(values, axis=1).mean(axis=0)
    order = np.argsort(ranks, kind="stable")
    assert rows(axes) == pytest.approx(ranks[order])
    assert names(axes) == [SIDES[i] for i in order]
    critical = stats.studentized_range.ppf(0.95, 3, np.inf) / np.sqrt(2) * np.sqrt(3 * 4 / (6 * 4))
    upright = [one for one in lines(axes, "None") if one[0, 0] == one[1, 0] and one[0, 1] < one[1, 1]]
    joined = [(round(one[0, 1] + 0.2), round(one[1, 1] - 0.2)) for one in upright]
    sorted_ranks = ranks[order]
    groups = [(i, j) for i in range(3) for j in range(i + 1, 3) if sorted_ranks[j] - sorted_ranks[i] <= critical]
    assert joined == [
        one for one in groups if not any(one != other and other[0] <= one[0] and one[1] <= other[1] for other in groups)
    ]
    axes = drawn(plots.improvement, tuple(folders), SIDES)
    wins = [stats.mannwhitneyu(values[:, 0], values[:, i]).statistic / 16 for i in order if i]
    assert rows(axes) == pytest.approx(wins)


def test_time_to_target_and_performance_profiles(grid: Path) -> None:
    folders = tuple(path for path in grid.glob("optimizer=*") if "lr=0.01," in path.name)
    curves = {
        (name, seed): pd.read_csv(grid / f"optimizer={name},optimizer.lr=0.01,seed={seed}" / "metrics.csv")[
            "batch_error"
        ]
        for name in OPTIMIZERS
        for seed in SEEDS
    }
    target = np.median([curves["adam", seed].iloc[-1] for seed in SEEDS])
    first = np.array(
        [
            [np.min(np.array(STEPS, float)[curves[name, seed] <= target], initial=np.inf) for name in OPTIMIZERS]
            for seed in SEEDS
        ]
    )
    best = first.min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        ratios = np.where(np.isfinite(best), first / best, np.inf)
    for plot, values in ((plots.time_to_target, first), (plots.performance_profile, ratios)):
        axes = drawn(plot, folders, SIDES)
        for side, line in enumerate(lines(axes)[:3]):
            assert line[:, 1] == pytest.approx([(values[:, side] <= x).mean() for x in line[:, 0]])
            inside = values[values[:, side] <= line[-1, 0], side]
            assert set(inside) <= set(line[:, 0])


def test_curves_of_the_metrics(grid: Path) -> None:
    folders = [path for path in grid.glob("optimizer=*") if "lr=0.01," in path.name]
    axes = drawn(plots.curve, folders, "batch_error", band=True)
    heights = [one[:, 1] for one in lines(axes) if one[:, 0].tolist() == list(STEPS)]
    for name in OPTIMIZERS:
        own = [pd.read_csv(path / "metrics.csv")["batch_error"] for path in folders if f"={name}," in path.name]
        mean = np.mean(own, axis=0)
        assert any(one == pytest.approx(mean) for one in heights)
        ends = np.array([interval(values) for values in np.transpose(own)])
        assert any(
            low == pytest.approx(ends[:, 0]) and high == pytest.approx(ends[:, 1]) for _, low, high in bands(axes)
        )


def test_what_there_is_not_is_one_line(grid: Path) -> None:
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: plots.rungs(grid), r"rungs: no search in "),
        (lambda: plots.pareto(grid), r"pareto: no search in "),
        (
            lambda: plots.best(grid, metric="tset_error"),
            r"--metric tset_error: none of these runs has it; did you mean",
        ),
        (lambda: plots.sensitivity(grid, "model.depth"), r"sensitivity: key 'model.depth': one of optimizer.lr"),
        (lambda: plots.slices(grid, "depth"), r"key=depth: must be one of optimizer, optimizer.lr"),
        (lambda: plots.parallel(grid, metric="tset_error"), r"--metric tset_error: none of these runs has it; did you"),
        (lambda: plots.improvement(grid, SIDES[:2]), r"improvement: needs three sides or more"),
    ]
    for call, said in wrong:
        with pytest.raises(UserError, match=said):
            call()
