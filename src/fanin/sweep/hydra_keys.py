"""Hydra's own keys, checked before anything is written: what would be lost or taken in silence is one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from fanin.errors import OptionError, UserError

SUBDIR = "${fanin.run_name:}"
"""What conf/config.yaml says of hydra.sweep.subdir."""


def check_folders(hydra_cfg: DictConfig, *, grid: bool) -> None:
    """Refuse folders that are none, and runs that would share one.

    Args:
        hydra_cfg: the hydra node of a single run or of a grid.
        grid: whether it is a grid's.

    Raises:
        OptionError: an empty name, a file in place of a folder, or one subfolder for all runs.
    """
    raw: Any = OmegaConf.to_container(hydra_cfg, resolve=False)
    for node in ("sweep",) if grid else ("sweep", "run"):
        key = f"hydra.{node}.dir"
        if not raw[node]["dir"]:
            raise OptionError(key, "", "a folder; hydra.sweep.dir=. is the one you are in")
        folder = Path(str(hydra_cfg[node].dir))
        there = next((part for part in (folder, *folder.parents) if part.exists()), folder)
        if there.exists() and not there.is_dir():
            raise OptionError(key, folder, "a folder", f"{there} is a file" if there != folder else "it is a file")
    subdir = raw["sweep"]["subdir"]
    if grid and subdir != SUBDIR:
        fix = "hydra.sweep.dir=DIR moves the whole grid"
        raise OptionError("hydra.sweep.subdir", subdir, "left as it is: a run's folder is named by what it is", fix)


def check_pool(record: Mapping[str, Any]) -> None:
    """Refuse what Hydra's own launchers do around each job and fanin's do not.

    Args:
        record: a grid's hydra node as plain values, interpolations unresolved.

    Raises:
        OptionError, UserError: such a key.
    """
    launcher = record["runtime"]["choices"].get("hydra/launcher")
    fix = f"hydra/launcher=basic follows it, hydra/launcher={launcher} does not"
    if record["job"].get("chdir"):
        raise OptionError("hydra.job.chdir", record["job"]["chdir"], "false", fix)
    if record.get("output_subdir") != ".hydra":
        raise OptionError("hydra.output_subdir", record.get("output_subdir"), ".hydra", fix)
    if given := {**(record["job"].get("env_set") or {}), **dict.fromkeys(record["job"].get("env_copy") or [])}:
        raise UserError(f"hydra.job.env_set of {', '.join(given)}: {fix}; or set it before the command")
    if names := list(_with_jobs(record.get("callbacks") or {})):
        raise UserError(f"hydra.callbacks.{names[0]}: is called around each run; {fix}")


def _with_jobs(callbacks: Mapping[str, Any]) -> Iterator[str]:
    """The names of callbacks that want to be called around each job."""
    for name, node in callbacks.items():
        made = get_class(str(node.get("_target_"))) if isinstance(node, Mapping) else object
        if any(getattr(made, of, None) is not getattr(Callback, of) for of in ("on_job_start", "on_job_end")):
            yield name
