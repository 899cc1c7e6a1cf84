"""`fanin --help`, from the configuration's own files, without importing Hydra or torch."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from fanin import __version__
from fanin.api.option_files import SAID, comments_of, description, option_files, user_folders
from fanin.catalogue import GROUPS, config_folder
from fanin.errors import OptionError, did_you_mean

USAGE = f"""\
fanin {__version__}: a laboratory for how deep networks start and keep training

  fanin [GROUP=OPTION ...] [KEY=VALUE ...]      one run
  fanin -m KEY=VALUE,VALUE [...]                a grid: the product of all values
  fanin experiment=init_study [...]             a study: its settings, its grid, its report
  fanin-report FOLDER...                        tables, figures and a page from any run folders

  fanin model.depth=20 initializer=kaiming_normal optimizer=adam trainer.epochs=3
  fanin experiment=init_study initializer.c=1,2,3,4 seed=0,1 model.depth=100
  fanin -m optimizer.lr=0.001,0.01,0.1 seed=0,1,2

Groups and their options (* the default):
"""

FOOTER = """
  fanin GROUP=OPTION --help     the keys of an option, each with its default and what it says
  fanin --dry-run [...]         what a command would run, and about how long; nothing is run
  fanin --cfg job [...]         every key of a run, with its value; nothing is run
  fanin GROUP=OPTION --schema   the JSON schema of an option, for editors; of your own, too
  fanin --shell-completion install=bash         what a shell needs to complete all this (or zsh, fish)
  fanin --hydra-help            flags of Hydra itself (--config-dir, --info, ...)
  force=true                    run again what is finished; hydra.sweep.dir=DIR puts runs elsewhere"""


def help_text(arguments: Sequence[str] = ()) -> str:
    """The whole help or, where options are typed, that of their keys; a user's own --config-dir adds its options.

    Raises:
        OptionError: an option that is not there.
    """
    folders = [config_folder(), *user_folders(arguments)]
    pairs = [argument.lstrip("+").partition("=") for argument in arguments if not argument.startswith("-")]
    asked = [(group, option.strip("[]")) for group, _, option in pairs if group in _groups(folders)]
    if not asked:
        around = [[wrapped(line, " " * 48) for line in part.splitlines()] for part in (USAGE, FOOTER)]
        return "\n".join([*around[0], *_all_options(folders), *around[1]])
    parts = [_keys_of(folders, group, name) for group, names in asked for name in re.split(r",", names)]
    return "\n\n".join(parts)


def _all_options(folders: Sequence[Path]) -> Iterator[str]:
    """The groups, and their options with what they say."""
    chosen = defaults(folders[0])
    for group in _groups(folders):
        yield f"  {group}"
        for name, words in _options(folders, group).items():
            yield wrapped(f"   {'*' if name == chosen.get(group) else ' '} {name:21} {words}", " " * 27)


def _keys_of(folders: Sequence[Path], group: str, name: str) -> str:
    """What an option says of itself, and its keys with their defaults and comments."""
    files = option_files(folders, group)
    if name not in files:
        if not name:
            lines = [wrapped(f"  {one:21} {words}", " " * 24) for one, words in _options(folders, group).items()]
            return "\n".join([f"{group}: {GROUPS[group].words if group in GROUPS else ''}".rstrip(": "), *lines])
        raise OptionError(group, name, f"one of {', '.join(sorted(files))}", did_you_mean(name, files))
    above = [line.lstrip("# ") for line in header(files[name]) if SAID.match(line)]
    node = content(files[name])
    rows = [(f"{key}={value}", said) for key, value, said in option_keys(files[name], group)]
    params = ((node.get("hydra") or {}).get("sweeper") or {}).get("params") or {}
    rows += [(f"{key}={value}", "an axis of its grid") for key, value in params.items() if "=" not in str(key)]
    broad = min(34, max((len(row) for row, _ in rows), default=0))
    told = [wrapped(f"{group}={name}: {above[0] if above else ''}".rstrip(": "), "  ")]
    told += [wrapped(f"  {line}", "    ") for line in above[1:]]
    return "\n".join([*told, *(wrapped(f"  {row:{broad}}  {said}".rstrip(), " " * (broad + 4)) for row, said in rows)])


def header(path: Path) -> list[str]:
    """The lines at the top of an option's YAML, where its comment stands."""
    return path.read_text(encoding="utf-8").split("\n\n")[0].splitlines()


def content(path: Path) -> dict[str, Any]:
    """What an option's YAML says."""
    with path.open(encoding="utf-8") as file:  # an error in it names the file
        return yaml.safe_load(file) or {}


def option_keys(path: Path, group: str) -> list[tuple[str, str, str]]:
    """The keys of an option as they are typed, each with its default and what its comment says."""
    text = path.read_text(encoding="utf-8")
    package = "" if re.search(r"^# @package _global_", text, re.MULTILINE) else f"{group}."
    return list(_rows(content(path), comments_of(text), package))


def _rows(
    node: dict[str, Any], comments: dict[str, str], prefix: str, path: str = ""
) -> Iterator[tuple[str, str, str]]:
    """The keys of an option as they are typed, their values and comments; none of Hydra's own, no targets."""
    for key, value in node.items():
        here = f"{path}{key}"
        if str(key).startswith("_") or here in ("defaults", "hydra"):
            continue
        if isinstance(value, dict) and value:
            yield from _rows(value, comments, prefix, f"{here}.")
        else:
            shown = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
            value, before = _looked_up(shown)
            yield f"{prefix}{here}", value, "; ".join(filter(None, (comments.get(here, ""), before)))


def _looked_up(shown: str) -> tuple[str, str]:
    """A default as a reader needs it: its value and, where that is looked up first, what is looked at.

    >>> _looked_up("${oc.env:FANIN_DATA,data}"), _looked_up("${fanin.depth:5}"), _looked_up("0.1")
    (('data', 'or what the environment variable FANIN_DATA says'), ('5', ''), ('0.1', ''))
    """
    if found := re.fullmatch(r"\$\{oc\.env:(\w+),(.*)\}", shown):
        return found[2], f"or what the environment variable {found[1]} says"
    found = re.fullmatch(r"\$\{fanin\.depth:(\d+)\}", shown)  # of which the comment says what else decides it
    return (found[1] if found else shown), ""


def wrapped(line: str, indent: str) -> str:
    """A line broken between words to the width of the terminal; what follows the first one is indented."""
    width = max(40, shutil.get_terminal_size().columns)
    if len(line) <= width:
        return line
    lead = re.match(r" *", line).group()  # type: ignore[union-attr]
    words = line.strip().split(" ")  # columns stay: runs of spaces are words of no letters
    lines, room = [lead + words[0]], width
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) <= room or not lines[-1].strip():
            lines[-1] += " " + word
        else:
            lines.append(indent + word)
    return "\n".join(one.rstrip() for one in lines)


def _groups(folders: Sequence[Path]) -> list[str]:
    there = {path.name for folder in folders for path in folder.iterdir() if path.is_dir() and path.name != "hydra"}
    return [group for group in GROUPS if group in there] + sorted(there - set(GROUPS))


def _options(folders: Sequence[Path], group: str) -> dict[str, str]:
    """Each option with the first comment of its YAML."""
    return {name: description(path) for name, path in option_files(folders, group).items()}


def defaults(folder: Path) -> dict[str, str]:
    """The option of each group that config.yaml chooses."""
    listed = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    pairs = [pair for entry in listed if isinstance(entry, dict) for pair in entry.items()]
    return {str(group): str(option) for group, option in pairs if option and not str(group).startswith("override ")}
