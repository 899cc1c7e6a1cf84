"""A run touches only what is its own: a folder that holds anything else, or another run's result, is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import fanin, read

TINY = ("data=gaussian", "model.depth=2", "model.width=8", "trainer.steps=2")


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but the log."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.log")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("where", "name"), [("p", "checkpoints/mine.pt"), ("p", "events.out.tfevents.17.host.1.0"), (".", "notes.txt")]
)
def test_a_folder_of_somebody_elses_is_refused_and_stays(tmp_path: Path, where: str, name: str) -> None:
    mine = tmp_path / where / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine")
    before = content(tmp_path)
    said = fanin(tmp_path, *TINY, f"hydra.run.dir={where}")
    assert said.code == 1
    (line,) = said.err
    assert line == (f"fanin: {where} is not empty and no run's folder: {name} is not a run's; choose another folder")
    assert content(tmp_path) == before


@pytest.mark.slow
def test_another_seed_in_the_same_folder_does_not_replace_a_finished_run(tmp_path: Path) -> None:
    assert fanin(tmp_path, *TINY, "hydra.run.dir=p").code == 0
    (tmp_path / "p" / "checkpoints" / "mine.pt").write_text("mine")
    before = content(tmp_path)
    said = fanin(tmp_path, *TINY, "hydra.run.dir=p", "seed=1")
    assert said.code == 1
    (line,) = said.err
    assert line.startswith("fanin: p holds the finished run of another configuration")
    assert "force=true replaces it" in line
    assert content(tmp_path) == before
    assert fanin(tmp_path, *TINY, "hydra.run.dir=p", "seed=1", "force=true").code == 0
    assert read(tmp_path / "p" / "result.json")["seeds"]["run"] == 1
    assert (tmp_path / "p" / "checkpoints" / "mine.pt").read_text() == "mine"


@pytest.mark.slow
def test_a_run_of_another_versions_hash_stays_in_a_grid_too(tmp_path: Path) -> None:
    """Told once for all, before anything is run."""
    grid = ("-m", *TINY, "seed=0,1", "hydra/launcher=basic")
    assert fanin(tmp_path, *grid).code == 0
    for result in (tmp_path / "outputs" / "runs").glob("*/result.json"):
        result.write_text(result.read_text().replace(read(result)["config_hash"], "0123456789abcdef"))
    before = content(tmp_path)
    said = fanin(tmp_path, *grid, "seed=0,1,2")
    assert said.code == 1
    (line,) = said.err
    assert "force=true replaces it" in line
    assert line.endswith("(2 folders are so)")
    assert content(tmp_path) == before
