"""The bulk reader against Python's csv module, and the statistics against scipy's distributions."""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fanin.report.cli import main
from fanin.report.figures.steps import curves_figure
from fanin.report.figures.style import Sheet
from fanin.report.read.configurations import group_runs
from fanin.report.read.folders import Run, read_runs
from fanin.report.read.series import Metrics, Profiles
from fanin.report.statistics import bounds_of, geometric_interval, mean_curve, mean_interval

WriteRun = Callable[..., Path]
HEADER = "snapshot,axis,index,layer,quantity,value,theory,band_low,band_high\n"


@pytest.fixture
def runs(five_runs: list[Path], tmp_path: Path) -> list[Run]:
    """Five runs of the real command; the third has no profiles, the fourth's file has quotes and another order."""
    folders = [shutil.copytree(one, tmp_path / one.name) for one in five_runs]
    (folders[2] / "profiles.csv").unlink()
    with (folders[3] / "profiles.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (folders[3] / "profiles.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted(rows[0]), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    return read_runs(folders, tmp_path)


@pytest.mark.parametrize(
    ("snapshot", "axis", "quantity", "column"),
    [
        ("init", "module", "activation_norm", "value"),
        ("init", "weight", "gradient_norm", "theory"),
        ("init", "module", "activation_norm_mean_square", "theory"),
        ("final", "weight", "weight_movement", "value"),
        ("init", "weight", "activation_norm", "band_low"),
        ("never", "weight", "activation_norm", "value"),
    ],
)
def test_matrices_hold_what_the_files_say(
    runs: list[Run], snapshot: str, axis: str, quantity: str, column: str
) -> None:
    expected: dict[tuple[int, int], float] = {}
    lengths = [0] * 5
    for position, run in enumerate(runs):
        path = run.folder / "profiles.csv"
        for row in csv.DictReader(path.open(newline="")) if path.exists() else ():
            if (row["snapshot"], row["axis"], row["quantity"]) == (snapshot, axis, quantity):
                if row[column]:
                    expected[position, int(row["index"]) - 1] = float(row[column])
                lengths[position] = max(lengths[position], int(row["index"]))
    profiles = Profiles(runs)
    matrix = profiles.matrix(snapshot, axis, quantity, column)
    assert matrix.shape == (5, max(lengths))
    assert list(profiles.lengths(snapshot, axis, quantity)) == lengths
    found = {(int(i), int(k)): float(matrix[i, k]) for i, k in np.argwhere(~np.isnan(matrix))}
    # pandas' quick parser of decimals may miss a last bit or two.
    assert found == pytest.approx(expected, rel=4e-15)
    assert [run.notes for run in runs] == [[]] * 5


def test_words_for_what_is_not_finite(tmp_path: Path) -> None:
    lines = [
        f"init,weight,{i},linear_{i},gradient_norm,{word},,,"
        for i, word in enumerate(("inf", "-inf", "nan", "0", ""), 1)
    ]
    (tmp_path / "status.json").write_text('{"state": "running"}')
    (tmp_path / "profiles.csv").write_text(HEADER + "\n".join(lines) + "\n")
    profiles = Profiles(read_runs([tmp_path], tmp_path))
    values = profiles.matrix("init", "weight", "gradient_norm")[0]
    assert list(values[:2]) == [math.inf, -math.inf]
    assert values[3] == 0
    assert list(np.isnan(values)) == [False, False, True, False, True]


@pytest.mark.parametrize("index", ["0", "-1", "1.5", "1e9", "nan", ""])
def test_an_index_that_is_none_is_left_out(tmp_path: Path, index: str) -> None:
    (tmp_path / "status.json").write_text('{"state": "running"}')
    lines = f"init,weight,{index},x,gradient_norm,9,,,\ninit,weight,2,linear_2,gradient_norm,5,,,\n"
    (tmp_path / "profiles.csv").write_text(HEADER + lines)
    values = Profiles(read_runs([tmp_path], tmp_path)).matrix("init", "weight", "gradient_norm")
    assert np.array_equal(values, [[np.nan, 5]], equal_nan=True)


def test_one_unreadable_file_costs_only_itself(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [write_run(tmp_path, seed=seed, depth=3, width=8, count=0) for seed in range(7)]
    text = (folders[4] / "profiles.csv").read_text()
    (folders[4] / "profiles.csv").write_text(
        text.replace("init,weight,2,linear_2,gradient_norm,", "init,weight,2,linear_2,gradient_norm,x")
    )
    runs = read_runs(folders, tmp_path)
    measured = ~np.isnan(Profiles(runs).matrix("init", "weight", "gradient_norm"))
    assert measured.sum(axis=1).tolist() == [3, 3, 3, 3, 2, 3, 3]
    assert not measured[4, 1]
    assert [len(run.notes) for run in runs] == [0, 0, 0, 0, 1, 0, 0]


def test_metrics_align_on_steps(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [write_run(tmp_path, seed=seed, depth=2, width=4, count=count) for seed, count in ((0, 3), (1, 5))]
    runs = read_runs(folders, tmp_path)
    metrics = Metrics(runs)
    steps, values = metrics.matrix([1, 0], "batch_loss")
    assert steps.tolist() == [0, 250, 500, 750, 1000]
    assert np.isnan(values).tolist() == [[False] * 5, [False, True, False, True, False]]
    rows = list(csv.DictReader((folders[0] / "metrics.csv").open(newline="")))
    assert values[1, 2] == pytest.approx(float(rows[1]["batch_loss"]), rel=4e-15)
    assert metrics.matrix([0, 1], "test_loss")[0].size == 0


EARLIER = "step,epoch,lr,train_loss,train_error,val_loss,val_error,test_loss,test_error,seconds"
"""The header of earlier versions, whose train_* are the batches' means; full_* came last where they were asked for."""


def test_files_of_earlier_versions_in_one_report(tmp_path: Path, write_run: WriteRun) -> None:
    """What is called train_* in them is batch_*, and full_* is train_*; one of them of unusual form."""
    folders = [write_run(tmp_path, seed=seed, depth=2, width=4, count=2) for seed in range(4)]
    for seed in (1, 2, 3):
        lines = [f"{step},0.5,0.003,{seed}.5,0.75,,,,,1" for step in (0, 1000)]
        header = EARLIER
        if seed != 2:
            header, lines = f"{header},full_loss,full_error", [f"{line},{seed}.25,0.5" for line in lines]
        if seed == 3:  # quoted: read cell by cell
            lines[-1] = lines[-1].rpartition(",")[0] + ',"0.75"'
        (folders[seed] / "metrics.csv").write_text("\n".join([header, *lines]) + "\n")
    runs = read_runs(folders, tmp_path)
    metrics = Metrics(runs)
    assert [metrics.series(i, "train_loss")[1].tolist() for i in range(4)] == [[], [1.25, 1.25], [], [3.25, 3.25]]
    assert metrics.series(3, "train_error")[1].tolist() == [0.5, 0.75]
    assert [metrics.series(i, "batch_loss")[1].tolist() for i in (1, 2, 3)] == [[1.5] * 2, [2.5] * 2, [3.5] * 2]
    assert len(metrics.series(0, "batch_loss")[0]) == 2
    assert [run.notes for run in runs] == [[], [], [], []]


@pytest.mark.parametrize("n", [2, 3, 7, 30])
def test_interval_is_that_of_student(n: int) -> None:
    values = np.random.default_rng(n).normal(3, 2, n)
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert mean_interval(values)[:4] == pytest.approx((values.mean(), low, high, n), rel=1e-10)
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert geometric_interval(np.exp(values))[:3] == pytest.approx(np.exp((values.mean(), low, high)), rel=1e-10)
    means, lows, highs = mean_curve(np.column_stack([values, 2 * values]))
    assert (means[1], lows[1], highs[1]) == pytest.approx((2 * values.mean(), 2 * low, 2 * high), rel=1e-10)


@pytest.mark.parametrize(
    ("metric", "percent", "ends"),
    [
        ("test_error", True, (0.0, 1.0)),
        ("test_error", False, (0.0, 1.667862)),
        ("test_loss", False, (-0.567862, 1.667862)),
    ],
)
def test_no_error_lies_below_0_and_no_share_above_1(metric: str, percent: bool, ends: tuple[float, float]) -> None:
    """0.1, 0.55, 1: the mean 0.55, half a width of t(2) 4.302653 times sd / sqrt(n) = 0.45 / sqrt(3)."""
    found = mean_interval([0.1, 0.55, 1.0], bounds=bounds_of(metric, percent=percent))
    assert (found.low, found.high) == pytest.approx(ends, abs=1e-6)


def test_intervals_without_enough_values() -> None:
    nan, inf = math.nan, math.inf
    assert mean_interval([4.0, None])[:1] + mean_interval([4.0, None])[3:] == (4.0, 1, 1)
    assert math.isnan(mean_interval([4.0]).low)
    assert mean_interval([])[3:] == mean_interval([None, None])[3:] == (0, 0)
    assert mean_interval([inf, nan])[0] == inf
    assert mean_interval([1.0, 3.0, nan])[0] == 2.0
    assert mean_interval([1.0, 3.0, nan])[3:] == (2, 3)
    assert geometric_interval([0.0, 5.0])[0] == 0.0
    # Two values 60 decades apart: the upper end lies beyond the largest float.
    assert geometric_interval([1e-200, 1e200])[1:3] == (0.0, inf)


def test_the_mean_curve_stops_when_most_seeds_have() -> None:
    nan = math.nan
    mean, low, _ = mean_curve(np.array([[1.0, 1.0, 1.0], [3.0, 3.0, nan], [5.0, nan, nan], [7.0, nan, nan]]))
    assert np.array_equal(mean, [4.0, 2.0, nan], equal_nan=True)
    # Two values 1 and 3: 2 - 12.706 sqrt(2) / sqrt(2)
    assert low[1] == pytest.approx(2 - 12.7062047, rel=1e-6)


def test_steps_on_other_axes(five_runs: list[Path], tmp_path: Path) -> None:
    """A run of 2 steps on 100 examples, batch 100; a step's second is the mean over the runs."""
    read = read_runs(five_runs, five_runs[0].parent)
    metrics = Metrics(read)
    steps, values = metrics.matrix(range(5), "batch_loss")
    assert steps.tolist() == [1, 2]
    assert values.shape == (5, 2)
    assert metrics.along(range(5), steps, "step").tolist() == [1, 2]
    assert metrics.along(range(5), steps, "epoch").tolist() == [1, 2]
    for x in ("examples", "gradients"):
        assert metrics.along(range(5), steps, x).tolist() == [100, 200]
    assert metrics.along(range(5), steps, "flops").tolist() == [read[0].result["flops_per_step"] * n for n in (1, 2)]
    told = [
        [float(row["seconds"]) for row in csv.DictReader((one / "metrics.csv").open()) if row["batch_loss"]]
        for one in five_runs
    ]
    np.testing.assert_allclose(metrics.along(range(5), steps, "seconds"), np.mean(told, axis=0), rtol=1e-12)
    sheet = Sheet("", "", group_runs(read))
    figure = curves_figure(sheet, read, metrics, "examples")
    assert figure is not None
    assert figure.axes[-1].get_xlabel() == "examples"
    assert next(line.get_xdata().tolist() for line in figure.axes[0].get_lines()) == [100, 200]


def test_an_axis_that_no_run_has_is_refused(
    tmp_path: Path, write_run: WriteRun, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, depth=2, width=4, count=2)
    for x, told in (("flops", "no run here has it"), ("time", "must be one of step, epoch, examples, gradients, ")):
        assert main([str(tmp_path), "--x", x]) == 1
        assert f"fanin-report: --x {x}: {told}" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
