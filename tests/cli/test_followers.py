"""Studies whose grid goes on from its own runs, as a teacher's students, or that ask how far apart these end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from command_line import fanin, read, runs, table
from fanin.landscape.directions import vector_of
from fanin.record.landscape_files import FOLDER, read_landscape
from fanin.report.read.folders import read_runs
from fanin.report.studies.lines import distances, lines_of
from fanin.run.trained import trained_run

SMALL = ("trainer.steps=3", "trainer.progress=false")
TAUGHT = ("experiment=distillation_study", *SMALL, "seed=6,7", "study.temperatures=[2]", "study.alphas=[0.25]",
          "zip(model.width=16,8; data.limit=300,60)")  # fmt: skip


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the students have been taught."""
    place = tmp_path_factory.mktemp("taught")
    said = fanin(place, *TAUGHT, seconds=300)
    assert said.code == 0, said.err
    assert "2 runs more, which start from those" in said.err
    return place


def results(place: Path, experiment: str) -> list[dict]:
    """Of all runs of its grid."""
    return [read(run / "result.json") for run in runs(place / "outputs" / experiment).values()]


@pytest.mark.slow
def test_each_student_has_the_teacher_of_its_seed(taught: Path) -> None:
    found = results(taught, "distillation_study")
    students = [one["config"] for one in found if one["config"]["loss"].get("teacher")]
    assert [len(found), len(students)] == [6, 2]
    for config in students:
        teacher = read(taught / config["loss"]["teacher"] / "result.json")["config"]
        assert (config["model"]["width"], config["data"]["limit"]) == (8, 60)
        assert (teacher["seed"], teacher["model"]["width"], teacher["data"]["limit"]) == (config["seed"], 16, 300)
        assert (config["loss"]["temperature"], config["loss"]["alpha"]) == (2, 0.25)
    assert {config["seed"] for config in students} == {6, 7}


@pytest.mark.slow
def test_the_same_command_runs_nothing_again(taught: Path) -> None:
    grid = taught / "outputs" / "distillation_study"
    before = {path: path.stat().st_mtime_ns for path in grid.rglob("result.json")}
    said = fanin(taught, *TAUGHT, seconds=300)
    assert said.code == 0
    assert "2 runs more, which start from those, 2 of them finished before" in said.err
    assert {path: path.stat().st_mtime_ns for path in grid.rglob("result.json")} == before


@pytest.mark.slow
def test_without_a_teacher_nobody_is_taught(tmp_path: Path) -> None:
    """Then the claims cannot be judged."""
    said = fanin(tmp_path, *TAUGHT[:-1], "model.width=8", "data.limit=60", seconds=300)
    assert said.code == 0
    grid = tmp_path / "outputs" / "distillation_study"
    assert len(runs(grid)) == 2
    assert {row["verdict"] for row in table(grid / "report" / "claims.csv")} == {"cannot be judged"}


@pytest.mark.parametrize(
    ("experiment", "typed", "told"),
    [
        ("distillation_study", "study.temperatures=[0]", "study.temperatures=0: must be a finite number > 0"),
        ("distillation_study", "study.alphas=0.5", "study.alphas=0.5: must be a list of numbers"),
        ("transfer_study", "study.head=[3]", "study.head=[3]: must be a list of patterns"),
        ("transfer_study", "study.target=5", "study.target=5: must be a list of classes"),
    ],
)
def test_keys_of_a_study_that_cannot_be(tmp_path: Path, experiment: str, typed: str, told: str) -> None:
    said = fanin(tmp_path, f"experiment={experiment}", typed, seconds=60)
    assert said.code == 1
    (line,) = said.err
    assert told in line
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_networks_start_from_the_sources_of_their_seed(tmp_path: Path) -> None:
    """Two seeds of two sources and one run of the target, which is taken up four times."""
    classes = "zip(data.classes=[0,1,2,3,4],[0,1,2,3,4,5,6,7,8,9],[5,6,7,8,9]; data.limit=300,300,60)"
    assert fanin(tmp_path, "experiment=transfer_study", *SMALL, "seed=6,7", classes, seconds=300).code == 0
    folders = runs(tmp_path / "outputs" / "transfer_study").values()
    found = {path: read(path / "result.json")["config"] for path in folders}
    moved = {path: config for path, config in found.items() if config["initializer"].get("path")}
    assert [len(found), len(moved)] == [14, 8]
    for path, config in moved.items():
        source = tmp_path / config["initializer"]["path"]
        assert (found[source]["seed"], list(config["data"]["classes"])) == (config["seed"], [5, 6, 7, 8, 9])
        assert list(found[source]["data"]["classes"]) != [5, 6, 7, 8, 9]
        before, after = (
            torch.load(one / "checkpoints" / "last.pt", weights_only=True)["model"] for one in (source, path)
        )
        kept = {name for name in after if torch.equal(before[name], after[name])}
        body = {f"linear_{layer}.{part}" for layer in (1, 2) for part in ("weight", "bias")}
        assert kept == (body if config["initializer"]["freeze"] else set())


@pytest.mark.slow
def test_distances_are_those_of_the_weights(tmp_path: Path) -> None:
    said = fanin(tmp_path, "experiment=minima_study", *SMALL, "model.width=8", "seed=3,4", seconds=300)
    assert said.code == 0
    grid = tmp_path / "outputs" / "minima_study"
    folders = list(runs(grid).values())
    ((one, two, asked),) = lines_of(read_runs(folders, grid), 11)
    line = read_landscape(grid / FOLDER, asked.name)
    assert line is not None
    told = distances(one, two, line)
    first, second = (trained_run(run.folder) for run in (one, two))
    ends = [vector_of(run.model).double().numpy() for run in (first, second)]
    starts = [vector_of(run.model, run.initial).double().numpy() for run in (first, second)]
    norm = np.linalg.norm
    assert told.ends == pytest.approx(norm(ends[0] - ends[1]), rel=1e-5)  # weights of float32
    assert told.own == pytest.approx([norm(starts[i] - ends[i]) for i in (0, 1)], rel=1e-5)
    assert told.across == pytest.approx([norm(starts[i] - ends[1 - i]) for i in (0, 1)], rel=1e-5)
