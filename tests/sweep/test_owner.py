"""Who runs something in a folder, by each system's own way of knowing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fanin.record.atomic_files import write_json
from fanin.record.run_folder import RunFolder
from fanin.sweep import other_launchers
from fanin.sweep.other_launchers import _owner


@pytest.mark.parametrize("processes", [other_launchers.PROCESSES, Path("/nowhere")])
def test_the_owner_is_the_process_that_has_the_lock(
    processes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what each process has open where the system shows it, else by the lock itself."""
    monkeypatch.setattr(other_launchers, "PROCESSES", processes)
    folder = RunFolder(tmp_path)
    assert _owner(folder) is None
    with folder.owned():
        folder.write_status("running")
        assert _owner(RunFolder(tmp_path)) == os.getpid()
    assert _owner(RunFolder(tmp_path)) is None  # it says that it runs, and nobody has it
    folder.write_status("done")
    with folder.owned():
        assert _owner(RunFolder(tmp_path)) is None


def test_a_process_that_is_gone_owns_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_launchers, "PROCESSES", Path("/nowhere"))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    folder = RunFolder(tmp_path)
    with folder.owned():
        write_json(tmp_path / "status.json", {"state": "running", "pid": gone.pid})
        assert _owner(RunFolder(tmp_path)) is None
