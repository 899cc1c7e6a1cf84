"""Means and quantiles over seeds in TensorBoard, against pandas and numpy on the runs' own files."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams import plugin_data_pb2

from fanin.record.tensorboard_plugins import EXPERIMENT, SESSION_START
from fanin.report.make import write_report
from fanin.report.write.terminal import print_study

WriteRun = Callable[..., Path]
SMALL = {"depth": 3, "width": 8, "count": 5, "last": 40}


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanin.report.pictures.pictures", lambda *_: {})


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()


def scalars(folder: Path, tag: str) -> dict[int, float]:
    return {event.step: event.value for event in read(folder).Scalars(tag)}


def metrics_of(grid: Path, pattern: str) -> pd.DataFrame:
    return pd.concat([pd.read_csv(path) for path in grid.glob(f"{pattern}/metrics.csv")])


def test_means_and_quantiles_are_those_of_the_runs(tmp_path: Path, write_run: WriteRun) -> None:
    """c=2 at five seeds; c=1 at four, of which three ended halfway: later steps have another sample, and no mean."""
    for seed in range(5):
        overrides = {"initializer.c": 2.0, "model.depth": 3}
        write_run(tmp_path, c=2, seed=seed, overrides=overrides, val=True, final=True, **SMALL)
    for seed in range(4):
        overrides = {"initializer.c": 1.0, "model.depth": 3}
        path = write_run(tmp_path, c=1, seed=seed, overrides=overrides, **SMALL) / "metrics.csv"
        if seed:
            path.write_text("".join(path.read_text().splitlines(keepends=True)[:4]))  # steps 0, 10 and 20
    write_run(tmp_path, c=0.5, seed=0, overrides={"initializer.c": 0.5, "model.depth": 3}, **SMALL)
    write_report([tmp_path])
    folder = tmp_path / "report" / "tensorboard" / "seeds"
    assert {path.name for path in folder.iterdir()} == {"c=1", "c=2"}, "one seed is no average"
    table = metrics_of(tmp_path, "initializer.c=2*").groupby("step")
    for column, tag in (("batch_loss", "batch/loss"), ("val_error", "val/error"), ("lr", "optim/lr")):
        assert scalars(folder / "c=2", tag) == pytest.approx(table[column].mean().to_dict(), rel=1e-6)  # float32
    for share in (16, 50, 84):
        expected = table["batch_loss"].quantile(share / 100).to_dict()
        assert scalars(folder / "c=2", f"quantile_{share}/batch/loss") == pytest.approx(expected, rel=1e-6)
    early = metrics_of(tmp_path, "initializer.c=1*").groupby("step")["batch_loss"]
    assert scalars(folder / "c=1", "batch/loss") == pytest.approx(early.mean().loc[:20].to_dict(), rel=1e-6)
    assert early.count().loc[30] == 1

    profiles = pd.concat([pd.read_csv(path) for path in tmp_path.glob("initializer.c=2*/profiles.csv")])
    rows = profiles[profiles["axis"] == "weight"]
    for snapshot, quantity in (("init", "activation_norm"), ("final", "weight_movement"), ("init", "gradient_norm")):
        chosen = rows[(rows["snapshot"] == snapshot) & (rows["quantity"] == quantity)]
        expected = np.log(chosen["value"]).groupby(chosen["index"]).mean().map(math.exp).to_dict()
        assert scalars(folder / "c=2", f"profile_{snapshot}/{quantity}") == pytest.approx(expected, rel=1e-6)


def test_hyperparameters_are_what_was_swept(tmp_path: Path, write_run: WriteRun) -> None:
    for c in (1.0, 2.0):
        for seed in range(2):
            write_run(tmp_path, c=c, seed=seed, overrides={"initializer.c": c, "model.depth": 3}, **SMALL)
    write_report([tmp_path])
    folder = tmp_path / "report" / "tensorboard"
    content = read(folder / "seeds" / "c=2").PluginTagToContent("hparams")
    start = plugin_data_pb2.HParamsPluginData.FromString(content[SESSION_START]).session_start_info
    assert {name: value.number_value for name, value in start.hparams.items()} == {"initializer.c": 2}
    content = read(folder / "figures").PluginTagToContent("hparams")
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content[EXPERIMENT]).experiment
    assert [info.name for info in experiment.hparam_infos] == ["initializer.c", "seed"]


def test_custom_scalars_chart_tags_that_are_there(tmp_path: Path, write_run: WriteRun) -> None:
    for seed in range(2):
        write_run(tmp_path, seed=seed, val=True, **SMALL)
    write_report([tmp_path])
    (folder,) = (tmp_path / "report" / "tensorboard" / "seeds").iterdir()
    events = read(folder)
    (event,) = events.Tensors("custom_scalars__config__")
    training, category = Layout.FromString(event.tensor_proto.string_val[0]).category
    tags = events.Tags()["scalars"]
    for chart in training.chart:  # the means, without their quantiles
        found = [tag for tag in tags if re.match(chart.multiline.tag[0], tag)]
        assert found == [f"{part}/{chart.title}" for part in ("batch", "val")]
    series = {chart.title: chart.margin.series[0] for chart in category.chart}
    chart = series["val loss, median and quantiles"]
    low, middle, high = (
        [point.value for point in events.Scalars(tag)] for tag in (chart.lower, chart.value, chart.upper)
    )
    assert len(low) == 5
    assert all(a <= b <= c for a, b, c in zip(low, middle, high, strict=True))


def test_many_runs_are_pointed_to_their_means(tmp_path: Path, write_run: WriteRun) -> None:
    """TensorBoard ticks none of more than 40 runs: 21 configurations at two seeds are 42, their means 21."""
    for c in range(1, 22):
        for seed in range(2):
            run = write_run(tmp_path / "grid", seed=seed, overrides={"initializer.c": c / 8}, **SMALL)
            assert json.loads((run / "result.json").read_text())["overrides"]["seed"] == seed
    told = StringIO()
    print_study(write_report([tmp_path / "grid"]), Console(file=told, width=200))
    seeds = tmp_path / "grid" / "report" / "tensorboard" / "seeds"
    assert f"tensorboard --logdir {seeds}  (means and quantiles over seeds)" in told.getvalue()
    assert len(list(seeds.iterdir())) == 21
    # What is not there any more leaves nothing behind.
    for run in (tmp_path / "grid").glob("*seed=1"):
        (run / "status.json").unlink()
        (run / "result.json").unlink()
        (run / ".hydra" / "config.yaml").unlink()
    told = StringIO()
    print_study(write_report([tmp_path / "grid"]), Console(file=told, width=200))
    assert not seeds.exists()
    assert "over seeds)" not in told.getvalue()


def test_of_more_configurations_than_are_ticked_the_best_are_picked(tmp_path: Path, write_run: WriteRun) -> None:
    """41 configurations, one of which diverged: custom scalars are blank, and the best 20 and all are 21 runs."""
    order = np.random.default_rng(5).permutation(41)
    for place, rank in enumerate(order):
        error = {"train_error": math.nan if rank == 40 else 0.1 + rank / 50}
        state = "diverged" if rank == 40 else "done"
        overrides = {"initializer.c": (place + 1) / 16}
        write_run(tmp_path / "grid", c=2.0, seed=0, overrides=overrides, metrics=error, state=state, **SMALL)
    told = StringIO()
    print_study(write_report([tmp_path / "grid"]), Console(file=told, width=200))
    best = tmp_path / "grid" / "report" / "tensorboard" / "best"
    assert f"tensorboard --logdir {best}  (the best configurations, and quantiles of all)" in told.getvalue()
    chosen = [f"{rank + 1:02},c={(int(np.flatnonzero(order == rank)[0]) + 1) / 16:g}" for rank in range(20)]
    assert sorted(path.name for path in best.iterdir()) == [*chosen, "all_41_configurations"]
    table = metrics_of(tmp_path / "grid", "*").groupby("step")["batch_loss"]
    expected = table.quantile(0.84).to_dict()
    assert scalars(best / "all_41_configurations", "quantile_84/batch/loss") == pytest.approx(expected, rel=1e-6)
    for run in sorted((tmp_path / "grid").glob("*/status.json"))[:1]:  # 40 are ticked
        run.unlink()
        (run.parent / "result.json").unlink()
        (run.parent / ".hydra" / "config.yaml").unlink()
    write_report([tmp_path / "grid"])
    assert not best.exists()
