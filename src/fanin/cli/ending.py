"""How a command ends: what a user did wrong in one line on standard error, and exit code 1."""

from __future__ import annotations

import sys
from collections.abc import Callable

from fanin.errors import UserError, file_line


def mistake(error: Exception) -> str | None:
    """What a user did wrong, in one line; None where it is no mistake of the user's."""
    if isinstance(error, OSError):
        return file_line(error)
    return " ".join(str(error).split()) if isinstance(error, UserError) else None


def ended(program: str, work: Callable[[], object], told: Callable[[Exception], str | None] = mistake) -> int:
    """Do a command's work; returns its exit code: 0, or 1 for a mistake.

    Args:
        program: the command's name, which a line begins with.
        work: all of it.
        told: the lines for an error; None lets it through, with its traceback.
    """
    try:
        work()
    except Exception as error:
        lines = told(error)
        if lines is None:
            raise
        for line in lines.splitlines():
            print(f"{program}: {line}", file=sys.stderr)
        return 1
    return 0
