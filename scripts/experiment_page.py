"""The reference's page of the experiments: what each settles, its grid, its claims and what its figure shows."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from docstrings import markdown
from fanin.api.option_files import description
from fanin.catalogue import GROUPS
from fanin.cli.help import header, option_keys
from fanin.report.studies import load_study
from fanin.report.studies.base import Study
from option_pages import content, option_names, options, sentence, typed

DOCS = Path(__file__).parents[1] / "docs"
CLAIMS = Path(__file__).with_name("claims.yaml")
"""Of every study, as it words them for its own grid: written by `make reference ARGS=--claims`."""


def page() -> str:
    """The page."""
    claims = yaml.safe_load(CLAIMS.read_text())
    parts = [
        f"# experiment: {GROUPS['experiment'].words}\n",
        f"{len(options('experiment'))} options, chosen by `experiment=NAME`; keys and axes that are typed besides go",
        "before theirs. Written by `make reference`.\n",
    ]
    for path in options("experiment"):
        node = content(path)
        parts += [f"## `{typed('experiment', path.stem)}`\n", f"{sentence(description(path))}\n"]
        parts += _study(load_study(node.get("study")))
        parts += _commands(path)
        parts += _settings(path, node)
        parts += _grid(node["hydra"]["sweeper"]["params"])
        if said := claims.get(path.stem):
            parts += ["**Claims**, judged from the runs:\n", *(f"- {_plain(claim)}" for claim in said), ""]
        parts += _figure(path.stem, load_study(node.get("study")))
    return "\n".join(parts)


def _study(study: Study | None) -> Iterator[str]:
    """What the module of a study says of its theory."""
    if study is not None:
        said = sys.modules[type(study).__module__].__doc__ or ""
        yield markdown(sentence(re.sub(r"^\w+: *", "", said.strip())), option_names()) + "\n"


def _commands(path: Path) -> Iterator[str]:
    """How it is typed, as the top of its file shows."""
    lines = [line.lstrip("# ") for line in header(path) if re.match(r"#   +fanin ", line)]
    yield "\n".join(["```", *lines, "```", ""])


def _settings(path: Path, node: dict[str, Any]) -> Iterator[str]:
    """The options and keys that it sets."""
    chosen = [next(iter(entry.items())) for entry in node.get("defaults", []) if isinstance(entry, dict)]
    rows = [(f"{key.split('/')[-1]}", str(value), "") for key, value in chosen] + [
        row for row in option_keys(path, "experiment") if row[2] or not row[0].startswith("study")
    ]
    told = [f"`{key}={value}`" + (f" ({_plain(said)})" if said else "") for key, value, said in rows]
    yield f"**Sets** {', '.join(told)}.\n"


def _grid(params: dict[str, Any]) -> Iterator[str]:
    """The axes of its grid, and what goes with some choices."""
    axes = [f"`{key}={' '.join(str(value).split())}`" for key, value in params.items() if "=" not in key]
    yield f"**Grid** {', '.join(axes)}.\n"
    tied = [f"- `{key}`: `{' '.join(str(value).split())}`" for key, value in params.items() if "=" in key]
    if tied:
        yield "\n".join(["With some choices go settings of their own:\n", *tied, ""])


def _figure(name: str, study: Study | None) -> Iterator[str]:
    """The figure of its report, where there is one in docs/figures, and what that shows."""
    drawn = "study.png" if name == "init_study" else f"figures/{name}.png"
    if (DOCS / drawn).is_file():
        yield f"![The figure of {name}](../{drawn})\n"
    if study is not None and study.caption:
        yield f"**Figure.** {_plain(study.caption)}\n"


def _plain(text: str) -> str:
    """Text of a report in Markdown."""
    return text.replace("*", r"\*").replace("<", "&lt;")
