"""What README.md and the pages of docs/ show: their sections, the files in them and the commands as they are typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
"""Written by hand, or with a few lines of their own, as docs/files.md; the pages of docs/reference are generated."""


def sections(page: str) -> dict[str, str]:
    """The sections of a page, docs/NAME.md or README.md, by their headings, in order."""
    parts = re.split(r"^## (.*)\n", (ROOT / page).read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(text: str, language: str = "") -> list[str]:
    """The code blocks of a text that say this language, without a language by default."""
    found = re.findall(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for kind, block in found if kind == language]


def commands(text: str) -> list[list[str]]:
    """The words of every command of fanin's that a text shows, lines that go on put together."""
    lines = "\n".join(blocks(text)).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("fanin")]


def files(text: str) -> dict[str, str]:
    """The files that a text shows: each block below a line that ends with a colon, under the last name in that line."""
    found = re.findall(r"`([\w/.]+\.(?:py|yaml))`[^`\n]*:\n+```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return dict(found)


def write_files(text: str, folder: Path) -> None:
    """Write the files that a text shows below a folder."""
    for name, content in files(text).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
