"""Composing the jobs of a grid: once per distinct choice of groups, plain values applied to a copy.

Hydra takes 90 to 200 ms to compose one job; a copy with its values set takes a few.
"""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from fanin.run.bounded_cache import BoundedCache
from fanin.run.hydra_private import apply_overrides, get_overrides_dirname, with_number
from fanin.run.identity import without_hydra

Plain = dict[str, Any]

INTEGER = re.compile(r"([a-z_]+(?:\.[a-z_]+)*)=(0|-?[1-9][0-9]{0,15})")
"""An override that sets a key to an integer: most jobs of a grid have one that no other has, their seed."""

LOCAL = re.compile(r"\$\{fanin\.depth:[^${}]*\}")
"""Interpolations that depend on nothing but the node that they stand in."""

_resolved_alone = BoundedCache[Any](most=64)
"""Nodes without other interpolations, resolved; the jobs of a grid share most of theirs."""


@dataclass
class Composed:
    """One job's configuration.

    Args:
        plain: what the job gets, as plain values, interpolations unresolved.
        make_task: makes a configuration of it.
        hydra: Hydra's node, shared by all jobs of one choice of groups: its overrides are those of the choice.
        record: the same as plain values, interpolations unresolved.
        overrides: the job's own, as typed.
        directory: Hydra's `job.override_dirname`.
    """

    plain: Plain
    make_task: Callable[[], DictConfig]
    hydra: DictConfig
    record: Plain
    overrides: list[str]
    directory: str

    @cached_property
    def task(self) -> DictConfig:
        """What the job gets."""
        return self.make_task()

    @cached_property
    def resolved(self) -> Plain:
        """What the job gets, as plain values, interpolations resolved."""
        return {key: self._resolved(key, value) for key, value in self.plain.items()}

    def _resolved(self, key: str, value: Any) -> Any:
        text = repr(value)
        if "${" not in text:
            return value
        if "${" in LOCAL.sub("", text):
            return _resolved(self.task[key])
        return _resolved_alone.get((key, text), lambda: _resolved(as_config({key: value})[key]))


@dataclass(frozen=True)
class _Choice:
    """What is composed once for all jobs of one choice of groups; `pickled` is the task as made of plain values."""

    task: DictConfig
    plain: Plain
    pickled: bytes
    hydra: DictConfig
    record: Plain


class Composer:
    """Composes jobs as Hydra does, with the same result.

    Args:
        loader: Hydra's own composing.
        master: the configuration of the multirun, with its hydra node.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self.loader, self.master = loader, master
        self._parser = OverridesParser.create(config_loader=loader)
        self._parsed: dict[str, Override] = {}
        self._composed: dict[tuple[str, ...], _Choice] = {}
        self._groups: dict[str, bool] = {}

    def __call__(self, overrides: Sequence[str]) -> Composed:
        """The configuration of one job."""
        parsed = [self._parse(one) for one in overrides]
        values = [one for one in parsed if self._is_plain_value(one)]
        choices = tuple(str(one.input_line) for one in parsed if one not in values)
        if choices not in self._composed:
            self._composed[choices] = self._compose(choices)
        choice = self._composed[choices]
        plain = _with_values(choice.plain, values)
        make_task = partial(_task, choice.pickled, values)
        if plain is None:  # an added, a deleted or a mistyped key: Hydra's own way knows them all
            task = copy.deepcopy(choice.task)
            apply_overrides(values, task)
            plain = as_plain(task)
            make_task = partial(as_config, plain)
        typed = [one for one in parsed if not one.is_hydra_override()]
        style = choice.hydra.job.config.override_dirname
        directory = get_overrides_dirname(typed, style.exclude_keys, style.item_sep, style.kv_sep)
        told = [str(one.input_line) for one in typed]
        return Composed(plain, make_task, choice.hydra, choice.record, told, directory)

    def _parse(self, override: str) -> Override:
        """A typed override; the jobs of a grid share most of theirs."""
        if override not in self._parsed:
            number = INTEGER.fullmatch(override)
            if number and override != (first := f"{number[1]}=1"):
                self._parsed[override] = with_number(self._parse(first), int(number[2]))
            else:
                (self._parsed[override],) = self._parser.parse_overrides([override])
        return self._parsed[override]

    def _compose(self, choices: Sequence[str]) -> _Choice:
        cfg = self.loader.load_sweep_config(self.master, list(choices))
        task = without_hydra(cfg)
        OmegaConf.set_struct(task, True)  # as Hydra's own is: a key that is not there is a mistake
        plain = as_plain(task)
        return _Choice(task, plain, pickle.dumps(as_config(plain)), cfg.hydra, as_plain(cfg.hydra))

    def _is_plain_value(self, override: Override) -> bool:
        """Whether an override sets a value, and so does not change what is composed from which files."""
        key = override.key_or_group
        if key not in self._groups:
            self._groups[key] = bool(self.loader.get_group_options(key))
        return not (override.is_hydra_override() or self._groups[key] or isinstance(override.value(), dict))


def as_plain(cfg: DictConfig) -> Plain:
    """A configuration as plain values, interpolations unresolved."""
    plain = OmegaConf.to_container(cfg, resolve=False, enum_to_str=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _resolved(node: Any) -> Any:
    """A node of a configuration as plain values, interpolations resolved."""
    return OmegaConf.to_container(node, resolve=True, enum_to_str=True) if OmegaConf.is_config(node) else node


def as_config(plain: Plain) -> DictConfig:
    """A configuration of plain values, closed to keys that are not there."""
    task = OmegaConf.create(plain)
    OmegaConf.set_struct(task, True)
    return task


def _task(pickled: bytes, values: Sequence[Override]) -> DictConfig:
    """The same, quicker: most of it has been made before."""
    task: DictConfig = pickle.loads(pickled)
    for override in values:
        *path, last = override.key_or_group.split(".")
        node = task
        for key in path:
            node = node[key]
        node[last] = override.value()
    return task


def _with_values(base: Plain, values: Sequence[Override]) -> Plain | None:
    """A copy with values set, or None if one of them is more than a new value of a leaf that is there."""
    plain: Plain = _copied(base)
    for override in values:
        *path, last = override.key_or_group.split(".")
        node: Any = plain
        for key in path:
            node = node.get(key) if isinstance(node, dict) else None
        value = override.value()
        new_leaf = not isinstance(node, dict) or last not in node or isinstance(node[last], dict)
        if new_leaf or override.is_add() or override.is_force_add() or override.is_delete():
            return None
        node[last] = value
    return plain


def _copied(node: Any) -> Any:
    """Dictionaries copied, values shared: they are replaced, never changed."""
    return {key: _copied(value) for key, value in node.items()} if isinstance(node, dict) else node


def hydra_record(composed: Composed, folder: Path, number: int) -> dict[str, Any]:
    """Hydra's node as a job's .hydra/hydra.yaml tells it, as plain values."""
    node = {key: value for key, value in composed.record.items() if key not in ("help", "hydra_help")}
    own = {
        "overrides": {"task": composed.overrides},
        "job": {"num": number, "id": str(number), "override_dirname": composed.directory},
        "runtime": {"output_dir": str(folder.absolute())},
    }
    return {"hydra": node | {key: node[key] | values for key, values in own.items()}}


def write_record(folder: Path, config: Plain, overrides: list[str], record: dict[str, Any]) -> None:
    """Write .hydra as Hydra's own launchers do: config.yaml, overrides.yaml and hydra.yaml."""
    place = folder / ".hydra"
    place.mkdir(parents=True, exist_ok=True)
    texts = {
        "config": "".join(_section((key,), pickle.dumps(config[key])) for key in config),
        "overrides": _yaml(overrides),
        "hydra": "hydra:\n"
        + "".join(_section(("hydra", key), pickle.dumps(node)) for key, node in record["hydra"].items()),
    }
    for name, text in texts.items():
        (place / f"{name}.yaml").write_text(text, encoding="utf-8")


@lru_cache(maxsize=256)
def _section(path: tuple[str, ...], pickled: bytes) -> str:
    """The lines of a file that a node at a path makes; the jobs of a grid share most of theirs."""
    content = pickle.loads(pickled)
    for key in reversed(path):
        content = {key: content}
    return _yaml(content).split("\n", len(path) - 1)[-1]


def _yaml(content: Any) -> str:
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # ten times faster where libyaml is there
    text: str = yaml.dump(content, Dumper=dumper, sort_keys=False, allow_unicode=True)
    return text
