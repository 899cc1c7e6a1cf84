"""The identity of a run: its configuration, as a name for its folder and a hash.

The name is a function of the configuration and of nothing else: not of the order in which overrides were typed, nor
of whether a default was spelled out. It lists what differs from the base of its experiment, and always the
experiment's axes and the seed. No torch here: a finished run is recognized before anything heavy is imported.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from fanin.catalogue import SEVERAL
from fanin.process import typed_path
from fanin.record.atomic_files import read_json
from fanin.run.hydra_private import loader_of
from fanin.targets import own_source

NOT_IDENTITY = ("force", "pause_at", "data.root", "trainer.progress", "objective", "study")
"""Keys about where and how a run is computed and reported, not about what is computed; with all keys below them."""

LOOK: dict[str, Any] = {
    "quantities": [], "every": 0, "data": "probe", "mode": "evaluation", "matrices": ["hessian"], "layers": False,
    "k": 1, "tolerance": 0.01, "products": 100, "vectors": 30, "bins": 100, "rho": 0.05, "stationary": 0.001,
}  # fmt: skip
"""The keys of a look at the curvature where there is none."""

LATER: dict[str, Any] = {
    "data.label_noise": 0,
    "data.repeat": 0,
    "evaluation.samples": 0,
    "initializer.bias": 0,
    "initializer.bias_variance": 0,
    "initializer.forget_bias": None,
    "noise._target_": "fanin.parts.gradient_noise.NoNoise",
    "optimizer.decay_factors": None,
    "optimizer.factors": None,
    "model.estimator": "reparameterization",
    "optimizer.inner": "sgd",
    "probe.band": "auto",
    "probe.batch_size": None,
    **{f"probe.curvature.{name}": value for name, value in LOOK.items()},
    "probe.histograms": [],
    "probe.jacobians": False,
    "probe.measures": None,
    "probe.redraws": None,
    "probe.spectrum": False,
    "regularizer.dropout.recurrent_p": None,
    "regularizer.l1.proximal": False,
    "trainer.accumulate": 1,
    "trainer.compile": False,
    "trainer.gradient_check": 0,
    "trainer.scores": False,
    "trainer.snapshots": 0,
}
"""Keys of later versions, each with the value at which it leaves the hash as it was in earlier ones."""

DELETED = "deleted"
"""In a run's name the value of a key that was deleted, as by ~model.depth."""

NO_EXPERIMENT = "runs"
"""The folder of runs that belong to no experiment."""

LONGEST_NAME = 180
"""Bytes of a folder's name; file systems allow 255, and some programs add an ending."""

ALWAYS_SHOWN = ("model.depth", "model.width", "initializer.c", "optimizer.lr", "seed")


@dataclass(frozen=True)
class Identity:
    """Name, hash and varied values of one configuration.

    Args:
        experiment: its experiment, "runs" where there is none: the folder of its grid.
        name: of its folder.
        overrides: what the name lists, as values.
        config_hash: 16 hex digits of SHA-256 over the configuration.
        hparams: what TensorBoard's table shows: choices, varied values and some that are always shown.
        choices: the chosen option of every group, "a+b" where several are taken.
        code: of each file of the user's own that the configuration names parts of, 16 hex digits of SHA-256. It is no
            part of the hash: an interrupted run resumes when a mistake in it is mended.
    """

    experiment: str
    name: str
    overrides: dict[str, Any]
    config_hash: str
    hparams: dict[str, Any]
    choices: dict[str, str | None] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)


def identify(cfg: DictConfig | dict[str, Any], hydra_cfg: DictConfig | dict[str, Any]) -> Identity:
    """The identity of a composed configuration.

    Args:
        cfg: the configuration without its hydra node, or the same as plain values.
        hydra_cfg: the hydra node, or the same as plain values.
    """
    everything = {key: value for key, value in flatten(cfg).items() if not _incidental(key)}
    values = {key: value for key, value in everything.items() if not _unused(key, value)}
    choices = _choices(cfg, hydra_cfg)
    chosen = dict(choices)
    experiment = chosen.pop("experiment", None)
    source = hydra_cfg["job"]["config_name"], _search_path(hydra_cfg)
    prefix = () if experiment is None else (f"experiment={experiment}",)
    base_chosen, base_values, axes = _base(*source, prefix)
    other = {group: choice for group, choice in chosen.items() if choice != base_chosen.get(group)}
    if other:
        typed = tuple(_typed(group, choice) for group, choice in sorted(other.items()))
        _, base_values, _ = _base(*source, prefix + typed)
    differs = {key: value for key, value in values.items() if key not in base_values or base_values[key] != value}
    shown = {key: found[key] for found in (everything, chosen) for key in axes if key in found}
    differs |= dict.fromkeys(_deleted(base_values, values), DELETED)
    overrides = dict(sorted((shown | other | differs | {"seed": values.get("seed")}).items()))
    digest = hashlib.sha256(json.dumps(values | _read_from(values), sort_keys=True).encode()).hexdigest()[:16]
    told = {key: values[key] for key in ALWAYS_SHOWN if key in values}
    hparams = {
        key: _text(value) if isinstance(value, list) else value for key, value in (chosen | told | overrides).items()
    }
    return Identity(
        experiment or NO_EXPERIMENT, folder_name(overrides), overrides, digest, hparams, choices, _code(values)
    )


def _deleted(base: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """The keys of a base that a configuration lacks; not those that became a mapping, or a value where one was."""
    missing = [key for key in base if key not in values and not _incidental(key) and not _unused(key, base[key])]
    return [key for key in missing if not any(_is_below(key, one) or _is_below(one, key) for one in values)]


def _is_below(key: str, other: str) -> bool:
    return key.startswith(f"{other}.")


def _read_from(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is in files that a run reads from, by hashes: with something else in them it is another run, too."""
    found: dict[str, Any] = {}
    teacher, masks = values.get("loss.teacher"), values.get("regularizer.mask.path")
    if isinstance(teacher, str):
        result = read_json(typed_path(Path(teacher).expanduser()) / "result.json") or {}
        found["loss.teacher"] = [teacher, result.get("config_hash")]
    if isinstance(masks, str) and (file := typed_path(Path(masks).expanduser())).is_file():
        found["regularizer.mask.path"] = [masks, hashlib.sha256(file.read_bytes()).hexdigest()[:16]]
    return found


def _code(values: Mapping[str, Any]) -> dict[str, str]:
    """The user's own files that a configuration names parts of, with their hashes."""
    targets = [value for key, value in values.items() if key.endswith("_target_") or key.startswith("probe.measures")]
    names = [name for one in targets for name in (one if isinstance(one, list) else [one]) if isinstance(name, str)]
    return dict(sorted(code for code in map(_code_of, names) if code is not None))


def _code_of(target: str) -> tuple[str, str] | None:
    """The file that a target lies in, where it is the user's own, and its hash."""
    file = own_source(target)
    if file is None:
        return None
    now = file.stat()
    return file.name, _file_hash(file, now.st_mtime_ns, now.st_size)


@lru_cache(maxsize=256)
def _file_hash(file: Path, changed: int, size: int) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


_BELOW = tuple(f"{key}." for key in NOT_IDENTITY)


def _incidental(key: str) -> bool:
    return key in NOT_IDENTITY or key.startswith(_BELOW)


def _unused(key: str, value: object) -> bool:
    return key in LATER and value == LATER[key]


def without_hydra(cfg: DictConfig) -> DictConfig:
    """A composed configuration without Hydra's own node: what a job gets."""
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


def experiment_of(hydra_cfg: DictConfig) -> str:
    """The folder of the grid that a configuration belongs to."""
    return str(hydra_cfg.runtime.choices.get("experiment") or NO_EXPERIMENT)


def folder_name(overrides: Mapping[str, Any]) -> str:
    """ "key=value,key=value" that a file system takes: shortened with a hash where that loses something.

    >>> folder_name({"initializer.c": 2.0, "seed": 0})
    'initializer.c=2,seed=0'
    """
    full = ",".join(f"{key}={_text(value)}" for key, value in sorted(overrides.items()))
    name = re.sub(r"[^\w.,=+\-\[\]]", "_", full)
    if name != full or len(name.encode()) > LONGEST_NAME:
        digest = hashlib.sha256(full.encode()).hexdigest()[:10]
        name = name.encode()[: LONGEST_NAME - 11].decode(errors="ignore") + "-" + digest
    return name


def flatten(cfg: DictConfig | dict[str, Any]) -> dict[str, Any]:
    """Every leaf of a configuration under its dotted key; whole floats as integers, so that 2 and 2.0 are one."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, node: Any) -> None:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                walk(f"{prefix}.{key}" if prefix else str(key), value)
        else:
            flat[prefix] = _canonical(node)

    if not isinstance(cfg, dict):
        cfg = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    elif "${" in repr(cfg):
        cfg = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.create(cfg), resolve=True))
    walk("", cfg)
    return flat


def _canonical(value: Any) -> Any:
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value == value and abs(value) < 2**53 and value == int(value):
        return int(value)
    return value


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(_text(item) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(_canonical(value))


def _choices(cfg: DictConfig | dict[str, Any], hydra_cfg: DictConfig | dict[str, Any]) -> dict[str, str | None]:
    """The chosen option of every group of ours, "a+b" for a list of them."""
    choices = hydra_cfg["runtime"]["choices"]
    if isinstance(choices, DictConfig):
        choices = cast(dict[str, Any], OmegaConf.to_container(choices))
    ours = {str(group): choice for group, choice in choices.items() if not str(group).startswith("hydra/")}
    # Hydra does not record a choice that is a list; the options of such a group bring their names as keys.
    return ours | {group: "+".join(sorted(map(str, cfg[group]))) or "none" for group in SEVERAL if group in cfg}


def _typed(group: str, choice: str | None) -> str:
    """A choice as it is typed on the command line."""
    if choice is None:
        return f"{group}=null"
    if group in SEVERAL:
        return f"{group}=[{choice.replace('+', ',')}]"
    return f"{group}={choice}" if re.fullmatch(r"[\w.-]+", choice) else f"{group}={json.dumps(choice)}"


SearchPath = tuple[tuple[str, str], ...]
"""Where Hydra looks for configurations: (who added it, its address), in order."""


def _search_path(hydra_cfg: DictConfig | dict[str, Any]) -> SearchPath:
    """Where a configuration was composed from; () if Hydra is initialized and knows it."""
    if GlobalHydra.instance().is_initialized():
        return ()
    sources = hydra_cfg["runtime"]["config_sources"]
    return tuple((one["provider"], f"{one['schema']}://{one['path']}") for one in sources)


def _loader(search_path: SearchPath) -> ConfigLoader:
    """Hydra's loader of configurations, also in a worker of a launcher, where Hydra itself is not initialized."""
    if not search_path:
        return GlobalHydra.instance().config_loader()
    Plugins.instance()  # whose modules bring entries of their own
    return loader_of(search_path)


@lru_cache(maxsize=64)
def _base(
    config_name: str, search_path: SearchPath, overrides: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
    """Choices, values and axes of an experiment (and further choices) as its YAML says them, composed once."""
    cfg = _loader(search_path).load_configuration(
        config_name, list(overrides), run_mode=RunMode.MULTIRUN, validate_sweep_overrides=False
    )
    hydra_cfg = cfg.hydra
    axes = tuple(str(key) for key in (hydra_cfg.sweeper.get("params") or {}))
    chosen = _choices(cfg, hydra_cfg)
    chosen.pop("experiment", None)
    return chosen, flatten(without_hydra(cfg)), axes


def forget_bases() -> None:
    """Forget the composed experiments: option files may have changed."""
    _base.cache_clear()
