"""summary.csv: every varying key's value in every row, whoever writes it and whenever; and nobody else's table."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd
import pytest
from filelock import FileLock

from command_line import TINY, fanin, table
from fanin.record import summary
from fanin.record.csv_file import as_text
from fanin.record.run_files import read_run
from fanin.record.run_folder import RunFolder
from fanin.record.summary import rewrite_summary, update_summary


def ended(grid: Path, name: str, config: dict[str, Any], **overrides: Any) -> Path:
    """The folder of a finished run, as far as the summary reads it."""
    folder = RunFolder(grid / name)
    folder.path.mkdir(parents=True)
    folder.write_status("done", step=3)
    folder.write_result({"state": "done", "config": config, "choices": {"optimizer": "sgd"}, "overrides": overrides})
    return folder.path


@pytest.mark.slow
def test_a_key_has_its_value_also_where_that_is_a_default_of_another_choice(tmp_path: Path) -> None:
    """sgd's own learning rate beside adam's, and both beside a typed one: no row drops out of a group."""
    assert fanin(tmp_path, *TINY, "optimizer=adam").code == 0
    assert fanin(tmp_path, *TINY).code == 0
    assert fanin(tmp_path, *TINY, "optimizer=adam", "optimizer.lr=0.1", "regularizer=[l2,dropout]").code == 0
    rows = pd.read_csv(tmp_path / "outputs" / "runs" / "summary.csv", keep_default_na=False)
    rows = rows.sort_values(["optimizer", "optimizer.lr"], ignore_index=True)
    assert rows[["optimizer", "optimizer.lr", "regularizer", "seed"]].values.tolist() == [
        ["adam", 0.001, "none", 0], ["adam", 0.1, "dropout+l2", 0], ["sgd", 0.01, "none", 0],
    ]  # fmt: skip


def test_what_begins_to_vary_is_told_of_earlier_runs(tmp_path: Path) -> None:
    config = {"model": {"depth": 3}, "optimizer": {"lr": 0.01, "momentum": None}, "seed": 0}
    update_summary(tmp_path, [ended(tmp_path, "a", config, seed=0)])
    update_summary(
        tmp_path, [ended(tmp_path, "b", config | {"optimizer": {"lr": 0.5}}, seed=0, **{"optimizer.lr": 0.5})]
    )
    update_summary(tmp_path, [ended(tmp_path, "c", config, seed=1, optimizer="sgd")])
    rows = table(tmp_path / "summary.csv")
    told = [[row[key] for key in ("run", "optimizer", "optimizer.lr", "seed")] for row in rows]
    assert told == [["a", "sgd", "0.01", "0"], ["b", "sgd", "0.5", "0"], ["c", "sgd", "0.01", "1"]]


def test_writers_at_once_lose_no_row(tmp_path: Path) -> None:
    folders = [ended(tmp_path, f"seed={seed}", {"seed": seed}, seed=seed) for seed in range(24)]
    writers = [Thread(target=update_summary, args=(tmp_path, folders[start::6])) for start in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {row["run"] for row in table(tmp_path / "summary.csv")} == {folder.name for folder in folders}


def test_a_report_writes_what_is_so_when_it_writes(tmp_path: Path) -> None:
    """A run that was on its way when the report began has ended since, and one has come that it does not know."""
    folder = RunFolder(tmp_path / "seed=0")
    folder.path.mkdir()
    folder.write_status("running", step=1)
    before = [read_run(folder.path)]
    folder.write_status("done", step=3)
    folder.write_result({"state": "done", "overrides": {"seed": 0}, "metrics": {"train_loss": 0.5}})
    update_summary(tmp_path, [folder.path, ended(tmp_path, "seed=1", {}, seed=1)])
    rewrite_summary(tmp_path, before)
    rows = table(tmp_path / "summary.csv")
    assert [(row["run"], row["state"]) for row in rows] == [("seed=0", "done"), ("seed=1", "done")]
    assert rows[0]["train_loss"] == "0.5"


@pytest.mark.parametrize(
    "damage", [b"\xff\xfe\x00run", b"run,state\n" + b"\xff" * 30, b"", b"no,commas\n1,2\n", b'run,"' + b"x" * 200_000]
)
def test_a_damaged_summary_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    update_summary(tmp_path, [ended(tmp_path, "seed=0", {}, seed=0)])
    (tmp_path / "summary.csv").write_bytes(damage)
    update_summary(tmp_path, [ended(tmp_path, "seed=1", {}, seed=1)])
    rows = table(tmp_path / "summary.csv")
    assert [(row["run"], row["seed"]) for row in rows] == [("seed=0", "0"), ("seed=1", "1")]


def test_a_table_of_an_earlier_version_is_made_anew(tmp_path: Path) -> None:
    """It told the mean over the last batches as train_loss, and what is called so now as full_loss, further on."""
    folder = ended(tmp_path, "seed=0", {}, seed=0)
    told = {"train_loss": 0.5, "full_loss": 0.25}
    (folder / "result.json").write_text(json.dumps({"state": "done", "overrides": {"seed": 0}, "metrics": told}))
    update_summary(tmp_path, [folder])
    now = (tmp_path / "summary.csv").read_text()
    before = now.replace("roc_auc,", "roc_auc,full_loss,full_error,", 1).replace("0.25", "0.5", 1)
    (tmp_path / "summary.csv").write_text(before)
    update_summary(tmp_path, [ended(tmp_path, "seed=1", {}, seed=1)])
    first, second = table(tmp_path / "summary.csv")
    assert first.keys() == second.keys()
    assert "full_loss" not in first
    assert (first["run"], first["train_loss"], second["run"]) == ("seed=0", "0.25", "seed=1")


def test_a_byte_that_is_no_utf8_harms_its_cell_only(tmp_path: Path) -> None:
    update_summary(tmp_path, [ended(tmp_path, f"seed={seed}", {}, seed=seed) for seed in range(2)])
    content = (tmp_path / "summary.csv").read_bytes()
    (tmp_path / "summary.csv").write_bytes(content.replace(b"done", b"d\xffne", 1))
    update_summary(tmp_path, [ended(tmp_path, "seed=2", {}, seed=2)])
    assert [row["state"] for row in table(tmp_path / "summary.csv")] == ["d\ufffdne", "done", "done"]


def test_a_table_of_somebody_elses_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "summary.csv").write_text("name,grade\nmine,1\n")
    with caplog.at_level(logging.WARNING):
        update_summary(tmp_path, [ended(tmp_path, "seed=0", {}, seed=0)])
    assert (tmp_path / "summary.csv").read_text() == "name,grade\nmine,1\n"
    assert "is no summary of runs, and stays as it is" in caplog.text


def test_the_lock_is_not_waited_for_without_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(summary, "PATIENCE", 0.05)
    with FileLock(tmp_path / ".summary.lock"), caplog.at_level(logging.WARNING):
        update_summary(tmp_path, [ended(tmp_path, "seed=0", {}, seed=0)])
    assert not (tmp_path / "summary.csv").exists()
    assert "another process has held" in caplog.text


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"), ("+cmd", "'+cmd"), ("@SUM(A1)", "'@SUM(A1)"), ("-x", "'-x"), ("\t=1", "'\t=1"),
        ("-0.5", "-0.5"), ("+1e3", "+1e3"), (-0.5, "-0.5"), (float("-inf"), "-inf"), ("-inf", "-inf"), ("a=b", "a=b"),
        ("", ""), (None, ""), (True, "true"), ([1, "=x"], '[1, "=x"]'),
    ],
)  # fmt: skip
def test_no_cell_is_a_formula_and_numbers_stay_numbers(tmp_path: Path, value: object, cell: str) -> None:
    assert as_text(value) == cell
    update_summary(tmp_path, [ended(tmp_path, "seed=0", {}, seed=0, note=value)])
    update_summary(tmp_path, [ended(tmp_path, "seed=1", {}, seed=1, note=value)])  # reads the first row and writes it
    with (tmp_path / "summary.csv").open(newline="") as file:
        assert [row["note"] for row in csv.DictReader(file)] == [cell, cell]
