"""One option of a group: an object made from its keys, strictly.

Options are called with exactly the keys of their YAML; a key that an option does not know is an error, also one added
with "+". Errors name the group, the key, the value and what is allowed.
"""

from __future__ import annotations

import inspect
import logging
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
    target = str(node.get("_target_", ""))
    try:
        signature = inspect.signature(get_object(target))
    except (ImportError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise OptionError(f"{group}._target_", target or None, "an importable class or function", reason) from None
    parameters = signature.parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        own = [key for key in parameters if key not in offered and key != "params"]
        for key, value in node.items():
            if key not in parameters and key not in ("_target_", "_partial_"):
                raise UnknownKey(f"{group}.{key}", value, target, own)
        for part in ("normalization", "dropout"):
            if offered.get(part) is not None and part not in parameters and not _is_neutral(offered[part]):
                raise UserError(f"{group}: {target} takes no {part}; choose none")
        offered = {key: value for key, value in offered.items() if key in parameters}
    try:
        # Parts that are made already are handed over as they are: instantiate would look for configs inside them.
        made = instantiate(node | {"_partial_": True})(**offered)
        return made if not node.get("_partial_") else instantiate(node)
    except OptionError as error:
        raise error.within(group) from None
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, OptionError):
            raise cause.within(group) from None
        raise UserError(f"{group}: {str(cause or error).splitlines()[0]}") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{group}: {target}: {str(error).splitlines()[0]}") from None


def _is_neutral(part: Any) -> bool:
    """A normalization that makes nothing."""
    return hasattr(part, "make") and hasattr(part, "placement") and part.make(1) is None
