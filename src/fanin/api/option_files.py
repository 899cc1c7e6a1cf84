"""The YAML files of the options, fanin's own and a user's: read without Hydra."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from fanin.catalogue import config_folder

SAID = re.compile(r"# *(?!yaml-language-server:)[^@ ]")
"""The beginning of a comment that is for people: not Hydra's `# @package`, nor an editor's line with the schema."""


def group_options(group: str, arguments: Sequence[str] = ()) -> list[str]:
    """The names of a group's options, those of the user's --config-dir included; none of Hydra's own groups."""
    if group.startswith("hydra/"):  # plugins add to those what no folder shows
        return []
    return sorted(option_files([config_folder(), *user_folders(arguments)], group))


def user_folders(arguments: Sequence[str]) -> list[Path]:
    """The folders of option files that --config-dir names."""
    found = []
    for place, argument in enumerate(arguments):
        if argument.startswith(("--config-dir=", "-cd=")):
            found.append(Path(argument.partition("=")[2]))
        elif argument in ("--config-dir", "-cd") and place + 1 < len(arguments):
            found.append(Path(arguments[place + 1]))
    return [folder for folder in found if folder.is_dir()]


def option_files(folders: Sequence[Path], group: str) -> dict[str, Path]:
    """The file of each option; a user's own stands for one of the same name."""
    return {path.stem: path for folder in folders for path in sorted((folder / group).glob("*.yaml"))}


def description(path: Path) -> str:
    """The first comment of an option's YAML."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line.lstrip("# ").strip() for line in lines if SAID.match(line)), "")


def comments_of(text: str) -> dict[str, str]:
    """The comment at the end of each key's line, by the key with its parents."""
    found, parents = dict[str, str](), list[tuple[int, str]]()
    for line in text.splitlines():
        if not (match := re.match(r"( *)([\w.]+):(?:\s|$)(?:.*?\s# ?(.*))?", line)):
            continue
        indent, key, said = len(match.group(1)), match.group(2), match.group(3)
        parents = [(place, name) for place, name in parents if place < indent] + [(indent, key)]
        found[".".join(name for _, name in parents)] = said or ""
    return found
