"""What Hydra raises for a mistyped command line, told as one line: what, the value, what is allowed, the fix."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from fanin.cli.help import group_options
from fanin.errors import UserError, did_you_mean


def one_line(error: BaseException, arguments: Sequence[str]) -> str | None:
    """The mistake in one line (one per mistake for a grid), or None where the error is not the user's.

    Args:
        error: what was raised.
        arguments: what was typed.
    """
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, UserError):
            return str(link)
    unknown = next((found for link in chain if (found := _unknown_key(link))), None)
    for link in chain:
        if str(link).startswith("Error merging override ") and link.__cause__:
            return f"{str(link).removeprefix('Error merging override ')}: {_flat(str(link.__cause__))}"
        if isinstance(link, (HydraException, OmegaConfBaseException)):
            return _translated(str(link), arguments, unknown)
        if isinstance(link, ValueError) and "Config group override must be" in str(link):
            return _not_an_option(arguments)
        if isinstance(link, ValueError) and str(link).startswith("Only one of --"):
            return str(link)
        if plugin := re.search(r"Unknown plugin class : 'hydra_plugins\.hydra_(\w+)_launcher\.", str(link)):
            return _without_plugin(plugin.group(1), arguments)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _unknown_key(error: BaseException) -> tuple[str, list[str]] | None:
    """The key that OmegaConf did not find, dots included, and those of the node where it was looked for."""
    parent, key = getattr(error, "parent_node", None), getattr(error, "full_key", None)
    return (str(key), [str(name) for name in parent]) if key and isinstance(parent, DictConfig) else None


def _translated(message: str, arguments: Sequence[str], unknown: tuple[str, list[str]] | None) -> str:
    """Hydra's own words, turned into ours where they are known."""
    if found := re.search(r"Could not (?:find|load) '([^']+)/([^'/]+)'", message):
        group, option = found.groups()
        if option == "submitit_slurm":  # what hydra/launcher=slurm is built on
            return _without_plugin("submitit", arguments)
        options = group_options(group, arguments) or re.findall(r"^\t([\w.-]+)$", message, re.MULTILINE)
        hint = did_you_mean(option, options)
        return f"{group}={option}: must be one of {', '.join(options)}" + (hint and f"; {hint}")
    if re.match(r"mismatched input|no viable alternative|extraneous input|token recognition|missing ", message):
        return _unreadable(message, arguments)
    if unknown and (found := re.search(r"Could not override '([^']+)'", message)):
        group, _, last = unknown[0].rpartition(".")
        keys = sorted(name for name in unknown[1] if not name.startswith("_") and name != "hydra")
        hint = did_you_mean(last, keys)
        knows = f"{group or 'fanin'} knows {', '.join(keys) or 'no keys'}"
        return f"unknown key {found.group(1)}: {knows}" + (hint and f"; {hint}")
    if found := re.search(r"Could not append to config\. An item is already at '([^']+)'", message):
        return f"+{found.group(1)}: the key is there already; type it without +"
    if found := re.search(r"Multiple values for ([\w/]+)\.|^([\w/]+) appears more than once", message):
        group = found.group(1) or found.group(2)
        return f"+{group}: the group has its option already; type {group}=... without +"
    if found := re.search(r"Ambiguous value for argument '([^'=]+)=([^']*)'", message):
        key, values = found.groups()
        return f"{key}={values}: several values make a grid; add -m"
    return _flat(message)


def _without_plugin(extra: str, arguments: Sequence[str]) -> str:
    """The line for a launcher whose plugin is not installed."""
    typed = [argument for argument in arguments if argument.startswith("hydra/launcher=")]
    return f"{typed[-1] if typed else extra}: needs an extra; pip install 'fanin[{extra}]'"


def _not_an_option(arguments: Sequence[str]) -> str:
    """The line for a group that was given a number or null."""
    for argument in arguments:
        group, _, option = argument.partition("=")
        options = group_options(group, arguments)
        if options and option not in options and not option.startswith("["):
            return f"{argument}: must be one of {', '.join(options)}"
    return "a group takes the name of one of its options; fanin --help lists them"


def _unreadable(message: str, arguments: Sequence[str]) -> str:
    """The line for what is no key=value in Hydra's grammar."""
    parser = OverridesParser.create()
    for argument in arguments:
        try:
            parser.parse_override(argument)
        except HydraException:
            key, equals, value = argument.partition("=")
            if equals and not argument.startswith("-"):
                return f"{argument}: cannot be read; close its brackets, or quote the value: '{key}=\"{value}\"'"
    return _flat(message)


def _flat(message: str) -> str:
    """The message on one line, without the pointers that OmegaConf adds for programmers."""
    lines = [line.strip() for line in message.splitlines()]
    kept = [
        line for line in lines if line and not re.match(r"(full_key|object_type|reference_type|See https?):?", line)
    ]
    return " ".join(kept)
