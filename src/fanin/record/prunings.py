"""The prunings that a study asks for, and where they lie beside its runs."""

from __future__ import annotations

from dataclasses import dataclass

FOLDER = "pruned"
"""Where they lie in a grid's folder."""


@dataclass(frozen=True, kw_only=True)
class AskedPruning:
    """A run to prune, as `fanin.run.pruning.Pruning` says.

    Attributes:
        run: its folder.
        name: of the folder of its rounds, in `FOLDER` beside the run.
        share, rounds, rewind: see there.
        masks_from: the name of another pruning of the same run, asked for before, whose masks are taken.
    """

    run: str
    name: str
    share: float
    rounds: int = 1
    rewind: str = "init"
    masks_from: str | None = None
