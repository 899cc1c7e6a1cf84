"""Distillation by the command: a run's network teaches others, alone and stacked; what cannot teach is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from scipy.special import rel_entr, softmax

import fanin as of_python
from command_line import fanin, read, runs, table
from fanin.run.build import load_data, options_of

DATA = ("data.image_size=8", "data.limit=300", "data.val_size=0", "preprocess=standardize", "probe=off")
SMALL = (*DATA, "model.depth=2", "model.width=8", "trainer.steps=30", "optimizer.lr=0.3")
DISTILLED = ("loss=distillation", "loss.teacher=teacher")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wider teacher in it, and two students of it."""
    folder = tmp_path_factory.mktemp("distil")
    teacher = fanin(folder, *DATA, "model.depth=2", "model.width=64", "trainer.steps=60", "optimizer.lr=0.3",
                    "normalization=batch", "hydra.run.dir=teacher")  # fmt: skip
    assert teacher.code == 0, teacher.err
    said = fanin(folder, "-m", *SMALL, *DISTILLED, "seed=0,1", "hydra/launcher=fused", "hydra.sweep.dir=students")
    assert said.code == 0, said.err
    return folder


def scores(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Of the test part by a run's network, and the classes."""
    config = read(run / "result.json")["config"]
    data = load_data(options_of(OmegaConf.create(config | {"force": False})), torch.device("cpu"), torch.float32)
    with torch.no_grad():
        return of_python.Run(run).model(data.test_x).double().numpy(), data.test_y.numpy()


def test_the_loss_of_the_test_part_is_against_the_teachers_answers(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    z, _ = scores(place / "teacher")
    for run in runs(place / "students").values():
        s, y = scores(run)
        soft = 16 * rel_entr(softmax(z / 4, 1), softmax(s / 4, 1)).sum(1).mean()
        hard = -np.log(softmax(s, 1))[np.arange(len(y)), y].mean()
        metrics = read(run / "result.json")["metrics"]
        assert metrics["test_loss"] == pytest.approx(0.9 * soft + 0.1 * hard, rel=1e-4)  # float32
        assert metrics["test_error"] == np.mean(s.argmax(1) != y)


@pytest.mark.slow
def test_stacked_students_are_as_alone(place: Path) -> None:
    said = fanin(place, *SMALL, *DISTILLED, "seed=1", "hydra.run.dir=alone")
    assert said.code == 0, said.err
    by_seed = {read(run / "result.json")["config"]["seed"]: run for run in runs(place / "students").values()}
    together = by_seed[1]
    assert read(place / "alone" / "result.json")["config_hash"] == read(together / "result.json")["config_hash"]
    for one, two in zip(table(place / "alone" / "metrics.csv"), table(together / "metrics.csv"), strict=True):
        # 30 steps of float32 in another order
        assert float(one["batch_loss"] or 0) == pytest.approx(float(two["batch_loss"] or 0), rel=1e-3)


@pytest.mark.slow
def test_another_teacher_in_the_same_folder_is_another_run(place: Path, tmp_path: Path) -> None:
    (tmp_path / "teacher").symlink_to(place / "teacher")
    assert fanin(tmp_path, *SMALL, *DISTILLED, "hydra.run.dir=student").code == 0
    before = read(tmp_path / "student" / "result.json")["config_hash"]
    (tmp_path / "teacher").unlink()
    again = fanin(tmp_path, *SMALL, *DISTILLED, "hydra.run.dir=student")
    assert again.code == 1
    assert again.err[0].startswith("fanin: ")
    assert fanin(tmp_path, *SMALL, "seed=7", "hydra.run.dir=teacher").code == 0
    assert fanin(tmp_path, *SMALL, *DISTILLED, "hydra.run.dir=second").code == 0
    assert read(tmp_path / "second" / "result.json")["config_hash"] != before


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["loss.teacher=null"], "loss.teacher=null: must be the folder of a finished run"),
        (["loss.teacher=gone"], "loss.teacher=gone: must be the folder of a finished run; there is no such folder"),
        (["loss.teacher=empty"], "loss.teacher=empty: must be the folder of a finished run; its state is unknown"),
        (
            ["preprocess=none"],
            "loss.teacher=teacher: must be a run with the student's preprocess; set both to the same",
        ),
        (
            ["data.limit=200"],
            "loss.teacher=teacher: must be a run on the student's data, to which preprocess was fitted",
        ),
        (["loss.alpha=2"], "loss.alpha=2: must be a finite number >= 0 and <= 1"),
    ],
)
@pytest.mark.slow
def test_what_cannot_teach_is_told_in_a_line(place: Path, typed: list[str], told: str) -> None:
    (place / "empty").mkdir(exist_ok=True)
    said = fanin(place, *SMALL, *DISTILLED, *typed, "hydra.run.dir=refused")
    assert said.code == 1
    (line,) = said.err
    assert line.startswith(f"fanin: {told}")
    assert not (place / "refused").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "typed",
    [
        ["optimizer=saga", "optimizer.lr=0.01"],
        ["regularizer=[sam,label_smoothing]"],
        ["optimizer=gauss_newton", "optimizer.max_parameters=2000"],
        ["trainer.precision=bfloat16", "augment=[translate]"],
    ],
)
def test_it_composes(place: Path, typed: list[str]) -> None:
    said = fanin(place, *SMALL, *DISTILLED, "trainer.steps=2", *typed, f"hydra.run.dir={abs(hash(str(typed)))}")
    assert said.code == 0, said.err
