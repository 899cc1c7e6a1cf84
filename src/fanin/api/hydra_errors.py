"""What Hydra raises for a mistyped command line, told as one line: what, the value, what is allowed, the fix."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

import yaml
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fanin.api.option_files import group_options
from fanin.errors import UserError, did_you_mean, file_line, shortened


def one_line(error: BaseException, arguments: Sequence[str]) -> str:
    """The mistake in one line (one per mistake for a grid).

    Args:
        error: what was raised.
        arguments: what was typed.
    """
    said = _said(list(_chain(error)), arguments)
    if not said:
        last = error if str(error).strip() else next((link for link in _chain(error) if str(link).strip()), error)
        told = _flat(str(last))
        said = f"{type(last).__name__}{told and ': '}{told}; HYDRA_FULL_ERROR=1 shows where it comes from"
    return re.sub(r"[^\s:,]{200,}", lambda word: shortened(word.group()), said)


def _said(chain: Sequence[BaseException], arguments: Sequence[str]) -> str:
    """What is known of an error, from itself to its first cause; "" where nothing is."""
    for link in chain:
        if isinstance(link, UserError):
            return str(link)
    unknown = next((found for link in chain if (found := _unknown_key(link))), None)
    for link in chain:
        if isinstance(link, yaml.MarkedYAMLError):
            return _broken_file(link)
        if isinstance(link, OSError) and link.errno is not None:
            return file_line(link)
        if isinstance(link, UserWarning) and (folder := re.search(r"path=(.*) is not available", str(link))):
            return f"hydra.searchpath: {folder.group(1)} is not there; a folder is typed file:///FOLDER"
        if isinstance(link, AssertionError) and (typed := _typed("hydra.verbose", arguments)):
            return f"{typed}: must be true, false, or the names of loggers"
        if isinstance(link, KeyError) and (typed := _typed("hydra.job.env_copy", arguments)):
            return f"{typed}: the environment has no {link}"
        if plugin := re.search(r"Invalid plugin '(.*)'", str(link)):
            return f"{plugin.group(1)}: must be a launcher or sweeper of Hydra's; hydra/launcher=NAME chooses one"
        if str(link).startswith("Error merging override ") and link.__cause__:
            return f"{str(link).removeprefix('Error merging override ')}: {_flat(str(link.__cause__))}"
        if "HydraConfig was not set" in str(link):
            return _of_hydra(chain)
        if isinstance(link, (HydraException, OmegaConfBaseException)) and (said := str(link).strip()):
            place = next((str(key) for one in chain if (key := getattr(one, "full_key", None))), "").removeprefix(
                "_dummy_"
            )
            return _translated(said, arguments, unknown, place)
        if plugin := re.search(r"Unknown plugin class : 'hydra_plugins\.hydra_(\w+)_launcher\.", str(link)):
            return _without_plugin(plugin.group(1), arguments)
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _unknown_key(error: BaseException) -> tuple[str, DictConfig] | None:
    """The key that OmegaConf did not find, dots included, and the node where it was looked for."""
    parent, key = getattr(error, "parent_node", None), getattr(error, "full_key", None)
    return (str(key), parent) if key and isinstance(parent, DictConfig) else None


def _translated(message: str, arguments: Sequence[str], unknown: tuple[str, DictConfig] | None, place: str) -> str:
    """Hydra's own words, turned into ours where they are known; `place` is the key that they are about."""
    if found := re.search(r"Could not (?:find|load) '([^']+)/([^'/]+)'", message):
        group, option = found.groups()
        if option == "submitit_slurm":  # what hydra/launcher=slurm is built on
            return _without_plugin("submitit", arguments)
        options = group_options(group, arguments) or re.findall(r"^\t([\w.-]+)$", message, re.MULTILINE)
        hint = did_you_mean(option, options)
        return f"{group}={option}: must be one of {', '.join(options)}" + (hint and f"; {hint}")
    if unknown and (found := re.search(r"Could not override '([^']+)'", message)):
        return _not_a_key(found.group(1), *unknown)
    if found := re.search(r"Could not append to config\. An item is already at '([^']+)'", message):
        return f"+{found.group(1)}: the key is there already; type it without +"
    if found := re.search(r"Multiple values for ([\w/]+)\.|^([\w/]+) appears more than once", message):
        group = found.group(1) or found.group(2)
        return f"+{group}: the group has its option already; type {group}=... without +"
    if found := re.search(r"Sweep parameters '(.*)' requires --multirun", message):
        told = "several values make a grid; add -m"
        if "interval(" in found.group(1):
            told = "an interval is for a search; add -m hydra/sweeper=search"
        elif "tag(zip" in found.group(1):
            told = "axes that go together make a grid; add -m"
        return f"{found.group(1)}: {told}"
    if found := re.search(r"Ambiguous value for argument '([^'=]+)=([^']*)'", message):
        key, values = found.groups()
        return f"{key}={values}: several values make a grid; add -m"
    if found := re.search(r"Sweeping over Hydra's configuration is not supported : '(.*)'", message):
        return f"{found.group(1)}: Hydra's own keys are the same for all runs; a list is typed KEY=[a,b]"
    said = re.sub(r"^\w+ raised while resolving interpolation: ", "", _flat(message))
    return f"{place}: {said}" if place not in ("", "_dummy_") and place not in said else said


def _not_a_key(typed: str, key: str, node: DictConfig) -> str:
    """The line for a key that is not there: its neighbours, and where there is one of that name."""
    group, _, last = key.rpartition(".")
    keys = sorted(str(name) for name in node if not str(name).startswith("_") and name != "hydra")
    free = not last.startswith("_") and not group.startswith("hydra")
    if other := _elsewhere(last, node, keys) if free else []:
        hint = f"did you mean {' or '.join(other)}?"
    else:
        hint = did_you_mean(last, keys)
    return f"unknown key {typed}: {group or 'fanin'} knows {', '.join(keys) or 'no keys'}" + (hint and f"; {hint}")


def _elsewhere(word: str, node: DictConfig, keys: Sequence[str]) -> list[str]:
    """The dotted keys of the whole configuration that end in a word; unless a neighbour is nearer, in the nearest."""
    while isinstance(above := node._get_parent(), DictConfig):
        node = above
    tree = OmegaConf.to_container(node, resolve=False)
    assert isinstance(tree, dict)
    ends = {key: key.rpartition(".")[2] for key in _leaves({key: tree[key] for key in tree if key != "hydra"})}
    (near,) = get_close_matches(word, [*ends.values(), *keys], n=1, cutoff=0.75) or [""]
    return [key for key, end in ends.items() if end == near]


def _leaves(tree: dict[Any, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        elif not str(key).startswith("_"):
            yield f"{prefix}{key}"


def _without_plugin(extra: str, arguments: Sequence[str]) -> str:
    """The line for a launcher whose plugin is not installed."""
    typed = [argument for argument in arguments if argument.startswith("hydra/launcher=")]
    return f"{typed[-1] if typed else extra}: needs an extra; pip install 'fanin[{extra}]'"


def _typed(key: str, arguments: Sequence[str]) -> str:
    """The last word that sets a key, "" where there is none."""
    return next((word for word in reversed(arguments) if word.lstrip("+").startswith(f"{key}=")), "")


def _broken_file(error: yaml.MarkedYAMLError) -> str:
    """The line for a file that is no YAML."""
    mark = error.problem_mark or error.context_mark
    place = f"{mark.name.strip()}, line {mark.line + 1}" if mark else "a YAML file"
    return f"{place}: no YAML: {_flat(error.problem or error.context or str(error))}"


def _of_hydra(chain: Sequence[BaseException]) -> str:
    """The line for an interpolation that asks Hydra where Hydra does not run, in the runs of a grid."""
    keys = [key for link in chain if (key := getattr(link, "full_key", None))]
    place = f"{keys[0]}: " if keys else ""
    return f"{place}${{hydra:...}} has no value in a grid, whose runs are told apart before they start; type it out"


def _flat(message: str) -> str:
    """The message on one line, without the pointers that OmegaConf adds for programmers."""
    lines = [line.strip() for line in message.splitlines()]
    kept = [
        line for line in lines if line and not re.match(r"(full_key|object_type|reference_type|See https?):?", line)
    ]
    return " ".join(kept)
