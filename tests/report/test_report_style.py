"""Figures for papers: the column's width, letters that stay letters; and flags of the report that do not fit."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest

from fanin.report import cli
from fanin.report.figures.saving import save
from fanin.report.figures.steps import curves_figure
from fanin.report.figures.style import Sheet, look
from fanin.report.make import write_report
from fanin.report.read.configurations import group_runs
from fanin.report.read.folders import read_runs
from fanin.report.read.reuse import forget
from fanin.report.read.series import Metrics


def test_a_figure_for_a_paper(five_runs: list[Path], tmp_path: Path) -> None:
    runs = read_runs(five_runs[:2], five_runs[0].parent)
    with look("paper"):
        figure = curves_figure(Sheet("a title", "a setting", group_runs(runs)), runs, Metrics(runs))
        assert figure is not None
        png, svg, pdf = save(figure, tmp_path, "curves")
    header = png.read_bytes()[16:24]
    assert int.from_bytes(header[:4], "big") == 3.25 * 300
    places = [axes.get_position() for axes in figure.axes]
    assert len({round(place.x0, 6) for place in places}) == 1  # one below the other
    texts = re.findall(r"<text[^>]*style=\"([^\"]*)\"[^>]*>([^<]+)</text>", svg.read_text())
    assert {"step", "training loss"} <= {text.strip("abcd ") for _, text in texts} | {text for _, text in texts}
    assert all(re.search(r"\b8px\b", style) for style, _ in texts)
    content = pdf.read_bytes()
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    assert b"/CIDFontType2" in content + b"".join(map(_plain, streams))  # TrueType, not the outlines of Type 3
    assert b"/Type3" not in content


def _plain(stream: bytes) -> bytes:
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""


def test_another_style_is_drawn_anew(five_runs: list[Path], tmp_path: Path, quick_figures: None) -> None:
    first = {path.suffix for path in write_report(five_runs[:2], tmp_path, redraw=False).figures}
    second = {path.suffix for path in write_report(five_runs[:2], tmp_path, redraw=False, style="paper").figures}
    assert (first, second) == ({".png", ".svg"}, {".png", ".svg", ".pdf"})
    forget(tmp_path)
    assert not list(tmp_path.glob("*.pdf"))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--style", "poster"], "--style poster: must be one of screen, paper"),
        (["--compare", "a=1", "a=2", "--open"], "--open: not together with --compare, which writes no page"),
        (["--compare", "a=1", "a=2", "--watch"], "--watch: not together with --compare, which writes no page"),
        (["--watch", "--run-pages"], "--run-pages: not together with --watch; type it when the runs have ended"),
    ],
)
def test_flags_that_do_not_fit(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 1
    assert capsys.readouterr().err == f"fanin-report: {line}\n"


@pytest.mark.parametrize("starts", [True, False])
def test_the_browser_is_opened(
    five_runs: list[Path],
    tmp_path: Path,
    quick_figures: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    starts: bool,
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or starts)
    assert cli.main([str(five_runs[0].parent), "--out", str(tmp_path), "--open"]) == 0
    page = tmp_path / "index.html"
    assert opened == [page.as_uri()]
    said = "" if starts else f"fanin-report: no browser could be started here; the page is {page}\n"
    assert capsys.readouterr().err == said
