"""What a `_target_` names, judged before anything is called: a configuration is data, and no program.

A target is a class that derives from its group's base, or a function of fanin or of the user's own modules that is
declared to return one: `def bent() -> nn.Module`. Functions of the standard library and of installed packages are
none, whatever they return. To find it, its module is imported, as by any import statement; nothing else is run. No
torch and no Hydra here: the report finds studies in the same way.
"""

from __future__ import annotations

import inspect
import sys
import sysconfig
import typing
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from fanin.errors import OptionError, UserError, did_you_mean

MOVED = {
    **{
        f"fanin.{room}": f"fanin.parts.{room}"
        for room in (
            "activations", "averaging", "batch_schedules", "clipping", "data", "initializers", "losses", "lr_scaling",
            "models", "normalization", "optimizers", "preprocess", "regularizers", "schedules",
        )
    },
    "fanin.augment": "fanin.parts.augmentations",
    "fanin.elbo": "fanin.parts.losses",
    "fanin.value": "fanin.parts.losses",
}  # fmt: skip
"""Modules of fanin before its parts got a package of their own, and where each is now."""

STANDARD = Path(sysconfig.get_path("stdlib")).resolve()
"""Where Python's own modules lie."""


def load(target: object, *bases: type | str, key: str = "_target_") -> Callable[..., Any]:
    """The class or function that a `_target_` names, if it makes what is asked for; nothing is called.

    Args:
        target: the dotted name.
        bases: what it derives from or, for a function, returns: classes, or their dotted names.
        key: the key under which it stands, for the error.

    Returns:
        the class, or the function.

    Raises:
        OptionError: there is no such thing, it has moved, or it makes something else.

    >>> load("collections.OrderedDict", dict)
    <class 'collections.OrderedDict'>
    >>> load("os.system", dict)
    Traceback (most recent call last):
    fanin.errors.OptionError: _target_=os.system: must be a class that derives from dict, or a function of your own ...
    """
    if not isinstance(target, str) or not all(part.isidentifier() for part in target.split(".")) or "." not in target:
        raise OptionError(key, target, "the dotted name of an importable class or function")
    if new := new_name(target):
        raise OptionError(key, target, f"its new name, {new}", "fanin's parts are in fanin.parts now")
    try:
        found = find(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise OptionError(key, target, "an importable class or function", " ".join(str(error).split())) from None
    except (Exception, SystemExit) as error:
        said = f"its module raises {type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
        raise OptionError(key, target, "an importable class or function", said) from error
    kinds = classes(*bases)
    if not _makes(found, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        allowed = f"a class that derives from {names}, or a function of your own that is declared to return one"
        raise OptionError(key, target, allowed, _why_not(found, names))
    return typing.cast(Callable[..., Any], found)


def classes(*bases: type | str) -> tuple[type, ...]:
    """Classes, given as they are or by their dotted names."""
    return tuple(typing.cast(type, find(base)) if isinstance(base, str) else base for base in bases)


def refuse_nested(key: str, value: object) -> None:
    """Refuse a `_target_` inside of a value: only an option itself has one.

    Raises:
        UserError: the key under which it stands.
    """
    if isinstance(value, Mapping):
        if "_target_" in value:
            raise UserError(f"{key}: a value holds no _target_, found {value['_target_']}; only an option has one")
        for name, inner in value.items():
            refuse_nested(f"{key}.{name}", inner)
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            refuse_nested(f"{key}.{place}", inner)


@lru_cache(maxsize=1024)
def own_source(target: str) -> Path | None:
    """The file of the user's own module that a dotted name lies in, found without importing it; None for others."""
    root, *inner = target.split(".")
    try:
        spec = find_spec(root)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or not spec.origin or root == "fanin" or is_installed(spec.origin):
        return None
    file = Path(spec.origin)
    folder = file.parent
    for part in inner if spec.submodule_search_locations else ():
        below = [folder / f"{part}.py", folder / part / "__init__.py"]
        found = next((path for path in below if path.is_file()), None)
        if found is None:
            break
        file, folder = found, folder / part
    return file if file.is_file() else None


def new_name(target: str) -> str:
    """Where a part of fanin's old layout is now; "" for any other name.

    >>> new_name("fanin.models.Mlp"), new_name("fanin.parts.models.Mlp")
    ('fanin.parts.models.Mlp', '')
    """
    for old, new in MOVED.items():
        if target.startswith(f"{old}."):
            return new + target[len(old) :]
    return ""


@lru_cache(maxsize=1024)
def find(name: str) -> object:
    """The object of a dotted name: the longest part that is a module, and what lies in it; it is not judged."""
    parts = name.split(".")
    found: Any = import_module(parts[0])
    for place, part in enumerate(parts[1:], start=2):
        if not hasattr(found, part):
            _import_within(found, ".".join(parts[:place]))
        found = getattr(found, part)
    return found


def _import_within(package: object, name: str) -> None:
    """Import a package's module, which is an attribute of it then; or AttributeError."""
    if isinstance(package, ModuleType) and hasattr(package, "__path__"):
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
        else:
            return
    owner, _, part = name.rpartition(".")
    hint = did_you_mean(part, dir(package))
    raise AttributeError(f"{owner} has no {part}" + (hint and f"; {hint}"))


def _makes(found: object, kinds: tuple[type, ...]) -> bool:
    if isinstance(found, type):
        return issubclass(found, kinds)
    if not isinstance(found, FunctionType) or not _is_own(found):
        return False
    returned = _returned(found)
    return isinstance(returned, type) and issubclass(returned, kinds)


def _returned(function: FunctionType) -> object:
    """What a function is declared to return; None if that cannot be told."""
    try:
        return typing.get_type_hints(function).get("return")
    except (NameError, TypeError, SyntaxError, AttributeError):  # names that only a type checker knows
        return None


def _is_own(function: FunctionType) -> bool:
    """Whether a function is of fanin or of the user's own modules, its wrapped one too."""
    for one in (function, inspect.unwrap(function)):
        module = sys.modules.get(one.__module__)
        file = getattr(module, "__file__", None)
        if one.__module__.partition(".")[0] != "fanin" and (file is None or is_installed(file)):
            return False
    return True


@lru_cache(maxsize=256)
def is_installed(file: str) -> bool:
    """Whether a file is of the standard library or of an installed package."""
    place = Path(file).resolve()
    return not {"site-packages", "dist-packages"}.isdisjoint(place.parts) or place.is_relative_to(STANDARD)


def _why_not(found: object, names: str) -> str:
    if isinstance(found, type):
        return ""
    if isinstance(found, FunctionType) and _is_own(found):
        return f"write def {found.__name__}(...) -> {names}"
    return "it was not called"
