"""Half-written, broken and contradictory files: a note on the run, its row in the tables, never a traceback."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from threading import Thread, current_thread

import pytest

from fanin.errors import UserError
from fanin.record.run_files import read_run
from fanin.record.summary import row_of, rows_of
from fanin.report.make import write_report
from fanin.report.read.configurations import group_runs
from fanin.report.read.folders import find_runs, read_runs
from fanin.report.read.series import Metrics, Profiles

WriteRun = Callable[..., Path]
SMALL = {"depth": 4, "width": 8, "count": 3}


def test_a_grid_of_broken_runs_is_reported_whole(tmp_path: Path, write_run: WriteRun) -> None:
    _, cut, binary, empty, bare, alone = (write_run(tmp_path, seed=seed, **SMALL) for seed in range(6))
    (cut / "status.json").write_text('{"state": "done", "st')
    (cut / "result.json").write_text("[1, 2]")
    (binary / "profiles.csv").write_bytes(b"\x00\xff\xfe" * 50)
    (binary / "metrics.csv").write_text("not,a,metric\n1,2,3\n")
    for name in ("profiles.csv", "metrics.csv"):
        (empty / name).write_text("")
    for name in ("status.json", "result.json", "profiles.csv", "metrics.csv"):
        (bare / name).unlink()
    (alone / ".hydra" / "config.yaml").write_text("{a: [")
    report = write_report([tmp_path])
    assert list(report.summary["run"]) == [f"initializer.c=2.0,seed={seed}" for seed in range(6)]
    assert list(report.summary["state"]) == ["done", "unknown", "done", "done", "unknown", "done"]
    notes: dict[str, list[str]] = {}
    for note in report.notes:
        run, _, said = note.partition(": ")
        notes.setdefault(run[-1], []).append(said)
    assert set(notes) == {"1", "2", "4"}
    assert [note.split(":")[0] for note in notes["1"]] == ["status.json cannot be read", "result.json cannot be read"]
    assert [note.split(":")[0] for note in notes["2"]] == ["profiles.csv cannot be read", "metrics.csv cannot be read"]
    assert notes["4"] == ["status.json is missing"]
    assert list(report.study["runs"]) == [6]
    assert report.study["outcome"][0] == "4 of 6 learn: 6.2 % train error, 2 of 6 unknown"
    assert report.study["unknown"][0] == 2


def test_numbers_without_end_and_files_that_grow_without_bound(tmp_path: Path, write_run: WriteRun) -> None:
    """Integers of 400 and of 6,000 digits, which no float holds; aliases of aliases that make 9^9 nodes."""
    long, longer, bomb = (write_run(tmp_path, seed=seed, **SMALL) for seed in range(3))
    digits = "9" * 400
    told = '{"metrics": {"train_loss": N}, "steps": N, "classes": N, "overrides": {"a": N}}'
    (long / "result.json").write_text(told.replace("N", digits))
    (long / ".hydra" / "config.yaml").write_text(f"seed: {digits}\n")
    (longer / "result.json").write_text(f'{{"steps": {"9" * 6000}}}')
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)]
    (bomb / ".hydra" / "config.yaml").write_text("\n".join(lines))
    (bomb / "result.json").unlink()
    runs = read_runs([long, longer, bomb], tmp_path)
    group_runs(runs)
    rows = rows_of(runs, tmp_path)
    assert [row["steps"] for row in rows] == [math.inf, math.inf, 1000]  # the last by status.json
    assert (rows[0]["train_loss"], rows[0]["a"], runs[0].classes) == (math.inf, math.inf, None)
    assert runs[2].config.config == {}


def test_of_two_reports_at_once_the_last_word_is_the_newest(
    tmp_path: Path, write_run: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reads that a run is on its way; before it has written, the run ends, and another report begins."""
    write_run(tmp_path, seed=0, **SMALL)
    folder = write_run(tmp_path, seed=1, state="running", **SMALL)
    second = Thread(target=write_report, args=([tmp_path],))

    def draw(*_: object) -> dict[str, object]:
        if current_thread() is not second:
            (folder / "result.json").write_text((tmp_path / "initializer.c=2.0,seed=0" / "result.json").read_text())
            (folder / "status.json").write_text('{"state": "done"}')
            second.start()
            second.join(0.3)
            assert second.is_alive(), "it waits for its turn"
        return {}

    monkeypatch.setattr("fanin.report.pictures.pictures", draw)
    write_report([tmp_path])
    second.join(60)
    body = (tmp_path / "report" / "index.html").read_text().partition("<body")[2]
    assert "done" in body
    assert "running" not in body
    assert "running" not in (tmp_path / "summary.csv").read_text()


def test_no_run_has_drawn_anything_yet(tmp_path: Path, write_run: WriteRun) -> None:
    for seed in range(2):
        write_run(tmp_path, seed=seed, state="failed", error="ValueError: no", **SMALL)
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "study.png").write_bytes(b"of an earlier report")
    (tmp_path / "report" / ".figures.json").write_text('{"fingerprint": "", "figures": ["study.png"]}')
    report = write_report([tmp_path])
    assert report.figures == []
    assert not (tmp_path / "report" / "study.png").exists()
    assert report.table.rows[0] == ["c=2", "2", "", "", "", "", "", "failed", "", ""]
    assert report.notes[0] == "initializer.c=2.0,seed=0: failed at step 1000 of 1000: ValueError: no"


def test_last_line_being_written_is_left_out(tmp_path: Path, write_run: WriteRun) -> None:
    folder = write_run(tmp_path, **SMALL)
    with (folder / "profiles.csv").open("a") as file:
        file.write("final,module,1,input,activation_norm,17.5")
    (run,) = read_runs([folder], tmp_path)
    assert Profiles([run]).matrix("final", "module", "activation_norm").size == 0
    assert run.notes == ["profiles.csv ends in the middle of a line, which is left out"]


def test_lines_that_are_no_lines_are_counted(tmp_path: Path, write_run: WriteRun) -> None:
    first, second = (write_run(tmp_path, seed=seed, **SMALL) for seed in range(2))
    lines = (second / "metrics.csv").read_text().splitlines()
    lines[2:2] = ["7,0.1,0.003,high,0.5,,,,,,,1", "8,0.2,0.003"]
    (second / "metrics.csv").write_text("\n".join(lines) + "\n")
    runs = read_runs([first, second], tmp_path)
    metrics = Metrics(runs)
    assert [list(metrics.series(i, "batch_loss")[0]) for i in (0, 1)] == [[0, 500, 1000]] * 2
    assert [run.notes for run in runs] == [[], ["metrics.csv: 2 lines could not be read"]]


@pytest.mark.parametrize(
    ("status", "result", "state", "outcome"),
    [
        ("running", {"state": "done", "outcome": "learns"}, "running", ""),  # forced to run again
        ("failed", {"state": "done", "outcome": "learns"}, "failed", ""),
        (None, {"state": "diverged", "outcome": "diverged"}, "diverged", "diverged"),
        ("done", None, "done", ""),
        ("asleep", {"state": "done", "outcome": "learns"}, "unknown", "learns"),
    ],
)
def test_files_that_contradict_each_other(
    tmp_path: Path, status: str | None, result: dict[str, str] | None, state: str, outcome: str
) -> None:
    if status is not None:
        (tmp_path / "status.json").write_text(json.dumps({"state": status}))
    if result is not None:
        (tmp_path / "result.json").write_text(json.dumps(result))
    run = read_run(tmp_path)
    assert (run.state, run.outcome, len(run.notes)) == (state, outcome, 1)


def test_a_row_survives_values_of_the_wrong_kind(tmp_path: Path) -> None:
    status = {"state": "done", "error": 7, "step": "many", "seconds": True}
    result = {"metrics": [1], "init": "good", "overrides": None, "diverged": 3, "outcome": None}
    (tmp_path / "status.json").write_text(json.dumps(status))
    (tmp_path / "result.json").write_text(json.dumps(result))
    row = row_of(read_run(tmp_path))
    assert row["error"] == "7"
    assert {row[name] for name in ("train_loss", "steps", "seconds", "z", "diverged_step")} == {None}


def test_runs_are_found_at_any_depth_and_once(tmp_path: Path, write_run: WriteRun) -> None:
    deep = write_run(tmp_path / "a" / "b", **SMALL)
    near = write_run(tmp_path / "c", **SMALL)
    (near / "copy").mkdir()
    (near / "copy" / "status.json").write_text("{}")  # inside a run: belongs to it
    (tmp_path / ".trash" / "old").mkdir(parents=True)
    (tmp_path / ".trash" / "old" / "status.json").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "c", target_is_directory=True)
    assert find_runs([tmp_path, near, tmp_path / "link"]) == sorted([deep, near])
    with pytest.raises(UserError, match="no such folder"):
        find_runs([near, tmp_path / "gone"])
