"""Streams that take everything: what a process prints is written where it can be, and never raises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PRINTS = """
import os, sys
from fanin.output import forgive_output, lost

forgive_output()
forgive_output()
for _ in range({times}):
    print({text!r}, flush=True)
os.write({other}, f"{{lost()}}".encode())
"""


def printed(text: str, times: int = 1, other: int = 2, **streams: Any) -> subprocess.Popen[bytes]:
    """A process that prints, and says on another stream whether something of it was lost."""
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", PRINTS.format(text=text, times=times, other=other)]
    return subprocess.Popen(command, env=environment, **streams)


def test_letters_that_a_terminal_has_not_are_replaced() -> None:
    out, err = printed("a…b", stdout=subprocess.PIPE, stderr=subprocess.PIPE).communicate(timeout=120)
    assert (out, err) == (b"a?b\n", b"False")


def test_a_slow_reader_whose_pipe_does_not_wait_gets_everything() -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    process = printed("x" * 999, 300, stdout=theirs, stderr=subprocess.PIPE)  # a pipe holds 64 KB
    os.close(theirs)
    with os.fdopen(ours, "rb") as file:
        assert file.read() == (b"x" * 999 + b"\n") * 300
    assert process.communicate(timeout=120)[1] == b"False"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_remembered() -> None:
    with Path("/dev/full").open("wb") as full:
        assert printed("text", stdout=full, stderr=subprocess.PIPE).communicate(timeout=120)[1] == b"True"


def test_a_stream_that_was_closed_gives_its_number_to_no_file(tmp_path: Path) -> None:
    code = (
        "from fanin.output import forgive_output; forgive_output(); import os; "
        f"file = open({str(tmp_path / 'file')!r}, 'w'); print('lost'); file.write(str(file.fileno() > 2))"
    )
    shell = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code]
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    assert subprocess.run(shell, env=environment, timeout=120).returncode == 0
    assert (tmp_path / "file").read_text() == "True"
