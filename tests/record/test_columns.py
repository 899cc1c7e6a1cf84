"""The contract of the files: what a real run writes has the columns and keys that the contract says, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import fanin, read, runs
from fanin.record import columns
from fanin.record.columns import names


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that writes every file: two parameters, all of them recorded."""
    folder = tmp_path_factory.mktemp("contract")
    typed = ("model=surface", "data=point", "loss=value", "trainer.steps=2", "trainer.batch_size=all")
    said = fanin(folder, *typed, "probe=trajectory")
    assert said.code == 0, said.err
    (path,) = runs(folder / "outputs" / "runs").values()
    return path


def header(path: Path) -> tuple[str, ...]:
    return tuple(path.read_text().splitlines()[0].split(","))


def test_the_headers_of_tables(run: Path) -> None:
    assert header(run / "metrics.csv") == names(columns.METRICS)
    assert header(run / "profiles.csv") == names(columns.PROFILES)
    assert header(run / "trajectory.csv")[:2] == names(columns.TRAJECTORY)
    found = header(run.parent / "summary.csv")
    assert found[:4] == names(columns.SUMMARY_FIRST)
    assert found[-len(columns.SUMMARY_LAST) :] == names(columns.SUMMARY_LAST)
    assert found[found.index("train_loss") - 1] == "seed"


def test_the_keys_of_json_files(run: Path) -> None:
    assert read(run / "status.json").keys() == set(names(columns.STATUS))
    assert read(run / "result.json").keys() == set(names(columns.RESULT))
    assert read(run / "status.json")["state"] in columns.FINISHED


def test_the_configuration_is_resolved_and_every_choice_is_told(run: Path) -> None:
    result = read(run / "result.json")
    assert "${" not in str(result["config"])
    assert result["config"]["trainer"]["batch_size"] == "all"
    assert result["config"]["seed"] == 0
    assert "force" not in result["config"]
    chosen = {group: result["choices"][group] for group in ("model", "loss", "regularizer", "optimizer", "experiment")}
    assert chosen == {
        "model": "surface",
        "loss": "value",
        "regularizer": "none",
        "optimizer": "sgd",
        "experiment": None,
    }


def test_the_files_of_a_run_are_those_of_the_contract(run: Path) -> None:
    there = {path.name for path in run.iterdir() if not path.name.startswith("events.out.tfevents.")}
    assert there <= set(columns.RUN_FILES)
    assert {path.name for path in (run / "checkpoints").iterdir()} <= set(columns.CHECKPOINTS)


def test_every_name_is_said_once_and_every_meaning_is_one() -> None:
    tables = (columns.STATUS, columns.METRICS, columns.PROFILES, columns.TRAJECTORY, columns.RESULT)
    for table in (*tables, (*columns.SUMMARY_FIRST, *columns.SUMMARY_LAST)):
        assert len(set(names(table))) == len(table)
        assert all(column.meaning and (column.meaning[-1] != "." or column.meaning.endswith("...")) for column in table)
    assert set(columns.FINISHED) < set(columns.STATES)
