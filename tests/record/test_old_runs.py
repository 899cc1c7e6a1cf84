"""Run folders of the first layout, whose files lack what result.json tells by now, and name classes that have moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from command_line import end, read, start, table
from fanin.record.run_files import read_run

OLD = Path(__file__).with_name("old_runs")
"""Written by the commands of that time: 2 steps, sgd and adam with early stopping. Without events and checkpoints."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "runs"))


def test_they_are_reported(old: Path) -> None:
    """With the value of every key that varies, and the level of chance of ten classes."""
    said = end(start(old.parent, "runs", module="fanin.report.cli"))
    assert (said.code, said.err) == (0, [])
    rows = table(old / "summary.csv")
    told = [[row[key] for key in ("state", "optimizer", "regularizer", "model.depth", "parameters")] for row in rows]
    results = [read(old / row["run"] / "result.json") for row in rows]
    assert told == [
        ["done", "adam", "early_stopping", "3", str(results[0]["parameters"])],
        ["done", "sgd", "none", "3", str(results[1]["parameters"])],
    ]
    assert [row["test_loss"] for row in rows] == [repr(result["metrics"]["test_loss"]) for result in results]
    assert (old / "report" / "index.html").is_file()


def test_what_was_not_told_then_follows_from_what_was(old: Path) -> None:
    adam, sgd = (read_run(folder) for folder in sorted(old.iterdir()))
    assert [(run.classes, run.chance_loss) for run in (adam, sgd)] == [(10, pytest.approx(2.302585092994046))] * 2
    assert [run.value("optimizer.lr") for run in (adam, sgd)] == [0.001, 0.01]  # each its own default
    assert [run.value("regularizer") for run in (adam, sgd)] == ["early_stopping", "none"]


def test_what_has_another_name_now(tmp_path: Path) -> None:
    """Before, train_* were the means over the last batches, beside the final weights' full_*."""
    (tmp_path / "status.json").write_text('{"state": "done"}')
    told = {"train_loss": 0.5, "train_error": 0.25, "full_loss": 0.4, "full_error": 0.125, "test_error": 0.2}
    (tmp_path / "result.json").write_text(json.dumps({"state": "done", "metrics": told}))
    assert read_run(tmp_path).metrics == {"train_loss": 0.4, "train_error": 0.125, "test_error": 0.2}


def test_a_run_without_a_result_has_the_configuration_of_its_finished_self(old: Path) -> None:
    """Also that of a list of options, typed as [early_stopping]."""
    for folder in old.iterdir():
        finished = read_run(folder)
        (folder / "result.json").unlink()
        (folder / "status.json").write_text(json.dumps({"state": "interrupted", "step": 1}))
        unfinished = read_run(folder)
        assert unfinished.overrides == finished.overrides
        assert unfinished.value("trainer.steps") == 2
