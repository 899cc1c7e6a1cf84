"""The reference's page of a group: each option with its formula, its source and its keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from docstrings import arguments, markdown, told
from fanin.api.option_files import description
from fanin.catalogue import GROUPS, PARTS, config_folder
from fanin.cli import help as told_by_help
from fanin.cli.help import defaults, option_keys
from fanin.targets import find

content = cache(told_by_help.content)
"""What an option's YAML says, each read once."""


def options(group: str) -> list[Path]:
    """The YAML files of a group."""
    return sorted((config_folder() / group).glob("*.yaml"))


def page(group: str) -> str:
    """The page of a group."""
    parts = [f"# {group}: {GROUPS[group].words}\n", f"{_choose(group)} Written by `make reference`.\n"]
    for path in options(group):
        parts += [f"## `{typed(group, path.stem)}`\n", f"{sentence(description(path))}\n", *_about(group, path)]
        parts += [keys] if (keys := _keys(group, path)) else []
    return "\n".join(parts)


def typed(group: str, name: str) -> str:
    """How an option is chosen."""
    return f"{group}=[{name}]" if GROUPS[group].several else f"{group}={name}"


def sentence(text: str) -> str:
    """A text with a full stop, and a capital letter unless its first word is a name as it is typed."""
    first = text.split(" ")[0]
    return (text[:1].upper() + text[1:] if first.isalpha() else text) + ("" if text.endswith((".", "?")) else ".")


def cell(text: str) -> str:
    """A text in a table."""
    return text.replace("|", "\\|")


def _choose(group: str) -> str:
    """How many options there are, and how they are chosen."""
    number, chosen = len(options(group)), defaults(config_folder()).get(group)
    many = f"{number} options" if number > 1 else "1 option"
    if GROUPS[group].several:
        return f"{many}, of which a run takes any number: `{group}=[NAME,NAME]`."
    default = f"; the default is `{chosen}`" if chosen else ""
    return f"{many}, chosen by `{group}=NAME`{default}."


def _about(group: str, path: Path) -> Iterator[str]:
    """What the docstrings of an option's classes say."""
    for target in _targets(group, path):
        yield f"{told(target, option_names())}\n"


def _keys(group: str, path: Path) -> str:
    """The table of an option's keys."""
    meant: dict[str, str] = {}
    for target in _targets(group, path):
        meant |= arguments(target)
    lines = ["| key | default | |", "|---|---|---|"]
    for key, value, said in option_keys(path, group):
        both = markdown(_together(said, meant.get(key.rpartition(".")[2], "").rstrip(".")), option_names())
        lines.append(f"| `{key}` | `{cell(value)}` | {cell(both)} |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def _together(short: str, long: str) -> str:
    """What a YAML says of a key and what a docstring does; one of them where it has most words of the other."""
    words = [set(re.findall(r"[a-z]{3,}", text.lower())) for text in (short, long)]
    shared = len(words[0] & words[1])
    if long and shared >= 0.6 * len(words[0]):
        return long
    return short if not long or (words[1] and shared >= 0.6 * len(words[1])) else f"{short}; {long}"


def _targets(group: str, path: Path) -> list[Any]:
    """The classes or functions that make an option."""
    named = [*target_names(content(path))] or ([GROUPS[group].target] if GROUPS[group].target else [])
    return [find(name) for name in named]


def target_names(node: object) -> Iterator[str]:
    """Every `_target_` in a YAML."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "_target_":
                yield str(value)
            else:
                yield from target_names(value)


@cache
def option_names() -> dict[str, str]:
    """The names of classes that are options, with the names of these."""
    found = dict[str, str]()
    for group in PARTS:
        for path in options(group):
            found |= {name.rpartition(".")[2]: path.stem for name in target_names(content(path))}
    return found
