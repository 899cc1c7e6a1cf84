"""One-line errors for what a user typed, and the checks that raise them.

An error says what is wrong, the value given, what is allowed and the fix. This module imports neither torch
nor Hydra: the command line and every building block use it.
"""

from __future__ import annotations

import errno
import json
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

LARGEST = (2 - 2**-23) * 2.0**127
"""The largest number of float32, in which a run computes unless it is told otherwise."""

MOST = 2**63 - 1
"""The largest integer of 64 bits, which sizes and seeds are for torch."""

SHOWN = 200
"""Characters of a value that an error shows."""


class UserError(Exception):
    """Something the user can mend: printed as one line, without a traceback, exit code 1."""


class OptionError(UserError, ValueError):
    """An option's value is not allowed.

    Args:
        name: the key; a constructor gives its bare name ("c"), the builder prefixes the group ("initializer.c").
        value: what was given.
        allowed: what is allowed, to be read after "must be".
        fix: what to type instead, where that is not obvious.

    >>> str(OptionError("c", -1, "a finite number > 0").within("initializer"))
    'initializer.c=-1: must be a finite number > 0'
    """

    def __init__(self, name: str, value: object, allowed: str, fix: str = "") -> None:
        self.name, self.value, self.allowed, self.fix = name, value, allowed, fix
        super().__init__(name, value, allowed, fix)

    def __str__(self) -> str:
        return f"{self.name}={_shown(self.value)}: must be {self.allowed}" + (f"; {self.fix}" if self.fix else "")

    def within(self, group: str) -> OptionError:
        """The same error with its group in front: "c" becomes "initializer.c"."""
        return OptionError(f"{group}.{self.name}", self.value, self.allowed, self.fix)


def _shown(value: object) -> str:
    """A value as it is typed, cut where it fills the terminal."""
    if isinstance(value, int) and abs(value) > 10**SHOWN:  # Python turns no number of 5,000 digits into text
        return f"(an integer of {math.floor(value.bit_length() * math.log10(2)) + 1} digits or so)"
    text = json.dumps(value) if value is None or isinstance(value, bool) else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"


@contextmanager
def told_of(group: str) -> Iterator[None]:
    """Put a group's name before the key of an error that comes from within."""
    try:
        yield
    except OptionError as error:
        raise error.within(group) from None


def number(
    name: str,
    value: object,
    low: float | None = None,
    high: float | None = None,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """The value as a float within [low, high] and float32's range; `open_low` and `open_high` leave the ends out.

    >>> number("c", 2, 0, open_low=True)
    2.0
    >>> number("c", 0, 0, open_low=True)
    Traceback (most recent call last):
    fanin.errors.OptionError: c=0: must be a finite number > 0
    """
    real = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST
    if real:
        below = low is not None and (value <= low if open_low else value < low)  # type: ignore[operator]
        above = high is not None and (value >= high if open_high else value > high)  # type: ignore[operator]
    if not real or below or above:
        bounds = [f"{'>' if open_low else '>='} {low:g}"] if low is not None else []
        bounds += [f"{'<' if open_high else '<='} {high:g}"] if high is not None else []
        if isinstance(value, (int, float)) and LARGEST < abs(value) < math.inf:
            bounds += [f"within float32's range, up to {LARGEST:.2g}"]
        raise OptionError(name, value, " ".join(["a finite number", " and ".join(bounds)]).strip())
    return float(value)  # type: ignore[arg-type]


def integer(name: str, value: object, low: int | None = None, high: int | None = None) -> int:
    """The value as an integer within [low, high]; 3.0 is refused, for a typed fraction is a mistake.

    >>> integer("depth", 3.0, 1)
    Traceback (most recent call last):
    fanin.errors.OptionError: depth=3.0: must be an integer >= 1
    """
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST
    if not whole or (low is not None and value < low) or (high is not None and value > high):  # type: ignore[operator]
        bounds = [f">= {low}"] if low is not None else []
        bounds += [f"<= {high}"] if high is not None else []
        bounds += ["of 64 bits"] if isinstance(value, int) and abs(value) > MOST else []
        raise OptionError(name, value, " ".join(["an integer", " and ".join(bounds)]).strip())
    return value  # type: ignore[return-value]


def choice(name: str, value: object, allowed: Iterable[str]) -> str:
    """The value if it is one of the allowed words; the error names the nearest one.

    >>> choice("mode", "fan_inn", ["fan_in", "fan_out"])
    Traceback (most recent call last):
    fanin.errors.OptionError: mode=fan_inn: must be one of fan_in, fan_out; did you mean fan_in?
    """
    words = list(allowed)
    if not isinstance(value, str) or value not in words:
        raise OptionError(name, value, "one of " + ", ".join(words), did_you_mean(str(value), words))
    return value


def flag(name: str, value: object) -> bool:
    """The value if it is true or false.

    >>> flag("bias", "yes")
    Traceback (most recent call last):
    fanin.errors.OptionError: bias=yes: must be true or false
    """
    if not isinstance(value, bool):
        raise OptionError(name, value, "true or false")
    return value


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ "did you mean X?" for the nearest known word, or nothing."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else ""


def shortened(text: str, longest: int = 200) -> str:
    """A text, or the beginning of a very long one and its length."""
    return text if len(text) <= longest else f"{text[:60]}... ({len(text):,} characters)"


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 run", "2 runs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


WRONG_FILES = {
    errno.ENOSPC: "no room is left on the disk",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EACCES: "there is no permission for it",
    errno.EPERM: "there is no permission for it",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a file is in the place of a folder",
    errno.EISDIR: "a folder is in the place of a file",
    errno.ENOTEMPTY: "a folder is in the place of a file",
    errno.EEXIST: "a file, or a link that leads nowhere, is in the place of a folder",
    errno.ENOENT: "it is not there, or leads nowhere",
    errno.ENAMETOOLONG: "the name is longer than the file system takes",
    errno.ELOOP: "a link is in the place of a file, or links lead in a circle",
    errno.EMFILE: "more files are open than the system allows (ulimit -n)",
}


def file_line(error: OSError) -> str:
    """What went wrong with a file or folder, as one line: which, what, and nothing of how it was noticed.

    >>> file_line(IsADirectoryError(errno.EISDIR, "Is a directory", "run/result.json"))
    'run/result.json: a folder is in the place of a file'
    """
    if error.errno is None:
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    said = WRONG_FILES.get(error.errno, error.strerror or type(error).__name__)
    name = error.filename2 or error.filename  # of a file moved into place, that place
    if name is None or isinstance(name, int):
        return said
    path = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
    path = re.sub(r"(^|/)\.([^/]+)\.[a-z0-9_]{8}$", r"\1\2", path)  # what is written beside its place at first
    return f"{path if len(path) <= LONGEST_PATH else path[:LONGEST_PATH] + '...'}: {said}"


LONGEST_PATH = 300
"""Letters of a path in a message."""
