"""Every study for real, with its own seeds: each claim holds, and each run ends as its claims say."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import fanin, runs, table
from fanin.report.studies import BEFORE


@pytest.mark.slow
@pytest.mark.parametrize("experiment", sorted(BEFORE))
def test_the_claims_hold(tmp_path: Path, experiment: str) -> None:
    said = fanin(tmp_path, f"experiment={experiment}", seconds=1800)
    assert said.code == 0
    grid = tmp_path / "outputs" / experiment
    assert {row["state"] for row in table(grid / "summary.csv")} <= {"done", "diverged"}
    assert len(table(grid / "summary.csv")) == len(runs(grid))
    claims = table(grid / "report" / "claims.csv")
    assert claims
    assert [claim for claim in claims if claim["verdict"] != "holds"] == []
    assert (grid / "report" / f"{experiment}.png").is_file()
