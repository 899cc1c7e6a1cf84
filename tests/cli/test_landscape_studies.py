"""Studies that read lines through trained weights: these are made at the end of the grid, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import end, fanin, read, start, table

SMALL = ("experiment=symmetry_study", "model.width=8", "trainer.epochs=3", "data.limit=300", "seed=0,1")


@pytest.mark.slow
def test_the_lines_of_a_study_are_made_once_and_its_claims_read_them(tmp_path: Path) -> None:
    said = fanin(tmp_path, *SMALL)
    assert said.code == 0, said
    grid = tmp_path / "outputs" / "symmetry_study"
    made = {path: path.stat().st_mtime_ns for path in (grid / "landscape").iterdir()}
    (about,) = [read(path) for path in made if path.match("line-matched-*.json")]
    assert about["seeds"] == [0, 1]
    assert about["permuted_loss"] == pytest.approx(about["unpermuted_loss"], rel=1e-12)
    barriers = {}
    for path in made:
        if path.suffix == ".csv" and "paths" not in path.name:
            rows = table(path)
            loss = [float(row["loss"]) for row in rows]
            assert [float(row["x"]) for row in rows] == pytest.approx([step / 20 for step in range(21)])
            straight = [(1 - at / 20) * loss[0] + at / 20 * loss[-1] for at in range(21)]
            barriers["matched" in path.name] = max(one - two for one, two in zip(loss, straight, strict=True))
    (line,) = [line for line in said.out if "matching lowers it" in line]
    lower = barriers[True] < barriers[False]
    assert line.startswith(f"claim {'holds' if lower else 'does not hold'}: two seeds are separated")
    assert f"({barriers[False]:.3g} before, {barriers[True]:.3g} after)" in line
    (line,) = [line for line in said.out if "same loss" in line]
    assert line.startswith("claim holds")
    again = end(start(tmp_path, *SMALL))
    assert again.code == 0
    assert {path: path.stat().st_mtime_ns for path in (grid / "landscape").iterdir()} == made
    next(path for path in made if path.match("line-matched-*.json")).unlink()
    reported = end(start(tmp_path, str(grid), module="fanin.report.cli"))
    assert any("cannot be judged" in line and "matching lowers it" in line for line in reported.out), reported
