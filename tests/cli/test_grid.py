"""A grid: every combination once, only what is missing, a report at its end; a run that diverges is a result."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from command_line import MEASURED, TINY, Said, fanin, read, runs, table
from fanin.record.run_folder import RunFolder

SMALL = ("model.depth=10", "model.width=16", "data.limit=300", "trainer.batch_size=50", "trainer.steps=20")
STUDY = ("experiment=init_study", "initializer.c=2,3000", *SMALL)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Said, Path]:
    """A small study: its own three seeds, two variances of the command line; and where its runs lie."""
    folder = tmp_path_factory.mktemp("study")
    return fanin(folder, *STUDY), folder / "outputs" / "init_study"


@pytest.mark.slow
def test_a_study_brings_its_axes_and_the_command_line_replaces_them(study: tuple[Said, Path]) -> None:
    said, grid = study
    assert (said.code, said.err) == (0, ["6 runs in outputs/init_study"])
    found = runs(grid)
    assert len(found) == 6
    overrides = [read(run / "result.json")["overrides"] for run in found.values()]
    assert {(one["initializer.c"], one["seed"]) for one in overrides} == {(c, s) for c in (2, 3000) for s in (0, 1, 2)}
    for name, run in found.items():
        result = read(run / "result.json")
        assert (result["run"], result["experiment"]) == (name, "init_study")
        assert f"initializer.c={result['overrides']['initializer.c']},model.depth=10,model.width=16,seed=" in name
        assert {"metrics.csv", "profiles.csv", "run.log", "checkpoints", ".hydra"} <= {p.name for p in run.iterdir()}
        assert sum(f"{name}  " in line for line in said.out) == 1
        others = set(found) - {name}
        assert not any(other in (run / "run.log").read_text() for other in others)
    rows = table(grid / "summary.csv")
    assert sorted(row["run"] for row in rows) == sorted(found)
    page = (grid / "report" / "index.html").read_text()
    assert all(text in page for text in ("c=2", "c=3000", "exploding"))
    names = {path.name for path in (grid / "report").iterdir()}
    assert {"index.html", "table.csv", "table.md", "study.png", "study.svg"} <= names
    assert {row["seeds"] for row in table(grid / "report" / "table.csv")} == {"3"}
    told = "\n".join(said.out)
    assert "outputs/init_study/report/study.png" in told
    assert "tensorboard --logdir outputs/init_study" in told


def test_divergence_is_a_result(study: tuple[Said, Path]) -> None:
    _, grid = study
    rows = {row["run"]: row for row in table(grid / "summary.csv")}
    for name, run in runs(grid).items():
        result, status = read(run / "result.json"), read(run / "status.json")
        profile = [row for row in table(run / "profiles.csv") if row["snapshot"] == "final"]
        norms = [float(row["value"]) for row in profile if row["quantity"] == "activation_norm"]
        if result["overrides"]["initializer.c"] == 2:
            assert (result["state"], result["diverged"], status["state"]) == ("done", None, "done")
            assert all(math.isfinite(norm) for norm in norms)
            continue
        assert (result["state"], result["outcome"], status["state"]) == ("diverged", "diverged", "diverged")
        where = result["diverged"]
        assert 2 <= where["step"] <= 4
        assert where["layer"].startswith("linear_")
        assert where["what"] in ("weight", "activation")
        assert (result["steps"], status["step"]) == (where["step"], where["step"])
        assert (rows[name]["state"], rows[name]["diverged_step"]) == ("diverged", str(where["step"]))
        assert rows[name]["diverged_layer"] == where["layer"]
        metrics = [row["batch_loss"] for row in table(run / "metrics.csv") if row["batch_loss"]]
        assert not math.isfinite(float(metrics[-1]))
        # All that was measured stays: layers before the broken one are finite, it and those behind it are not.
        assert len(norms) == 20 + 10  # of both axes
        assert math.isfinite(norms[0])
        assert not math.isfinite(norms[19])
        first = next(row["layer"] for row in profile
                     if row["quantity"] == "activation_nonfinite" and float(row["value"]) > 0)  # fmt: skip
        assert first == where["layer"]


def test_a_finished_grid_runs_nothing_and_a_missing_run_alone_is_run(study: tuple[Said, Path]) -> None:
    _, grid = study
    place = grid.parents[1]

    def written() -> dict[str, tuple[int, ...]]:
        files = ("result.json", "status.json", "metrics.csv", "profiles.csv", "checkpoints/last.pt")
        return {name: tuple((run / file).stat().st_mtime_ns for file in files) for name, run in runs(grid).items()}

    before, summary = written(), (grid / "summary.csv").read_text()
    page = (grid / "report" / "index.html").stat().st_mtime_ns
    said = fanin(place, *reversed(STUDY), "seed=0,1,2", "optimizer=sgd")
    assert (said.code, said.err) == (
        0,
        ["6 runs in outputs/init_study, 6 of them finished before (force=true runs them again)"],
    )
    assert (written(), (grid / "summary.csv").read_text()) == (before, summary)
    assert (grid / "report" / "index.html").stat().st_mtime_ns > page
    missing = sorted(before)[1]
    old = read(grid / missing / "result.json")
    shutil.rmtree(grid / missing)
    said = fanin(place, *STUDY)
    assert (said.code, said.err) == (
        0,
        ["6 runs in outputs/init_study, 5 of them finished before (force=true runs them again)"],
    )
    after = written()
    assert {name for name in after if after[name] != before.get(name)} == {missing}
    differ = dict.fromkeys(MEASURED)
    assert read(grid / missing / "result.json") | differ == old | differ
    assert len(table(grid / "summary.csv")) == 6


def test_a_plain_grid_elsewhere_with_duplicates(tmp_path: Path) -> None:
    elsewhere = tmp_path / "there"
    typed = ("-m", *TINY, "seed=1,0,1,0", "optimizer.lr=0.1,1e-1,0.2", f"hydra.sweep.dir={elsewhere}")
    said = fanin(tmp_path, *typed)
    assert (said.code, said.err) == (0, [f"4 runs in {elsewhere}"])
    assert sum("train loss" in line for line in said.out) == 4
    names = [f"data.limit=300,model.depth=3,model.width=16,optimizer.lr={lr},seed={seed},trainer.steps=6"
             for lr in ("0.1", "0.2") for seed in (0, 1)]  # fmt: skip
    assert list(runs(elsewhere)) == names
    assert sorted(row["run"] for row in table(elsewhere / "summary.csv")) == names
    assert (elsewhere / "report" / "index.html").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_what_no_memory_holds_and_no_system_starts_is_one_line_and_no_file(
    typed: Callable[..., Said], tmp_path: Path
) -> None:
    said = typed("model.width=1000000000", "model.depth=2", "model.bias=false", "data=digits")
    weights = 10**9 * (784 + 10)
    assert (said.code, said.out, len(said.err)) == (1, [], 1)
    gib = round(2 * 4 * weights / 2**30)
    start = f"fanin: model: {weights:,} parameters need {gib:,} GiB for weights and gradients, and there are "
    assert said.err[0].startswith(start)
    said = typed("trainer.threads=1000000000")
    assert said.err == ["fanin: trainer.threads=1000000000: must be an integer >= 1 and <= 1024"]
    assert list(tmp_path.iterdir()) == []


QUITS = """
import sys
from torch import nn


class Quits(nn.ReLU):
    def forward(self, x):
        sys.exit(0)
"""


@pytest.mark.parametrize("launcher", ["pool", "basic"])
def test_a_part_that_calls_exit_fails_alone(tmp_path: Path, launcher: str) -> None:
    (tmp_path / "own" / "activation").mkdir(parents=True)
    (tmp_path / "own" / "activation" / "quits.yaml").write_text("_target_: quits.Quits\n_partial_: true\n")
    (tmp_path / "quits.py").write_text(QUITS)
    said = fanin(tmp_path, "-m", "--config-dir=own", "activation=quits,relu", *TINY, f"hydra/launcher={launcher}")
    grid = tmp_path / "outputs" / "runs"
    failed, done = runs(grid)
    assert (said.code, said.err) == (
        1, ["2 runs in outputs/runs", f"fanin: 1 of 2 runs failed; the first: outputs/runs/{failed}/run.log"],
    )  # fmt: skip
    assert read(grid / failed / "status.json")["error"] == "SystemExit: 0"
    assert read(grid / done / "status.json")["state"] == "done"


@pytest.mark.slow
def test_a_grid_that_another_process_runs_is_no_success(tmp_path: Path) -> None:
    typed = ("-m", *TINY, "seed=0,1")
    assert fanin(tmp_path, *typed).code == 0
    with ExitStack() as owned:
        for run in runs(tmp_path / "outputs" / "runs").values():
            (run / "result.json").unlink()
            owned.enter_context(RunFolder(run).owned())
        said = fanin(tmp_path, *typed)
        alone = fanin(tmp_path, *TINY)
    assert said.code == 1
    assert said.err[-1] == "fanin: nothing was run: 2 of 2 runs are being run by another process"
    assert (alone.code, [line.endswith("is being run by another process") for line in alone.out]) == (1, [True])
