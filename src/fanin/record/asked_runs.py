"""The further runs that a study asks for: those of a grid once more, with other settings that read finished ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class AskedRun:
    """A run of the grid once more with other settings, such as those that take another run's weights as its start.

    Attributes:
        like: the folder of the run.
        settings: KEY=VALUE as typed on the command line, which count more than those of that run.
    """

    like: Path
    settings: tuple[str, ...]


def quoted(path: Path) -> str:
    """A path as a value on the command line.

    >>> quoted(Path("outputs/runs/optimizer.lr=0.1,seed=0"))
    "'outputs/runs/optimizer.lr=0.1,seed=0'"
    """
    text = str(path).replace("'", "\\'")
    return f"'{text}'"
