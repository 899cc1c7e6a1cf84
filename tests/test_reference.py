"""The generated reference and its table of groups: current, complete and rightly counted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
GROUPS = {path.name: sorted(file.stem for file in path.glob("*.yaml")) for path in CONF.iterdir() if path.is_dir()}
GROUPS.pop("hydra")


def test_what_is_generated_is_current() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "reference.py"), "--check"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


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
        keys = [
            key
            for name in names
            for key in re.findall(r"^\s*([a-z_]\w*):.*  # ", (CONF / group / f"{name}.yaml").read_text(), re.MULTILINE)
            if not key.startswith("_")
        ]
        assert all(re.search(rf"^\s*{key}:", page, re.MULTILINE) for key in keys)


def test_a_page_that_is_not_current_is_told(tmp_path: Path) -> None:
    """In a copy of the repository's files, with one option's comment changed."""
    for name in ("conf", "docs", "scripts"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(tmp_path)], check=True)
    page = tmp_path / "docs" / "reference" / "optimizer.md"
    page.write_text(page.read_text().replace("stochastic gradient descent", "something else"))
    (tmp_path / "docs" / "reference" / "gone.md").write_text("a group that is no more\n")
    command = [sys.executable, str(tmp_path / "scripts" / "reference.py"), "--check"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert said.stdout.splitlines() == [
        "docs/reference/optimizer.md: not current; make reference",
        "docs/reference/gone.md: not current; make reference",
    ]
