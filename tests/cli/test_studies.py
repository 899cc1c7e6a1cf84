"""Every study for real, with its own seeds: each claim holds, and each run ends as its claims say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from command_line import fanin, runs, table

CONF = Path(__file__).parents[2] / "conf" / "experiment"
STUDIES = sorted(path.stem for path in CONF.glob("*.yaml") if "study" in yaml.safe_load(path.read_text()))


@pytest.mark.slow
@pytest.mark.parametrize("experiment", STUDIES)
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
