"""What the figures hold: where curves end, what is averaged, how many colours and labels."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from rich.console import Console

from fanin.report.figures.depth import movement_figure, study_figure, theory_words
from fanin.report.figures.encoding import OKABE_ITO, encode, plain
from fanin.report.figures.limits import cut_off, usual_top
from fanin.report.figures.lines import mean_while_all
from fanin.report.figures.steps import curves_figure, loss_top
from fanin.report.figures.style import Sheet
from fanin.report.make import write_report
from fanin.report.read.configurations import Configuration, group_runs
from fanin.report.read.folders import read_runs
from fanin.report.read.series import Metrics, Profiles
from fanin.report.write.page import Report
from fanin.report.write.terminal import print_study

WriteRun = Callable[..., Path]
SMALL = {"depth": 6, "width": 10, "count": 5}


def draw(root: Path, folders: list[Path]) -> dict[str, Figure | None]:
    """The three figures of these runs."""
    runs = read_runs(folders, root)
    sheet = Sheet("a title", "a setting", group_runs(runs))
    profiles, metrics = Profiles(runs), Metrics(runs)
    return {
        "study": study_figure(sheet, runs, profiles, metrics),
        "movement": movement_figure(sheet, runs, profiles),
        "curves": curves_figure(sheet, runs, metrics),
    }


def axes_of(figure: Figure | None) -> list[Axes]:
    """The panels, colour bars apart."""
    assert figure is not None
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def marks(axes: Axes, marker: str) -> list[tuple[float, float]]:
    """Where a marker stands in a panel."""
    lines = [line for line in axes.get_lines() if line.get_marker() == marker]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in lines]  # type: ignore[index, arg-type]


def legend_of(figure: Figure | None) -> list[str]:
    """The texts of the legend that are not padding."""
    assert figure is not None
    return [text.get_text() for legend in figure.legends for text in legend.get_texts() if text.get_text().strip()]


def change(folder: Path, quantity: str, axis: str, values: dict[int, str]) -> dict[int, float]:
    """Replace values of a run's profile at some indices; returns all values before."""
    path = folder / "profiles.csv"
    with path.open(newline="") as file:
        header, *rows = list(csv.reader(file))
    before = {}
    for row in rows:
        if (row[1], row[4]) == (axis, quantity):
            before[int(row[2])] = float(row[5])
            row[5] = values.get(int(row[2]), row[5])
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return before


@pytest.mark.parametrize(("word", "marker"), [("inf", "X"), ("nan", "X"), ("0", "v")])
def test_a_curve_is_marked_where_it_leaves_a_logarithmic_axis(
    tmp_path: Path, write_run: WriteRun, word: str, marker: str
) -> None:
    folder = write_run(tmp_path, **SMALL)
    before = change(folder, "gradient_norm", "weight", dict.fromkeys(range(4, 7), word))
    _, gradient, _ = axes_of(draw(tmp_path, [folder])["study"])
    assert marks(gradient, marker) == pytest.approx(np.array([(4.0, before[3])]))
    assert marks(gradient, "v" if marker == "X" else "X") == []
    measured = [
        line for line in gradient.get_lines() if line.get_color() == OKABE_ITO[0] and line.get_marker() == "None"
    ]
    assert np.asarray(measured[0].get_xdata()).tolist() == [1, 2, 3]


def test_a_shorter_network_ends_without_a_mark(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [write_run(tmp_path / str(depth), depth=depth, width=10, count=0) for depth in (3, 6)]
    activation, gradient = axes_of(draw(tmp_path, folders)["study"])
    assert [marks(axes, marker) for axes in (activation, gradient) for marker in "Xv"] == [[]] * 4


def test_the_study_shows_chance_theory_and_divergence(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [write_run(tmp_path, c=c, seed=seed, **SMALL) for c in (1, 2, 3) for seed in range(2)]
    figure = draw(tmp_path, folders)["study"]
    activation, gradient, loss = axes_of(figure)
    assert [axes.get_yscale() for axes in (activation, gradient, loss)] == ["log", "log", "linear"]
    assert len(activation.collections) == 6  # a band and a cloud for each configuration
    levels = [np.asarray(line.get_ydata()) for line in loss.get_lines()]
    assert any(len(level) == 2 and np.allclose(level, math.log(10)) for level in levels)
    assert [step for step, _ in marks(loss, "X")] == [2.0]
    assert loss.get_ylim()[1] == pytest.approx(1.35 * math.log(10))  # c=3 starts at 800
    assert "c=3: diverged at step 2" in [text.get_text() for text in loss.texts]
    styles = ["one seed", "mean over seeds", "theory", "±1 sd of one seed", "theory, mean square"]
    assert sorted(legend_of(figure)) == sorted(["c=1", "c=2", "c=3", *styles, "not finite from here"])


def test_words_about_a_loss_stand_beside_its_curves(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [write_run(tmp_path, c=c, **SMALL) for c in (1, 2)]
    path = folders[0] / "metrics.csv"
    pd.read_csv(path).assign(batch_loss=700.0).to_csv(path, index=False)
    figure = draw(tmp_path, folders)["study"]
    assert figure is not None
    FigureCanvasAgg(figure).draw()
    panel = axes_of(figure)[-1]
    said = {text.get_text(): text.get_window_extent() for text in panel.texts}
    (beyond,) = [box for text, box in said.items() if text.startswith("1 of 2 go on above")]
    beside = [beyond, said["chance,\nln 10"], said["c  training loss"]]
    assert not any(one.overlaps(other) for one, other in itertools.combinations([*beside, panel.bbox], 2))
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1 for box in beside)


def test_the_mean_over_seeds_is_geometric_and_stops_with_the_first_seed() -> None:
    values = np.array([[1.0, 4.0, 2.0, 5.0], [4.0, 9.0, math.inf, 5.0]])
    mean = mean_while_all(values, np.array([4, 4]), log=True)
    assert np.allclose(mean, [2, 6, math.nan, math.nan], equal_nan=True)
    mean = mean_while_all(values, np.array([4, 2]), log=True)  # the second has two layers only
    assert np.allclose(mean, [2, 6, 2, 5])
    assert np.allclose(mean_while_all(values[:, :2], np.array([2, 2]), log=False), [2.5, 6.5])


def test_movement_needs_weights_that_moved(tmp_path: Path, write_run: WriteRun) -> None:
    still = write_run(tmp_path / "still", final=True, **SMALL)
    change(still, "weight_movement", "weight", dict.fromkeys(range(1, 7), "0.0"))
    assert draw(tmp_path, [still])["movement"] is None
    moved = [write_run(tmp_path / "moved", c=c, final=c > 1, **SMALL) for c in (1, 2, 3)]
    figure = draw(tmp_path, moved)["movement"]
    *_, movement = axes_of(figure)
    # c=1 has no final profile; that of c=3 was taken when it was no longer finite.
    assert legend_of(figure) == ["c=2", "before training", "after training", "(1 diverged run left out)"]
    values = Profiles(read_runs(moved, tmp_path)).matrix("final", "weight", "weight_movement")[1]
    drawn = [np.asarray(line.get_ydata()) for line in movement.get_lines()]
    assert any(len(line) == 6 and np.allclose(line, values) for line in drawn)


@pytest.mark.parametrize(("count", "legend", "scale"), [(7, 7, 0), (8, 0, 1), (13, 0, 1)])
def test_many_configurations_get_a_colour_scale(
    tmp_path: Path, write_run: WriteRun, count: int, legend: int, scale: int
) -> None:
    folders = [write_run(tmp_path, c=1 + k / 100, depth=3, width=4, count=0) for k in range(count)]
    figure = draw(tmp_path, folders)["study"]
    assert figure is not None
    assert sum(text.startswith("c=") for text in legend_of(figure)) == legend
    assert len(figure.axes) - len(axes_of(figure)) == scale
    (activation, _) = axes_of(figure)
    colours = {to_hex(line.get_color()) for line in activation.get_lines() if line.get_linestyle() == "-"}
    assert len(colours) == count
    if scale:
        assert figure.axes[-1].get_ylabel() == "c"


def test_only_so_many_seeds_are_drawn_and_the_legend_says_so(
    tmp_path: Path, write_run: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanin.report.figures.lines.MOST_LINES", 8)
    folders = [write_run(tmp_path, seed=seed, depth=3, width=4, count=0) for seed in range(11)]
    figure = draw(tmp_path, folders)["study"]
    assert "one seed (8 of 11 drawn)" in legend_of(figure)
    clouds = [one for one in axes_of(figure)[0].collections if isinstance(one, LineCollection)]
    assert [len(one.get_segments()) for one in clouds] == [8]


def test_a_spike_does_not_set_the_scale_of_losses() -> None:
    losses = np.append(np.linspace(2.3, 0.1, 99), 1e6)
    assert loss_top([losses], math.log(10)) == pytest.approx(1.35 * math.log(10))
    assert loss_top([losses], None) < 3.2
    assert loss_top([np.full(50, 4.0)], math.log(10)) == pytest.approx(4.24)  # all above chance: no spike
    assert loss_top([np.array([0.5, 0.4])], None) == pytest.approx(0.53)
    assert loss_top([np.array([0.5, 0.4])], math.log(10)) == pytest.approx(1.12 * math.log(10))
    assert loss_top([np.array([math.nan])], None) == 1.0


def test_a_curve_far_above_the_rest_does_not_own_the_axis() -> None:
    """It counts neither for losses nor over depth; one that is a few times larger does."""
    near, far = np.linspace(2.0, 1.0, 20), np.full(20, 700.0)
    assert loss_top([near, far], None) == pytest.approx(2.12)
    assert loss_top([near, near + 1, far], None) == pytest.approx(3.18)
    assert usual_top([near, 5 * near, far]) == pytest.approx(10.6)
    assert usual_top([far]) == pytest.approx(742)
    assert usual_top([np.array([math.nan, math.inf])]) == 1.0


def test_what_lies_beyond_is_marked_at_the_edge_and_counted() -> None:
    axes = Figure().subplots()
    step = np.arange(4.0)
    curves = [(step, step, "#0000ff"), (step, np.array([0, 5.0, 1, math.nan]), "#ff0000")]
    assert cut_off(axes, 3.0, curves) == (1, 0)
    assert axes.get_ylim()[1] == 3.0
    assert [(line.get_xdata()[0], line.get_color()) for line in axes.get_lines()] == [(1.0, "#ff0000")]  # type: ignore[index]


def lines_of(configurations: list[Configuration]) -> set[tuple[str, str]]:
    """The different looks of these configurations."""
    made = encode(configurations)
    return {(colour, str(dash)) for colour, dash in zip(made.colours, made.dashes, strict=True)}


def test_every_choice_of_a_grid_is_told_apart() -> None:
    """4 optimizers at 3 rates, 6 activations at 3 variances, 14 activations, 20 rates with and without."""
    rates = [{"optimizer": name, "optimizer.lr": lr} for name in "abcd" for lr in (0.001, 0.01, 0.1)]
    made = encode([Configuration("x", one) for one in rates])
    assert [[str(entry.get_label()) for entry in group] for group in made.entries] == [
        [f"optimizer={name}" for name in "abcd"], ["lr=0.001", "lr=0.01", "lr=0.1"],
    ]  # fmt: skip
    assert (made.scale, made.dashed) == (None, False)
    assert len(lines_of([Configuration("x", one) for one in rates])) == 12
    grid = [{"activation": name, "initializer.c": c} for name in "abcdef" for c in (1, 2, 3)]
    assert len(lines_of([Configuration("x", one) for one in grid])) == 18
    named = [Configuration("x", {"activation": f"option_{i}"}) for i in range(14)]
    assert len(lines_of(named)) == 14
    assert len(encode(named).entries[0]) == 14
    many = [Configuration("x", {"optimizer.lr": 0.01 * i, "normalization": n}) for i in range(1, 21) for n in "ab"]
    made = encode(many)
    assert made.scale is not None
    assert made.scale[1] == "lr"
    assert [str(entry.get_label()) for entry in made.entries[0]] == ["normalization=a", "normalization=b"]
    assert len(lines_of(many)) == 40


def test_a_choice_that_no_line_shows_is_named() -> None:
    grid = itertools.product("pqrst", "pqrs", "pqr", "pq")
    made = encode([Configuration("x", dict(zip("abcd", one, strict=True))) for one in grid])
    assert str(made.entries[-1][0].get_label()) == "(lines of one look differ in d)"


def test_legends_are_never_cut() -> None:
    names = [f"{'x' * 60}, {'y' * 50} {i}" for i in range(2)]
    made = encode([Configuration("x", {"a": name}, label=name) for name in names])
    said = [str(entry.get_label()).replace("\n", "").replace(" ", "") for entry in made.entries[0]]
    assert said == [name.replace(" ", "") for name in names]


def test_layers_and_steps_are_whole_numbers(tmp_path: Path, write_run: WriteRun) -> None:
    figures = draw(tmp_path, [write_run(tmp_path, depth=5, width=10, count=3, last=4, final=True)])
    for figure in figures.values():
        for axes in axes_of(figure):
            assert all(float(tick).is_integer() for tick in axes.get_xticks()), axes.get_xlabel()
            assert axes.get_ylabel()


def test_a_figure_without_theory_says_so(tmp_path: Path, write_run: WriteRun) -> None:
    folder = write_run(tmp_path, **SMALL)
    header, *lines = (folder / "profiles.csv").read_text().splitlines()
    lines = [",".join([*line.split(",")[:6], "", "", ""]) for line in lines if "mean_square" not in line]
    (folder / "profiles.csv").write_text("\n".join([header, *lines]) + "\n")
    assert legend_of(draw(tmp_path, [folder])["study"]) == ["c=2", "(no theory for this recipe)"]


@pytest.mark.parametrize("configurations", [3, 8, 14])
def test_the_caption_names_no_theory_that_is_not_drawn(
    tmp_path: Path, write_run: WriteRun, configurations: int
) -> None:
    folders = [write_run(tmp_path, c=1 + 0.1 * place, **SMALL) for place in range(configurations)]
    runs = read_runs(folders, tmp_path)
    sheet, profiles = Sheet("a title", "a setting", group_runs(runs)), Profiles(runs)
    words, legend = theory_words(sheet, profiles), legend_of(study_figure(sheet, runs, profiles, Metrics(runs)))
    assert ("dashed" in words) == ("theory" in legend)
    assert ("shaded" in words) == ("±1 sd of one seed" in legend)
    assert ("dotted" in words) == ("theory, mean square" in legend)
    assert ("left out" in words) == (not {"theory", "±1 sd of one seed"} & set(legend))


def test_surfaces_have_words_of_their_own(tmp_path: Path, write_run: WriteRun) -> None:
    """What is descended has a value, which may be negative, and no error."""
    folder = write_run(tmp_path, **SMALL)
    content = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(content | {"task": "descent", "outcome": "descends"}))
    text = (folder / "metrics.csv").read_text()
    (folder / "metrics.csv").write_text(re.sub(r"(0\.003,)\d", r"\g<1>-3", text))
    curves = draw(tmp_path, [folder])["curves"]
    assert [axes.get_ylabel() for axes in axes_of(curves)] == ["value", "share of the descent left"]
    assert axes_of(curves)[0].get_ylim()[0] < -3
    report = write_report([tmp_path])
    assert report.table.rows[0][7] == "descends: train value 0.23"
    assert "| configuration | train value | train share of the descent left |" in report.tables[1].read_text()
    assert "error" not in report.index.read_text().partition("<body>")[2]


def test_labels_are_neither_mathematics_nor_hidden(tmp_path: Path, write_run: WriteRun) -> None:
    assert plain("_a$b$") == r" _a\$b\$"
    assert len(plain("x" * 500)) == 160
    folders = [write_run(tmp_path, overrides={"data": name}, depth=2, width=3, count=2) for name in ("$a", "_b^{")]
    report = write_report(folders)  # an unescaped "$a ... $" is an error when the figure is saved
    assert {path.name for path in report.figures} == {"study.png", "study.svg", "curves.png", "curves.svg"}


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory, write_run: WriteRun) -> Report:
    """Of four configurations with long names."""
    grid = tmp_path_factory.mktemp("wide")
    for lr in (0.1, 0.00025):
        for name, c in (("layer", 2), ("none", 3)):
            overrides = {"normalization": name, "optimizer.lr": lr, "x.y": "z"}
            write_run(grid, overrides=overrides, c=c, depth=3, width=4, count=2)
    return write_report([grid])


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_the_terminal_table_fits(wide: Report, width: int) -> None:
    out = io.StringIO()
    print_study(wide, Console(file=out, width=width))
    text = out.getvalue()
    table = text[: text.index("figure  ")].splitlines()
    assert max(map(len, table)) <= width
    top = next(i for i, line in enumerate(table) if "outcome" in line)
    alike = text[text.index("\nall: ") : text.index(table[top - 1])] if "\nall: " in text else ""
    told = " ".join([*table[top - 1 : top + 2], alike, text.partition("no room for ")[2]])
    assert ("all: seeds 1" in text) == (width < 200), "what is equal in every row stands above a table that is too wide"
    for word in ("seeds", "factor", "theory", "width", "first", "last", "outcome", "verdict", "deviation"):
        assert word in told, "shown, or named as left out"
    for word in ("normalization=layer,", "normalization=none,", "lr=0.00025", "diverged", "critical"):
        assert any(word in line.split() for line in table), "a whole word on one line"
    assert "\x1b" not in text
    for word in ("lr=0.00025", "normalization=none", "learns", "critical", "diverged", "(linear_17)"):
        assert word in text.replace("\n", "")
