"""The example of docs/python.md, as it stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from command_line import environment
from pages import ROOT, blocks


@pytest.mark.slow
def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    (code,) = blocks((ROOT / "docs" / "python.md").read_text(), "python")
    code += "print(len(tables.runs), axes.get_title())\n"
    (tmp_path / "host.py").write_text(code)
    said = subprocess.run(
        [sys.executable, "host.py"], cwd=tmp_path, env=environment(MPLBACKEND="agg"), capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert (said.returncode, said.stderr) == (0, "")
    first, *_, last = said.stdout.splitlines()
    state, error = first.split()
    assert state == "done"
    assert 0 <= float(error) < 0.9
    assert last == "5 gradient norm of a layer"
