"""From the names of a checkpoint's parameters to those of another model."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fanin.errors import OptionError

SHOWN = 6
"""Names that an error lists."""


def checked_renaming(value: object) -> dict[str, str]:
    """The value if it is a mapping of patterns to new names, each with one * or none.

    Raises:
        OptionError: it is something else.

    >>> checked_renaming({"encoder.*": "*"})
    {'encoder.*': '*'}
    """
    allowed = 'null or {pattern: new name}, each with one * or none, as {encoder.*: "*"}'
    if not isinstance(value, Mapping):
        raise OptionError("rename", value, allowed)
    for pattern, new in value.items():
        sound = isinstance(pattern, str) and isinstance(new, str) and pattern.count("*") == new.count("*") <= 1
        if not sound:
            raise OptionError("rename", dict(value), allowed, f"not {pattern!r}: {new!r}")
    return {str(pattern): str(new) for pattern, new in value.items()}


def new_name(name: str, renaming: Mapping[str, str]) -> str | None:
    """What a name becomes by the first pattern that matches it; None where none does.

    >>> new_name("encoder.linear_2.bias", {"encoder.linear_*": "linear_*", "*": "rest.*"})
    'linear_2.bias'
    """
    for pattern, new in renaming.items():
        before, star, after = pattern.partition("*")
        if not star and name == pattern:
            return new
        if star and len(name) >= len(before) + len(after) and name.startswith(before) and name.endswith(after):
            return new.replace("*", name[len(before) : len(name) - len(after)])
    return None


def renamed(saved: Mapping[str, Tensor], renaming: Mapping[str, str]) -> dict[str, Tensor]:
    """The parameters and buffers of a checkpoint under their new names, or their own where no pattern matches.

    Raises:
        OptionError: a pattern matches nothing, or two tensors would have one name.
    """
    made: dict[str, Tensor] = {}
    for pattern in renaming:
        if not any(new_name(name, {pattern: renaming[pattern]}) is not None for name in saved):
            there = ", ".join([*list(saved)[:SHOWN], *(["..."] if len(saved) > SHOWN else [])])
            raise OptionError(
                "rename", dict(renaming), "patterns that match the checkpoint's names", f"{pattern} not: {there}"
            )
    for name, tensor in saved.items():
        new = new_name(name, renaming) or name
        if new in made:
            raise OptionError(
                "rename", dict(renaming), "patterns that give each tensor a name of its own", f"two are {new}"
            )
        made[new] = tensor
    return made
