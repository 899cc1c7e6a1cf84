"""A place that cannot be written is one line, before a run and in it; what is finished stays."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import fanin, read

TINY = ("data=gaussian", "model.depth=2", "model.width=8", "trainer.steps=2")
NAME = "data=gaussian,model.depth=2,model.width=8,seed=0,trainer.steps=2"
RUN = f"outputs/runs/{NAME}"
IN_THE_WAY = "a file, or a link that leads nowhere, is in the place of a folder"


def as_file(path: Path) -> None:
    """A file in the place of a folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")


def as_link(path: Path) -> None:
    """A link that leads nowhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("/nowhere/at/all")


def as_folder(path: Path) -> None:
    """A folder in the place of a file, of a run that has begun."""
    path.mkdir(parents=True)
    (path.parent / "run.log").touch()


@pytest.mark.parametrize(
    ("place", "make", "said"),
    [
        ("outputs", as_link, f"fanin: outputs: {IN_THE_WAY}"),
        (RUN, as_file, f"fanin: hydra.run.dir={RUN}: must be a folder; it is a file"),
        (RUN, as_link, f"fanin: {RUN}: {IN_THE_WAY}"),
        (f"{RUN}/metrics.csv", as_folder, f"{RUN}  failed: .*/metrics.csv: a folder is in the place of a file .*"),
        (f"{RUN}/.lock", as_folder, f"{RUN}  failed: .*/.lock: a folder is in the place of a file"),
        (f"{RUN}/.hydra", as_file, f"fanin: .*{NAME}/.hydra: {IN_THE_WAY}"),
    ],
)
def test_a_single_run(tmp_path: Path, place: str, make: Callable[[Path], None], said: str) -> None:
    make(tmp_path / place)
    answer = fanin(tmp_path, *TINY)
    assert answer.code == 1
    (line,) = answer.err + answer.out
    assert re.fullmatch(said.replace("[", r"\["), line), line
    assert os.path.lexists(tmp_path / place)


def test_a_grid_goes_on_past_a_run_whose_folder_cannot_be_made(tmp_path: Path) -> None:
    as_file(tmp_path / RUN / ".hydra")
    (tmp_path / RUN / ".lock").touch()
    answer = fanin(tmp_path, "-m", *TINY, "seed=0,1", "hydra.launcher.n_jobs=1")
    assert answer.code == 1
    assert not any("Traceback" in line for line in answer.out + answer.err)
    assert answer.err[-1].startswith("fanin: 1 of 2 runs failed")
    other = tmp_path / RUN.replace("seed=0", "seed=1")
    assert read(other / "status.json")["state"] == "done"


@pytest.mark.skipif(os.geteuid() == 0, reason="who is root may write anywhere")
@pytest.mark.parametrize("place", [".", "outputs", "outputs/runs"])
def test_a_folder_without_permission(tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place).chmod(0o555)
    answer = fanin(tmp_path, *TINY)
    (tmp_path / place).chmod(0o755)
    assert answer.code == 1
    (line,) = answer.err
    assert line.endswith("there is no permission for it")
