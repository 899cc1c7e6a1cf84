"""Surfaces over depth and time: what the heat maps hold, against the events and profiles that a run wrote."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util.tensor_util import make_ndarray

from command_line import fanin
from fanin import UserError, plots
from fanin.record.event_curves import read_curves
from fanin.record.event_file import EventFile
from fanin.report.figures.style import Sheet
from fanin.report.figures.surface import surfaces_figure
from fanin.report.read.configurations import group_runs
from fanin.report.read.folders import read_runs
from fanin.report.read.series import Profiles
from fanin.report.read.surfaces import surfaces_of

CURVES = "probe.curves=[gradient_norm,update_ratio,dead_units]"


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds of a network, with curves at every step and profiles at two steps more; not to be changed."""
    folder = tmp_path_factory.mktemp("surfaces")
    small = ("model.depth=3", "model.width=8", "data.limit=100", "trainer.steps=4")
    said = fanin(folder, "-m", "seed=0,1", CURVES, "probe.every=1", "probe.steps=[2,3]", *small)
    assert said.code == 0, said.err
    return sorted(path.parent for path in folder.glob("outputs/runs/*/status.json"))


def by_tensorboard(run: Path) -> dict[tuple[str, int, int], float]:
    """The curves as TensorBoard's own reader has them: quantity, step, layer."""
    found = {}
    for path in run.glob("events.out.tfevents.*"):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.tag.startswith("layers/"):
                    _, quantity, layer = value.tag.split("/")
                    found[quantity, event.step, int(layer.split("_")[0])] = float(make_ndarray(value.tensor))
    return found


def test_curves_are_read_as_tensorboard_reads_them(grid: list[Path]) -> None:
    expected = by_tensorboard(grid[0])
    curves = read_curves(grid[0])
    assert len(expected) == 3 * 4 * 3  # quantities, steps, layers
    assert expected == {
        (quantity, step, layer): value
        for quantity, steps in curves.items()
        for step, layers in steps.items()
        for layer, value in layers.items()
    }


def test_a_resumed_run_hides_its_later_steps(tmp_path: Path) -> None:
    first = EventFile(tmp_path)
    for step in range(4):
        first.scalars({"layers/gradient_norm/1_linear": 1.0}, step)
    first.close()
    second = EventFile(tmp_path, resume_step=2)
    second.scalars({"layers/gradient_norm/1_linear": 5.0}, 2)
    second.close()
    assert read_curves(tmp_path) == {"gradient_norm": {0: {1: 1.0}, 1: {1: 1.0}, 2: {1: 5.0}}}
    (path, *_) = sorted(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-5])  # in the middle of step 3
    assert read_curves(tmp_path)["gradient_norm"].keys() == {0, 1, 2}


def test_a_mean_over_seeds_is_geometric_and_of_shares_arithmetic(grid: list[Path]) -> None:
    runs = read_runs(grid, grid[0].parent)
    found = surfaces_of(runs, [0, 1], Profiles(runs))
    one, other = map(by_tensorboard, grid)
    for quantity in ("gradient_norm", "dead_units"):
        surface = found[quantity]
        assert surface.steps.tolist() == [0, 1, 2, 3]
        for (step, layer), value in np.ndenumerate(surface.values.T):
            pair = np.array([of[quantity, step, layer + 1] for of in (one, other)])
            mean = pair.mean() if quantity == "dead_units" else np.exp(np.log(pair).mean())
            assert value == pytest.approx(mean, rel=1e-12)


def test_profiles_at_three_steps_make_a_surface(grid: list[Path]) -> None:
    runs = read_runs(grid[:1], grid[0].parent)
    surface = surfaces_of(runs, [0], Profiles(runs))["weight_movement"]
    with (grid[0] / "profiles.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["quantity"] == "weight_movement"]
    steps = {"init": 0, "2": 1, "3": 2, "final": 3}
    assert surface.steps.tolist() == [0, 2, 3, 4]  # the final one at the last step
    assert len(rows) == surface.values.size
    for row in rows:
        assert surface.values[int(row["index"]) - 1, steps[row["snapshot"]]] == float(row["value"])


def test_the_figure_shows_these_values_on_one_scale_for_each_quantity(grid: list[Path]) -> None:
    runs = read_runs(grid, grid[0].parent)
    sheet = Sheet("a title", "a setting", group_runs(runs, ["seed"]))
    profiles = Profiles(runs)
    figure = surfaces_figure(sheet, runs, profiles)
    assert figure is not None
    meshes = [one for axes in figure.axes for one in axes.collections if isinstance(one, QuadMesh)]
    meshes = [one for one in meshes if one.axes is not None and one.axes.get_label() != "<colorbar>"]
    assert len(meshes) == 4 * 2  # activation norm (of profiles), gradient norm, update ratio, dead units; two seeds
    found = [surfaces_of(runs, [position], profiles)["gradient_norm"] for position in (0, 1)]
    for mesh, surface in zip(meshes[2:4], found, strict=True):
        assert np.asarray(mesh.get_array()).tolist() == surface.values.tolist()
        assert mesh.norm is meshes[2].norm
    values = np.concatenate([one.values.ravel() for one in found])
    assert (meshes[2].norm.vmin, meshes[2].norm.vmax) == pytest.approx(tuple(np.quantile(values, (0.01, 0.99))))


def test_a_panel_of_ones_own_and_what_there_is_not(grid: list[Path], write_run: Callable[..., Path]) -> None:
    axes = plots.surface(grid, "update_ratio")
    (mesh,) = (one for one in axes.collections if isinstance(one, QuadMesh))
    assert np.asarray(mesh.get_array()).shape == (3, 4)
    with pytest.raises(UserError, match="quantity 'nonsense': no run has it at three steps or more; there are"):
        plots.surface(grid, "nonsense")
