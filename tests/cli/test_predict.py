"""fanin-predict and fanin-ensemble: their files against the networks' own answers, and what is refused."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

import fanin as of_python
from command_line import fanin, read, runs, table
from fanin.cli import ensemble, predict
from fanin.parts.data import Digits
from fanin.record.columns import ENSEMBLE, names
from fanin.run.build import load_data, options_of
from fanin.run.ensembles import of_members

RECIPE = (
    "model.depth=2", "model.width=16", "data.image_size=8", "data.limit=300", "trainer.steps=40", "optimizer.lr=0.3",
    "preprocess=standardize", "probe=off", "trainer.snapshots=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three seeds, which keep their weights after 20 and 40 steps."""
    folder = tmp_path_factory.mktemp("trained")
    said = fanin(folder, "-m", *RECIPE, "seed=0,1,2")
    assert said.code == 0, said.err
    return list(runs(folder / "outputs" / "runs").values())


def own_answers(run: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores of the test part by the run's network, its classes, and its images as the data set has them."""
    config = read(run / "result.json")["config"]
    data = load_data(options_of(OmegaConf.create(config | {"force": False})), torch.device("cpu"), torch.float32)
    with torch.no_grad():
        scores = of_python.Run(run).model(data.test_x)
    return scores, data.test_y, Digits(image_size=8, limit=300).load().test_x


@pytest.mark.parametrize("kind", ["npy", "npz", "csv", "png"])
def test_answers_are_those_of_the_network(trained: list[Path], tmp_path: Path, kind: str) -> None:
    scores, classes, images = own_answers(trained[0])
    file, pixels = tmp_path / f"given.{kind}", images.numpy()
    if kind == "npy":
        np.save(file, pixels)
    elif kind == "npz":
        np.savez(file, other=np.zeros(3), x=pixels.reshape(len(pixels), -1))
    elif kind == "csv":
        header = ",".join(f"pixel_{place}" for place in range(64))
        np.savetxt(file, pixels.reshape(-1, 64), delimiter=",", header=header, comments="")
    else:  # of 255 levels; those of the digits are k/16
        (file := tmp_path / "images").mkdir()
        for place, one in enumerate(pixels):
            Image.fromarray(np.round(255 * one[0]).astype(np.uint8)).save(file / f"{place:03}.png")
    assert predict.main([str(trained[0]), str(file), "--batch", "100", "--out", str(tmp_path / "out.csv")]) == 0
    rows = table(tmp_path / "out.csv")
    assert list(rows[0]) == ["example", "class", "probability", *(f"score_{k}" for k in range(10))]
    told = np.array([[float(row[f"score_{k}"]) for k in range(10)] for row in rows])
    if kind == "png":
        assert rows[0]["example"] == "000.png"
        np.testing.assert_allclose(told, scores.numpy(), atol=0.3)  # half a level of 255 in each of 64 pixels
        return
    np.testing.assert_allclose(told, scores.numpy(), rtol=1e-4, atol=1e-4)
    wrong = np.mean([int(row["class"]) != truth for row, truth in zip(rows, classes.tolist(), strict=True)])
    assert wrong == pytest.approx(read(trained[0] / "result.json")["metrics"]["test_error"], abs=1e-12)
    p = [float(row["probability"]) for row in rows]
    np.testing.assert_allclose(p, scores.softmax(dim=1).amax(dim=1).numpy(), rtol=1e-3)


def test_an_ensemble_of_seeds_and_its_members(
    trained: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ensemble.main([*map(str, trained), "--out", str(tmp_path)]) == 0
    rows = table(tmp_path / "ensemble.csv")
    assert tuple(rows[0]) == names(ENSEMBLE)
    assert [(row["members"], row["ensembles"]) for row in rows] == [("1", "3"), ("2", "3"), ("3", "1")]
    alone = [read(run / "result.json")["metrics"]["test_error"] for run in trained]
    assert float(rows[0]["error"]) == pytest.approx(np.mean(alone), rel=1e-12)
    assert (float(rows[0]["least"]), float(rows[0]["most"])) == pytest.approx((min(alone), max(alone)), rel=1e-12)
    known = [own_answers(run) for run in trained]
    p, classes = [one[0].double().softmax(1) for one in known], known[0][1]
    for row in rows:
        wrong = torch.stack(
            [(sum(p[i] for i in some).argmax(1) != classes).double()  # type: ignore[union-attr]
             for some in combinations(range(3), int(row["members"]))]
        )  # fmt: skip
        share = wrong.mean(0).numpy()
        half = 1.96 * share.std(ddof=1) / len(share) ** 0.5
        expected = [share.mean(), share.mean() - half, share.mean() + half]
        np.testing.assert_allclose([float(row[name]) for name in ("error", "low", "high")], expected, rtol=1e-4)
    answers = table(tmp_path / "answers.csv")
    wrong_answers = [row["true"] != row["class"] for row in answers]
    assert np.mean(wrong_answers) == pytest.approx(float(rows[-1]["error"]), rel=1e-12)
    assert (tmp_path / "ensemble.png").is_file()
    assert "all 3: test error " in capsys.readouterr().out


def test_an_ensemble_of_snapshots(trained: list[Path], tmp_path: Path) -> None:
    """The weights half way and at the end, which are those of the last checkpoint."""
    kept = [torch.load(trained[0] / "checkpoints" / f"{name}.pt")["model"] for name in ("step_20", "step_40", "last")]
    assert all(torch.equal(kept[1][name], kept[2][name]) for name in kept[1])
    assert not torch.equal(kept[0]["linear_1.weight"], kept[1]["linear_1.weight"])
    assert ensemble.main([str(trained[0]), "--snapshots", "--out", str(tmp_path)]) == 0
    errors = [float(table(tmp_path / "ensemble.csv")[0][name]) for name in ("least", "most")]
    assert read(trained[0] / "result.json")["metrics"]["test_error"] in errors


def test_many_ensembles_are_drawn() -> None:
    members = torch.rand(12, 30, 4)
    found = of_members(members / members.sum(2, keepdim=True), torch.randint(4, (30,)), most=20)
    assert [one.ensembles for one in found] == [12, *[20] * 9, 12, 1]
    assert all(one.least <= one.error <= one.most for one in found)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["RUN", "gone.csv"], "gone.csv: no such file or folder"),
        (["gone", "text.csv"], "gone: no such folder"),
        (["RUN", "text.csv"], "text.csv: line 2: could not convert string to float: 'x'; every cell below the names"),
        (["RUN", "short.npy"], "short.npy: an example in it is 7; the network takes 1 x 8 x 8, or 64 in a row"),
        (["RUN", "empty.npy"], "empty.npy: there is no example in it"),
        (["RUN", "hole.npy"], "hole.npy: 2 examples, first of all 1, with an entry that is not finite; fill in"),
        (["RUN", "latin.csv"], "latin.csv: is no table of text in UTF-8 ("),
        (["RUN", "ragged.csv"], "ragged.csv: lines of different lengths; each example has all features"),
        (["RUN", "words.npy"], "words.npy: holds no array of numbers ("),
        (["RUN", "complex.npy"], "complex.npy: holds complex numbers; the network takes real ones"),
        (["RUN", "hollow.npz"], "hollow.npz: holds no array of numbers ("),
        (["RUN", "pictures"], "pictures/a.png: cannot be read as an image ("),
        (["RUN", "fine.npy", "--out", "nowhere/answers.csv"], "TMP/nowhere/answers.csv: it is not there"),
        (["RUN", "notes.txt"], "notes.txt: must end in .npy, .npz or .csv, or be a folder of images"),
        (["RUN", "short.npy", "--batch", "0"], "--batch 0: must be at least 1"),
    ],
)
def test_what_cannot_be_answered_is_told_in_a_line(
    trained: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    typed: list[str], told: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("text.csv").write_text("1,2\n3,x\n")
    Path("notes.txt").write_text("")
    Path("latin.csv").write_bytes("größe\n1\n".encode("latin-1"))
    Path("ragged.csv").write_text("1,2,3\n4,5\n")
    Path("pictures").mkdir()
    Path("pictures", "a.png").write_text("no picture")
    np.save("words.npy", np.array(["a", "b"]))
    np.save("complex.npy", np.zeros((2, 64), complex))
    np.save("fine.npy", np.zeros((2, 64)))
    np.savez("hollow.npz")
    np.save("short.npy", np.zeros((2, 7)))
    np.save("empty.npy", np.zeros((0, 64)))
    np.save("hole.npy", np.where(np.arange(192).reshape(3, 64) % 100 == 70, np.nan, 0.5))  # entries 70 and 170
    there = {path.name for path in tmp_path.iterdir()}
    assert predict.main([str(trained[0]) if word == "RUN" else word for word in typed]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fanin-predict: {told.replace('TMP', str(tmp_path))}")
    assert {path.name for path in tmp_path.iterdir()} == there


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["RUN"], "1 member: an ensemble has two or more; give more runs, or --snapshots"),
        (["RUN", "gone"], "gone: no such folder"),
        (["empty"], "empty: no runs here"),
        (["RUN", "OTHER", "--batch", "0"], "--batch 0: must be at least 1"),
        (["RUN", "OTHER", "--most", "0"], "--most 0: must be at least 1"),
        (["RUN", "OTHER", "--seed", "-1"], "--seed -1: must be at least 0"),
    ],
)
def test_no_ensemble_is_told_in_a_line(
    trained: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    typed: list[str], told: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    places = {"RUN": str(trained[0]), "OTHER": str(trained[1])}
    assert ensemble.main([*(places.get(word, word) for word in typed), "--out", "out"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fanin-ensemble: {told}")
    assert not Path("out").exists()
