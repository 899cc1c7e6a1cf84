"""Figures are drawn again exactly when something that they show may have changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fanin.report.make import write_report

WriteRun = Callable[..., Path]
SMALL = {"depth": 2, "width": 4, "count": 2}
LONG_AGO = 1_000_000_000


def drawn(grid: Path, group_by: list[str] | None = None, *, redraw: bool = False) -> set[str]:
    """The figures that a report of the grid draws."""
    for path in (grid / "report").glob("*.*g"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    report = write_report([grid], None, group_by, redraw=redraw)
    assert all(f'{path.stem}.svg">' in report.index.read_text() for path in report.figures if path.suffix == ".png")
    return {path.name for path in report.figures if path.stat().st_mtime > LONG_AGO}


@pytest.fixture(scope="module")
def reported(five_runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of the real command and their report."""
    folder = tmp_path_factory.mktemp("reported")
    for run in five_runs[:2]:
        shutil.copytree(run, folder / run.name)
    assert {"study.png", "study.svg"} <= drawn(folder)
    return folder


@pytest.fixture
def grid(reported: Path, quick_figures: None) -> Path:
    """The same, after a report of whatever an earlier test has changed."""
    drawn(reported)
    return reported


def test_the_same_again(grid: Path) -> None:
    figures = {path.name for path in (grid / "report").glob("*.*g")}
    assert drawn(grid) == set()
    assert {path.name for path in (grid / "report").glob("*.*g")} == figures
    assert drawn(grid, redraw=True) == figures
    assert drawn(grid) == set()


@pytest.mark.parametrize(
    "name",
    ["status.json", "result.json", "metrics.csv", "profiles.csv", ".hydra/config.yaml", ".hydra/hydra.yaml"],
)
def test_a_file_that_has_changed(grid: Path, name: str) -> None:
    path = next(grid.glob("*/status.json")).parent / name
    path.write_text((path.read_text() if path.exists() else "") + "\n")
    assert "study.png" in drawn(grid)


def test_another_run(grid: Path, write_run: WriteRun) -> None:
    write_run(grid, seed=2, **SMALL)
    assert "study.png" in drawn(grid)


def test_a_figure_that_is_gone(grid: Path) -> None:
    (grid / "report" / "study.svg").unlink()
    assert "study.svg" in drawn(grid)


def test_other_configurations(grid: Path) -> None:
    assert "study.png" in drawn(grid, ["seed"])
    assert "study.png" in drawn(grid)


@pytest.mark.parametrize("content", ["", "[]", '{"fingerprint": 1}'])
def test_a_record_that_says_nothing(grid: Path, content: str) -> None:
    (grid / "report" / ".figures.json").write_text(content)
    assert "study.png" in drawn(grid)


def test_another_version(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanin.report.read.reuse.__version__", "0.0.0")
    assert "study.png" in drawn(grid)


def test_a_figure_that_no_report_drew_stays(grid: Path, tmp_path: Path) -> None:
    """A folder may hold somebody's own movement.png, which these runs have no figure of."""
    out = tmp_path / "elsewhere"
    out.mkdir()
    (out / "movement.png").write_bytes(b"mine")
    runs = shutil.copytree(grid, tmp_path / "runs")
    for profiles in runs.glob("*/profiles.csv"):
        profiles.unlink()
    report = write_report([runs], out)
    assert "movement.png" not in {path.name for path in report.figures}
    assert (out / "movement.png").read_bytes() == b"mine"
