"""One option of a group: an object made from its keys, strictly.

Options are called with exactly the keys of their YAML; a key that an option does not know is an error, also one added
with "+". Errors name the group, the key, the value and what is allowed.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fanin.errors import OptionError, UserError, did_you_mean

# Hydra logs what it cannot import; the same is told here, as one line.
logging.getLogger("hydra").addHandler(logging.NullHandler())


class UnknownKey(UserError):
    """A key that nothing reads."""

    def __init__(self, key: str, value: object, owner: str, known: list[str]) -> None:
        hint = did_you_mean(key.rpartition(".")[2], known)
        super().__init__(
            f"unknown key {key}={value}: {owner} knows {', '.join(sorted(known)) or 'no keys'}" + (hint and f"; {hint}")
        )


def container(cfg: DictConfig, group: str) -> dict[str, Any]:
    """A group's options as plain values, interpolations resolved."""
    try:
        node = OmegaConf.to_container(cfg[group], resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{group}: {str(error).splitlines()[0]}") from None
    if not isinstance(node, dict):
        raise UserError(f"{group}={node}: must be an option of its group, not a value; fanin --help lists them")
    return {str(key): value for key, value in node.items()}


def option(cfg: DictConfig, group: str, **offered: Any) -> Any:
    """The object that a group's `_target_` makes from its keys and, of what is offered, what it asks for."""
    return make(group, container(cfg, group), **offered)


def make(group: str, node: dict[str, Any], **offered: Any) -> Any:
    """The object that a node's `_target_` makes from its keys and, of what is offered, what it asks for.

    With `_partial_` the target is tried all the same, and comes back as a function of no arguments.

    Raises:
        UserError: an unknown key, a value that is not allowed, a target that is not there.
    """
    target = str(node.get("_target_", ""))
    keys = {key: value for key, value in node.items() if key not in ("_target_", "_partial_")}
    try:
        function, parameters = find_target(target)
    except (ImportError, ValueError, TypeError, InstantiationException) as error:
        reason = " ".join(str(error).split())
        raise OptionError(f"{group}._target_", target or None, "an importable class or function", reason) from None
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        own = [key for key in parameters if key not in offered and key != "params"]
        for key, value in keys.items():
            if key not in parameters:
                raise UnknownKey(f"{group}.{key}", value, target, own)
        for part in ("normalization", "dropout"):
            if offered.get(part) is not None and part not in parameters and not is_neutral(offered[part]):
                raise UserError(f"{group}: {target} takes no {part}; choose none")
        offered = {key: value for key, value in offered.items() if key in parameters}
    try:
        if any(_holds_targets(value) for value in keys.values()):
            keys = instantiate(keys)
        made = function(**keys, **offered)
    except OptionError as error:
        raise error.within(group) from None
    except InstantiationException as error:
        raise UserError(f"{group}: {str(error.__cause__ or error).splitlines()[0]}") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{group}: {target}: {str(error).splitlines()[0]}") from None
    return partial(function, **keys) if node.get("_partial_") else made


@lru_cache(maxsize=256)
def find_target(name: str) -> tuple[Callable[..., Any], Mapping[str, inspect.Parameter]]:
    """What a `_target_` names, found and judged by Hydra once; calling it directly costs no config machinery."""
    signature = inspect.signature(get_object(name))
    function: Callable[..., Any] = instantiate({"_target_": name, "_partial_": True}).func
    return function, signature.parameters


def _holds_targets(value: Any) -> bool:
    """Whether a value has a `_target_` somewhere inside, for Hydra to make."""
    if isinstance(value, dict):
        return "_target_" in value or any(_holds_targets(item) for item in value.values())
    return isinstance(value, list) and any(_holds_targets(item) for item in value)


def is_neutral(part: Any) -> bool:
    """Whether a part does nothing: the option `none` of its group."""
    return bool(getattr(part, "neutral", False))
