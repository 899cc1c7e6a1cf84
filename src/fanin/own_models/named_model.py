"""A model that is typed as module:function, as a command takes it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import nn

from fanin.errors import UserError, did_you_mean

Made = tuple[nn.Module, Callable[[], Any] | None]
"""A model, and what makes another one; None where the name is that of a model itself."""


def named_model(text: str, seed: int | None = None) -> Made:
    """The model that a name stands for: what a function or class without arguments makes, or a model itself.

    Modules of the current folder are found.

    Args:
        text: module:function.
        seed: of torch's stream as the module is imported, and again as the function is called; None leaves it alone.

    Raises:
        UserError: there is no such thing, or it makes no model.

    >>> named_model("torch.nn:Linear")
    Traceback (most recent call last):
    fanin.errors.UserError: torch.nn:Linear: needs arguments; name a function without any that makes the model
    """
    _sow(seed)
    found = named(text, "my_module:make_model")
    if isinstance(found, nn.Module):
        return found, None
    if not callable(found):
        raise UserError(f"{text}: is no function that makes a model, but a {type(found).__name__}")
    _sow(seed)
    try:
        made = found()
    except TypeError as error:
        if "argument" not in str(error) or error.__traceback__ is None or error.__traceback__.tb_next is not None:
            raise _failed(text, error) from error
        raise UserError(f"{text}: needs arguments; name a function without any that makes the model") from None
    except Exception as error:
        raise _failed(text, error) from error
    if not isinstance(made, nn.Module):
        raise UserError(f"{text}: makes a {type(made).__name__}, and no torch.nn.Module")
    return made, found


def _sow(seed: int | None) -> None:
    if seed is not None:
        torch.manual_seed(seed)


def named(text: str, example: str) -> Any:
    """What module:name stands for.

    Raises:
        UserError: there is no such thing.
    """
    module, colon, name = text.partition(":")
    if not colon or not name or not module or not all(part.isidentifier() for part in (*module.split("."), name)):
        raise UserError(f"{text}: must be module:name, such as {example}")
    if (here := os.getcwd()) not in sys.path:  # noqa: PTH109
        sys.path.insert(0, here)
    try:
        place = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise _failed(module, error, "cannot be imported") from error
        raise UserError(f"{text}: there is no module {error.name}, neither in this folder nor installed") from None
    except (Exception, SystemExit) as error:
        raise _failed(module, error, "cannot be imported") from error
    if not hasattr(place, name):
        own = [one for one in vars(place) if not one.startswith("_")]
        hint = did_you_mean(name, own)
        raise UserError(f"{text}: {module} has no {name}" + (hint and f"; {hint}"))
    return getattr(place, name)


def _failed(text: str, error: BaseException, what: str = "fails") -> UserError:
    return UserError(f"{text}: {what}: {type(error).__name__}: {' '.join(str(error).split())}".rstrip(": "))
