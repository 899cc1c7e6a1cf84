"""The pages: links lead somewhere, and the site is built of them, whole and without anything from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
TEXTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(ROOT.glob("docs/**/*.md"))
NEEDED = [name for name in ("mkdocs", "material", "latex2mathml") if find_spec(name) is None]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_the_files_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if not urlsplit(target).scheme:
            there = (page.parent / path).resolve() if path else page
            assert there.exists(), target
            assert not anchor or anchor in anchors(there), target


class Links(HTMLParser):
    """What a page of the site has, leads to and loads."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.ids, self.leads, self.loads, self.formulas = set[str](), list[str](), list[str](), 0
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one."""
        given = dict(attrs)
        self.ids |= {str(given[name]) for name in ("id", "name") if given.get(name)}
        self.formulas += tag == "math"
        if tag == "a" and given.get("href"):
            self.leads.append(str(given["href"]))
        loaded = given.get("src") or (given.get("href") if tag == "link" and given.get("rel") != "canonical" else None)
        self.loads += [str(loaded)] if loaded and tag != "a" else []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it."""
    if NEEDED:
        pytest.skip(f"pip install 'fanin[docs]': {', '.join(NEEDED)} missing")
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)]
    given = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    said = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert "WARNING" not in said.stderr
    return place


def test_every_link_of_the_site_leads_to_a_place_in_it(site: Path) -> None:
    pages = {page: Links(page) for page in site.glob("**/*.html")}
    assert {page.relative_to(site).as_posix() for page in pages} >= {"index.html", "reference/optimizer.html"}
    for page, links in pages.items():
        for target in (*links.leads, *links.loads):
            parts = urlsplit(target)
            if parts.scheme or page.name == "404.html":  # that one is served for any address
                continue
            there = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            there = there / "index.html" if there.is_dir() else there
            assert there.is_file(), (page, target)
            ids = pages[there].ids if there in pages else set()
            assert not parts.fragment or unquote(parts.fragment) in ids, (page, target)


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    loaded = {target for page in site.glob("**/*.html") for target in Links(page).loads}
    assert [target for target in loaded if urlsplit(target).scheme not in ("", "data")] == []


def test_every_formula_is_typeset(site: Path) -> None:
    """Counted in the Markdown, where they stand between dollars outside of code."""
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
        built = site / "reference" / f"{page.stem}.html"
        assert Links(built).formulas == len(re.findall(r"\$[^$]+\$", text)), page.name
        assert not re.search(r"merror|\\\(|\\(frac|mathrm|leftarrow)", built.read_text()), page.name


def test_pages_outside_of_docs_and_every_page_of_it_are_in_the_site(site: Path) -> None:
    assert "one number decides" in (site / "index.html").read_text()
    assert "What adding one of each kind touches" in (site / "contributing.html").read_text()
    built = {page.relative_to(site).with_suffix("").as_posix() for page in site.glob("**/*.html")}
    assert {page.relative_to(ROOT / "docs").with_suffix("").as_posix() for page in ROOT.glob("docs/**/*.md")} <= built
