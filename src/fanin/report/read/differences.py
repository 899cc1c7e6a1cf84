"""What of a run's configuration is not the default, and the command that repeats the run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fanin.catalogue import PARTS, SEVERAL, config_folder
from fanin.record.overrides import display, read_yaml, scalar
from fanin.report.read.folders import Run

NO_DEFAULT = "–"


class Difference(NamedTuple):
    """A key whose value is not the default: the key, its value in the run, and the default, as texts."""

    key: str
    value: str
    default: str


def differences(run: Run) -> list[Difference]:
    """The options that are not the default ones, and the keys of options that are not as their YAML files have them.

    A key that no file has, as that of an option of the user's own, has no default. What a default computes from other
    keys is left out, and where the data lie.
    """
    base = _mapping(read_yaml(config_folder() / "config.yaml"))
    usual = {key: option for one in base.get("defaults", ()) for key, option in _mapping(one).items()}
    found = []
    for group in PARTS:
        option = run.config.option(group)
        if option is not None and option != str(usual.get(group)):
            found.append(Difference(group, option, str(usual.get(group, NO_DEFAULT))))
        found += _of_group(run, group, option)
    for key in ("seed", "objective"):
        value, default = run.value(key), base.get(key)
        if value != default:
            found.append(Difference(key, display(value), display(default)))
    return found


def _of_group(run: Run, group: str, option: str | None) -> Iterator[Difference]:
    """The keys of a group's option, or options, that are not as its YAML file has them."""
    usual: dict[str, Any] = {}
    for name in (option or "").split("+") if group in SEVERAL else [option or ""]:
        path = config_folder() / group / f"{name}.yaml"
        if name and path.is_file() and path.parent == config_folder() / group:
            usual |= _mapping(read_yaml(path))
    defaults = dict(_leaves(usual, ""))
    for key, value in _leaves(_mapping(run.config.config.get(group)), ""):
        default = defaults.get(key, NO_DEFAULT)
        if isinstance(value, str) and "${" in value:
            value = run.value(f"{group}.{key}")
        if isinstance(default, str) and "${" in default:
            plain, computed = (re.fullmatch(rf"\$\{{{what}\}}", default) for what in (r"([\w.]+)", r"[\w.]+:([^${}]*)"))
            # What computes a value has the usual one as its last argument: ${fanin.depth:5}.
            usually = scalar(computed[1].rpartition(",")[2].strip()) if computed else value
            default = run.value(plain[1]) if plain else usually
        if key.rpartition(".")[2] not in ("_target_", "_partial_", "root") and value != default:
            yield Difference(f"{group}.{key}", display(value), default if default is NO_DEFAULT else display(default))


def command_of(run: Run) -> str | None:
    """The command that repeats a run, quoted for a shell; None where Hydra has recorded none.

    >>> shlex.join(["fanin", "regularizer=[l2,dropout]", "model.width='a b'"])
    'fanin \\'regularizer=[l2,dropout]\\' \\'model.width=\\'"\\'"\\'a b\\'"\\'"\\'\\''
    """
    typed = read_yaml(run.folder / ".hydra" / "overrides.yaml")
    if not isinstance(typed, list) or (not typed and not run.config.choices):
        return None
    sources = [_mapping(one) for one in run.config.runtime.get("config_sources", ()) if isinstance(one, dict)]
    own = [str(one["path"]) for one in sources if one.get("provider") == "command-line" and one.get("path")]
    flags = [word for path in own for word in ("--config-dir", path)]
    return shlex.join(["fanin", *flags, *map(str, typed)])


def typed_in(run: Run) -> Path | None:
    """The folder in which the run's command was typed, where it is recorded."""
    folder = run.config.runtime.get("cwd")
    return Path(folder) if isinstance(folder, str) and folder else None


def _leaves(config: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
