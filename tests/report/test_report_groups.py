"""What makes a configuration, its name, its place in the order, and what is said of the setting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fanin.errors import UserError
from fanin.record.overrides import RunConfig, named_overrides, scalar, split_outside_brackets
from fanin.record.summary import write_summary
from fanin.report.read.configurations import group_runs
from fanin.report.read.folders import Run, read_runs
from fanin.report.write.tables import study_rows

WriteRun = Callable[..., Path]
SMALL = {"depth": 2, "width": 4, "count": 2}


def labels(runs: list[Run], keys: list[str] | None = None) -> list[tuple[str, int]]:
    """Label and number of runs of each configuration."""
    return [(one.label, len(one.members)) for one in group_runs(runs, keys)]


def runs_of(root: Path, write_run: WriteRun, *overrides: dict[str, Any], seeds: int = 2, **more: Any) -> list[Run]:
    """Runs with these overrides, `seeds` of each."""
    folders = [write_run(root, overrides=one, seed=seed, **SMALL, **more) for one in overrides for seed in range(seeds)]
    return read_runs(folders, root)


def test_numbers_sort_by_size_and_labels_are_short(tmp_path: Path, write_run: WriteRun) -> None:
    runs = runs_of(tmp_path, write_run, *({"initializer.c": c} for c in (10, 2, 0.5)))
    assert labels(runs) == [("c=0.5", 2), ("c=2", 2), ("c=10", 2)]


def test_only_what_varies_is_named_and_ambiguous_keys_stay_whole(tmp_path: Path, write_run: WriteRun) -> None:
    shared = {"trainer.batch_size": 64}
    runs = runs_of(
        tmp_path, write_run,
        {"optimizer.lr": 0.1, "other.lr": 1, **shared}, {"optimizer.lr": 1e-4, "other.lr": 2, **shared},
    )  # fmt: skip
    assert labels(runs) == [("optimizer.lr=0.0001, other.lr=2", 2), ("optimizer.lr=0.1, other.lr=1", 2)]


def test_an_override_that_only_some_runs_name_is_looked_up_in_the_others(tmp_path: Path, write_run: WriteRun) -> None:
    # lr 0.003 is in every configuration; naming it does not make another configuration of it.
    runs = runs_of(tmp_path, write_run, {"initializer.c": 2}, {"initializer.c": 2, "optimizer.lr": 0.003})
    assert labels(runs) == [("c=2, lr=0.003", 4)]


def test_a_chosen_option_is_told_from_the_default_one(tmp_path: Path, write_run: WriteRun) -> None:
    # The others' choice stands in Hydra's record: sgd.
    runs = runs_of(tmp_path, write_run, {"initializer.c": 2}, {"initializer.c": 2, "optimizer": "adam"})
    assert labels(runs) == [("optimizer=adam", 2), ("optimizer=sgd", 2)]


def test_unfinished_runs_join_their_configuration(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [write_run(tmp_path, c=2, seed=seed, **SMALL) for seed in range(2)]
    folders += [write_run(tmp_path, c=2, seed=2, state="failed", error="x", **SMALL)]
    folders += [write_run(tmp_path, c=2, seed=3, state="running", **SMALL)]
    assert labels(read_runs(folders, tmp_path)) == [("c=2", 4)]


def test_group_by_averages_over_the_rest(tmp_path: Path, write_run: WriteRun) -> None:
    grid = [{"initializer.c": c, "optimizer.lr": lr} for c in (1, 2) for lr in (0.1, 0.01, 0.001)]
    runs = runs_of(tmp_path, write_run, *grid)
    assert labels(runs, ["optimizer.lr"]) == [("lr=0.001", 4), ("lr=0.01", 4), ("lr=0.1", 4)]
    assert labels(runs, ["model.depth"]) == [("depth=2", 12)]  # not among the overrides: from the configuration
    with pytest.raises(UserError, match=r"--group-by model\.dept: .*did you mean model\.depth\?"):
        group_runs(runs, ["model.dept"])


def test_experiments_are_kept_apart(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [write_run(tmp_path / name, c=2, experiment=name, **SMALL) for name in ("one", "two")]
    folders += [write_run(tmp_path / "two", c=2, seed=1, state="failed", error="x", experiment="two", **SMALL)]
    assert labels(read_runs(folders, tmp_path)) == [("one, c=2", 1), ("two, c=2", 2)]


def test_folds_are_averaged_over_like_seeds(tmp_path: Path, write_run: WriteRun) -> None:
    grid = [{"data.fold": fold, "regularizer": name} for fold in range(4) for name in ("none", "dropout")]
    runs = runs_of(tmp_path, write_run, *grid)
    found = [(one.label, len(one.members), one.folds) for one in group_runs(runs)]
    assert found == [("regularizer=dropout", 8, 4), ("regularizer=none", 8, 4)]
    assert [one.folds for one in group_runs(runs, ["data.fold"])] == [None] * 4
    assert [one.folds for one in group_runs(runs, ["model.depth"])] == [4]


def test_repetitions_of_folds_are_averaged_over_too_and_stay_folds(tmp_path: Path, write_run: WriteRun) -> None:
    grid = [{"data.fold": fold, "data.repeat": repeat} for fold in range(3) for repeat in range(2)]
    runs = runs_of(tmp_path, write_run, *grid)
    assert [(len(one.members), one.folds) for one in group_runs(runs)] == [(12, 3)]
    one_fold = [run for run in runs if run.overrides["data.fold"] == 1]  # of repetitions that overlap
    assert [one.folds for one in group_runs(one_fold)] == [2]


def overrides(folder: Path) -> dict[str, object]:
    """Of a run that left no result."""
    return named_overrides(folder, RunConfig(folder, {}))


def test_overrides_of_a_run_without_a_result(tmp_path: Path) -> None:
    folder = tmp_path / "initializer.c=1.5,regularizer=[l2,dropout],seed=3"
    (folder / ".hydra").mkdir(parents=True)
    assert overrides(folder) == {"initializer.c": 1.5, "regularizer": "dropout+l2", "seed": 3}
    shortened = tmp_path / "initializer.c=1-5f2a9c"
    (shortened / ".hydra").mkdir(parents=True)
    entries = ["+experiment=init_study", "initializer.c=1.25", "seed=0", "data.root=/data", "hydra.sweep.dir=x"]
    (shortened / ".hydra" / "overrides.yaml").write_text("".join(f"- {entry}\n" for entry in entries))
    assert overrides(shortened) == {"initializer.c": 1.25}
    moved = (tmp_path / "renamed").absolute()
    shortened.rename(moved)
    assert overrides(moved) == {"initializer.c": 1.25, "seed": 0}


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("1e-4", 1e-4), ("true", True), ("null", None), ("[1,2]", "[1,2]"), ("adam", "adam")]
)
def test_scalars_as_typed(text: str, value: object) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


def test_commas_in_brackets_do_not_part() -> None:
    assert split_outside_brackets("a=[1,2],b={x:1,y:2},c=3") == ["a=[1,2]", "b={x:1,y:2}", "c=3"]


def test_the_setting_leaves_out_what_varies(tmp_path: Path, write_run: WriteRun) -> None:
    (run, *_) = runs_of(tmp_path, write_run, {"initializer.c": 2})
    words = ["MNIST", "2 layers of 4 units", "ReLU", "SGD", "lr 0.003", "batch 100"]
    assert run.config.setting() == words
    assert run.config.setting({"model.depth", "optimizer.lr"}) == ["MNIST", "4 units", "ReLU", "SGD", "batch 100"]


def test_summary_columns_are_the_union_over_runs(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"run": "a", "state": "done", "seed": 0, "initializer.c": 2.0, "train_loss": float("nan"), "test_f1": 0.5},
        {"run": "b", "state": "failed", "seed": 1, "data": ["x", 1], "error": 'said "no", twice'},
    ]
    write_summary(tmp_path / "summary.csv", rows)
    header, first, second = (tmp_path / "summary.csv").read_text().splitlines()
    assert header.startswith("run,state,outcome,verdict,initializer.c,test_f1,data,seed,train_loss,train_error,")
    assert first.startswith("a,done,,,2,0.5,,0,nan,,")
    assert second.startswith('b,failed,,,,,"[""x"", 1]",1,,')
    assert second.rstrip(",").endswith(',"said ""no"", twice"')
    assert second.count(",") == header.count(",") + 2  # within the texts
    assert [path.name for path in tmp_path.iterdir()] == ["summary.csv"]


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([None, None], "learns: 25.0 % test error"),
        ([40, 40], "learns: 25.0 % test error, overfits from step 40"),
        ([60, None, 40], "learns: 25.0 % test error, 2 of them overfit from steps 40 to 60"),
    ],
)
def test_configurations_that_overfit_say_from_which_steps(steps: list[int | None], told: str) -> None:
    runs = []
    for step in steps:
        result = {"outcome": "learns", "task": "classification", "metrics": {"test_error": 0.25}, "overfits_from": step}
        runs.append(Run(Path("run"), "done", result=result))
    (row,) = study_rows(runs, group_runs(runs))
    assert row["outcome"] == told
