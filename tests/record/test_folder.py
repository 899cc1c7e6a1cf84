"""A run's folder: one owner at a time, a status, what counts as finished; and tables that survive a kill."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import rows
from fanin.record.csv_file import CsvFile
from fanin.record.run_folder import FolderBusy, RunFolder

# ---- ownership

OWNER = """
import sys, time
from pathlib import Path
from fanin.record.run_folder import FolderBusy, RunFolder
try:
    with RunFolder(Path(sys.argv[1])).owned():
        print("owned", flush=True)
        time.sleep(float(sys.argv[2]))
except FolderBusy:
    print("busy", flush=True)
"""


def owner(folder: Path, seconds: float) -> subprocess.Popen[str]:
    """Another process that tries to own the folder."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    line = [sys.executable, "-c", OWNER, str(folder), str(seconds)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_two_processes_never_own_one_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.owned():
        other = owner(folder.path, 0)
        assert said(other) == "busy"
        other.wait(30)
        with pytest.raises(FolderBusy, match="run"), RunFolder(folder.path).owned():
            pass
    other = owner(folder.path, 0)
    assert said(other) == "owned"
    other.wait(30)


def test_the_folder_of_a_killed_process_is_free(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    other = owner(folder.path, 60)
    assert said(other) == "owned"
    with pytest.raises(FolderBusy), folder.owned():
        pass
    other.send_signal(signal.SIGKILL)
    other.wait(30)
    with folder.owned():
        folder.write_status("running")
    assert folder.status["pid"] == os.getpid()


def test_the_folder_is_given_back_when_the_run_fails(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "deep" / "er" / "run")
    with pytest.raises(ZeroDivisionError), folder.owned():
        raise ZeroDivisionError
    with folder.owned():
        assert folder.path.is_dir()


# ---- status and result


def test_status_keeps_where_the_run_was(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.status == {}
    folder.write_status("running", step=3, steps=10, epoch=0.3, seconds=1.5)
    first = folder.status
    assert first.keys() == {"state", "step", "steps", "epoch", "started", "updated", "seconds", "error", "pid"}
    assert (first["state"], first["step"], first["steps"], first["error"]) == ("running", 3, 10, None)
    folder.write_status("failed", error="ValueError: x")
    assert (folder.status["state"], folder.status["step"], folder.status["error"]) == ("failed", 3, "ValueError: x")
    folder.write_status("running", step=4, seconds=math.inf)
    assert (folder.status["step"], folder.status["error"], folder.status["seconds"]) == (4, None, "inf")
    assert folder.status["started"] == first["started"]
    assert datetime.fromisoformat(first["started"]).tzinfo is not None


def test_a_status_for_a_run_whose_process_is_gone(tmp_path: Path) -> None:
    there = {"started": "2026-01-02T03:04:05+00:00", "step": 7, "steps": 9, "epoch": 0.5, "seconds": 1.25}
    (tmp_path / "status.json").write_text(json.dumps({"state": "running", "pid": 1, "error": None} | there))
    RunFolder(tmp_path).mark_dead("failed", "its process was killed by SIGKILL")
    said = RunFolder(tmp_path).status
    assert {key: said[key] for key in there} == there
    assert (said["state"], said["error"], said["pid"]) == ("failed", "its process was killed by SIGKILL", os.getpid())


def test_a_run_that_was_complete_when_its_process_died_stays_complete(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_status("done", step=9)
    folder.write_result({"config_hash": "abc"})
    RunFolder(tmp_path).mark_dead("interrupted", "stopped by the user at once")
    assert RunFolder(tmp_path).finished("abc")
    (tmp_path / "result.json").unlink()  # killed before it was written: not complete
    RunFolder(tmp_path).mark_dead("interrupted", "stopped by the user at once")
    assert RunFolder(tmp_path).status["state"] == "interrupted"


def test_a_status_may_be_told_not_to_be_written_too_often(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_status("running", step=0)
    folder.write_status("running", at_most_every=60, step=1)
    assert folder.status["step"] == 0
    folder.write_status("interrupted")
    assert (folder.status["state"], folder.status["step"]) == ("interrupted", 1), "an end is written, and where it was"
    time.sleep(0.02)
    folder.write_status("running", at_most_every=0.01, step=2)
    assert folder.status["step"] == 2


@pytest.mark.parametrize("state", ["running", "done", "diverged", "failed", "interrupted", "pruned", None])
@pytest.mark.parametrize("result", ["this", "other", None, "broken"])
def test_finished(tmp_path: Path, state: str | None, result: str | None) -> None:
    """Done, diverged or pruned, with a result, of this very configuration."""
    folder = RunFolder(tmp_path)
    if state:
        folder.write_status(state)
    if result == "broken":
        (tmp_path / "result.json").write_text('{"config_hash": "this"')
    elif result:
        folder.write_result({"config_hash": result})
    assert folder.finished("this") == (state in ("done", "diverged", "pruned") and result == "this")


def test_clear_removes_the_numbers_of_an_earlier_attempt_only(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    stays = {"run.log", "notes.txt", ".hydra/config.yaml", "checkpoints/mine.pt", "events.out.tfevents.1.host.2.3"}
    goes = {"result.json", "metrics.csv", "profiles.csv", "events.out.tfevents.1.host.2.000003", "checkpoints/last.pt"}
    for name in stays | goes:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    folder.clear()
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == stays


@pytest.mark.parametrize(
    ("names", "stranger"),
    [
        ([], None),
        ([".hydra/config.yaml"], None),  # Hydra's record of the run that is about to begin
        ([".hydra/config.yaml", "notes.txt"], "notes.txt"),
        (["notes.txt"], "notes.txt"),
        ([".hydra/config.yaml", "checkpoints/mine.pt"], "checkpoints/mine.pt"),
        (["checkpoints/last.pt"], "checkpoints"),
        ([".hydra/config.yaml", "events.out.tfevents.1.host.2.3"], "events.out.tfevents.1.host.2.3"),
        ([".hydra/config.yaml", "metrics.csv"], "metrics.csv"),  # somebody's own: a run has a log by then
        ([".hydra/config.yaml", "run.log", ".lock", "metrics.csv", "checkpoints/last.pt"], None),
        (["status.json", "notes.txt", "checkpoints/mine.pt"], None),  # beside a run's files
        ([".status.json.abcdefgh", ".lock"], None),  # left by a writer that was killed
    ],
)
def test_a_folder_that_is_not_a_runs_is_refused(tmp_path: Path, names: list[str], stranger: str | None) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    said = RunFolder(tmp_path).refusal("this", force=True)
    assert said == (stranger and f"{tmp_path} is not empty and no run's folder: {stranger} is not a run's; choose "
                    "another folder")  # fmt: skip


@pytest.mark.parametrize("state", ["done", "diverged", "pruned", "failed", "interrupted", "running", None])
def test_another_runs_result_is_not_replaced_unless_forced(tmp_path: Path, state: str | None) -> None:
    folder = RunFolder(tmp_path)
    folder.write_status("running")
    folder.write_result({"config_hash": "other", "state": "done"})
    if state is None:  # the result is written last: with it alone the run is known to be complete
        (tmp_path / "status.json").unlink()
    else:
        folder.write_status(state)
    (tmp_path / ".lock").touch()
    complete = state in ("done", "diverged", "pruned", None)
    assert folder.finished("other") == complete
    assert folder.refusal("other", force=False) is None
    assert folder.refusal("this", force=True) is None
    said = folder.refusal("this", force=False)
    assert (said is not None) == complete
    assert not said or "force=true replaces it" in said


def test_checkpoints_are_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    path = folder.save("last", lambda file: file.write(b"one"))
    assert path == tmp_path / "checkpoints" / "last.pt"

    def fail(file: Any) -> None:
        file.write(b"tw")
        raise OSError

    with pytest.raises(OSError):
        folder.save("last", fail)
    assert path.read_bytes() == b"one"
    assert os.listdir(folder.checkpoints) == ["last.pt"]  # noqa: PTH208


# ---- tables

HEADER = ("step", "name", "value")


def every(row: dict[str, str]) -> bool:
    return True


def test_rows_are_there_as_soon_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    table = CsvFile(path, HEADER)
    assert path.read_text() == "step,name,value\n"
    table.write([{"step": 1, "name": "a", "value": 0.5}])
    assert path.read_text() == "step,name,value\n1,a,0.5\n", "before it is closed"
    table.write([{"step": 2}, {"value": "x", "step": 3}])
    assert path.read_text() == "step,name,value\n1,a,0.5\n2,,\n3,,x\n"
    with pytest.raises(ValueError, match="other"):
        table.write([{"step": 4, "other": 1}])
    table.close()


def test_an_earlier_table_is_kept_only_where_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for keep, expected in [(None, []), (every, ["1", "2", "3", "4"]), (lambda row: int(row["step"]) <= 2, ["1", "2"])]:
        path.write_text("step,name,value\n1,a,1\n2,b,\n3,,nan\n4,c,x\n")
        table = CsvFile(path, HEADER, keep)
        assert [row["step"] for row in rows(path)] == expected
        assert [row["step"] for row in table.kept] == expected
        table.write([{"step": 9}])
        table.close()
        assert [row["step"] for row in rows(path)] == [*expected, "9"]


@pytest.mark.parametrize("kept", range(1, 31))
def test_a_row_that_a_kill_has_cut_short_is_dropped(tmp_path: Path, kept: int) -> None:
    """Wherever it was cut: also within the last number, which would read as another one."""
    path, whole = tmp_path / "a.csv", "step,name,value\n1,a,0.25\n"
    last = "2,abcdefgh,3.1415926535897931e+30\n"
    path.write_text(whole + last[:kept])
    table = CsvFile(path, HEADER, every)
    assert path.read_text() == whole
    table.write([{"step": 2, "name": "b", "value": 7}])
    table.close()
    assert path.read_text() == whole + "2,b,7\n"


def test_floats_read_back_as_they_were(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2**64, 2000, dtype=np.uint64).view(np.float64).tolist()
    values += [0.1, 1e-320, 5e-324, 1.7976931348623157e308, -0.0, math.inf, -math.inf, math.nan]
    path = tmp_path / "a.csv"
    table = CsvFile(path, HEADER)
    table.write([{"step": place, "value": value} for place, value in enumerate(values)])
    table.close()
    again = CsvFile(path, HEADER, every)  # and once more through a resumed file
    again.close()
    read = [float(row["value"]) for row in rows(path)]
    assert np.array_equal(read, values, equal_nan=True)


def test_results_are_json_whatever_they_hold(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_result({"metrics": {"train_loss": math.nan}})
    assert json.loads((tmp_path / "result.json").read_text()) == {"metrics": {"train_loss": "nan"}}
    assert folder.result == {"metrics": {"train_loss": "nan"}}
