"""The page of one run: its command repeats it, its table is what differs from the default, its rows are linked."""

from __future__ import annotations

import csv
import html
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import StepPatch

from command_line import end, fanin, start
from fanin import UserError, load, plots
from fanin.record.overrides import read_yaml
from fanin.report.make import write_report
from fanin.report.read.differences import differences
from fanin.report.read.folders import read_runs

TYPED = (
    "regularizer=[l2,dropout]", "optimizer=adam", "optimizer.beta1=0.5", "seed=3", "model.depth=3",
    "model.width=8", "data.limit=100", "trainer.steps=3", "probe.every=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that the command wrote; not to be changed, but for its report."""
    folder = tmp_path_factory.mktemp("one")
    said = fanin(folder, *TYPED)
    assert said.code == 0, said.err
    (found,) = (path.parent for path in folder.glob("outputs/runs/*/status.json"))
    return found


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    """Its page."""
    said = end(start(run.parent, str(run), module="fanin.report.cli"))
    assert (said.code, said.err) == (0, [])
    assert f"run         {run.name}/report/run.html" in said.out
    return (run / "report" / "run.html").read_text()


def test_the_command_repeats_the_run(run: Path, page: str, tmp_path: Path) -> None:
    (shown,) = re.findall(r'<pre class="command">(.*?)</pre>', page)
    name, *words = shlex.split(html.unescape(shown))
    assert (name, sorted(words)) == ("fanin", sorted(TYPED))
    assert fanin(tmp_path, *words).code == 0
    (again,) = tmp_path.glob("outputs/runs/*/result.json")
    first, second = (json.loads(path.read_text()) for path in (run / "result.json", again))
    assert (first["config_hash"], first["metrics"]) == (second["config_hash"], second["metrics"])
    assert again.parent.name == run.name


def test_differences_are_what_was_typed(run: Path) -> None:
    (one,) = read_runs([run], run)
    found = {key: (value, default) for key, value, default in differences(one)}
    assert found.keys() == {"regularizer", "optimizer", *(word.partition("=")[0] for word in TYPED)}
    assert found["regularizer"] == ("dropout+l2", "none")
    assert found["optimizer"] == ("adam", "sgd")
    assert found["seed"] == ("3", "0")
    usual = read_yaml(Path("conf/optimizer/adam.yaml"))["beta1"]
    assert found["optimizer.beta1"] == ("0.5", f"{usual:g}")


def test_the_page_shows_figures_numbers_log_and_files(run: Path, page: str) -> None:
    for name in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert (run / "report" / html.unescape(name).replace("%3D", "=").replace("%2C", ",")).exists(), name
    assert {"run_curves.png", "run_study.png", "run_layers.png"} <= {
        Path(name).name for name in re.findall(r'src="([^"]+)"', page)
    }
    metrics = json.loads((run / "result.json").read_text())["metrics"]
    assert f'<td>test_loss</td><td class="n">{metrics["test_loss"]:.6g}</td>' in page
    assert html.unescape((run / "run.log").read_text().splitlines()[-1]) in html.unescape(page)
    assert '<a href="./../metrics.csv">metrics.csv</a>' in page


def test_rows_link_to_pages_where_they_are(run: Path, tmp_path: Path, quick_figures: None) -> None:
    for name in ("one", "<b>two</b>&"):
        shutil.copytree(run, tmp_path / name, ignore=shutil.ignore_patterns("report"))
    index = write_report([tmp_path]).index.read_text()
    assert "run.html" not in index
    index = write_report([tmp_path], run_pages=True).index.read_text()
    assert index.count("report/run.html") == 2
    told = (tmp_path / "<b>two</b>&" / "report" / "run.html").read_text()
    assert "<b>two" not in told
    assert "../../report/index.html" in told


def test_ridges_are_the_histograms_that_the_run_wrote(tmp_path: Path) -> None:
    small = ("model.depth=2", "model.width=8", "data.limit=100", "trainer.steps=4", "probe.every=2")
    said = fanin(tmp_path, *small, "probe.histograms=[weights]")
    assert said.code == 0, said.err
    (path,) = tmp_path.glob("outputs/runs/*/histograms.csv")
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["layer"] == "linear_2"]
    axes = plots.histogram(path.parent, "weights", "linear_2")
    filled = [patch for patch in axes.patches if isinstance(patch, StepPatch) and patch.get_fill()]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["0", "2", "4"]
    for patch, row in zip(filled, rows, strict=True):
        heights, edges, foot = patch.get_data()
        assert (edges[0], edges[-1]) == (float(row["low"]), float(row["high"]))
        counts = np.array([float(row[f"count_{number}"]) for number in range(1, 31)])
        top = min(np.sort(counts)[-1], 2 * np.sort(counts)[-2])
        np.testing.assert_allclose((heights - foot) / 1.8, np.minimum(counts / top, 1), atol=1e-12)
    tables = load(tmp_path / "outputs")
    assert len(tables.histograms) == 2 * 3
    with pytest.raises(UserError, match="histogram: of 'gradients': the run has none; it has weights"):
        plots.histogram(path.parent, "gradients")
    with pytest.raises(UserError, match="histogram: layer 'x': there are linear_1, linear_2"):
        plots.histogram(path.parent, "weights", "x")
