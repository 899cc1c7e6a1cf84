"""fanin-prune: what it trains and compares, held against the files of the run that it prunes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import fanin as of_python
from command_line import fanin, read, runs, table
from fanin.cli import prune
from fanin.record.columns import IN_USE, names
from fanin.theory.generalization import wilson_interval

RECIPE = (
    "model.depth=3", "model.width=16", "data.image_size=8", "data.limit=300", "trainer.steps=40", "optimizer=adam",
    "optimizer.lr=0.01", "trainer.snapshots=4",
)  # fmt: skip
LAYERS = ("linear_1", "linear_2", "linear_3")
ENTRIES = 64 * 16 + 16 * 16 + 16 * 10


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run in it."""
    folder = tmp_path_factory.mktemp("prune")
    said = fanin(folder, *RECIPE, "hydra.run.dir=run")
    assert said.code == 0, said.err
    return folder


def weights(run: Path, name: str = "last") -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(run / "checkpoints" / f"{name}.pt", weights_only=True)["model"]
    return {layer: found[f"{layer}.weight"] for layer in LAYERS}


def pruned(place: Path, *typed: str, out: str = "out") -> Path:
    arguments = [str(place / "run"), "--repeats", "2", "--out", str(place / out), *typed]
    assert prune.main(arguments) == 0
    return place / out


def test_rounds_leave_equal_shares_and_are_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = pruned(place, "--share", "0.75", "--rounds", "2")
    rows = table(out / "in_use.csv")
    assert tuple(rows[0]) == names(IN_USE)
    assert [row["form"] for row in rows] == ["trained", "round_1", "round_2"]
    for row, folder, left in zip(rows, (place / "run", out / "round_1", out / "round_2"), (1, 0.5, 0.25), strict=True):
        result = read(folder / "result.json")
        error, examples = result["metrics"]["test_error"], int(row["examples"])
        assert float(row["error"]) == pytest.approx(error, abs=1e-12)
        low, high = wilson_interval(round(error * examples), examples)
        assert (float(row["low"]), float(row["high"])) == pytest.approx((low, high))
        zeros = sum(int((one == 0).sum()) for one in weights(folder).values())
        assert ENTRIES - zeros == round(left * ENTRIES)
        assert float(row["zeros"]) == pytest.approx(zeros / ENTRIES, abs=1e-12)
        bits = 0 if left == 1 else ENTRIES // 8
        assert int(row["bytes"]) == 4 * (ENTRIES - zeros + 16 + 16 + 10) + bits
        assert float(row["latency_1"]) > 0
    assert read(out / "round_2" / "result.json")["config"]["regularizer"]["mask"]["share"] == 0.75
    # what is left are the largest of the round before
    first, trained = weights(out / "round_1"), weights(place / "run")
    size = torch.cat([one.abs().flatten() for one in trained.values()])
    kept = torch.cat([(first[name] != 0).flatten() for name in LAYERS])
    assert size[kept].min() >= size[~kept].max()
    printed = capsys.readouterr().out
    assert "round_2: test error " in printed
    assert f"{out / 'in_use.csv'}" in printed
    before = (out / "round_1" / "result.json").stat().st_mtime_ns
    assert pruned(place, "--share", "0.75", "--rounds", "2") == out  # finished rounds stay
    assert (out / "round_1" / "result.json").stat().st_mtime_ns == before


def profile(run: Path, layer: str = "linear_2") -> float:
    """The norm of a layer's weights at step 0."""
    rows = table(run / "profiles.csv")
    return next(
        float(row["value"])
        for row in rows
        if (row["snapshot"], row["layer"], row["quantity"]) == ("init", layer, "weight_norm")
    )


@pytest.mark.slow
def test_where_a_round_starts(place: Path) -> None:
    """Weight norms at step 0: of the initial weights within the masks, of those after 10 steps, of another draw."""
    masks = {}
    for rewind in ("init", "step_10", "none", "redraw"):
        out = pruned(place, "--share", "0.5", "--scope", "layer", "--rewind", rewind, out=rewind)
        masks[rewind] = torch.load(out / "masks" / "round_1.pt", weights_only=True)
    assert all(torch.equal(masks["init"][layer], mask[layer]) for mask in masks.values() for layer in LAYERS)
    kept = masks["init"]["linear_2"]
    assert int(kept.sum()) == kept.numel() // 2
    for rewind, name in (("step_10", "step_10"), ("none", "last")):
        expected = (weights(place / "run", name)["linear_2"] * kept).norm().item()
        assert profile(place / rewind / "round_1") == pytest.approx(expected, rel=1e-5)
    said = fanin(place, *RECIPE, "trainer.steps=1", "optimizer.lr=1e-12", "hydra.run.dir=start")
    assert said.code == 0, said.err
    started = weights(place / "start")["linear_2"]  # a step of 1e-12 is below float32's resolution
    assert profile(place / "init" / "round_1") == pytest.approx((started * kept).norm().item(), rel=1e-4)
    assert profile(place / "redraw" / "round_1") != pytest.approx((started * kept).norm().item(), rel=1e-3)


def test_without_training_it_is_the_trained_network_within_its_masks(place: Path) -> None:
    out = pruned(place, "--share", "0.6", "--rewind", "none", "--steps", "0", "--rounds", "2", out="cut")
    masks = torch.load(out / "masks" / "round_2.pt", weights_only=True)
    run = of_python.Run(place / "run")
    inputs = torch.randn(50, 1, 8, 8)
    cut = of_python.Run(out / "round_2").model
    with torch.no_grad():
        for name, mask in masks.items():
            run.model.get_submodule(name).get_parameter("weight").mul_(mask)
        np.testing.assert_array_equal(cut(inputs).numpy(), run.model(inputs).numpy())
        moved = of_python.Run(out.rename(place / "moved") / "round_2").model  # with the masks beside it
        np.testing.assert_array_equal(moved(inputs).numpy(), cut(inputs).numpy())


@pytest.mark.slow
def test_a_report_has_the_rounds_and_what_they_are_in_use(place: Path) -> None:
    said = fanin(place, *RECIPE, "hydra.run.dir=grid/run")
    assert said.code == 0, said.err
    assert prune.main([str(place / "grid" / "run"), "--share", "0.5", "--repeats", "0"]) == 0
    from fanin.report.make import write_report

    report = write_report([place / "grid"])
    assert len(runs(place / "grid")) == 1
    assert sorted(report.study["runs"]) == [1, 1]
    rows = table(report.out / "in_use.csv")
    assert [row["form"] for row in rows] == ["trained", "round_1"]
    assert report.out / "in_use.csv" in report.tables
    page = report.index.read_text()
    assert "in_use.csv" in page
    assert [f"<td>{row['form']}</td>" in page for row in rows] == [True, True]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["gone"], "gone: no such folder"),
        (["run", "--share", "1"], "--share 1.0: must be a finite number > 0 and < 1"),
        (["run", "--rewind", "step_7"], "--rewind step_7: RUN has kept step_10, step_20, step_30, step_40;"),
        (["run", "--steps", "0"], "--steps 0: must be at least 1 with rewind=init; or take rewind none"),
        (["run", "--repeats", "-1"], "--repeats -1: must be at least 0"),
        (["run", "--share", "nan"], "--share nan: must be a finite number > 0 and < 1"),
        (["run", "--rounds", "0"], "--rounds 0: must be an integer >= 1"),
        (["run", "--scope", "net"], "--scope net: must be one of global, layer"),
        (["run", "--criterion", "size"], "--criterion size: must be one of magnitude, random"),
        (["run", "--rewind", "start"], "--rewind start: must be one of init, none, redraw, step_N"),
        (["run", "--steps", "-1"], "--steps -1: must be an integer >= 0"),
        (["run", "--masks", "empty"], "--masks empty: EMPTY/masks/round_1.pt: must be a file of masks, as fanin-prune"),
        (["empty"], "EMPTY: no run's folder"),
    ],
)
def test_what_cannot_be_pruned_is_told_in_a_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: list[str], told: str
) -> None:
    monkeypatch.chdir(place)
    Path("empty").mkdir(exist_ok=True)
    assert prune.main([*typed, "--out", "never"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    told = told.replace("RUN", str(place / "run")).replace("EMPTY", str(place / "empty"))
    assert line.startswith(f"fanin-prune: {told}")
    assert not Path("never").exists()
