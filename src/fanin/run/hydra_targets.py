"""What Hydra's own part of a configuration may have made: plugins, callbacks and log handlers, and nothing else.

Hydra calls whatever a `_target_` there names, and Python's logging whatever a "()" names; a shared YAML file can set
both. So they are judged here, before either is called, as the options of a run are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from hydra.experimental.callback import Callback
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf

from fanin.errors import OptionError, UserError
from fanin.targets import find, load

ALLOWED: dict[str, tuple[type | str, ...]] = {
    "hydra.launcher": (Launcher,),
    "hydra.sweeper": (Sweeper,),
    "hydra.sweeper.sampler": ("optuna.samplers.BaseSampler",),
    "hydra.callbacks.*": (Callback,),
    "hydra.hydra_logging.handlers.*": (logging.Handler,),
    "hydra.hydra_logging.formatters.*": (logging.Formatter,),
    "hydra.hydra_logging.filters.*": (logging.Filter,),
    "hydra.job_logging.handlers.*": (logging.Handler,),
    "hydra.job_logging.formatters.*": (logging.Formatter,),
    "hydra.job_logging.filters.*": (logging.Filter,),
}
"""Where something may be made, and what its class derives from; * is any one name."""

MAKING = ("_target_", "()", "class")
"""Keys whose value is called: Hydra's, and the two of Python's logging."""


def check_hydra(cfg: DictConfig) -> None:
    """Refuse a configuration whose Hydra node would have anything else made; nothing is called.

    Args:
        cfg: composed, with its Hydra node.

    Raises:
        UserError: the first such key, in one line.
    """
    node = OmegaConf.to_container(cfg.hydra, resolve=False)
    for place, key, target in _made("hydra", node):
        if key == "class" and "logging." not in place:
            continue
        bases = ALLOWED.get(place) or ALLOWED.get(f"{place.rpartition('.')[0]}.*")
        if bases is None:
            raise UserError(f"{place}: nothing may be made there, found {key}: {target}")
        if _there(target):
            load(target, *bases, key=f"{place}.{key}")


def _made(place: str, node: Any) -> Iterator[tuple[str, str, Any]]:
    """Every (place, key, name) of something that is made somewhere in a node."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in MAKING and value is not None:
                yield place, str(key), value
            else:
                yield from _made(f"{place}.{key}", value)
    elif isinstance(node, list):
        for one in node:
            yield from _made(f"{place}.*", one)


def _there(target: object) -> bool:
    """Whether a target's module is installed; where it is not, Hydra has a line of its own for launchers."""
    try:
        return not isinstance(target, str) or find(target) is not None
    except (ImportError, AttributeError, ValueError):
        return False
    except (Exception, SystemExit) as error:
        raise OptionError("_target_", target, "importable", f"its module raises {type(error).__name__}") from error
