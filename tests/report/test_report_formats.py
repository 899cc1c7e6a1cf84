"""Tables in every format: numbers read back, names that TeX, Markdown or a spreadsheet would take for commands."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from command_line import end, start
from fanin.report.cli import main
from fanin.report.make import write_report

WriteRun = Callable[..., Path]
SMALL = {"depth": 2, "width": 4, "count": 0}
NAMES = [
    '=cmd|" /C calc"!A0', "<script>alert(1)</script>", "R&D &amp; 100% #1 $x^2$ ~ {a} \\input{x}", "it's `x`, --a, *b*",
    "[x](http://y) _z_", "🙂 größer", "x" * 250, "a_very.long-name/" * 12 + "end",
]  # fmt: skip


@pytest.fixture
def named(write_run: WriteRun, tmp_path: Path) -> Path:
    """A grid whose configurations have the names above, one run each, and a number that tells them apart."""
    for i, name in enumerate(NAMES):
        run = write_run(tmp_path / "grid", overrides={"number": i}, metrics={"train_error": i / 16}, **SMALL)
        result = json.loads((run / "result.json").read_text())
        (run / "result.json").write_text(json.dumps(result | {"overrides": {"model": name, "seed": 0}}))
    return tmp_path / "grid"


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanin.report.pictures.pictures", lambda *_: {})


def plain(cell: str) -> str:
    """What TeX sets for a cell, by the meaning of each command in its manual."""
    meaning = {
        r"\textbackslash{}": "\\", r"\textasciicircum{}": "^", r"\textasciitilde{}": "~", r"\textless{}": "<",
        r"\textgreater{}": ">", r"\textbar{}": "|", r"\symbol{34}": '"', r"\symbol{39}": "'", r"\symbol{96}": "`",
        r"\allowbreak{}": "", "-{}": "-", "{[}": "[", "{]}": "]", "{*}": "*", "--": "–", r"$\pm$": "±",
        **{f"\\{letter}": letter for letter in "{}$&#%_"},
    }  # fmt: skip
    pattern = "|".join(map(re.escape, sorted(meaning, key=len, reverse=True)))
    rest = re.sub(pattern, "", cell)
    assert not re.search(r"[\\{}$&#%_^~<>|\"'`]|--|^\s*[\[*]", rest), rest  # nothing that TeX reads as a command
    return re.sub(pattern, lambda found: meaning[found[0]], cell)


def labels_of(grid: Path) -> list[str]:
    with (grid / "report" / "table.csv").open(newline="") as file:
        return [row["configuration"] for row in csv.DictReader(file)]


def test_every_name_is_shown_in_every_format_and_does_nothing(named: Path) -> None:
    done = end(start(named, ".", "--format", "latex,json,csv,markdown", module="fanin.report.cli"))
    assert (done.code, done.err) == (0, [])
    report = named / "report"
    for name, ending in (("latex", "tex"), ("json", "json"), ("csv", "csv"), ("markdown", "md")):
        assert re.search(rf"(?m)^{name} +.*table\.{ending}$", "\n".join(done.out)), name
    expected = {f"model={name}": i / 16 for i, name in enumerate(NAMES)}

    rows = json.loads((report / "table.json").read_text())
    assert {row["configuration"]: row["train_error_mean"] for row in rows} == expected
    assert {row["model"]: row["train_error_n"] for row in rows} == dict.fromkeys(NAMES, 1)
    assert {row["test_error_mean"] for row in rows} == {None}

    with (report / "table.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    cells = {row["model"]: float(row["train_error_mean"]) for row in table}
    assert cells == {(f"'{name}" if name[0] == "=" else name): i / 16 for i, name in enumerate(NAMES)}
    assert not any(str(cell).startswith(("=", "@", "\t")) for row in table for cell in row.values())

    text = (report / "table.tex").read_text()
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 3
    lines = [line for line in text.splitlines() if line.endswith(r" \\")]
    split = [[plain(cell) for cell in re.split(r"(?<!\\) & ", line.removesuffix(r" \\"))] for line in lines]
    tables = [split[i * (len(NAMES) + 1) : (i + 1) * (len(NAMES) + 1)] for i in range(3)]
    header, metrics, best = tables
    assert {row[0] for row in best[1:]} == {row[0] for row in header[1:]}
    assert {row[0] for row in header[1:]} == {" ".join(label.split()) for label in expected}
    at = metrics[0].index("train error")
    assert {row[0]: float(row[at]) for row in metrics[1:]} == {
        label: pytest.approx(value, rel=1e-3) for label, value in expected.items()
    }
    columns = [len(re.sub(r"p\{[^{}]*\}", "l", found)) for found in re.findall(r"tabular\}\{((?:p\{.*?\})?l*)\}", text)]
    assert columns == [len(one[0]) for one in tables]
    assert not re.search(r"[^\s\\{}]{60}", text), "a long name may be broken"


class Shown(HTMLParser):
    """The texts of a page's first column, and its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.cells += [""] if tag == "td" else []

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def test_names_in_markdown_as_a_renderer_shows_them(named: Path) -> None:
    markdown = pytest.importorskip("markdown")
    write_report([named])
    text = (named / "report" / "table.md").read_text()
    page = Shown()
    page.feed(markdown.markdown(text, extensions=["tables"]))
    assert {*page.tags} <= {"h1", "h2", "h3", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"}
    assert {f"model={name}" for name in NAMES} <= {cell.strip() for cell in page.cells}


def test_a_comparison_in_every_format(write_run: WriteRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(3):
        for optimizer, error in (("sgd", 0.1 * seed), ("adam", 0.1 * seed + 0.01 * 2**seed)):
            write_run(tmp_path, overrides={"optimizer": optimizer}, seed=seed, metrics={"test_error": error}, **SMALL)
    assert main([str(tmp_path), "--compare", "optimizer=sgd", "optimizer=adam", "--format", "json, latex"]) == 0
    assert "compare.tex" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "report" / "compare.json").read_text())
    assert (row["side"], row["pairs"]) == ("optimizer=adam", 3)
    assert row["mean_difference"] == pytest.approx(0.07 / 3)
    assert "+0.02333 ± 0.015" in plain_text(tmp_path / "report" / "compare.tex")  # sd of 1, 2, 4: sqrt(7/3)


def plain_text(path: Path) -> str:
    return path.read_text().replace(r"$\pm$", "±")


def test_a_format_that_is_there_is_kept_current(named: Path, write_run: WriteRun) -> None:
    write_report([named], formats=["json"])
    write_run(named, overrides={"number": 99}, metrics={"train_error": 0.75}, **SMALL)
    write_report([named])
    assert len(json.loads((named / "report" / "table.json").read_text())) == len(NAMES) + 1
    assert not (named / "report" / "table.tex").exists()


def test_parquet_holds_the_numbers_of_the_table(named: Path) -> None:
    pytest.importorskip("pyarrow")
    write_report([named], formats=["parquet"])
    table = pd.read_parquet(named / "report" / "table.parquet")
    assert dict(zip(table["model"], table["train_error_mean"], strict=True)) == {
        name: i / 16 for i, name in enumerate(NAMES)
    }
    assert table["runs"].tolist() == [1] * len(NAMES)
    assert table["test_error_mean"].isna().all()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("latx", "--format latx: did you mean latex?"),
        ("xlsx", "--format xlsx: there are latex, markdown, csv, json, parquet"),
        (",", "--format ,: there are latex, markdown, csv, json, parquet"),
        ("json,parquet", "--format parquet: needs the package pyarrow; pip install pyarrow, or take csv or json"),
    ],
)
def test_formats_that_there_are_not(
    named: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str, said: str
) -> None:
    monkeypatch.setattr("fanin.report.write.formats.find_spec", lambda name: None)
    assert main([str(named), "--format", typed]) == 1
    assert capsys.readouterr().err == f"fanin-report: {said}\n"
    assert not (named / "report").exists()
