"""A report that is kept current: what changes is read, nothing else, and Ctrl-C ends it with a line."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from command_line import end, start
from fanin.report import watch as watching
from fanin.report.make import write_report
from fanin.report.read import folders as reading
from fanin.report.read.folders import Run, read_runs
from fanin.report.read.kept import KeepingReader
from fanin.report.read.series import METRICS, PROFILES, read_table


def test_kept_tables_are_those_read_anew(five_runs: list[Path], tmp_path: Path) -> None:
    places = [shutil.copytree(run, tmp_path / str(number)) for number, run in enumerate(five_runs)]
    reader = KeepingReader()
    for chosen in ([0, 3], [0, 1, 3], [1, 3, 4], [4, 2, 0, 1]):
        (places[3] / "metrics.csv").write_text((places[3] / "metrics.csv").read_text() + "9,1,0,1,1,,,,,,,1\n")
        found = [places[i] for i in chosen]
        runs, anew = reader.runs(found, tmp_path), read_runs(found, tmp_path)
        assert [(one.name, one.experiment, one.result) for one in runs] == [
            (one.name, one.experiment, one.result) for one in anew
        ]
        reader.profiles(runs), reader.metrics(runs)
        for name, wanted, table in (
            ("profiles.csv", PROFILES, reader._profiles._kept),
            ("metrics.csv", METRICS, reader._metrics._kept),
        ):
            expected = read_table(anew, name, wanted)
            pd.testing.assert_frame_equal(
                table[sorted(table)].astype(str), expected[sorted(expected)].astype(str), check_dtype=False
            )


def test_a_kept_report_is_that_of_a_fresh_reader(
    five_runs: list[Path], tmp_path: Path, quick_figures: None, write_run: Callable[..., Path]
) -> None:
    grid = tmp_path / "grid"
    for run in five_runs[:3]:
        shutil.copytree(run, grid / run.name)
    first = grid / five_runs[0].name

    def gone(folder: Path) -> None:
        shutil.rmtree(folder)

    changes: list[Callable[[], object]] = [
        lambda: None,
        lambda: shutil.copytree(five_runs[3], grid / five_runs[3].name),
        lambda: write_run(grid, seed=7, overrides={"trainer.batch_size": 7}, metrics={"other_error": 0.5}),
        lambda: (first / "run.log").write_text("a line\n"),
        lambda: gone(grid / five_runs[1].name),
    ]
    reader, told = KeepingReader(), ("index.html", "table.csv", "table.md")
    for change in changes:
        change()
        write_report([grid], redraw=False, reader=reader)
        kept = [*((grid / "report" / name).read_text() for name in told), (grid / "summary.csv").read_text()]
        write_report([grid], redraw=False)
        assert kept == [*((grid / "report" / name).read_text() for name in told), (grid / "summary.csv").read_text()]


def test_only_what_has_changed_is_read_again(
    five_runs: list[Path], tmp_path: Path, quick_figures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in five_runs[:3]:
        shutil.copytree(run, tmp_path / run.name)
    read: list[str] = []

    def noted(run: Run) -> Run:
        read.append(run.folder.name)
        return original(run)

    original = reading.read_into
    monkeypatch.setattr(reading, "read_into", noted)
    later = iter([lambda: shutil.copytree(five_runs[3], tmp_path / five_runs[3].name), lambda: read.append("pause")])

    def pause(seconds: float) -> None:
        try:
            next(later)()
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("time.sleep", pause)
    drawings: list[tuple[list[str], Path]] = []

    class Drawn:
        """A drawing that is never ready."""

        ended = False

        def __init__(self, words: list[str], place: Path) -> None:
            drawings.append((words, place))

        def stop(self) -> None:
            drawings.append((["stop"], tmp_path))

    monkeypatch.setattr(watching, "Drawing", Drawn)
    reports, told = [], []
    with pytest.raises(KeyboardInterrupt):
        watching.watch(
            [tmp_path], partial(write_report, [tmp_path]), words=["."], first=reports.append, tell=told.append
        )
    assert sorted(read[:3]) == sorted(run.name for run in five_runs[:3])
    assert read[3:] == [five_runs[3].name, "pause"]
    assert [line.split(" ", 1)[1] for line in told] == ["4 runs: 4 done"]
    assert len(pd.read_csv(tmp_path / "summary.csv")) == 4
    assert drawings == [(["."], tmp_path / "report"), (["stop"], tmp_path)]  # as soon as nothing changed any more


def test_the_command_watches_until_it_is_stopped(five_runs: list[Path], tmp_path: Path) -> None:
    process = start(tmp_path, "later", "--watch", module="fanin.report.cli")
    grid = tmp_path / "later"
    grid.mkdir()
    shutil.copytree(five_runs[0], grid / "one")
    until = time.monotonic() + 60
    while not (grid / "report" / "index.html").is_file() and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    said = end(process)
    assert (said.code, said.err) == (0, [])
    assert said.out[-1] == "stopped watching; the report stays as it is"
    assert "watching: the page follows as runs change; Ctrl-C stops" in said.out


@pytest.mark.slow
def test_figures_follow(five_runs: list[Path], tmp_path: Path) -> None:
    """Of the first run one of each, then of both by a process of their own, and nothing is left of that."""
    shutil.copytree(five_runs[0], tmp_path / "one")
    report = tmp_path / "report"
    process = start(tmp_path, ".", "--out", "report", "--watch", module="fanin.report.cli")
    until = time.monotonic() + 120

    def wait_for(ready: Callable[[], bool]) -> None:
        while not ready() and time.monotonic() < until:
            time.sleep(0.2)
        assert ready()

    wait_for((report / "index.html").is_file)
    before = (report / ".figures.json").read_text()
    shutil.copytree(five_runs[1], tmp_path / "two")
    wait_for(lambda: (report / ".figures.json").read_text() != before and not (report / ".figures").exists())
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert end(process).code == 0
    png = (report / "study.png").read_bytes()
    write_report([tmp_path / "one", tmp_path / "two"], tmp_path / "expected")
    assert png == (tmp_path / "expected" / "study.png").read_bytes()
    assert "<figure" in (report / "index.html").read_text()
