"""The evaluation of runs in a report: the picture of the confusion matrix, and the columns of summary.csv."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from fanin.report.figures.confusion import confusion_figure
from fanin.report.figures.style import Sheet, look
from fanin.report.make import write_report
from fanin.report.read.configurations import group_runs
from fanin.report.read.folders import read_runs

WriteRun = Callable[..., Path]
SMALL = {"depth": 2, "width": 4, "count": 2}


def evaluated(run: Path, confusion: Any, part: str = "test", **more: Any) -> Path:
    """Add an evaluation to the run's result."""
    content = json.loads((run / "result.json").read_text())
    content["metrics"] |= more.pop("metrics", {})
    (run / "result.json").write_text(json.dumps(content | more | {"evaluation": {part: {"confusion": confusion}}}))
    return run


def panels(root: Path, folders: list[Path]) -> list[Axes]:
    """The panels of the figure, none where it is not drawn."""
    runs = read_runs(folders, root)
    with look():
        figure = confusion_figure(Sheet("a title", "a setting", group_runs(runs)), runs)
    return [] if figure is None else [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def said(axes: Axes) -> list[str]:
    """The texts in a panel."""
    return [text.get_text() for text in axes.texts]


def test_shares_are_those_of_all_finished_runs(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [
        evaluated(write_run(tmp_path, seed=0, **SMALL), [[8, 2, 0], [0, 4, 0], [0, 0, 0]]),
        evaluated(write_run(tmp_path, seed=1, **SMALL), [[6, 3, 1], [1, 3, 0], [0, 0, 0]]),
        evaluated(write_run(tmp_path, seed=2, state="pruned", **SMALL), [[0, 9, 0], [0, 9, 0], [0, 9, 0]]),
        write_run(tmp_path, seed=3, **SMALL),
    ]
    (axes,) = panels(tmp_path, folders)
    (image,) = axes.get_images()
    # 14, 5 and 1 of 20 examples of class 0, 1 and 7 of 8 of class 1; class 2 has none.
    expected = [[0.7, 0.25, 0.05], [0.125, 0.875, 0], [0, 0, 0]]
    np.testing.assert_allclose(np.asarray(image.get_array()), expected, rtol=1e-15)
    # Wrong are 6 of 20 and 1 of 8.
    assert said(axes) == ["70", "25", "5", "12", "88", "a  c=2\n25 % error, 2 runs"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("answer", "true class")


def test_of_many_configurations_those_with_least_error(tmp_path: Path, write_run: WriteRun) -> None:
    wrong = {1.6: 3, 1.7: 9, 1.8: 1, 1.9: 5, 2.0: 7, 2.1: 2, 2.2: 4, 2.3: 6}
    folders = [
        evaluated(write_run(tmp_path, c=c, **SMALL), [[10 - count, count], [0, 10]]) for c, count in wrong.items()
    ]
    drawn = [said(axes)[-1] for axes in panels(tmp_path, folders)]
    assert drawn == [
        f"{letter}  c={c:g}\n{5 * wrong[c]} % error, 1 run"
        for letter, c in zip("abcdef", (1.6, 1.8, 1.9, 2.1, 2.2, 2.3), strict=True)
    ]


def test_small_shares_are_told_from_none(tmp_path: Path, write_run: WriteRun) -> None:
    (axes,) = panels(tmp_path, [evaluated(write_run(tmp_path, **SMALL), [[999, 1], [0, 1000]])])
    assert said(axes)[:-1] == ["100", "<1", "100"]


@pytest.mark.parametrize(
    "confusion",
    [None, "x", [[1, 2], [3]], [[1, 2, 3]], [[0, 0], [0, 0]], [[1, -1], [0, 1]], np.eye(21, dtype=int).tolist()],
)
def test_what_is_no_matrix_is_not_drawn(tmp_path: Path, write_run: WriteRun, confusion: Any) -> None:
    assert panels(tmp_path, [evaluated(write_run(tmp_path, **SMALL), confusion)]) == []


def test_runs_without_a_test_show_their_validation(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [evaluated(write_run(tmp_path, seed=0, **SMALL), [[1, 3], [0, 4]], "val")]
    assert "37.5 % error" in said(panels(tmp_path, folders)[0])[-1]
    folders.append(evaluated(write_run(tmp_path, seed=1, **SMALL), [[4, 0], [0, 4]]))
    assert "0 % error, 1 run" in said(panels(tmp_path, folders)[0])[-1]


@pytest.mark.usefixtures("quick_figures")
def test_a_report_has_the_picture_and_the_columns(tmp_path: Path, write_run: WriteRun) -> None:
    run = write_run(tmp_path / "grid", seed=0, metrics={"test_error": 0.25}, **SMALL)
    evaluated(run, [[3, 1], [1, 3]], metrics={"generalization_gap": 0.1875}, parameters=1250, flops_per_step=7_500_000)
    path = run / "result.json"
    content = json.loads(path.read_text())
    content["evaluation"]["test"] |= {"accuracy": 0.75, "error": 0.25, "f1": 0.7, "roc_auc": None}
    path.write_text(json.dumps(content))
    write_run(tmp_path / "grid", seed=1, state="failed", error="RuntimeError: x", **SMALL)
    report = write_report([tmp_path / "grid"])
    assert {"confusion.png", "confusion.svg"} <= {path.name for path in report.figures}
    assert 'href="./confusion.svg">' in report.index.read_text()
    with (tmp_path / "grid" / "summary.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    # New columns come after all that there were, of which `error` was the last.
    columns = ["error", "accuracy", "f1", "roc_auc", "generalization_gap", "parameters", "flops_per_step"]
    assert [name for name in first if name in columns] == columns
    assert [first[name] for name in columns] == ["", "0.75", "0.7", "", "0.1875", "1250", "7500000"]
    assert [second[name] for name in columns] == ["RuntimeError: x", *[""] * 6]
    content["evaluation"] = {}
    path.write_text(json.dumps(content))
    write_report([tmp_path / "grid"])
    assert not (report.out / "confusion.png").exists()
