"""fanin.plots: what is drawn on given axes is what the files say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from host_state import changes, snapshot
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.figure import Figure

import fanin
from fanin import plots
from fanin.errors import UserError

TINY = [
    "data.image_size=8",
    "data.limit=300",
    "model.depth=4",
    "model.width=8",
    "trainer.steps=6",
    "trainer.log_every=1",
]


@pytest.fixture
def axes() -> Iterator[Axes]:
    """Axes of a figure of one's own, without pyplot; drawing changes no setting of matplotlib."""
    settings = dict(mpl.rcParams)
    yield Figure().subplots()
    assert dict(mpl.rcParams) == settings


def drawn(axes: Axes, values: Any) -> bool:
    """Whether one of the lines on the axes has these heights."""
    return any(
        len(line.get_ydata()) == len(values) and np.allclose(np.asarray(line.get_ydata(), float), values, rtol=1e-12)
        for line in axes.get_lines()
    )


def test_curves_are_those_of_metrics(host: Any, axes: Axes) -> None:
    runs = [fanin.run([*TINY, f"optimizer.lr={lr}"]) for lr in (0.1, 0.01)]
    before = snapshot()
    assert plots.loss(runs, axes) is axes
    assert changes(before, snapshot()) == []
    for run in runs:
        assert drawn(axes, run.metrics["batch_loss"].dropna())
    assert drawn(axes, [np.log(10), np.log(10)])  # the loss of guessing
    assert (axes.get_xlabel(), axes.get_title()) == ("step", "training loss")
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [any(f"lr={lr}" in label for label in labels) for lr in (0.1, 0.01)] == [True, True]
    for given in ("outputs/**", fanin.load("outputs"), "outputs"):
        again = Figure().subplots()
        plots.curve(given, "batch_error", again, legend=False)
        assert all(drawn(again, run.metrics["batch_error"].dropna()) for run in runs)
        assert again.get_legend() is None


def test_profiles_have_the_band_of_theory(host: Any, axes: Axes) -> None:
    run = fanin.run([*TINY, "initializer=variance_scaling", "initializer.c=1"])
    for quantity in ("activation_norm", "gradient_norm"):
        place = Figure().subplots()
        plots.profile(run, quantity, place)
        chosen = (run.profiles["snapshot"] == "init") & (run.profiles["axis"] == "weight")
        rows = run.profiles[chosen & (run.profiles["quantity"] == quantity)].sort_values("index")
        assert len(rows) == 4
        assert drawn(place, rows["value"])
        assert drawn(place, rows["theory"])
        (band,) = [one for one in place.collections if isinstance(one, PolyCollection)]
        heights = band.get_paths()[0].vertices[:, 1]
        assert all(np.isclose(heights, value, rtol=1e-9).any() for value in [*rows["band_low"], *rows["band_high"]])
        assert place.get_yscale() == "log"
    plots.movement(run, axes=axes)
    moved = run.profiles[(run.profiles["snapshot"] == "final") & (run.profiles["quantity"] == "weight_movement")]
    assert drawn(axes, moved[moved["axis"] == "weight"].sort_values("index")["value"])


def test_a_confusion_matrix_is_that_of_the_result(host: Any, axes: Axes) -> None:
    runs = [fanin.run([*TINY, f"seed={seed}"]) for seed in (0, 1)]
    plots.confusion(runs, axes)
    counts = np.sum([run.result["evaluation"]["test"]["confusion"] for run in runs], axis=0)
    (image,) = axes.get_images()
    assert np.allclose(image.get_array(), counts / counts.sum(axis=1, keepdims=True))


@pytest.mark.slow  # the fixed points of 3,600 pairs of variances
def test_the_phase_diagram_needs_no_run(host: Any, axes: Axes) -> None:
    """tanh is critical at 1 / n without biases, and above with some; the recipe lies where its variances are."""
    before = snapshot()
    plots.phase(["model.depth=4", "activation=tanh", "initializer=variance_scaling", "initializer.c=1.5"], axes)
    assert changes(before, snapshot()) == []
    assert list(host.iterdir()) == []
    (point,) = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert (float(point.get_xdata()[0]), float(point.get_ydata()[0])) == (1.5, 0.0)
    (critical,) = [line for line in axes.get_lines() if str(line.get_label()).startswith("critical")]
    variances, biases = (np.asarray(one, float) for one in (critical.get_xdata(), critical.get_ydata()))
    assert (float(variances[0]), float(biases[0])) == (pytest.approx(1, abs=1e-3), 0)
    assert (np.diff(variances) > 0).all()
    assert any(isinstance(one, QuadMesh) for one in axes.collections)


def test_wrong_uses_are_one_line(host: Any, axes: Axes) -> None:
    runs = [fanin.run([*TINY, f"optimizer.lr={lr}"]) for lr in (0.1, 0.01)]
    bare = fanin.run([*TINY, "trainer.steps=0", "probe=off"], folder="bare")
    wrong = [
        (lambda: plots.curve(runs, "los", axes), r"column=los: must be one of batch_loss, "),
        (lambda: plots.loss(bare, axes), r"batch_loss: no run has two values of it"),
        (lambda: plots.profile(bare, axes=axes), r"activation_norm: no run has it in a profile at init"),
        (lambda: plots.movement(runs, "movement", axes), r"quantity=movement: must be one of activation_norm, "),
        (lambda: plots.confusion(runs, axes), r"confusion: 2 configurations; a panel shows one"),
        (lambda: plots.loss([], axes), r"plots: no runs were given"),
        (lambda: plots.loss("nowhere", axes), r"nowhere: no such folder"),
        (lambda: plots.phase(["model=linear"], axes), r"phase: needs a chain of layers"),
        (lambda: plots.phase(["model.dept=3"], axes), r"unknown key model.dept"),
    ]
    for call, line in wrong:
        with pytest.raises(UserError, match=line) as told:
            call()
        assert "\n" not in str(told.value)
    assert not axes.has_data()
