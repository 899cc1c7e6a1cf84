"""The answers of a report, against scipy and numpy on the numbers that the runs' own files have."""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy import stats

from fanin.report.answers.answer import Answer, answers_of
from fanin.report.answers.best import best_on_half
from fanin.report.figures.best import best_figure
from fanin.report.figures.by_axis import axes_figure
from fanin.report.figures.style import Sheet
from fanin.report.make import write_report
from fanin.report.rank_statistics import first_places
from fanin.report.read.configurations import group_runs
from fanin.report.read.folders import grid_of, read_runs
from fanin.report.statistics import paired_difference, welch_difference

WriteRun = Callable[..., Path]
SEEDS = 6
RATES = (0.001, 0.01, 0.1)
OPTIMIZERS = ("sgd", "adam")
SMALL = {"depth": 2, "width": 4, "count": 0}


@pytest.fixture(scope="module")
def errors() -> dict[tuple[str, float], np.ndarray]:
    """The test error of each configuration at each seed; a seed shifts all of them alike."""
    random = np.random.default_rng(7)
    shared = random.normal(0, 0.02, SEEDS)
    centre = {("sgd", 0.1): 0.2, ("adam", 0.001): 0.202, ("adam", 0.01): 0.22}
    of = {(optimizer, lr): centre.get((optimizer, lr), 0.5) for optimizer in OPTIMIZERS for lr in RATES}
    return {key: mean + shared + random.normal(0, 0.01, SEEDS) for key, mean in of.items()}


@pytest.fixture(scope="module")
def grid(
    errors: dict[tuple[str, float], np.ndarray], write_run: WriteRun, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Runs of 2 optimizers x 3 rates x 6 seeds, and their report; adam at 0.1 diverged twice."""
    folder = tmp_path_factory.mktemp("answers")
    for (optimizer, lr), values in errors.items():
        for seed, error in enumerate(values):
            state = "diverged" if (optimizer, lr) == ("adam", 0.1) and seed < 2 else "done"
            chosen = {"optimizer": optimizer, "optimizer.lr": lr}
            told = {"test_error": None if state == "diverged" else float(error)}
            write_run(folder, seed=seed, overrides=chosen, state=state, metrics=told, experiment="runs", **SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fanin.report.pictures.pictures", lambda *_: {})
        write_report([folder])
    return folder


def rows(grid: Path, name: str) -> list[dict[str, str]]:
    """A CSV file of the report."""
    with (grid / "report" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def label(optimizer: str, lr: float) -> str:
    """A configuration's name."""
    return f"optimizer={optimizer}, lr={lr:g}"


def holm(values: list[float]) -> list[float]:
    """Holm's correction, written down from its definition: the largest of (m + 1 - j) p_(j) up to i."""
    order = np.argsort(values)
    corrected = np.empty(len(values))
    for place, i in enumerate(order):
        corrected[i] = max(min(1.0, (len(values) - j) * values[order[j]]) for j in range(place + 1))
    return corrected.tolist()


def test_best_second_intervals_and_holm(grid: Path, errors: dict[tuple[str, float], np.ndarray]) -> None:
    table = rows(grid, "best.csv")
    without = {key: values for key, values in errors.items() if key != ("adam", 0.1)}
    expected = sorted(without, key=lambda key: without[key].mean())
    assert [row["configuration"] for row in table] == [*(label(*key) for key in expected), label("adam", 0.1)]
    best = errors[expected[0]]
    values = [errors[key] for key in expected[1:]] + [errors["adam", 0.1][2:]]
    others = [best] * len(expected[1:]) + [best[2:]]
    p = [stats.ttest_rel(one, other).pvalue for one, other in zip(values, others, strict=True)]
    for row, one, other, raw, corrected in zip(table[1:], values, others, p, holm(p), strict=True):
        low, high = stats.t.interval(0.95, len(one) - 1, one.mean(), stats.sem(one))
        assert [float(row[name]) for name in ("mean", "low", "high")] == pytest.approx([one.mean(), low, high])
        ends = stats.ttest_rel(one, other).confidence_interval()
        told = [float(row[name]) for name in ("difference", "difference_low", "difference_high", "p", "p_holm")]
        assert told == pytest.approx([(one - other).mean(), ends.low, ends.high, raw, corrected])
    assert [row["diverged"] for row in table] == ["0"] * 5 + ["2"]


def test_lines_say_what_the_tests_say(grid: Path, errors: dict[tuple[str, float], np.ndarray]) -> None:
    text = (grid / "report" / "table.md").read_text()
    table = rows(grid, "best.csv")
    first = f"- best: {table[0]['configuration']}: test error {100 * float(table[0]['mean']):.3g} % ["
    alike = [row["configuration"] for row in table[1:] if float(row["p_holm"]) > 0.05]
    assert first in text
    assert 0 < len(alike) < 4  # the numbers are such that some are told apart and some are not
    assert f"not distinguishable from the best at 5 %, {len(alike)} of 5: {'; '.join(alike)} (paired t-tests" in text
    assert "diverged: 2 of 36 runs; 1 configuration with such a run" in text
    held_out = float(table[0]["held_out"])
    assert f"measured on the other it has {100 * held_out:.3g} %" in text
    assert held_out > float(table[0]["mean"])


def test_the_best_rate_for_each_optimizer(grid: Path, errors: dict[tuple[str, float], np.ndarray]) -> None:
    table = [row for row in rows(grid, "best_by_axis.csv") if row["axis"] == "optimizer"]
    assert [(row["value"], row["configuration"]) for row in table] == [
        ("adam", label("adam", 0.001)), ("sgd", label("sgd", 0.1)),
    ]  # fmt: skip
    adam, sgd = table
    difference = errors["adam", 0.001] - errors["sgd", 0.1]
    assert float(adam["difference"]) == pytest.approx(difference.mean())
    assert float(adam["p_holm"]) == pytest.approx(stats.ttest_1samp(difference, 0).pvalue)
    assert sgd["difference"] == ""
    assert (adam["runs"], adam["diverged"], sgd["diverged"]) == ("18", "2", "0")
    rivals = [errors["adam", 0.01] - errors["adam", 0.001], (errors["adam", 0.1] - errors["adam", 0.001])[2:]]
    corrected = holm([stats.ttest_1samp(one, 0).pvalue for one in rivals])
    alike = [label("adam", lr) for lr, p in zip((0.01, 0.1), corrected, strict=True) if p > 0.05]
    assert adam["not_distinguished"] == "; ".join(alike)


def test_ranks_and_first_places(grid: Path, errors: dict[tuple[str, float], np.ndarray]) -> None:
    """Ranks and the joint t distribution of the means are scipy's, diverged runs behind all."""
    table = rows(grid, "best.csv")
    keys = {label(*key): key for key in errors}
    values = np.array([errors[keys[row["configuration"]]] for row in table])
    values[-1, :2] = math.inf
    assert [float(row["mean_rank"]) for row in table] == pytest.approx(stats.rankdata(values, axis=0).mean(axis=1))
    whole, count = values[:-1], 200_000
    joint = stats.multivariate_t(whole.mean(axis=1), np.cov(whole) / SEEDS, df=SEEDS - 1, allow_singular=True, seed=1)
    wanted = np.bincount(joint.rvs(count).argmin(axis=1), minlength=len(values)) / count
    told = np.array([float(row["first_place"]) for row in table])
    assert told == pytest.approx(wanted, abs=4 * 0.5 * math.sqrt(1 / 2000 + 1 / count))  # four standard errors at most
    assert told[-1] == 0
    assert told.sum() == pytest.approx(1)


def test_what_is_best_on_half_costs_what_choosing_gains() -> None:
    """k sides of equal mean: the least mean is too low by the mean of the least of k normal numbers over sqrt(n).

    What is best on half of the runs has on the other half the mean 0 that all have.
    """
    random = np.random.default_rng(3)
    k, n, trials = 20, 8, 200
    values = random.normal(size=(trials, n, k))
    least = values.mean(axis=1).min(axis=1).mean()
    assert least == pytest.approx(
        -1.867 / math.sqrt(n), abs=4 * 0.525 / math.sqrt(n * trials)
    )  # tables of order statistics
    halves = np.array([best_on_half(one) for one in values])
    assert abs(halves.mean()) < 4 * halves.std() / math.sqrt(trials)


@pytest.mark.parametrize("folds", [None, 5])
def test_of_two_sides_the_first_place_is_what_their_paired_test_says(folds: int | None) -> None:
    random = np.random.default_rng(8)
    for apart in (0.0, 0.5, 1.0):
        values = random.normal(size=(5, 2)) + np.array([0, apart])
        d = values[:, 1] - values[:, 0]
        t = d.mean() / (d.std(ddof=1) * math.sqrt(1 / 5 + (0.25 if folds else 0)))
        wanted = stats.t.cdf(t, df=4)
        error = math.sqrt(max(wanted * (1 - wanted), 1 / 2000) / 2000)
        assert first_places(values, folds)[0] == pytest.approx(wanted, abs=4 * error)


def test_ties_share_the_first_place() -> None:
    assert first_places(np.array([[1.0, 1.0, 2.0]] * 4)).tolist() == [0.5, 0.5, 0.0]
    assert first_places(np.array([[math.inf, 1.0]] * 3)).tolist() == [0.0, 1.0]


def test_differences_of_independent_and_equal_samples() -> None:
    random = np.random.default_rng(5)
    one, other = random.normal(size=7), random.normal(0.8, 2.0, size=4)
    found, library = welch_difference(one.tolist(), other.tolist()), stats.ttest_ind(other, one, equal_var=False)
    ends = library.confidence_interval()
    assert [found.mean, found.p] == pytest.approx([other.mean() - one.mean(), library.pvalue])
    assert [found.low, found.high] == pytest.approx([ends.low, ends.high])
    assert paired_difference([0.0, 0.0, 0.0]).p == 1.0
    assert math.isnan(paired_difference([0.5]).low)
    assert math.isnan(welch_difference([1.0], [2.0, 3.0]).p)


def test_data_sets_have_an_answer_each(tmp_path: Path, write_run: WriteRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error on one data set is no better than an error on another, whatever the numbers."""
    for data, errors in (("mnist", {0.1: 0.05, 0.2: 0.04}), ("digits", {0.1: 0.3, 0.2: 0.4})):
        for lr, error in errors.items():
            for seed in (0, 1):
                chosen = {"data": data, "optimizer.lr": lr}
                metrics = {"test_error": error + 0.001 * seed}
                write_run(tmp_path, seed=seed, overrides=chosen, metrics=metrics, experiment="runs", **SMALL)
    monkeypatch.setattr("fanin.report.pictures.pictures", lambda *_: {})
    report = write_report([tmp_path])
    lines = [one.lines[0] for one in report.answers]
    assert [one.subject for one in report.answers] == ["data=digits", "data=mnist"]
    assert [line.split(": test")[0] for line in lines] == [
        "best on data=digits: data=digits, lr=0.1", "best on data=mnist: data=mnist, lr=0.2",
    ]  # fmt: skip


def test_runs_of_one_seed_have_a_best_and_no_test(
    tmp_path: Path, write_run: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for lr in (0.1, 0.2, 0.4):
        metrics = {"test_error": lr / 2}
        folder = write_run(tmp_path, overrides={"optimizer.lr": lr}, metrics=metrics, experiment="runs", **SMALL)
        assert json.loads((folder / "result.json").read_text())["metrics"]["test_error"] == lr / 2
    monkeypatch.setattr("fanin.report.pictures.pictures", lambda *_: {})
    (answer,) = write_report([tmp_path]).answers
    assert answer.lines == [
        "best: lr=0.1: test error 5 % over 1 seed",
        "second: lr=0.2: test error 10 % over 1 seed",
        "not tested: 2 of 2, for want of two seeds that vary",
        "the best of 3 is chosen by the same seed, which flatters it",
    ]


def answer_of(grid: Path) -> tuple[Sheet, Answer]:
    """What the figures are drawn of."""
    root, found = grid_of([grid])
    runs = read_runs(found, root)
    configurations = group_runs(runs)
    (answer,) = answers_of(runs, configurations)
    return Sheet("t", "s", configurations), answer


def test_the_best_are_drawn_where_the_table_has_them(grid: Path) -> None:
    table = rows(grid, "best.csv")
    figure = best_figure(*answer_of(grid))
    means, differences, ranks = figure.axes
    assert [text.get_text() for text in means.get_yticklabels()] == [row["configuration"] for row in table]
    for axes, name, first, scale in (
        (means, "mean", 0, 100),
        (differences, "difference", 1, 100),
        (ranks, "mean_rank", 0, 1),
    ):
        marks = [line for line in axes.get_lines() if line.get_marker() == "D"]
        told = [scale * float(row[name]) for row in table[first:]]
        assert [float(line.get_xdata()[0]) for line in marks] == pytest.approx(told)
        hollow = [line.get_markerfacecolor() == "white" for line in marks]
        told_apart = [
            row is table[0] or (row["p_holm"] != "" and float(row["p_holm"]) <= 0.05) for row in table[first:]
        ]
        assert hollow == [not one for one in told_apart]
    ends = [
        line.get_xdata() for line in means.get_lines() if line.get_marker() == "None" and len(line.get_xdata()) == 2
    ]
    assert [list(map(float, one)) for one in ends] == [
        pytest.approx([100 * float(row["low"]), 100 * float(row["high"])]) for row in table
    ]


def test_curves_and_maps_are_the_best_of_each_pair(grid: Path, errors: dict[tuple[str, float], np.ndarray]) -> None:
    figure = axes_figure(*answer_of(grid))
    assert figure is not None
    curves, means, shares = figure.axes[:3]
    for line, optimizer in zip(curves.get_lines(), ("adam", "sgd"), strict=True):
        own = [errors[optimizer, lr][2 * ((optimizer, lr) == ("adam", 0.1)) :].mean() for lr in RATES]
        assert list(line.get_xdata()) == list(RATES)
        assert list(line.get_ydata()) == pytest.approx([100 * value for value in own])
        row = ("adam", "sgd").index(optimizer)
        assert means.get_images()[0].get_array()[row].tolist() == pytest.approx([100 * value for value in own])
    assert shares.get_images()[0].get_array().tolist() == [[0, 0, pytest.approx(100 / 3)], [0, 0, 0]]
    (star,) = means.get_lines()
    assert (int(star.get_xdata()[0]), round(float(star.get_ydata()[0]))) == (2, 1)  # sgd at 0.1


def test_values_that_a_search_draws_have_ticks_that_can_be_read_and_no_tables_of_their_own(
    tmp_path: Path, write_run: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one seed nothing is tested: all but the best are hollow."""
    random = np.random.default_rng(4)
    for activation, lr in itertools.product(("relu", "tanh"), 10 ** random.uniform(-4, 0, 3)):
        chosen = {"activation": activation, "optimizer.lr": float(f"{lr * random.uniform(1, 1.2):.6g}")}
        write_run(tmp_path, overrides=chosen, metrics={"test_error": random.uniform()}, experiment="runs", **SMALL)
    monkeypatch.setattr("fanin.report.pictures.pictures", lambda *_: {})
    (told,) = write_report([tmp_path]).answers
    assert [table.title for table in told.axes] == ["the best lr for each activation"]
    sheet, answer = answer_of(tmp_path)
    marks = [line for line in best_figure(sheet, answer).axes[0].get_lines() if line.get_marker() == "D"]
    assert [line.get_markerfacecolor() == "white" for line in marks] == [False, *[True] * 5]
    figure = axes_figure(sheet, answer)
    assert figure is not None
    FigureCanvasAgg(figure).draw()
    (low, high), axis = figure.axes[0].get_xlim(), figure.axes[0].xaxis
    labels = [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    boxes = [label.get_window_extent() for label in labels if label.get_text()]
    assert len(boxes) > 2
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(sorted(boxes, key=lambda box: box.x0)))
