"""What the commands about a trained run have in common: its folder, numbers and choices, where they write."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fanin.errors import OptionError, UserError

if TYPE_CHECKING:
    from fanin.run.in_use import InUse
    from fanin.run.trained import Trained


def add_run(made: argparse.ArgumentParser) -> None:
    """The folder of the run that a command is about."""
    made.add_argument("run", type=Path, metavar="RUN", help="the run's folder")


def add_use(made: argparse.ArgumentParser, folder: str) -> None:
    """What a command that compares networks in use takes: how often each answers, and where it writes."""
    made.add_argument("--repeats", type=int, default=30, metavar="N", help="timed answers (30), 0 for none")
    made.add_argument("--out", type=Path, metavar="DIR", help=f"where to write (in {folder}/ beside the run)")


def check_least(arguments: argparse.Namespace, **least: int) -> None:
    """UserError where a number is below what is allowed."""
    for name, low in least.items():
        if getattr(arguments, name) < low:
            raise UserError(f"--{name} {getattr(arguments, name)}: must be at least {low}")


def check_folder(run: Path) -> None:
    """UserError where there is no such folder."""
    if not run.is_dir():
        raise UserError(f"{run}: no such folder")


@contextmanager
def typed() -> Iterator[None]:
    """What is refused within is told as it was typed.

    >>> with typed():
    ...     raise OptionError("share", 2, "below 1")
    Traceback (most recent call last):
    fanin.errors.UserError: --share 2: must be below 1
    """
    try:
        yield
    except OptionError as error:
        raise UserError(f"--{str(error).replace('=', ' ', 1)}") from None


def classifier(run: Path, precision: str | None = None) -> Trained:
    """The trained network of a run that tells classes apart.

    Raises:
        UserError: it does something else.
    """
    from fanin.run.trained import trained_run

    trained = trained_run(run.resolve(), precision)
    if not trained.recipe.method.loss.classification:
        raise UserError(f"{run}: its targets are no classes, whose error could be compared")
    return trained


def tell(out: Path, rows: Sequence[InUse], files: Iterable[Path] = ()) -> None:
    """Write in_use.csv of what was compared; print each network's line, and all files."""
    from fanin.run.in_use import told, write_in_use

    for row in rows:
        print(told(row))
    for path in (*files, *([write_in_use(out, rows)] if rows else [])):
        print(path)
