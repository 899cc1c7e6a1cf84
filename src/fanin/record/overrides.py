"""What Hydra recorded of a run: its configuration, its choices, and the overrides of a run without a result."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fanin.catalogue import GROUPS, SEVERAL
from fanin.record.atomic_files import LONGEST_INTEGER

# Where a run goes and how it is computed, not what is studied.
INCIDENTAL = re.compile(r"(experiment|force|pause_at|data\.root|regularizer\.mask\.path|study(\..*)?|hydra(\..*)?)")

LARGEST = 100_000
"""Nodes of a YAML file; a larger one is not read as a configuration."""


class RunConfig:
    """The configuration of one run, read when first asked for; missing and broken files read as empty.

    Args:
        folder: the run's.
        result: the content of result.json; if it is missing or of an older version, Hydra's record is read.
    """

    def __init__(self, folder: Path, result: Mapping[str, Any]) -> None:
        self._folder = folder / ".hydra"
        config, choices = result.get("config"), result.get("choices")
        self._config: dict[str, Any] | None = config if isinstance(config, dict) else None
        self._choices: dict[str, Any] | None = choices if isinstance(choices, dict) else None

    @property
    def config(self) -> dict[str, Any]:
        """The composed configuration; in Hydra's record interpolations are not resolved."""
        if self._config is None:
            self._config = _as_dict(read_yaml(self._folder / "config.yaml"))
        return self._config

    @property
    def choices(self) -> dict[str, Any]:
        """The chosen option of every group, e.g. {"optimizer": "sgd"}."""
        if self._choices is None:
            self._choices = _as_dict(self.runtime.get("choices"))
        return self._choices

    @property
    def runtime(self) -> dict[str, Any]:
        """What Hydra recorded of the command: where it was typed, where its YAML files are, what it chose."""
        return _as_dict(_walk(read_yaml(self._folder / "hydra.yaml"), "hydra.runtime"))

    def value(self, key: str) -> Any:
        """The value of a dotted key, the chosen option where the key is a group, None if there is none."""
        value = _resolved(self.config, _walk(self.config, key))
        if isinstance(value, int) and value.bit_length() > 1000:  # more than a float holds
            return float("inf")
        return self.option(key) if value is None or isinstance(value, dict) else value

    @property
    def keys(self) -> list[str]:
        """All dotted keys of the composed configuration."""
        return _keys(self.config, "")

    def option(self, group: str) -> str | None:
        """The option chosen in a group; without Hydra's record of it the name of the class it makes.

        Hydra does not record the choice of a list of options; their names are keys, and read "dropout+l2" here.
        """
        chosen = self.choices.get(group)
        if chosen is None:
            made = _walk(self.config, group)
            if not isinstance(made, dict):
                return None
            if isinstance(made.get("_target_"), str):
                return str(made["_target_"]).rsplit(".", 1)[-1].lower()
            listed = made if all(isinstance(one, dict) and "_target_" in one for one in made.values()) else None
            return None if listed is None else "+".join(sorted(map(str, listed))) or "none"
        return str(chosen)

    def setting(self, varying: Collection[str] = ()) -> list[str]:
        """The setting in a few words, e.g. ["MNIST", "50 layers of 100 units", ...], without what varies."""

        def fixed(key: str) -> Any:
            value = None if key in varying else self.value(key)
            return None if isinstance(value, str) and "${" in value else value  # follows from what varies

        depth, width, lr, batch = (
            fixed(key) for key in ("model.depth", "model.width", "optimizer.lr", "trainer.batch_size")
        )
        size = [f"{depth} layers"] if depth is not None else []
        size += [f"{display(width)} units"] if width is not None else []
        normalization = fixed("normalization")
        return [
            *_named("data", fixed("data")),
            *([" of ".join(size)] if size else []),
            *(_named("activation", fixed("activation")) if self.option("model") not in ("linear", "surface") else []),
            *(_named("normalization", normalization) if normalization not in (None, "none", "nonorm") else []),
            *_named("optimizer", fixed("optimizer")),
            *([f"lr {display(lr)}"] if lr is not None else []),
            *([f"batch {batch}"] if batch is not None else []),
        ]


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, None if it is missing, broken or would grow without bound."""
    import yaml

    try:
        content = path.read_bytes()
        if re.search(rb"\*\w", content) and _size(yaml.compose(content, yaml.SafeLoader), {}) > LARGEST:
            return None
        return yaml.load(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None


def _size(node: Any, known: dict[int, int]) -> int:
    """How many nodes a YAML document has with its aliases expanded: a few aliases of aliases make billions."""
    if id(node) not in known:
        known[id(node)] = LARGEST  # one that holds itself has no end
        inner = node.value if isinstance(node.value, list) else []
        parts = [part for one in inner for part in (one if isinstance(one, tuple) else (one,))]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


def named_overrides(folder: Path, config: RunConfig) -> dict[str, Any]:
    """The overrides of a run without a result: the folder's name gives the keys, the configuration their values.

    A long name is shortened and is not all key=value; then the keys are those that were typed according to Hydra,
    without those that do not matter to the result, and the seed.
    """
    entries = read_yaml(folder / ".hydra" / "overrides.yaml")
    typed = _pairs([str(entry).lstrip("+~") for entry in entries] if isinstance(entries, list) else [])
    parts = split_outside_brackets(folder.name)
    told = {key: typed.get(key, value) for key, value in _pairs(parts).items()}
    if len(told) != len(parts):
        told = {key: value for key, value in typed.items() if not INCIDENTAL.fullmatch(key)}
        told.setdefault("seed", None)
    values = {key: config.value(key) for key in told}
    found = {key: _of_list(key, told[key]) if value is None else value for key, value in values.items()}
    return {key: value for key, value in found.items() if value is not None}


def _of_list(key: str, value: Any) -> Any:
    """The options of a list as a run's name has them: "l2+dropout", typed as "[l2,dropout]", is "dropout+l2"."""
    if key not in SEVERAL or not isinstance(value, str):
        return value
    return "+".join(sorted(part for part in re.split(r"[\[\],+\s]+", value) if part)) or "none"


def _pairs(entries: list[str]) -> dict[str, Any]:
    """The entries of the form key=value as a dict."""
    parts = [entry.partition("=") for entry in entries]
    return {key: scalar(text) for key, equals, text in parts if equals and re.fullmatch(r"[\w.@/-]+", key)}


def split_outside_brackets(text: str) -> list[str]:
    """The parts between commas that no bracket encloses: "a=[1,2],b=3" gives "a=[1,2]" and "b=3".

    >>> split_outside_brackets("regularizer=[l2,dropout],seed=0")
    ['regularizer=[l2,dropout]', 'seed=0']
    """
    return re.split(r",(?![^\[\]{}()]*[\]})])", text)


def scalar(text: str) -> Any:
    """A value as typed on the command line: integer, float, true, false, null or the text itself.

    >>> scalar("3"), scalar("1e-3"), scalar("true"), scalar("relu")
    (3, 0.001, True, 'relu')
    """
    words = {"true": True, "false": False, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    for number in (int, float) if len(text) < LONGEST_INTEGER else (float,):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def display(value: object) -> str:
    """A configuration value in a label: numbers short, lists without spaces.

    >>> display(0.0010), display([1, "a"]), display(True)
    ('0.001', '[1,a]', 'true')
    """
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{','.join(map(display, value))}]"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), default=str)


def _named(group: str, option: object) -> list[str]:
    return [] if option is None else [GROUPS[group].spelled.get(str(option), str(option))]


def _walk(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part) if isinstance(config, dict) else None
    return config


def _resolved(config: Any, value: Any, depth: int = 8) -> Any:
    """A value that is an interpolation of another key as that one's value; one that computes something as None."""
    if not isinstance(value, str) or "${" not in value:
        return value
    found = re.fullmatch(r"\$\{([\w.]+)\}", value)
    return _resolved(config, _walk(config, found[1]), depth - 1) if found and depth else None


def _keys(config: dict[str, Any], prefix: str) -> list[str]:
    below = [_keys(value, f"{prefix}{key}.") for key, value in config.items() if isinstance(value, dict)]
    return [f"{prefix}{key}" for key in config] + [key for keys in below for key in keys]


def _as_dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
