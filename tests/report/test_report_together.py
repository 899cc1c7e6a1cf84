"""Figures that are drawn by processes of their own."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from fanin.errors import UserError
from fanin.report.figures.saving import save
from fanin.report.figures.style import look
from fanin.report.figures.together import drawing
from fanin.report.make import write_report

forks = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")


def line(out: Path, name: str, slope: float) -> list[Path]:
    """A small figure, and who drew it."""
    (out / f"{name}.txt").write_text(str(os.getpid()))
    with look():
        figure = Figure((1, 1), layout="constrained")
        figure.subplots().plot([0, slope], [0, 1])
        return save(figure, out, name)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a command: other tests may have left idle threads in this process."""
    monkeypatch.setattr(threading, "active_count", lambda: 1)


@forks
@pytest.mark.usefixtures("alone")
def test_figures_of_processes_are_those_of_one(tmp_path: Path) -> None:
    """The same bytes in the same order, drawn by others while the block runs."""
    made: dict[int, list[bytes]] = {}
    for processes in (1, 2):
        out = tmp_path / str(processes)
        out.mkdir()
        with drawing({name: partial(line, out, name, slope) for name, slope in (("b", 1), ("a", 2))}, processes) as end:
            paths = end()
        assert [path.name for path in paths] == ["b.png", "b.svg", "a.png", "a.svg"]
        made[processes] = [path.read_bytes() for path in paths]
        here = {(out / f"{name}.txt").read_text() == str(os.getpid()) for name in "ab"}
        assert here == {processes == 1}
    assert made[1] == made[2]


def failing(path: Path) -> list[Path]:
    raise UserError(f"{path}: full")


@forks
@pytest.mark.usefixtures("alone")
def test_what_goes_wrong_is_told_by_the_one_that_waits(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a: full"), drawing(dict.fromkeys("ab", partial(failing, Path("a"))), 2) as end:
        end()


def test_beside_another_thread_nothing_is_forked(tmp_path: Path) -> None:
    """A fork would take along what the other thread has locked."""
    ended = threading.Event()
    other = threading.Thread(target=ended.wait)
    other.start()
    try:
        jobs = {name: partial(line, tmp_path, name, 1) for name in "ab"}
        with drawing(jobs, 2) as end:
            assert {path.read_text() for path in tmp_path.glob("*.txt")} == {str(os.getpid())}
            assert len(end()) == 4
    finally:
        ended.set()
        other.join()


@forks
def test_what_cannot_be_read_is_told_where_other_processes_draw(
    tmp_path: Path, write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Notes are made where a file is read: before the processes begin, which would keep them for themselves."""
    for c in (1.0, 2.0):
        folder = write_run(tmp_path, c=c, depth=4, width=8, count=10)
    (folder / "metrics.csv").write_text((folder / "metrics.csv").read_text() + "9,x,y,z\n")
    monkeypatch.setattr("fanin.report.make.MANY", 1)
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    report = write_report([tmp_path], processes=2)
    assert [note for note in report.notes if "metrics.csv" in note and folder.name in note]
