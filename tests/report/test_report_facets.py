"""Figures that follow their sweep: panels, colours, words that do not overlap, axes that no outlier owns."""

from __future__ import annotations

import csv
import itertools
import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from fanin.errors import UserError
from fanin.report.cli import main
from fanin.report.figures.depth import movement_figure, study_figure
from fanin.report.figures.encoding import OKABE_ITO, REST, encode
from fanin.report.figures.limits import decades_differ, log_limits
from fanin.report.figures.roles import Asked, roles_of, values_of
from fanin.report.figures.steps import curves_figure, decades_below
from fanin.report.figures.style import Sheet, look, panel
from fanin.report.figures.ticks import Counts, Short, shorten
from fanin.report.make import write_report
from fanin.report.read.axes import axes_of
from fanin.report.read.configurations import Configuration, group_runs
from fanin.report.read.folders import read_runs
from fanin.report.read.series import Metrics, Profiles
from read_back import tick_labels, too_long

WriteRun = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


def grid(**columns: list[object]) -> list[Configuration]:
    """The configurations of a full grid."""
    keys = [key.replace("__", ".") for key in columns]
    return [Configuration("x", dict(zip(keys, one, strict=True))) for one in itertools.product(*columns.values())]


def figures(root: Path, folders: list[Path], asked: Asked | None = None) -> dict[str, Figure]:
    """The figures of these runs, as a report draws them."""
    runs = read_runs(folders, root)
    configurations = group_runs(runs)
    runs = [runs[i] for one in configurations for i in one.members]
    places = iter(range(len(runs)))
    for one in configurations:
        one.members = [next(places) for _ in one.members]
    sheet = Sheet("a title", "a setting", configurations, values_of(runs, configurations), asked or Asked())
    profiles, metrics = Profiles(runs), Metrics(runs)
    with look():
        drawn = {
            "study": study_figure(sheet, runs, profiles, metrics),
            "movement": movement_figure(sheet, runs, profiles),
            "curves": curves_figure(sheet, runs, metrics),
        }
    found = {name: figure for name, figure in drawn.items() if figure is not None}
    for figure in found.values():
        shorten(figure.axes)
    return found


def panels(figure: Figure) -> list[Axes]:
    """Those that are no colour bars."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


@pytest.mark.parametrize(
    ("columns", "facet", "colour", "dash", "left"),
    [
        ({"optimizer": list("abcd"), "optimizer__lr": [0.001, 0.01, 0.1, 1, 10]}, "optimizer", "lr", None, []),
        ({"activation": list("abcdef"), "initializer__c": [1, 2, 4]}, "activation", "c", None, []),
        ({"optimizer__lr": [0.1, 0.2, 0.3, 0.5], "optimizer": list("abcdefghij")}, "lr", "optimizer", None, []),
        ({"a": list(range(15)), "b": list(range(15))}, "b", "a", None, []),  # a explains all: it keeps its colours
        ({"a": list("pqr"), "b": list("pq"), "c": [1, 2, 3]}, "a", "c", "b", []),
        ({"a": list("pqr"), "b": list("pqrst"), "c": [1, 2, 3], "d": list("pq")}, "a", "c", "d", ["b"]),
    ],
)
def test_a_figure_follows_its_sweep(
    columns: dict[str, list[object]], facet: str, colour: str, dash: str | None, left: list[str]
) -> None:
    """The metric is that of the first axis, then a little of the last."""
    configurations = grid(**columns)
    axes = axes_of(configurations)
    values = [axes[0].ranks[i] + 1e-3 * axes[-1].ranks[i] for i in range(len(configurations))]
    roles = roles_of(axes, values, Asked())
    assert roles is not None
    found = [axis.name if axis else None for axis in roles[:3]]
    assert (found, [axis.name for axis in roles.left]) == ([facet, colour, dash], left)


def test_every_configuration_of_a_panel_has_a_look_of_its_own() -> None:
    configurations = grid(a=list("pqrst"), b=[1, 2, 3, 4], c=list("pqr"))
    made = encode(configurations, [float(i) for i in range(60)], Asked())
    looks = zip(made.facets, made.colours, map(str, made.dashes), strict=True)
    assert len(set(looks)) == 60
    assert (len(made.titles), len(made.entries)) == (5, 2)


def test_one_axis_of_numbers_has_a_scale_of_colours_and_one_of_choices_has_marks() -> None:
    numbers = encode(grid(lr=[0.1, 0.2, 0.4, 0.8, 1.6]), [], Asked())
    light = [sum(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in numbers.colours]
    assert light == sorted(light)
    assert set(numbers.markers) == {""}
    choices = encode(grid(optimizer=[f"option {letter}" for letter in "abcdefghij"]), [], Asked())
    looks = set(zip(choices.colours, choices.markers, map(str, choices.dashes), strict=True))
    assert len(looks) == 10
    assert "" not in choices.markers


def test_of_many_options_the_best_are_named() -> None:
    configurations = grid(activation=[f"option {i}x" for i in range(40)])
    values = [float((7 * i) % 40) for i in range(40)]
    made = encode(configurations, values, Asked())
    best = [i for i in range(40) if values[i] < len(OKABE_ITO)]
    assert [i for i, colour in enumerate(made.colours) if colour != REST] == best
    labels = [str(entry.get_label()) for entry in made.entries[0]]
    assert labels[0] == "activation=option 0x"
    assert labels[-1] == "33 others behind these 7"


def test_what_was_asked_for_is_done() -> None:
    axes = axes_of(grid(a=list("pqr"), b__lr=[1, 2, 3], c=list("pq")))
    cases = {
        Asked(by=("b.lr",)): (None, "lr", "a"),
        Asked(by=("c", "a")): ("c", "a", "lr"),
        Asked(by=("c", "lr", "a")): ("c", "lr", "a"),
        Asked(facet="c"): ("c", "lr", "a"),
        Asked(colour="c"): ("a", "c", "lr"),
        Asked(facet="none", colour="a"): (None, "a", "c"),
    }
    for asked, wanted in cases.items():
        roles = roles_of(axes, [float(i // 6) for i in range(18)], asked)
        assert roles is not None
        assert tuple(axis.name if axis else None for axis in roles[:3]) == wanted, asked
    for flag, asked in {"--by": Asked(by=("lrr",)), "--colour": Asked(colour="d"), "--facet": Asked(facet="x")}.items():
        with pytest.raises(UserError, match=rf"^{flag} \w+: the configurations do not differ in it; "):
            roles_of(axes, [], asked)
    many = axes_of(grid(a=[f"{i}x" for i in range(13)], b=[1, 2]))
    with pytest.raises(UserError, match=r"^--facet a: 13 values, and at most 12 panels; --where a=A,B"):
        roles_of(many, [], Asked(facet="a"))


def texts(figure: Figure) -> list[Text]:
    """All that is written."""
    found = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text().strip()]
    ticks = {id(label) for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in _unseen(axis)}
    return [text for text in found if text.get_visible() and id(text) not in ticks]


def _unseen(axis: object) -> list[Text]:
    """Labels of ticks beyond the ends of an axis, which matplotlib keeps and does not draw."""
    drawn = {id(tick) for tick in axis._update_ticks()}  # type: ignore[attr-defined]
    every = [*axis.get_major_ticks(), *axis.get_minor_ticks()]  # type: ignore[attr-defined]
    return [one for tick in every for one in (tick.label1, tick.label2) if id(tick) not in drawn]


SWEEPS: dict[int, dict[str, list[object]]] = {
    2: {"optimizer": ["sgd", "an_optimizer_with_quite_a_long_name"]},
    12: {"optimizer": ["sgd", "momentum", "adam"], "optimizer.lr": [0.001, 0.01, 0.1, 1.0]},
    60: {"activation": ["relu", "leaky_relu", "tanh", "gelu", "identity"], "model.width": [16, 32, 64, 128],
         "initializer": ["kaiming_normal", "orthogonal", "a_rather_long_name_of_an_initializer"]},
    300: {"optimizer.lr": [], "model.width": []},
}  # fmt: skip


@pytest.mark.parametrize("count", [2, 12, *(pytest.param(count, marks=pytest.mark.slow) for count in (60, 300))])
def test_words_do_not_overlap(tmp_path: Path, write_run: WriteRun, count: int) -> None:
    columns, random = SWEEPS[count], np.random.default_rng(count)
    rows = list(itertools.product(*columns.values()))
    if count == 300:
        rows = [(float(f"{10 ** random.uniform(-4, 1):.3g}"), int(random.integers(8, 500))) for _ in range(count)]
    assert len(rows) == count
    folders = []
    for i, row in enumerate(rows):
        overrides = {**dict(zip(columns, row, strict=True)), "model.depth": 3}
        c = 3.0 if i % 5 == 1 else 2.0  # some diverge
        small = {"depth": 3, "width": 4, "count": 4, "last": 20000, "final": count == 60, "val": count < 100}
        folders.append(write_run(tmp_path, c=c, overrides=overrides, **small))
    for name, figure in figures(tmp_path, folders).items():
        FigureCanvasAgg(figure).draw()
        boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
        assert len(boxes) > 10
        for (one, box), (other, its) in itertools.combinations(boxes, 2):
            width = min(box.x1, its.x1) - max(box.x0, its.x0)
            height = min(box.y1, its.y1) - max(box.y0, its.y0)
            assert width <= 1 or height <= 1, f"{name}: {one!r} and {other!r} overlap"
        for text, box in boxes:
            assert box.x0 >= -1, f"{name}: {text!r}"
            assert box.y0 >= -1, f"{name}: {text!r}"
            assert box.x1 <= figure.bbox.x1 + 1, f"{name}: {text!r}"
            assert box.y1 <= figure.bbox.y1 + 1, f"{name}: {text!r}"
        assert [label for label in tick_labels(figure) if too_long(label)] == []


@pytest.mark.usefixtures("quick_figures")
def test_the_last_points_of_the_curves_are_the_means_of_the_summary(tmp_path: Path, write_run: WriteRun) -> None:
    random = np.random.default_rng(11)
    for optimizer, lr, seed in itertools.product(["adam", "sgd"], [0.001, 0.01, 0.1], range(3)):
        overrides = {"optimizer": optimizer, "optimizer.lr": lr}
        error = float(random.uniform(0.1, 0.8))
        folder = write_run(
            tmp_path, overrides=overrides, seed=seed, depth=3, width=4, count=4, val=True, metrics={"val_error": error}
        )
        lines = (folder / "metrics.csv").read_text().splitlines()
        cells = lines[-1].split(",")
        cells[lines[0].split(",").index("val_error")] = repr(error)
        (folder / "metrics.csv").write_text("\n".join([*lines[:-1], ",".join(cells)]) + "\n")
    report = write_report([tmp_path])
    means: dict[tuple[str, str], list[float]] = defaultdict(list)
    with report.summary_path.open(newline="") as file:
        for row in csv.DictReader(file):
            means[row["optimizer"], row["optimizer.lr"]].append(float(row["val_error"]))
    folders = sorted(path.parent for path in tmp_path.glob("*/result.json"))
    drawn = figures(tmp_path, folders)["curves"]
    row = panels(drawn)[-2:]  # validation error, of adam and of sgd
    assert [axes.texts[0].get_text() for axes in panels(drawn)[:2]] == ["optimizer=adam", "optimizer=sgd"]
    for axes, optimizer in zip(row, ("adam", "sgd"), strict=True):
        ends = [float(np.asarray(line.get_ydata())[-1]) for line in axes.get_lines() if len(line.get_xdata()) > 1]  # type: ignore[arg-type]
        assert ends == pytest.approx([np.mean(means[optimizer, lr]) for lr in ("0.001", "0.01", "0.1")], rel=1e-12)


def test_an_axis_ends_where_most_curves_do() -> None:
    usual = [np.array([1.0, 10.0**k]) for k in (0, 0.5, 1, 0.2, 0.8)]
    assert log_limits(usual) is None
    assert log_limits([*usual, np.array([1.0, 1e9])]) == (1.0, 10.0)
    assert log_limits([*usual, np.array([1e-9, 1.0])]) == (1.0, 10.0)
    assert log_limits([np.array([1.0, 10.0**k]) for k in range(0, 40, 4)]) is None  # decades differ: no outlier
    assert decades_differ([np.array([10.0**k]) for k in range(4)])
    assert not decades_differ([np.array([1.0, 1.5])] * 30 + [np.array([1e9])])  # one alone does not decide
    assert not decades_differ([np.array([-1.0, 1e9]), np.array([1.0])])
    assert decades_below([np.array([2.0, 1.0])] * 9 + [np.array([2.0, 1e-5])], 2.2) is None
    assert decades_below([np.array([2.0, 2e-4])] * 3 + [np.array([2.0, 1.0])], 2.2) == 1e-4


def test_weight_movement_over_decades_has_powers_of_ten(tmp_path: Path, write_run: WriteRun) -> None:
    folders = []
    for k in range(4):
        folder = write_run(tmp_path, overrides={"optimizer.lr": 10.0**k}, depth=3, width=4, count=0, final=True)
        rows = list(csv.reader((folder / "profiles.csv").open(newline="")))
        for row in rows:
            row[5] = repr(10.0 ** (3 * k)) if row[4] == "weight_movement" else row[5]
        (folder / "profiles.csv").write_text("\n".join(map(",".join, rows)) + "\n")
        folders.append(folder)
    movement = panels(figures(tmp_path, folders)["movement"])[3]
    assert movement.get_yscale() == "log"
    lines = [np.asarray(line.get_ydata()) for line in movement.get_lines()]
    assert sorted(float(line[0]) for line in lines) == pytest.approx([10.0 ** (3 * k) for k in range(4)])


@pytest.mark.parametrize(
    ("ticks", "labels", "offset"),
    [
        ([0, 0.5, 1], ["0.0", "0.5", "1.0"], ""),
        ([0, 20000, 40000], ["0", "2", "4"], "× 10⁴"),
        ([0, 0.0002, 0.0004], ["0", "2", "4"], "× 10⁻⁴"),
        ([-0.25, 0, 0.25], ["−0.25", "0.00", "0.25"], ""),
        ([0.025, 0.05], ["2.5", "5.0"], "× 10⁻²"),
        ([1000, 1500], ["1000", "1500"], ""),
        ([100.1, 100.2], ["", ""], ""),
        ([], [], ""),
    ],
)
def test_numbers_on_axes_are_short(ticks: list[float], labels: list[str], offset: str) -> None:
    made = Short()
    assert made.format_ticks(ticks) == labels
    assert made.get_offset() == offset


def test_the_power_of_ten_of_an_axis_stands_beside_the_title() -> None:
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    axes.plot([0.5, 0.9], [3e3, 2.6e4])
    panel(axes, "", "Pareto front: 4 of 16", "trial", "parameters")
    FigureCanvasAgg(figure).draw()
    boxes = {text.get_text().strip(): text.get_window_extent() for text in texts(figure)}
    assert not boxes["× 10⁴"].overlaps(boxes["Pareto front: 4 of 16"])


def test_steps_are_counted_in_thousands() -> None:
    assert [Counts()(x) for x in (0, 999, 4800, 20000, 150000, 2.5e6)] == ["0", "999", "4800", "20k", "150k", "2.5M"]


def test_values_of_a_metric_are_means_of_what_is_finite(tmp_path: Path, write_run: WriteRun) -> None:
    for seed, loss in enumerate((0.25, 0.75, math.nan)):
        write_run(tmp_path, seed=seed, depth=2, width=3, count=2, metrics={"train_loss": loss, "train_error": 0.5})
    runs = read_runs(sorted(tmp_path.iterdir()), tmp_path)
    configurations = group_runs(runs)
    assert values_of(runs, configurations) == [0.5]
    assert values_of(runs, configurations, "train_loss") == [0.5]
    with pytest.raises(UserError, match=r"^--metric train_los: none of these runs has it; did you mean train_loss\?$"):
        values_of(runs, configurations, "train_los")


@pytest.mark.usefixtures("quick_figures")
def test_some_of_the_runs_are_taken(tmp_path: Path, write_run: WriteRun) -> None:
    for optimizer, lr in itertools.product(["adam", "sgd"], [0.01, 0.1]):
        write_run(tmp_path, overrides={"optimizer": optimizer, "optimizer.lr": lr}, depth=2, width=3, count=2)
    write_report([tmp_path])
    whole = (tmp_path / "summary.csv").read_bytes()
    report = write_report([tmp_path], where=["optimizer=sgd,adam", "optimizer.lr=0.1"])
    assert [row["optimizer.lr"] for row in csv.DictReader(report.summary_path.open(newline=""))] == ["0.1", "0.1"]
    assert (tmp_path / "summary.csv").read_bytes() == whole, "that of the grid is of all runs"
    wrong = {
        "optimizer=adm": "--where optimizer=adm: no run has this value; they have adam, sgd",
        "optimizer.lr=0.1,5": "--where optimizer.lr=5: no run has this value; they have 0.01, 0.1",
        "optimizer.l=1": "--where optimizer.l: no run has this key; did you mean optimizer.lr?",
        "adam": "--where adam: must be key=value or key=value,value; such as optimizer=sgd,adam",
    }
    for word, line in wrong.items():
        with pytest.raises(UserError) as error:
            write_report([tmp_path], tmp_path / "elsewhere", where=[word])
        assert str(error.value) == line
        assert not (tmp_path / "elsewhere").exists(), "nothing half-written"


def test_a_column_of_a_paper_has_no_panels_side_by_side(tmp_path: Path, write_run: WriteRun, capsys: Capture) -> None:
    write_run(tmp_path, depth=2, width=3, count=2)
    for words in (["--facet", "initializer.c"], ["--by", "initializer.c,seed"]):
        assert main([str(tmp_path), "--style", "paper", *words]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"fanin-report: {words[0]} {words[1]}: not together with --style paper, ")
        assert said.count("\n") == 1
    assert not (tmp_path / "report").exists()
