"""Many seeds over depth: each one's curve is drawn, and the band of theory through their cloud."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from fanin.report.figures.depth import study_figure
from fanin.report.figures.lines import MOST_LINES, cloud_size
from fanin.report.figures.style import Sheet
from fanin.report.read.configurations import group_runs
from fanin.report.read.folders import read_runs
from fanin.report.read.series import Metrics, Profiles

WriteRun = Callable[..., Path]
SEEDS = 20


def study(root: Path, folders: list[Path]) -> tuple[Figure, list[Axes], Profiles]:
    """The study's figure of some runs, its panels, and what it is drawn from."""
    runs = read_runs(folders, root)
    profiles = Profiles(runs)
    figure = study_figure(Sheet("a title", "a setting", group_runs(runs)), runs, profiles, Metrics(runs))
    assert figure is not None
    return figure, list(figure.axes), profiles


def clouds(axes: Axes) -> list[LineCollection]:
    return [one for one in axes.collections if isinstance(one, LineCollection)]


def test_every_seed_has_its_curve_in_the_cloud(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [write_run(tmp_path, c=c, seed=seed, depth=6, width=10, count=0) for c in (1, 2) for seed in range(SEEDS)]
    figure, panels, profiles = study(tmp_path, folders)
    for axes, (axis, quantity) in zip(
        panels, (("weight", "activation_norm"), ("weight", "gradient_norm")), strict=True
    ):
        values = profiles.matrix("init", axis, quantity)
        assert [len(one.get_segments()) for one in clouds(axes)] == [SEEDS, SEEDS]
        drawn = np.array([segment[:, 1] for one in clouds(axes) for segment in one.get_segments()])
        np.testing.assert_array_equal(drawn, values)
        low, high = axes.get_ylim()
        assert low <= values.min() < values.max() <= high, "no curve leaves the panel"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "one seed" in labels, "with nothing to say of seeds that are not drawn"


def test_the_band_of_theory_goes_through_the_cloud(tmp_path: Path, write_run: WriteRun) -> None:
    """Its ends are lines above the cloud, one standard deviation of one seed apart from the median."""
    folders = [write_run(tmp_path, seed=seed, depth=6, width=10, count=0) for seed in range(SEEDS)]
    _, (axes, _), profiles = study(tmp_path, folders)
    above = max(one.get_zorder() for one in clouds(axes))
    lines = [np.asarray(line.get_ydata(), float) for line in axes.get_lines() if line.get_zorder() > above]
    for column in ("band_low", "band_high"):
        end = profiles.matrix("init", "weight", "activation_norm", column)[0]  # the same for all seeds
        assert any(len(line) == len(end) and np.allclose(line, end, equal_nan=True, rtol=1e-12) for line in lines)


def test_a_seed_that_leaves_the_axis_ends_in_the_cloud(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [write_run(tmp_path, seed=seed, depth=6, width=10, count=0) for seed in range(SEEDS)]
    path = folders[3] / "profiles.csv"
    lines = path.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("init,weight,4,linear_4,gradient_norm"))
    lines[at] = "init,weight,4,linear_4,gradient_norm,inf,1.0,,"
    path.write_text("\n".join(lines) + "\n")
    _, (_, axes), profiles = study(tmp_path, folders)
    (cloud,) = clouds(axes)
    ends = [len(path.vertices) for path in cloud.get_paths()]  # type: ignore[arg-type]
    assert ends == [6] * 3 + [3] + [6] * (SEEDS - 4), "it does not come back behind its gap"
    assert np.isfinite(axes.get_ylim()).all()
    marks = [line for line in axes.get_lines() if line.get_marker() == "X"]
    expected = [4.0, profiles.matrix("init", "weight", "gradient_norm")[3, 2]]
    assert [[float(line.get_xdata()[0]), float(line.get_ydata()[0])] for line in marks] == [pytest.approx(expected)]  # type: ignore[index, arg-type]


@pytest.mark.parametrize(("configurations", "seeds"), [(1, 300), (3, 100), (40, 7), (301, 1), (10_000, 1)])
def test_no_more_lines_than_can_be_told_apart(configurations: int, seeds: int) -> None:
    assert cloud_size(configurations) == seeds
    assert configurations * seeds <= max(MOST_LINES, configurations)
