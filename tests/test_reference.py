"""The generated reference and its table of groups: current, complete and rightly counted."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
GROUPS = {path.name: sorted(file.stem for file in path.glob("*.yaml")) for path in CONF.iterdir() if path.is_dir()}
GROUPS.pop("hydra")


def test_what_is_generated_is_current() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "reference.py"), "--check"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


@pytest.mark.slow
def test_the_claims_are_those_that_the_studies_make() -> None:
    """Asked of the studies themselves, over their own grids."""
    command = [sys.executable, str(ROOT / "scripts" / "reference.py"), "--check", "--claims"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "")


def test_every_study_has_its_claims_on_the_page_of_experiments() -> None:
    page = (ROOT / "docs" / "reference" / "experiment.md").read_text()
    parts = dict(zip(*[iter(re.split(r"^## `experiment=(\w+)`$", page, flags=re.MULTILINE)[1:])] * 2, strict=True))
    assert [
        name for name, part in parts.items() if not re.search(r"^!\[The figure of \w+\]\(", part, re.MULTILINE)
    ] == []
    claimed = yaml.safe_load((ROOT / "scripts" / "claims.yaml").read_text())
    assert claimed.keys() == {name for name in parts if "study:" in (CONF / "experiment" / f"{name}.yaml").read_text()}
    for name, claims in claimed.items():
        listed = re.findall(r"^- (.+)$", parts[name].partition("**Claims**")[2], re.MULTILINE)
        assert [re.sub(r"\\(.)", r"\1", one).replace("&lt;", "<") for one in listed] == claims, name
        assert f"![The figure of {name}](../figures/{name}.png)\n\n**Figure.** " in parts[name], name


def test_the_table_counts_the_options_of_every_group() -> None:
    """Counted here from the files alone."""
    table = (ROOT / "docs" / "reference" / "index.md").read_text()
    rows = re.findall(r"^\| \[`(\w+)`\]\((\S+)\) \| (\d+) \| (.*?) \|", table, re.MULTILINE)
    assert {group: int(number) for group, _, number, _ in rows} == {name: len(files) for name, files in GROUPS.items()}
    assert {group: re.findall(r"`(\w+)`", options) for group, _, _, options in rows} == GROUPS
    assert [link for _, link, _, _ in rows] == [f"{group}.md" for group, _, _, _ in rows]
    (total,) = re.findall(r"^\| (\d+) groups \| (\d+) \|", table, re.MULTILINE)
    assert tuple(map(int, total)) == (len(GROUPS), sum(map(len, GROUPS.values())))


def test_the_pages_have_every_option_with_its_keys_and_its_docstring() -> None:
    for group, names in GROUPS.items():
        page = (ROOT / "docs" / "reference" / f"{group}.md").read_text()
        titles = re.findall(r"^## `(?:\w+)=\[?([\w]+)\]?`$", page, re.MULTILINE)
        assert titles == names
        for name, part in zip(names, re.split(r"^## ", page, flags=re.MULTILINE)[1:], strict=True):
            said = (CONF / group / f"{name}.yaml").read_text().partition("\nhydra:")[0]
            keys = re.findall(r"^ *([a-z]\w*): .*  # ", said, re.MULTILINE)
            assert all(re.search(rf"`[\w.]*\b{key}[`=]", part, re.MULTILINE) for key in keys), name


def test_pages_speak_of_keys_and_not_of_constructors() -> None:
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        text = page.read_text()
        assert not re.search(r"_target_|^\*(Args|Raises)\*|>>>|`fanin\.parts|OptionError", text, re.MULTILINE), (
            page.name
        )


def test_an_option_has_its_formulas_and_its_source() -> None:
    page = (ROOT / "docs" / "reference" / "optimizer.md").read_text()
    (part,) = re.findall(r"## `optimizer=momentum`\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    assert (
        r"$v \leftarrow \rho v - a g$;  $\theta \leftarrow \theta + v$;  $v = 0$ at first. Source: Polyak 1964." in part
    )
    assert re.search(r"^\| `optimizer.lr` \| `0.01` \| .*>= 0", part, re.MULTILINE)


def test_a_page_that_is_not_current_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a copy of the pages, with one changed and one too many."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import reference

    pages = tmp_path / "docs" / "reference"
    shutil.copytree(ROOT / "docs" / "reference", pages)
    wanted = {page: page.read_text() for page in pages.glob("*.md")}
    (pages / "optimizer.md").write_text(wanted[pages / "optimizer.md"].replace("Polyak 1964", "something else"))
    (pages / "gone.md").write_text("a group that is no more\n")
    for name, value in (("ROOT", tmp_path), ("PAGES", pages), ("contents", lambda: wanted)):
        monkeypatch.setattr(reference, name, value)
    monkeypatch.setattr(reference.schemas, "unknown", lambda wanted: [])
    monkeypatch.setattr(sys, "argv", ["reference.py", "--check"])
    assert reference.main() == 1
    assert capsys.readouterr().out.splitlines() == [
        "docs/reference/optimizer.md: not current; make reference",
        "docs/reference/gone.md: not current; make reference",
    ]
