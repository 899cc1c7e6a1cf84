"""One option of a group: an object made from its keys, strictly.

Options are called with exactly the keys of their YAML; a key that an option does not know is an error, also one added
with "+". Errors name the group, the key, the value and what is allowed.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cached_property, lru_cache, partial
from types import UnionType
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fanin.catalogue import GROUPS
from fanin.errors import OptionError, UserError, did_you_mean
from fanin.targets import load, refuse_nested


class UnknownKey(UserError):
    """A key that nothing reads."""

    def __init__(self, key: str, value: object, owner: str, known: list[str]) -> None:
        hint = did_you_mean(key.rpartition(".")[2], known)
        super().__init__(
            f"unknown key {key}={value}: {owner} knows {', '.join(sorted(known)) or 'no keys'}" + (hint and f"; {hint}")
        )


class Options:
    """The options of a configuration as plain values by group, with interpolations resolved, all read at once.

    Args:
        cfg: without its hydra node, or the same as plain values, resolved.
    """

    def __init__(self, cfg: DictConfig | dict[str, Any]) -> None:
        self.cfg = cfg

    @cached_property
    def plain(self) -> dict[str, Any]:
        """The whole configuration.

        Raises:
            OmegaConfBaseException: an interpolation in it leads nowhere, or a value is missing.
        """
        whole: dict[str, Any] = _plain(self.cfg)
        return whole

    def __getitem__(self, group: str) -> dict[str, Any]:
        """What a group's option is made of.

        Raises:
            UserError: it is no option, or an interpolation in it leads nowhere.
        """
        if group not in self.plain and group in GROUPS and GROUPS[group].target:
            return {}  # of a run that was written before there was this group
        try:
            node = self.plain[group]
        except OmegaConfBaseException:  # the mistake may be in another group, which the error then names
            try:
                node = _plain(self.cfg[group])
            except OmegaConfBaseException as error:
                raise UserError(f"{group}: {str(error).splitlines()[0]}") from None
        if not isinstance(node, dict):
            raise UserError(f"{group}={node}: must be an option of its group, not a value; fanin --help lists them")
        return node


def _plain(cfg: Any) -> Any:
    """A configuration, or a node of it, as plain values."""
    return (
        cfg
        if isinstance(cfg, dict)
        else OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True, enum_to_str=True)
    )


def make(key: str, node: Mapping[str, Any], **offered: Any) -> Any:
    """The object that a node's `_target_` makes from its keys and from those offered arguments that it names.

    Objects of some groups are made anew at each use: one is made to check the keys, and a function that makes more of
    them is returned.

    Args:
        key: of the node: its group or, where that takes several, group and name ("regularizer.l2").

    Raises:
        UserError: an unknown key, a value that is not allowed, a target that makes something else.
    """
    row = GROUPS[key.partition(".")[0]]
    target = node.get("_target_") or row.target
    # Lists are copied: what a constructor does to them is its own, and it may be called again.
    keys = {name: deepcopy(value) for name, value in node.items() if name not in ("_target_", "_partial_")}
    function = find(target if isinstance(target, str) else str(target), row.bases, f"{key}._target_")
    parameters = _parameters(function)
    for name, value in keys.items():
        refuse_nested(f"{key}.{name}", value)
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        own = [name for name in parameters if name not in (*offered, *row.offered)]
        for name, value in keys.items():
            if name not in parameters:
                raise UnknownKey(f"{key}.{name}", value, str(target), own)
        for part in ("normalization", "dropout") if row.shapes_model else ():
            if offered.get(part) is not None and part not in parameters and not is_neutral(offered[part]):
                raise UserError(f"{key}: {target} takes no {part}; choose none")
        offered = {name: value for name, value in offered.items() if name in parameters}
    try:
        made = function(**keys, **offered)
    except OptionError as error:
        raise error.within(key) from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{key}: {target}: {(str(error) or repr(error)).splitlines()[0]}") from None
    _check_types(key, function, keys)
    return partial(function, **keys) if row.fresh else made


@lru_cache(maxsize=256)
def find(target: str, bases: tuple[str, ...], key: str) -> Callable[..., Any]:
    """What a `_target_` names, checked once; see `fanin.targets.load`."""
    return load(target, *bases, key=key)


@lru_cache(maxsize=256)
def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function).parameters


@lru_cache(maxsize=256)
def _plain_types(function: Callable[..., Any]) -> Mapping[str, tuple[type, ...]]:
    """The arguments that are declared as booleans, numbers, strings or None, and as nothing else."""
    own = vars(function).get("__init__", function) if isinstance(function, type) else function
    try:
        hints = typing.get_type_hints(own)
    except (NameError, TypeError, AttributeError):  # names that only a type checker knows
        return {}
    unions = (typing.Union, UnionType)
    each = {
        name: typing.get_args(hint) if typing.get_origin(hint) in unions else (hint,) for name, hint in hints.items()
    }
    plain = (bool, int, float, str, type(None))
    return {name: types for name, types in each.items() if all(one in plain for one in types)}


def _check_types(key: str, function: Callable[..., Any], keys: Mapping[str, Any]) -> None:
    """Refuse values that a constructor does not check: a word for a flag, which torch's optimizers take as true."""
    words = {bool: "true or false", int: "an integer", float: "a number", str: "a word", type(None): "null"}
    for name, types in _plain_types(function).items():
        allowed = (*types, int) if float in types else types
        if name in keys and type(keys[name]) not in allowed:
            raise OptionError(f"{key}.{name}", keys[name], " or ".join(words[one] for one in types))


def is_neutral(part: Any) -> bool:
    """Whether a part does nothing: the option `none` of its group."""
    return bool(getattr(part, "neutral", False))
