"""The page of a report in a browser: its tables sort, filter, search and turn; small figures are parts of it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from fanin.report.make import write_report
from fanin.report.write.page import inline, titled

WriteRun = Callable[..., Path]
RUNS = 60
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, write_run: WriteRun) -> Path:
    """Of 60 runs at 60 rates, whose order is another than that of their errors; one has a name that is HTML."""
    folder = tmp_path_factory.mktemp("page")
    for i in range(RUNS):
        metrics = {"test_error": (i * 7 % RUNS) / 100}
        run = write_run(
            folder, overrides={"optimizer.lr": (i + 1) / 1000}, metrics=metrics, depth=2, width=4, count=0,
            experiment="runs",
        )  # fmt: skip
        if i == 3:
            said = json.loads((run / "result.json").read_text())
            said["overrides"]["optimizer.lr"] = "<img src=x onerror=alert(1)>"
            (run / "result.json").write_text(json.dumps(said))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fanin.report.pictures.pictures", lambda *_: {})
        return write_report([folder]).index


@pytest.fixture(scope="module")
def browser(page: Path) -> Iterator[Any]:
    """Chromium without a window, on the page."""
    webdriver = pytest.importorskip("selenium.webdriver")
    if BROWSER is None:
        pytest.skip("needs Chromium")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=400,900"):
        options.add_argument(word)
    driver = webdriver.Chrome(options=options)
    driver.get(page.as_uri())
    yield driver
    driver.quit()


class Runs:
    """The table of runs in the browser, by its controls."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser
        browser.refresh()
        self.table = browser.find_elements("css selector", "table.grid")[-1]
        self.controls = browser.find_elements("css selector", "div.controls")[-1]
        self.names = [head.get_attribute("textContent") for head in self.table.find_elements("css selector", "th")]

    def column(self, name: str) -> list[str]:
        """The cells of a column as they are shown."""
        place = self.names.index(name) + 1
        return [cell.text for cell in self.table.find_elements("css selector", f"tbody td:nth-child({place})")]

    def click(self, name: str) -> None:
        """Sort by a column."""
        head = self.table.find_elements("css selector", "th button")[self.names.index(name)]
        self.browser.execute_script("arguments[0].click()", head)

    def type(self, name: str, text: str) -> None:
        """Filter a column."""
        field = self.table.find_elements("css selector", "tr.filters input")[self.names.index(name)]
        script = "arguments[0].value = arguments[1]; arguments[0].oninput()"
        self.browser.execute_script(script, field, text)


@pytest.mark.slow
def test_tables_sort_filter_and_turn(browser: Any) -> None:
    runs = Runs(browser)
    assert len(runs.column("run")) == 50
    runs.click("test error")
    assert [float(text) for text in runs.column("test error")] == [i / 100 for i in range(50)]
    runs.click("test error")
    assert [float(text) for text in runs.column("test error")] == [i / 100 for i in reversed(range(10, 60))]
    back, following = runs.controls.find_elements("css selector", "button")
    following.click()
    assert [float(text) for text in runs.column("test error")] == [i / 100 for i in reversed(range(10))]
    assert "51 to 60 of 60" in runs.controls.text
    assert (back.is_enabled(), following.is_enabled()) == (True, False)
    runs.type("test error", "<=0.05")
    assert sorted(map(float, runs.column("test error"))) == [i / 100 for i in range(6)]
    assert "1 to 6 of 6 (of 60)" in runs.controls.text
    runs.type("test error", "")
    runs.type("lr", "=0.01")
    assert runs.column("lr") == ["0.01"]


@pytest.mark.slow
def test_tables_search_and_choose_columns(browser: Any) -> None:
    runs = Runs(browser)
    runs.controls.find_element("css selector", "input[type=search]").send_keys("LR=0.02 done")
    assert {text[:16] for text in runs.column("run")} == {"optimizer.lr=0.02"[:16]}
    assert 0 < len(runs.column("run")) < RUNS
    assert set(runs.column("state")) == {"done"}
    runs.controls.find_element("css selector", "summary").click()
    box = runs.controls.find_elements("css selector", "input[type=checkbox]")[runs.names.index("state")]
    browser.execute_script("arguments[0].click()", box)
    assert set(runs.column("state")) == {""}
    assert runs.column("test error")[0] != ""


@pytest.mark.slow
def test_a_narrow_window_scrolls_tables_and_nothing_else(browser: Any) -> None:
    narrow = {"width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    width = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1] == 400
    assert browser.execute_script("return document.images.length") == 0, "a name that is HTML is no picture"


def test_the_page_is_whole_without_its_script(page: Path) -> None:
    text = page.read_text()
    assert text.count("<script") == 1
    assert not re.search(r"(src|href)=\"(https?:)?//", text), "nothing is asked of a network"
    rows = re.search(r"<h2>Runs</h2>.*?<tbody>(.*?)</tbody>", text, re.DOTALL)
    assert rows is not None
    assert rows[1].count("<tr>") == RUNS


def test_a_figure_in_the_page(tmp_path: Path) -> None:
    """Its ids are its own, what they are asked for by too; a screen reader has its title and its text."""
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], label="--><script>alert(1)</script>")
    axes.legend()
    figure.savefig(tmp_path / "a.svg")
    svg = inline(tmp_path / "a.svg", "a")
    assert svg is not None
    text = str(titled(svg, "a figure", 'of <things> & "more"'))
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    assert root.attrib["role"] == "img"
    told = [root.findtext(f"{space}{name}") for name in ("title", "desc")]
    assert told == ["a figure", 'of <things> & "more"']
    assert "<script" not in text
    ids = [one.attrib["id"] for one in root.iter() if "id" in one.attrib]
    asked = re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', text)
    assert all(one.startswith("a-") for one in ids)
    assert asked
    assert {first or second for first, second in asked} <= {*ids}


def test_a_large_figure_is_no_part_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_text("<svg>" + " " * 200_000 + "</svg>")
    assert inline(tmp_path / "a.svg", "a") is None
    (tmp_path / "b.svg").write_bytes(b"\x89PNG")
    assert inline(tmp_path / "b.svg", "b") is None
