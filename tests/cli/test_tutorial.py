"""docs/tutorial.md, word for word and in its order, in one folder."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from command_line import Said, end, read, start
from pages import commands, files, sections, write_files

MODULES = {"fanin": "fanin.cli.main", "fanin-report": "fanin.report.cli", "fanin-theory": "fanin.cli.theory"}
SECTIONS = sections("docs/tutorial.md")


def follow(heading: str, folder: Path) -> list[Said]:
    """Type a section's commands, its files written first."""
    write_files(SECTIONS[heading], folder)
    said = [end(start(folder, *words, module=MODULES[program]), 600) for program, *words in commands(SECTIONS[heading])]
    assert [one.code for one in said] == [0] * len(said), said
    return said


def outcomes(folder: Path) -> dict[tuple[str, str], set[str]]:
    """The outcomes and verdicts of all runs of summary.csv, by activation and c."""
    found: dict[tuple[str, str], set[str]] = {}
    with (folder / "outputs" / "runs" / "summary.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["initializer"] == "variance_scaling":
                found.setdefault((row["activation"], row["initializer.c"]), set()).add(
                    f"{row['outcome']} {row['verdict']}"
                )
    return found


@pytest.mark.slow
def test_the_tutorial(tmp_path: Path) -> None:
    """And what it says of each outcome."""
    single, everything, keys, _ = follow("One run", tmp_path)
    assert "learns" in single.out[-1]
    assert any("initializer" in line for line in everything.out)
    assert any(line.strip().startswith("optimizer.lr=") for line in keys.out)
    (again,) = [end(start(tmp_path, *words), 60) for program, *words in commands(SECTIONS["One run"])[:1]]
    assert "done before" in " ".join(again.out + again.err)

    shrinking, keeping = ("\n".join(one.out) for one in follow("What theory expects", tmp_path))
    assert "0.70" in shrinking
    assert "critical" in keeping

    grid, compared, more = follow("Your first sweep", tmp_path)
    assert any("18 runs" in line for line in grid.err)
    assert compared.out
    assert any("24 runs" in line and "18 of them finished before" in line for line in more.err)
    found = outcomes(tmp_path)
    assert found["relu", "1"] == {"no progress vanishing"}
    assert found["relu", "2"] == {"learns critical"}
    assert found["relu", "3"] == {"diverged exploding"}
    assert all(one.startswith("learns") for c in "123" for one in found["tanh", c])
    assert (tmp_path / "outputs" / "runs" / "report" / "index.html").is_file()

    assert {*files(SECTIONS["An initializer of your own"])} == {"my_init.py", "my_conf/initializer/sparse.yaml"}
    shown, _ = follow("An initializer of your own", tmp_path)
    assert any("initializer.k=15" in line for line in shown.out)
    drawn = list((tmp_path / "outputs" / "runs").glob("*sparse*/profiles.csv"))
    assert len(drawn) == 6
    factors: dict[str, list[float]] = {"3": [], "15": []}
    for path in drawn:
        assert "redraw of 64" in path.read_text()
        factors["3" if "initializer.k=3" in path.parent.name else "15"].append(
            read(path.parent / "result.json")["init"]["factor_per_layer"]
        )
    assert max(abs(one - 1) for one in factors["15"]) < 0.1
    assert max(factors["3"]) - min(factors["3"]) > max(factors["15"]) - min(factors["15"])
