"""A thousand runs in ten seconds."""

from __future__ import annotations

import csv
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_thousand_runs(
    tmp_path: Path, write_run: Callable[..., Path], command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    for k in range(250):
        for seed in range(4):
            write_run(tmp_path, c=round(0.5 + k / 100, 2), seed=seed)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert command(tmp_path).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processor time, which other work on the machine does not lengthen as it does the clock's.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 10
    with (tmp_path / "summary.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 1000
