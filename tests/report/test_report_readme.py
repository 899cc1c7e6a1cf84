"""The grids and comparisons of docs/comparing.md, in one folder, by the real commands, with fewer values."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from command_line import Said, end, start


def compare(folder: Path, *arguments: str) -> tuple[Said, dict[str, str]]:
    """What the command says, and its row of compare.csv."""
    said = end(start(folder, "outputs/runs", "--compare", *arguments, module="fanin.report.cli"))
    assert (said.code, said.err) == (0, [])
    with (folder / "outputs/runs/report/compare.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    return said, row


@pytest.mark.slow
def test_optimizers_are_compared_at_their_own_rates(readme: Path) -> None:
    said, row = compare(readme, "optimizer=sgd", "optimizer=adam")
    assert (row["pairs"], row["metric"], row["first_runs"], row["side_runs"]) == ("3", "test_error", "17", "3")
    told = said.out[1:6]
    assert told[0] == "matched on regularizer, data.fold, seed"
    assert any("optimizer.lr=0.001 or 0.1, not its own 0.01: name optimizer.lr in every side" in line for line in told)
    assert next(i for i, line in enumerate(said.out) if "3 pairs" in line) > 4, "what was left out is told first"


@pytest.mark.slow
def test_folds_are_compared_fold_by_fold(readme: Path) -> None:
    said, row = compare(readme, "regularizer=none", "regularizer=dropout", "--metric", "val_error")
    assert (row["pairs"], row["folds"], row["side_runs"], row["side_unpaired"]) == ("3", "5", "3", "0")
    assert any("data.fold=null, where regularizer=dropout has 0 or 1 or 2" in line for line in said.out)


@pytest.mark.slow
def test_the_table_averages_over_folds(readme: Path) -> None:
    said = end(start(readme, "outputs/runs", "--group-by", "regularizer", module="fanin.report.cli"))
    assert said.code == 0
    with (readme / "outputs/runs/report/table.csv").open(newline="") as file:
        rows = {row["configuration"]: row for row in csv.DictReader(file)}
    assert {name: (row["runs"], row["folds"]) for name, row in rows.items()} == {
        "regularizer=dropout": ("3", "5"), "regularizer=none": ("17", "5"),
    }  # fmt: skip
    text = (readme / "outputs/runs/report/table.md").read_text()
    assert "folds, whose training sets overlap: with the variance factor 1/n + 1/(k - 1)" in text
    lows = [float(row[name]) for row in rows.values() for name in row if name.endswith("_error_low")]
    assert min(lows) >= 0
