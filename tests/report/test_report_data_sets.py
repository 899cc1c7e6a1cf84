"""A sweep over two data sets: each has its answer and its pictures, read back against summary.csv."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from fanin.report.make import write_report
from read_back import cells, names, rows

OPTIMIZERS, RATES, SEEDS = ("adam", "sgd"), (0.01, 0.1), (0, 1, 2)
DATA = ("digits", "mnist")
KEYS = ["optimizer", "optimizer.lr"]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8) + (640).to_bytes(4) + (480).to_bytes(4)


@pytest.mark.slow
def test_each_data_set_has_its_pictures(
    tmp_path: Path, write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors on one are ten times those on the other: a picture that mixed them would show neither's means."""
    random = np.random.default_rng(np.random.randint(2**31))
    for scale, data in enumerate(DATA):
        for optimizer in OPTIMIZERS:
            for lr in RATES:
                for seed in SEEDS:
                    chosen = {"data": data, "optimizer": optimizer, "optimizer.lr": lr}
                    metrics = {"test_error": float(random.uniform(0.2, 0.9)) / 10**scale}
                    size = {"depth": 2, "width": 4, "count": 2, "experiment": "runs"}
                    write_run(tmp_path, seed=seed, overrides=chosen, metrics=metrics, **size)
    figures: dict[str, Figure] = {}

    def kept(figure: Figure, path: Path) -> None:
        figures[path.name] = figure
        path.write_bytes(PNG)

    monkeypatch.setattr("fanin.report.figures.saving.print_figure", kept)
    page = write_report([tmp_path]).index.read_text()
    summary = pd.read_csv(tmp_path / "summary.csv")
    for data, more in zip(DATA, ("", "_2"), strict=True):
        means = 100 * summary[summary["data"] == data].groupby(KEYS)["test_error"].mean()
        best = figures[f"best{more}.png"].axes[0]
        assert rows(best) == pytest.approx(sorted(means))
        order = means.sort_values().index
        assert names(best) == [f"data={data}, optimizer={one}, lr={lr:g}" for one, lr in order]
        found = [cells(axes) for axes in figures[f"axes{more}.png"].axes if axes.get_images()]
        assert found[0] == pytest.approx(means.to_numpy().reshape(2, 2))
        for name in ("best", "axes"):
            assert f'src="{name}{more}.png"' in page
    assert "best_3.png" not in figures
    assert all(f"best on data={data}" in page for data in DATA)
