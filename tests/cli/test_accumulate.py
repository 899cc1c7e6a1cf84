"""trainer.accumulate against one batch of all, trainer.compile against the same run without."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import fanin, read, runs, table

RECIPE = (
    "model.depth=3", "model.width=16", "data.image_size=8", "data.limit=300", "trainer.steps=7", "trainer.log_every=1",
    "optimizer=momentum", "optimizer.lr=0.05", "regularizer=[l2]", "clipping=norm", "clipping.bound=0.7",
)  # fmt: skip
EXACT = ("trainer.precision=float64",)
IN_PARTS = ("trainer.batch_size=25", "trainer.accumulate=4")


def losses(run: Path) -> list[float]:
    return [float(row["batch_loss"]) for row in table(run / "metrics.csv") if row["batch_loss"]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with batches of 100."""
    folder = tmp_path_factory.mktemp("parts")
    said = fanin(folder, *RECIPE, *EXACT, "trainer.batch_size=100", "seed=1", "hydra.run.dir=whole")
    assert said.code == 0, said.err
    return folder


@pytest.mark.slow
def test_batches_make_the_step_of_one_of_all(place: Path) -> None:
    """Alone and stacked, curves looked at or not."""
    said = fanin(place, *RECIPE, *EXACT, *IN_PARTS, "seed=1", "hydra.run.dir=parts")
    assert said.code == 0, said.err
    grid = fanin(place, "-m", *RECIPE, *EXACT, *IN_PARTS, "seed=0,1", "hydra/launcher=fused", "hydra.sweep.dir=grid")
    assert grid.code == 0, grid.err
    stacked = next(run for run in runs(place / "grid").values() if read(run / "result.json")["config"]["seed"] == 1)
    expected = losses(place / "whole")
    assert len(expected) == 7
    for run in (place / "parts", stacked):
        assert losses(run) == pytest.approx(expected, rel=1e-11)  # seven steps of float64
        for name in ("train_loss", "test_loss", "test_error"):
            metrics = [read(folder / "result.json")["metrics"][name] for folder in (run, place / "whole")]
            assert metrics[0] == pytest.approx(metrics[1], rel=1e-11)
        for key in ("examples", "gradients", "flops"):
            assert table(run / "metrics.csv")[-1][key] == table(place / "whole" / "metrics.csv")[-1][key]


@pytest.mark.slow
def test_the_whole_training_set_in_parts_that_are_not_equal(place: Path) -> None:
    """300 examples by 7."""
    for name, parts in (("one", 1), ("seven", 7)):
        said = fanin(place, *RECIPE, *EXACT, "trainer.batch_size=all", f"trainer.accumulate={parts}",
                     f"hydra.run.dir={name}")  # fmt: skip
        assert said.code == 0, said.err
    assert losses(place / "seven") == pytest.approx(losses(place / "one"), rel=1e-11)


@pytest.mark.slow
def test_it_resumes(place: Path) -> None:
    arguments = (*RECIPE, *EXACT, *IN_PARTS, "regularizer=[l2,dropout]", "hydra.run.dir=resumed")
    assert fanin(place, *arguments, "pause_at=3").code == 0
    assert fanin(place, *arguments).code == 0
    assert fanin(place, *arguments[:-1], "hydra.run.dir=straight").code == 0
    assert losses(place / "resumed") == losses(place / "straight")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["trainer.accumulate=0"], "trainer.accumulate=0: must be an integer >= 1"),
        (
            ["trainer.accumulate=9"],
            "trainer.accumulate=9: must be at most 3 for 300 training examples with batch_size=100",
        ),
        (["trainer.compile=1"], "trainer.compile=1: must be true or false"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(place: Path, typed: list[str], told: str) -> None:
    said = fanin(place, *RECIPE, *typed, "hydra.run.dir=refused")
    assert said.code == 1
    assert said.err == [f"fanin: {told}"]


def test_without_a_compiler_there_is_one_line(place: Path) -> None:
    said = fanin(place, *RECIPE, "trainer.compile=true", "hydra.run.dir=refused", CXX="/nowhere/c++")
    assert said.code == 1
    (line,) = said.err
    assert line.startswith("fanin: trainer.compile=true: must be false here; torch.compile finds no C++ compiler")


@pytest.mark.slow
def test_compiled_runs_have_the_same_losses(place: Path) -> None:
    said = fanin(place, *RECIPE, *EXACT, "trainer.compile=true", "probe=off", "seed=1", "hydra.run.dir=compiled",
                 seconds=400)  # fmt: skip
    assert said.code == 0, said.err
    # A compiler takes seconds, seven steps of this network less than a tenth of one.
    assert read(place / "compiled" / "result.json")["seconds"] > 0.5
    assert losses(place / "compiled") == pytest.approx(losses(place / "whole"), rel=1e-11)


@pytest.mark.slow
def test_compiled_passes_take_batches_that_grow_and_the_same_masks(tmp_path: Path) -> None:
    """With batch=adaptive, dropout and probabilities over masks, for each of which the program is asked anew."""
    words = (*RECIPE[:3], *EXACT, "trainer.steps=25", "trainer.batch_size=16", "trainer.log_every=1", "probe=off",
             "batch=adaptive", "batch.theta=0.5", "regularizer=dropout", "evaluation.samples=4")  # fmt: skip
    found = {}
    for name, compiled in (("eager", "false"), ("compiled", "true")):
        said = fanin(tmp_path, *words, f"trainer.compile={compiled}", f"hydra.run.dir={name}", seconds=400)
        assert said.code == 0, said.err
        rows = table(tmp_path / name / "metrics.csv")
        evaluation = read(tmp_path / name / "result.json")["evaluation"]["test"]
        found[name] = [row["examples"] for row in rows], losses(tmp_path / name), evaluation["sampled_loss"]
    eager, compiled = found.values()
    assert int(eager[0][-1]) > 25 * 16
    assert compiled[0] == eager[0]
    assert compiled[1] == pytest.approx(eager[1], rel=1e-11)
    assert compiled[2] == pytest.approx(eager[2], rel=1e-11)
