"""What a worker asks of its line to the parent, by each system's own way of asking, and how workers are started."""

from __future__ import annotations

import multiprocessing
import selectors
import sys
import time
from multiprocessing import Pipe
from typing import Any

import pytest

from fanin.errors import OptionError
from fanin.sweep.worker import PACE, Line
from fanin.sweep.worker_process import start_method


@pytest.mark.parametrize("selector", [selectors.DefaultSelector, selectors.SelectSelector])
def test_a_worker_sees_whether_its_parent_reads_and_is_there(selector: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By epoll or kqueue where there is one, and by select everywhere."""
    monkeypatch.setattr(selectors, "DefaultSelector", selector)
    ours, theirs = Pipe()
    line = Line(theirs)
    assert (line.free, line.hung_up) == (True, False)
    sent = 0
    while line.free:  # until what the parent has not read fills the system's room
        line.send(bytes(1000))
        sent += 1
    for _ in range(sent):
        assert ours.recv() == (bytes(1000),)
    assert (line.free, line.hung_up) == (True, False)
    ours.send(None)  # its last word
    assert line.hung_up
    assert theirs.recv() is None
    assert not line.hung_up
    ours.close()
    assert line.hung_up
    line.send("anything")
    assert line.orphaned


class WindowsPipe:
    """A connection that is no socket: it tells what has come, and nothing of what could be sent."""

    has_come = gone = False

    def poll(self, timeout: float) -> bool:
        if self.gone:
            raise BrokenPipeError
        return self.has_come


def test_messages_keep_a_distance_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pipe = WindowsPipe()
    line = Line(pipe)  # type: ignore[arg-type]
    free = []
    for _ in range(4):
        free.append(line.free)
        now += 0.6 * PACE
    assert free == [True, False, True, False]
    assert not line.hung_up
    pipe.has_come = True
    assert line.hung_up
    pipe.has_come, pipe.gone = False, True
    assert line.hung_up


@pytest.mark.parametrize(
    ("methods", "platform", "meant"),
    [
        (["fork", "spawn", "forkserver"], "linux", "forkserver"),
        (["spawn", "fork", "forkserver"], "darwin", "spawn"),
        (["spawn"], "win32", "spawn"),
    ],
)
def test_workers_are_forked_where_that_is_safe(
    methods: list[str], platform: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: methods)
    monkeypatch.setattr(sys, "platform", platform)
    assert start_method("auto") == meant
    assert start_method("spawn") == "spawn"
    if "forkserver" in methods:
        assert start_method("forkserver") == "forkserver"
    else:
        with pytest.raises(OptionError, match="start_method=forkserver: must be auto or spawn; this system forks no"):
            start_method("forkserver")
