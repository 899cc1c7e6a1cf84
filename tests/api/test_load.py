"""fanin.load: the files of runs as tidy tables, each number where its file has it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import fanin
from fanin.errors import UserError
from fanin.record import columns

TINY = ["data.image_size=8", "data.limit=300", "model.depth=3", "model.width=8", "trainer.steps=6"]


def numbers(path: Path, column: str) -> list[float]:
    """A column of a CSV file, by the standard library."""
    with path.open(newline="") as file:
        return [float(row[column] or "nan") for row in csv.DictReader(file)]


def test_tables_hold_what_the_files_hold(host: Path) -> None:
    runs = [fanin.run([*TINY, f"seed={seed}", f"optimizer.lr={lr}"]) for seed in (0, 1) for lr in (0.1, 0.01)]
    runs.append(fanin.run([*TINY, "trainer.steps=2", "model.depth=2"], folder="elsewhere/alone"))
    (host / "elsewhere" / "notes").mkdir()
    for paths in (["outputs/**", "elsewhere"], ["**"], ["."], [host / "outputs", "else*"]):
        tables = fanin.load(*paths)
        assert sorted(tables.runs["run"]) == sorted(run.folder.relative_to(host).as_posix() for run in runs)
    assert tables.notes == ()
    table = tables.runs.set_index("run")
    for run in runs:
        name = run.folder.relative_to(host).as_posix()
        row = table.loc[name]
        assert (row["state"], row["outcome"], row["seed"]) == ("done", run.outcome, run.result["config"]["seed"])
        assert row["optimizer.lr"] == run.result["config"]["optimizer"]["lr"]
        assert row["model.depth"] == run.result["config"]["model"]["depth"]
        assert row["test_loss"] == run.result["metrics"]["test_loss"]
        for rows, file in ((tables.metrics, "metrics.csv"), (tables.profiles, "profiles.csv")):
            own = rows[rows["run"] == name]
            column = "batch_loss" if file == "metrics.csv" else "value"
            assert np.array_equal(own[column], numbers(run.folder / file, column), equal_nan=True)
    assert list(tables.metrics) == ["run", *columns.names(columns.METRICS)]
    assert list(tables.profiles) == ["run", *columns.names(columns.PROFILES)]
    assert (tables.metrics["step"].dtype, tables.profiles["index"].dtype) == (np.int64, np.int64)
    assert set(tables.profiles["snapshot"]) == {"init", "final"}
    assert (len(tables.curvature), list(tables.curvature)) == (0, ["run"])
    (runs[0].folder / "curvature.csv").write_text("step,largest\n0,2.5\n6,1.5\n")
    curvature = fanin.load("outputs").curvature
    assert curvature.to_dict("list") == {"run": [runs[0].name] * 2, "step": [0, 6], "largest": [2.5, 1.5]}


def test_an_unfinished_and_a_damaged_run_are_rows_with_a_note(host: Path) -> None:
    whole, cut = (fanin.run([*TINY, f"seed={seed}"]) for seed in (0, 1))
    text = (cut.folder / "metrics.csv").read_text()
    (cut.folder / "metrics.csv").write_text(text[:-7])
    (cut.folder / "result.json").unlink()
    (cut.folder / "status.json").write_text('{"state": "interrupted", "step": 3}')
    tables = fanin.load("outputs")
    assert tables.runs["state"].tolist() == ["done", "interrupted"]
    assert tables.runs["seed"].tolist() == [0, 1]
    assert tables.metrics["run"].value_counts()[cut.name] == len(whole.metrics) - 1
    (note,) = tables.notes
    assert note.startswith(f"{cut.name}: metrics.csv ends in the middle of a line")


def test_a_folder_whose_name_is_a_pattern_is_a_folder(host: Path) -> None:
    run = fanin.run(TINY, folder="a[1]/run")
    assert fanin.load("a[1]").runs["run"].tolist() == ["run"] or run.name == "run"
    assert len(fanin.load("a[1]").runs) == 1


@pytest.mark.parametrize(
    ("paths", "line"),
    [
        ([], r'load: no folder; fanin.load\("outputs/\*\*"\) reads all runs there'),
        (["nowhere"], r"nowhere: no such folder"),
        (["no*where"], r"no\*where: no folder is so called"),
        (["empty"], r"empty: no runs here; a run's folder holds a status.json"),
        ([3], r"load: 3 must be the path of a folder, or a pattern"),
    ],
)
def test_wrong_uses_are_one_line(host: Path, paths: list[str], line: str) -> None:
    (host / "empty").mkdir()
    with pytest.raises(UserError, match=line) as told:
        fanin.load(*paths)
    assert "\n" not in str(told.value)
