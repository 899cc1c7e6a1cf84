"""`fanin --help`, from the configuration's own files, without importing Hydra or torch."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path

from fanin import __version__
from fanin.catalogue import GROUPS, config_folder

HIDDEN = ("hydra",)

USAGE = f"""\
fanin {__version__}: a laboratory for how deep networks start and keep training

  fanin [GROUP=OPTION ...] [KEY=VALUE ...]      one run
  fanin -m KEY=VALUE,VALUE [...]                a grid: the product of all values
  fanin experiment=init_study [...]             a study: its settings, its grid, its report
  fanin-report FOLDER...                        tables, figures and a page from any run folders

  fanin model.depth=20 initializer=kaiming_normal normalization=layer optimizer=adam schedule=cosine trainer.epochs=3
  fanin experiment=init_study initializer.c=1,2,3,4 seed=0,1 model.depth=100 model.width=256
  fanin -m optimizer.lr=0.001,0.01,0.1 seed=0,1,2

Groups and their options (* the default):
"""

FOOTER = """
  fanin --cfg job [...]         every key of a run, with its value; nothing is run
  fanin --hydra-help            flags of Hydra itself (--config-dir, --info, --shell-completion, ...)
  force=true                    run again what is finished; hydra.sweep.dir=DIR puts runs elsewhere"""


def help_text(arguments: Sequence[str] = ()) -> str:
    """The whole help; a user's own --config-dir adds its options."""
    folders = [config_folder(), *_user_folders(arguments)]
    lines = []
    for group in _groups(folders):
        default = defaults(folders[0]).get(group)
        lines.append(f"  {group}")
        for name, description in _options(folders, group).items():
            lines.append(f"   {'*' if name == default else ' '} {name:20} {description}")
    return USAGE + "\n".join(lines) + "\n" + FOOTER


def wrapped(line: str, indent: str) -> str:
    """A line broken between words to the width of the terminal; what follows the first one is indented."""
    width = max(40, shutil.get_terminal_size().columns)
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def group_options(group: str, arguments: Sequence[str] = ()) -> list[str]:
    """The names of a group's options, those of the user's --config-dir included; none of Hydra's own groups."""
    if group.startswith("hydra/"):  # plugins add to those what no folder shows
        return []
    return sorted(_options([config_folder(), *_user_folders(arguments)], group))


def _user_folders(arguments: Sequence[str]) -> list[Path]:
    found = []
    for place, argument in enumerate(arguments):
        if argument.startswith("--config-dir="):
            found.append(Path(argument.partition("=")[2]))
        elif argument in ("--config-dir", "-cd") and place + 1 < len(arguments):
            found.append(Path(arguments[place + 1]))
    return [folder for folder in found if folder.is_dir()]


def _groups(folders: Sequence[Path]) -> list[str]:
    there = {path.name for folder in folders for path in folder.iterdir() if path.is_dir() and path.name not in HIDDEN}
    return [group for group in GROUPS if group in there] + sorted(there - set(GROUPS))


def _options(folders: Sequence[Path], group: str) -> dict[str, str]:
    """Each option with the first comment of its YAML."""
    files = {path.stem: path for folder in folders for path in sorted((folder / group).glob("*.yaml"))}
    return {name: description(path) for name, path in files.items()}


def description(path: Path) -> str:
    """The first comment of an option's YAML."""
    for line in path.read_text().splitlines():
        text = line.lstrip("# ").strip()
        if line.startswith("#") and text and not text.startswith("@"):
            return text
    return ""


def defaults(folder: Path) -> dict[str, str]:
    """The defaults list of config.yaml, read by eye: YAML would cost an import."""
    defaults = {}
    for line in (folder / "config.yaml").read_text().splitlines():
        if line.startswith("  - ") and ":" in line and "override" not in line:
            group, _, option = line[4:].partition("#")[0].partition(":")
            defaults[group.strip()] = option.strip()
    return defaults
