"""Choosing modules and parameters by the shell's patterns over their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import cache

from fanin.errors import UserError, did_you_mean, shortened


def chosen_modules(patterns: str | Sequence[str], names: Sequence[str]) -> Callable[[str], bool]:
    """Whether a module is to be measured, by its name, or by name.2, name.3, ... where it is called several times.

    Args:
        patterns: of the shell (* for anything, ? for one character, [12]); one, or several of which one has to match.
        names: of all modules.

    Raises:
        UserError: a pattern that no module matches.

    >>> chosen = chosen_modules("blocks.*", ["", "embed", "blocks.0", "blocks.1"])
    >>> chosen("blocks.1"), chosen("embed"), chosen("blocks.0.2")
    (True, False, True)
    >>> chosen_modules("block.*", ["", "embed", "blocks.0"])
    Traceback (most recent call last):
    fanin.errors.UserError: modules: no module matches block.*; did you mean blocks.0?
    """
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in wanted:
        if not isinstance(pattern, str) or not any(fnmatchcase(name, pattern) for name in names):
            there = shortened(", ".join(name for name in names if name))
            raise UserError(
                f"modules: no module matches {pattern}; " + (did_you_mean(str(pattern), names) or f"there are {there}")
            )
    if not wanted:
        raise UserError("modules: an empty list chooses nothing; leave it out for all modules")
    known = set(names)

    @cache
    def chosen(label: str) -> bool:
        name = label if label in known else label.rpartition(".")[0]
        return label == "input" or any(fnmatchcase(name, one) for one in wanted)

    return chosen
