"""Pages and Markdown from the templates beside this file; in HTML every text from outside is escaped."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, select_autoescape

from fanin.record.atomic_files import write_atomically


def write_template(path: Path, name: str, filters: dict[str, Callable[..., str]] | None = None, **values: Any) -> None:
    """Fill in the template of this name and write it; `filters` are those of this template alone, beside `href`."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(["html"]),
        keep_trailing_newline=True,
    )
    templates.filters |= {"cell": _cell, "href": partial(href, page=path), **(filters or {})}
    text = templates.get_template(name).render(**values)
    write_atomically(path, lambda file: file.write(text.encode(errors="replace")))


def href(path: Path, page: Path) -> str:
    """The path relative to a page; a leading "./" keeps a name with a colon from reading as an address."""
    return quote("./" + Path(os.path.relpath(path, page.parent)).as_posix())


def by_ending(files: Iterable[Path]) -> dict[str, dict[str, Path]]:
    """Files by their stems and endings, as those of one figure are found."""
    found: dict[str, dict[str, Path]] = {}
    for path in files:
        found.setdefault(path.stem, {})[path.suffix] = path
    return found


def _cell(text: str) -> str:
    """A text as a cell of a table in Markdown, every letter of it shown: no tag, link, code, emphasis or entity."""
    text = re.sub(r"([\\|`*])", r"\\\1", " ".join(text.split("\n"))).replace("](", "]\\(")
    text = re.sub(r"(?<!\w)_|_(?!\w)", r"\_", text)
    return re.sub(r"&(?=#?\w+;)", "&amp;", text).replace("<", "&lt;").replace("~", "&#126;")
