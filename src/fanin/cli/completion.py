"""`fanin --shell-completion`: what a shell asks while a command is typed, groups, options, keys and their values."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from fanin.api.option_files import description, group_options, option_files, user_folders
from fanin.catalogue import GROUPS, KEYS, SEVERAL, config_folder
from fanin.cli.shells import SHELLS
from fanin.errors import UserError

FLAGS = ("--help", "--version", "--schema", "--cfg", "--info", "--config-dir", "--multirun", "--dry-run",
         "--hydra-help", "-m")  # fmt: skip
"""What may be typed beside overrides."""

ASKED = "install=SHELL, uninstall=SHELL or query=SHELL, SHELL being bash, zsh or fish"


def answer(asked: Sequence[str]) -> str:
    """What a shell is told: the script that makes it ask, or what may stand where the cursor is.

    Args:
        asked: install=SHELL, uninstall=SHELL or query=SHELL; the line comes in the variable COMP_LINE.

    Raises:
        UserError: something else was asked.
    """
    verb, _, shell = asked[0].partition("=") if len(asked) == 1 else ("", "", "")
    if shell not in SHELLS or verb not in ("install", "uninstall", "query"):
        raise UserError(f"--shell-completion {' '.join(asked)}".rstrip() + f": must be {ASKED}")
    if verb != "query":
        return SHELLS[shell].install if verb == "install" else SHELLS[shell].uninstall
    typed = os.environ.get("COMP_LINE")
    if typed is None:
        raise UserError("--shell-completion query: needs what was typed in the variable COMP_LINE")
    words, word, quoted = split(typed)
    found = list(dict.fromkeys(candidates(words, word)))
    if shell == "bash" and not quoted:
        found = [one[_replaced_from(word, os.environ.get("COMP_WORDBREAKS", "=:")) :] for one in found]
    if shell == "fish":
        return "\n".join(f"{one}\t{said}" if (said := _said_of(one, words)) else one for one in found)
    return "\n".join(found)


def split(line: str) -> tuple[list[str], str, bool]:
    """The whole words of a line behind the program, the beginning of the one at its end, and whether that is quoted.

    >>> split("fanin optimizer=adam 'model.width=[25")
    (['optimizer=adam'], 'model.width=[25', True)
    >>> split("fanin -m ")
    (['-m'], '', False)
    """
    for end in ("", "'", '"', "\\"):
        try:
            words = shlex.split(line + end)
            break
        except ValueError:
            continue
    else:
        return [], "", False
    begun = end != "" or not line[-1:].isspace()
    return (words[1:-1], words[-1], end in ("'", '"')) if begun and len(words) > 1 else (words[1:], "", False)


def _replaced_from(word: str, breaks: str) -> int:
    """Where the part of a word begins that bash replaces: behind the last of the letters that break words."""
    return max((place + 1 for place, letter in enumerate(word) if letter in breaks), default=0)


def candidates(words: Sequence[str], word: str) -> Iterator[str]:
    """What a word may become, in order.

    Args:
        words: typed before it.
        word: its beginning.
    """
    if words and words[-1] in ("--config-dir", "-cd", "--config-name", "--config-path"):
        return  # the shell's own: a folder
    if word.startswith("-"):
        yield from (flag for flag in FLAGS if flag.startswith(word))
        return
    sign = word[: len(word) - len(word.lstrip("+~"))]
    key, equals, value = word[len(sign) :].partition("=")
    if not equals:
        found: Iterable[str] = _keys(words, key)
    elif key in GROUPS or "/" in key:
        found = (f"{key}={one}" for one in _options(words, key, value))
    else:
        found = (f"{key}={one}" for one in _values(words, key) if one.startswith(value))
    yield from (f"{sign}{one}" for one in found)


def _options(words: Sequence[str], group: str, value: str) -> Iterator[str]:
    """The options of a group, after those that are typed already: adam,sgd of a grid, [l2,dropout of a list."""
    names = group_options(group, words) if group in GROUPS else _hydra_options(words, group)
    if not (typed := re.fullmatch(r"(\[?(?:[\w-]+,)*)([\w-]*)", value)):
        return
    before, begun = typed.groups()
    if before.startswith("[") and group not in SEVERAL:
        return
    taken = before.strip("[").split(",")
    yield from (before + name for name in names if name.startswith(begun) and name not in taken)


def _keys(words: Sequence[str], begun: str) -> Iterator[str]:
    """Groups and keys that begin so: a level at a time, as a shell shows folders."""
    if begun[:5] and "hydra/".startswith(begun[:6]):
        yield from (one for one in ("hydra.", "hydra/launcher=", "hydra/sweeper=") if one.startswith(begun))
    above, dot, last = begun.rpartition(".")
    if not above:
        for key in ("experiment", *KEYS, "debug"):
            if key.startswith(last):
                yield f"{key}="
                yield from [f"{key}."] if key in GROUPS and GROUPS[key].bases else []
        return
    node: Any = _composed(words, hydra=above.partition(".")[0] == "hydra")
    for name in above.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    for name, value in node.items() if isinstance(node, dict) else ():
        if str(name).startswith(last) and not str(name).startswith("_"):
            yield f"{above}{dot}{name}" + ("." if isinstance(value, dict) and value else "=")


def _values(words: Sequence[str], key: str) -> list[str]:
    """The values that a key is known to have: those of its schema, true and false, and the one that it has."""
    node: Any = _composed(words, hydra=key.startswith("hydra."))
    target: Any = None
    for name in key.split("."):
        target, node = node, node.get(name) if isinstance(node, dict) else None
    schema = _schema(key, target)
    kinds = schema.get("type", [])
    found = [one for part in schema.get("anyOf", []) for one in part.get("enum", [])]
    found += [True, False] * ("boolean" in kinds or isinstance(node, bool))
    found += [node] * (node is not None and not isinstance(node, (dict, list, bool)))
    found += [None] * ("null" in kinds or {"type": "null"} in schema.get("anyOf", []))
    return list(dict.fromkeys(one if isinstance(one, str) else json.dumps(one) for one in found))


def _schema(key: str, node: Any) -> dict[str, Any]:
    """The schema of a key of one of fanin's own options, {} of any other."""
    group, *rest = key.split(".")
    folder = config_folder()
    for path in sorted((folder / group).glob("*.yaml")) if group in GROUPS else ():
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for name in rest[:-1]:
            content = content.get(name) or {}
        if not content or content.get("_target_") != (node or {}).get("_target_"):
            continue
        schema = json.loads((folder.parent / "schemas" / group / f"{path.stem}.json").read_text(encoding="utf-8"))
        for name in rest:
            schema = schema.get("properties", {}).get(name, {})
        return dict(schema)
    return {}


def _composed(words: Sequence[str], *, hydra: bool = False) -> dict[str, Any]:
    """The configuration of what is typed, of a grid its first run; {} where it cannot be composed."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from fanin.api.application import application

    parser, overrides = OverridesParser.create(), []
    for word in words:
        try:
            override = parser.parse_override(word)
            if override.is_sweep_override():
                word = f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"
            overrides.append(word)
        except Exception:  # an option, or wrong: the command itself says how
            continue
    try:
        with application(more=next(iter(user_folders(words)), None)) as app:
            cfg = app.config_loader.load_configuration("config", overrides, RunMode.RUN)
    except Exception:
        return {}
    found: Any = OmegaConf.to_container(cfg, resolve=False)
    return dict(found) if hydra else {key: value for key, value in found.items() if key != "hydra"}


def _hydra_options(words: Sequence[str], group: str) -> list[str]:
    """The options of a group of Hydra's own, those of its plugins as well."""
    from hydra.core.object_type import ObjectType

    from fanin.api.application import application

    with application(more=next(iter(user_folders(words)), None)) as app:
        return sorted(app.config_loader.get_group_options(group, ObjectType.CONFIG))


def _said_of(candidate: str, words: Sequence[str]) -> str:
    """What an option says of itself, or what a group is, for shells that show it beside."""
    key, equals, value = candidate.partition("=")
    if key in GROUPS and equals and re.fullmatch(r"\w+", value):
        path = option_files([config_folder(), *user_folders(words)], key).get(value)
        return description(Path(path)) if path else ""
    return GROUPS[key].words if key in GROUPS and not value else ""
