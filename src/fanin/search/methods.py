"""Who proposes configurations, by the name of the method."""

from __future__ import annotations

from pathlib import Path

from fanin.errors import UserError
from fanin.search.random_proposals import Proposer, RandomProposals
from fanin.search.settings import Settings
from fanin.search.space import Space


def proposer_of(settings: Settings, space: Space, grid: Path, *, fresh: bool) -> Proposer:
    """The proposer of a search.

    Raises:
        UserError: the method cannot be followed.
    """
    if settings.method != "random":
        raise UserError(f"hydra.sweeper.method={settings.method}: is not there yet; random is")
    return RandomProposals(space, settings.seed)
