"""The command on a grid with every kind of run: what its files say, against numbers worked out by hand."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
import shutil
import struct
import subprocess
import sys
import urllib.parse
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from command_line import end, start
from fanin.report.make import write_report
from fanin.report.write.terminal import print_study

Command = Callable[..., subprocess.CompletedProcess[str]]
WriteRun = Callable[..., Path]
ERROR = "RuntimeError: <b>out</b> of memory & more"


class Reported(NamedTuple):
    """A grid and what the command printed about it."""

    grid: Path
    output: str

    def rows(self, name: str) -> list[dict[str, str]]:
        """The rows of a CSV file of the grid."""
        with (self.grid / name).open(newline="") as file:
            return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory, write_run: WriteRun, command: Command) -> Reported:
    grid = tmp_path_factory.mktemp("outputs") / "init_study"
    size = {"depth": 12, "width": 30, "count": 11}
    for seed, error, factor in ((0, 0.05, 0.8), (1, 0.06, 1.0), (10, 0.07, 1.25)):
        init = {"factor_per_layer": factor, "z": (factor - 1) * 10}
        write_run(grid, c=2, seed=seed, metrics={"train_error": error}, init=init, final=True, **size)
        write_run(grid, c=1, seed=seed, init={"gradient_first": 0.0}, final=True, **size)
        write_run(grid, c=3, seed=seed, init={"gradient_first": "inf"}, **size)
    write_run(grid, c=2, seed=11, state="failed", error=f"Traceback:\n  File 'x'\n{ERROR}\n", **size)
    write_run(grid, c=2, seed=12, state="running", **size)
    write_run(grid, c=2, seed=13, state="interrupted", **size)
    done = command(grid, fresh=True)
    assert (done.returncode, done.stderr) == (0, "")
    return Reported(grid, done.stdout)


def test_summary_has_every_run_with_its_state(reported: Reported) -> None:
    rows = reported.rows("summary.csv")
    first = [f"initializer.c={c},seed={seed}" for c, seed in ((1, 0), (1, 1), (1, 10), (2, 0))]
    assert [row["run"] for row in rows][:4] == first
    states = {row["run"].split(",")[1]: row["state"] for row in rows if row["initializer.c"] == "2"}
    assert states == {
        "seed=0": "done", "seed=1": "done", "seed=10": "done",
        "seed=11": "failed", "seed=12": "running", "seed=13": "interrupted",
    }  # fmt: skip
    assert list(rows[0])[:6] == ["run", "state", "outcome", "verdict", "initializer.c", "seed"]
    learned = next(row for row in rows if row["run"] == "initializer.c=2,seed=10")
    assert (learned["train_error"], learned["train_loss"], learned["test_loss"]) == ("0.07", "0.23", "")
    diverged = next(row for row in rows if row["run"] == "initializer.c=3,seed=0")
    assert (diverged["state"], diverged["train_loss"], diverged["gradient_first"]) == ("diverged", "nan", "inf")
    assert (diverged["diverged_step"], diverged["diverged_layer"]) == ("2", "linear_17")
    failed = next(row for row in rows if row["run"] == "initializer.c=2,seed=11")
    assert (failed["error"], failed["outcome"], failed["train_loss"]) == (ERROR, "", "")


def test_table_has_means_and_intervals_worked_out_by_hand(reported: Reported) -> None:
    vanishing, critical, exploding = reported.rows("report/table.csv")
    assert [row["configuration"] for row in (vanishing, critical, exploding)] == ["c=1", "c=2", "c=3"]
    counts = {key: critical[key] for key in ("runs", "seeds", "done", "failed", "running", "interrupted", "diverged")}
    assert counts == {
        "runs": "6", "seeds": "6", "done": "3", "failed": "1", "running": "1", "interrupted": "1", "diverged": "0",
    }  # fmt: skip
    # With 2 degrees of freedom the quantile has a closed form, (2p - 1) / sqrt(2p (1 - p)) = 4.30265 at p = 0.975.
    t = 0.95 / math.sqrt(2 * 0.975 * 0.025)
    # 0.05, 0.06, 0.07: mean 0.06, s = 0.01, half = t s / sqrt 3
    half = t * 0.01 / math.sqrt(3)
    error = [float(critical[f"train_error_{end}"]) for end in ("mean", "low", "high", "n")]
    assert error == pytest.approx([0.06, 0.06 - half, 0.06 + half, 3], rel=1e-12)
    # 0.8, 1, 1.25: logarithms -a, 0, a with a = ln 1.25, so the geometric mean is 1 and s = a.
    half = t * math.log(1.25) / math.sqrt(3)
    factor = [float(critical[f"factor_per_layer_{end}"]) for end in ("gmean", "low", "high")]
    assert factor == pytest.approx([1, math.exp(-half), math.exp(half)], rel=1e-12)
    assert [float(critical[key]) for key in ("z_mean", "z_min", "z_max")] == pytest.approx([0.5 / 3, -2, 2.5])
    assert (vanishing["gradient_first_gmean"], vanishing["gradient_first_low"]) == ("0", "")
    assert (exploding["gradient_first_gmean"], exploding["gradient_first_n"]) == ("inf", "0")
    assert (exploding["train_loss_mean"], exploding["train_loss_n"]) == ("nan", "0")
    assert (critical["test_loss_mean"], critical["test_loss_n"]) == ("", "0")


def test_study_table_says_what_came_of_each_configuration(reported: Reported) -> None:
    lines = (reported.grid / "report" / "table.md").read_text().split("## Configurations")[1].splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| c=")][:3]
    outcomes = {line[0]: line[7] for line in cells}
    assert outcomes["c=1"] == "no progress"
    assert outcomes["c=3"] == "diverged at step 2 (linear_17)"
    assert outcomes["c=2"] == (
        "3 of 6 learn: 6.0 % train error, 1 of 6 failed, 1 of 6 running at step 1000 of 1000, "
        "1 of 6 interrupted at step 1000 of 1000"
    )
    by_label = {line[0]: line for line in cells}
    assert by_label["c=2"][1:4] == ["6", "1", "1"]
    assert by_label["c=2"][8:] == ["critical", "+0.17 [-2.00, +2.50]"]
    assert by_label["c=1"][3] == "0.7071"


def test_figures_are_images_of_sane_size(reported: Reported) -> None:
    report = reported.grid / "report"
    for name, (width, height) in {"study": (1980, 675), "movement": (1500, 1080), "curves": (1500, 615)}.items():
        png = (report / f"{name}.png").read_bytes()
        assert png[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", png[16:24]) == (width, height)
        assert png[-12:-4] == b"\x00\x00\x00\x00IEND"
        assert 20_000 < len(png) < 600_000
        assert ElementTree.parse(report / f"{name}.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"


class Page(HTMLParser):
    """Collects links, texts and tags, and checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.badges: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [link for link in (found.get("href"), found.get("src")) if link and link[0] != "#"]
        self.badges += [found["class"] or ""] if tag == "span" else []
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_page_links_to_what_exists_and_escapes_what_runs_say(reported: Reported) -> None:
    source = (reported.grid / "report" / "index.html").read_text()
    page = Page(source)
    assert "<b>" not in source
    assert f"initializer.c=2,seed=11: failed at step 1000 of 1000: {ERROR}" in page.texts
    targets = [reported.grid / "report" / urllib.parse.unquote(link) for link in page.links]
    assert [target for target in targets if not target.exists()] == []
    assert {reported.grid / "initializer.c=3,seed=10", reported.grid / "report" / "study.svg"} <= {
        target.resolve() for target in targets
    }
    runs = page.badges[5:]  # the first ones count the states
    assert [runs.count(f"badge {state}") for state in ("done", "diverged", "failed", "running")] == [6, 3, 1, 1]


def test_terminal_shows_the_table_and_the_next_commands(reported: Reported) -> None:
    lines = reported.output.splitlines()
    setting = "MNIST, 12 layers of 30 units, ReLU, SGD, lr 0.003, batch 100; different c; 6 seeds"
    assert " ".join(line.strip() for line in lines[1:3]) == setting
    assert f"tensorboard --logdir {reported.grid}" in lines[-2:]
    table = [line.split() for line in lines if re.match(r" ?c=\d ", line)]
    assert [line[0] for line in table] == ["c=1", "c=2", "c=3"]
    assert [line[2] for line in table] == ["0.7071", "1", "1.225"]  # sqrt(c/2)
    top = next(i for i, line in enumerate(lines) if "factor/" in line)
    header = " ".join(lines[top : top + 2]).split()  # at 80 columns "seeds" and "at this width" go, nothing else
    assert header == [
        "factor/",
        "gradient",
        "gradient",
        "deviation",
        "layer",
        "theory",
        "first",
        "last",
        "outcome",
        "verdict",
        "in",
        "sd",
    ]
    assert sum(line.startswith("note: ") for line in lines) == 3
    assert max(len(line) for line in lines if str(reported.grid) not in line and "http" not in line) <= 80


def events(folder: Path) -> dict[tuple[str, int], float | bytes]:
    """Everything in the single event file of a folder, by tag and step."""
    (path,) = folder.glob("events.out.tfevents.*")
    found: dict[tuple[str, int], float | bytes] = {}
    for event in EventFileLoader(str(path)).Load():
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "hparams":
                continue
            tensor = value.tensor
            found[value.tag, event.step] = tensor.string_val[2] if tensor.string_val else tensor.float_val[0]
    return found


def test_theory_lies_over_the_measured_runs_in_tensorboard(reported: Reported) -> None:
    folder = reported.grid / "report" / "tensorboard"
    with (reported.grid / "initializer.c=2,seed=0" / "profiles.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["snapshot"] == "init"]
    tags = {"weight": "profile_init/", "module": "profile_init_module/"}
    for name, column in (("median", "theory"), ("band_low", "band_low"), ("band_high", "band_high")):
        expected = {
            (tags[row["axis"]] + row["quantity"], int(row["index"])): float(row[column])
            for row in rows
            if row["quantity"] in ("activation_norm", "gradient_norm", "weight_variance") and row[column]
        }
        norms = {key: value for key, value in expected.items() if "_norm" in key[0]}
        expected |= {(f"{tag}_log10", index): math.log10(value) for (tag, index), value in norms.items()}
        # Event files hold float32; the three seeds have the same theory, whose mean rounds once more.
        assert events(folder / "theory_c=2" / name) == pytest.approx(expected, rel=1e-6)
        assert len(expected) > 12
    mean_square = events(folder / "theory_c=3" / "mean_square")
    assert mean_square["profile_init_module/activation_norm", 1] == pytest.approx(100)
    # After the first hidden layer: 100 sqrt(30/784) sqrt(3/2), and before its ReLU sqrt 2 more.
    assert mean_square["profile_init/activation_norm", 1] == pytest.approx(100 * math.sqrt(30 / 784 * 1.5), rel=1e-6)
    assert mean_square["profile_init_module/activation_norm", 2] == pytest.approx(
        100 * math.sqrt(30 / 784 * 3), rel=1e-6
    )
    image = events(folder / "figures")["figures/study", 0]
    assert image == (reported.grid / "report" / "study.png").read_bytes()


def test_a_second_report_changes_nothing(reported: Reported, tmp_path: Path, command: Command) -> None:
    grid = tmp_path / "init_study"
    shutil.copytree(reported.grid, grid)
    (grid / "report" / "tensorboard" / "theory_gone" / "median").mkdir(parents=True)
    (grid / "report" / "tensorboard" / "theory_gone" / "median" / "events.out.tfevents.1.x").write_bytes(b"")

    def content() -> dict[str, str]:
        paths = (path for path in grid.rglob("*") if path.is_file() and "events" not in path.name)
        return {str(path.relative_to(grid)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    before = content()
    assert command(grid).returncode == 0
    after = content()
    # The page names the folder that TensorBoard is to be given, and this is another one; so are the runs' files.
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed == {"report/index.html", "report/.figures.json"}
    event_files = sorted(path.parent for path in grid.rglob("events.out.*"))
    assert len(event_files) == len(set(event_files)) == 3 * 4 + 3 + 1  # theory, means over seeds, figures
    assert not (grid / "report" / "tensorboard" / "theory_gone").exists()


def test_out_and_a_part_of_the_grid(reported: Reported, tmp_path: Path, command: Command) -> None:
    summary = (reported.grid / "summary.csv").read_bytes()
    two = [reported.grid / f"initializer.c=2,seed={seed}" for seed in (0, 12)]
    done = command(*two, "--out", tmp_path / "some" / "where", "--group-by", "seed")
    assert done.returncode == 0
    assert (reported.grid / "summary.csv").read_bytes() == summary  # not all of the grid: left alone
    with (tmp_path / "some" / "where" / "summary.csv").open(newline="") as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["0", "12"]
    with (tmp_path / "some" / "where" / "table.csv").open(newline="") as file:
        assert [row["configuration"] for row in csv.DictReader(file)] == ["seed=0", "seed=12"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{tmp}/missing"], r"fanin-report: .*/missing: no such folder"),
        (["--grid"], r"fanin-report: unrecognized arguments: --grid; fanin-report --help lists what there is"),
        (["{tmp}"], r"fanin-report: .*: no runs here; .*status\.json"),
        (["{tmp}/file"], r"fanin-report: .*/file: not a folder"),
        (
            ["{grid}", "--out", "{tmp}/file/report"],
            r"fanin-report: .*/file/report: a file is in the place of a folder",
        ),
        (
            ["{grid}", "--group-by", "optimiser.lr"],
            r"fanin-report: --group-by optimiser\.lr: .*did you mean optimizer\.lr\?",
        ),
    ],
)
def test_mistakes_are_said_in_one_line(
    reported: Reported, tmp_path: Path, command: Command, arguments: list[str], said: str
) -> None:
    (tmp_path / "file").write_text("")
    done = command(*(argument.format(tmp=tmp_path, grid=reported.grid) for argument in arguments))
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(said + r"\n", done.stderr)


def test_help_needs_no_heavy_import() -> None:
    code = (
        "import sys, contextlib\n"
        "from fanin.report.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "print(sorted({'torch', 'pandas', 'numpy', 'matplotlib', 'scipy', 'rich', 'yaml'} & set(sys.modules)))"
    )
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "FOLDER" in done.stdout


def test_a_report_never_imports_torch(reported: Reported, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom fanin.report.cli import main\n"
        "print(main(sys.argv[1:]), 'torch' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    line = [sys.executable, "-c", code, str(reported.grid), "--out", str(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == "0 False False"


@pytest.mark.slow
def test_a_notebook_s_backend_does_not_matter(tmp_path: Path, write_run: WriteRun) -> None:
    """MPLBACKEND names one that this environment lacks, as it does in a command that a notebook starts."""
    write_run(tmp_path, depth=2, width=4, count=2)
    process = start(
        tmp_path, ".", module="fanin.report.cli", fresh=True, MPLBACKEND="module://no_such_inline.backend"
    )  # fmt: skip
    said = end(process)
    assert (said.code, said.err) == (0, [])
    assert (tmp_path / "report" / "study.png").read_bytes()[:4] == b"\x89PNG"


def test_words_of_runs_are_shown_and_do_nothing(tmp_path: Path, write_run: WriteRun) -> None:
    """Values that would be HTML, a spreadsheet's formula, the terminal's markup or a column of Markdown."""
    words = ["<script>alert(1)</script>", "=cmd|'/C calc'!A0", "a & \"b\" 'c'", "[red]x[/red]", "+1", "-0.5"]
    for i, word in enumerate(words):
        folder = write_run(tmp_path / str(i), overrides={"data.note": "x"}, depth=2, width=4, count=0)
        content = json.loads((folder / "result.json").read_text())
        (folder / "result.json").write_text(json.dumps(content | {"overrides": {"data.note": word, "seed": 0}}))
    report = write_report([tmp_path])
    page = Page(report.index.read_text())
    assert report.index.read_text().count("<script") == 1, "the page's own"
    assert {f"note={word}" for word in words} <= set(page.texts)
    with (report.out / "table.csv").open(newline="") as file:
        cells = {row["data.note"] for row in csv.DictReader(file)}
    assert cells == {words[0], f"'{words[1]}", words[2], words[3], "+1", "-0.5"}
    with (report.out / "best_by_axis.csv").open(newline="") as file:
        assert {row["value"] for row in csv.DictReader(file)} == cells
    assert "\\|'/C calc" in (report.out / "table.md").read_text()
    out = io.StringIO()
    print_study(report, Console(file=out, width=120))
    assert "note=[red]x[/red]" in out.getvalue()
