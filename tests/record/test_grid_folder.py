"""A grid writes over nothing that no grid has written."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import TINY, fanin
from fanin.record.grid_folder import stranger


@pytest.mark.parametrize("name", ["summary.csv", "multirun.yaml", "report/notes.md"])
def test_a_grid_does_not_write_over_what_is_somebody_elses(tmp_path: Path, name: str) -> None:
    """hydra.sweep.dir=. where the user's own files lie; nothing is written."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine: 1\n")
    said = fanin(tmp_path, "-m", *TINY, "seed=0,1", "hydra.sweep.dir=.")
    first = name.partition("/")[0]
    assert (said.code, said.err) == (
        1, [f"fanin: hydra.sweep.dir=.: {first} is there and no grid's, and a grid would write over it; choose another "
            "folder"],
    )  # fmt: skip
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == [name]
    assert (tmp_path / name).read_text() == "mine: 1\n"


def test_what_lies_beside_is_nobodys_business_and_a_grids_own_files_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("mine")
    assert stranger(tmp_path) is None
    for _ in range(2):
        assert fanin(tmp_path, "-m", *TINY, "seed=0,1", "trainer.steps=0", "hydra.sweep.dir=.").code == 0
        assert stranger(tmp_path) is None
        (tmp_path / ".summary.lock").unlink()  # an older grid's folder has none
        assert stranger(tmp_path) is None
    assert (tmp_path / "notes.md").read_text() == "mine"
