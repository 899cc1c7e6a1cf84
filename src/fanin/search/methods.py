"""Who proposes configurations, by the name of the method."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from fanin.errors import UserError
from fanin.record.search_files import FOLDER, STUDY
from fanin.search.random_proposals import Proposer, QuasiRandomProposals, RandomProposals
from fanin.search.reinforce import ReinforceProposals
from fanin.search.settings import AT_ONCE, Settings
from fanin.search.space import Space

EXTRA = {"tpe": ("optuna",), "gp": ("optuna",), "cmaes": ("optuna", "cmaes"), "nsga2": ("optuna",)}
"""What a method needs of the extra `search`."""

DRAWS = {"random": RandomProposals, "qmc": QuasiRandomProposals}
"""Who draws without memory."""


def proposer_of(settings: Settings, space: Space, grid: Path, *, fresh: bool) -> Proposer:
    """The proposer of a search, whose study is written down where Optuna is there.

    Args:
        settings: how to search.
        space: what.
        grid: the folder of the grid.
        fresh: whether an earlier study in it is forgotten.

    Raises:
        UserError: the method needs what is not installed, or another space.
    """
    _check(settings, space)
    if settings.method == "reinforce" or (settings.method in AT_ONCE and find_spec("optuna") is None):
        return unwritten(settings, space, settings.seed)
    from fanin.search.optuna_proposals import LoggedProposals, OptunaProposals
    from fanin.search.study_log import StudyLog

    log = StudyLog(grid / FOLDER / STUDY, settings.directions, fresh=fresh)
    if settings.method in AT_ONCE:
        return LoggedProposals(DRAWS[settings.method](space, settings.seed), log)
    return OptunaProposals(settings.method, space, settings.seed, settings.batch, settings.directions, log)


def unwritten(settings: Settings, space: Space, seed: int) -> Proposer:
    """The proposer of a search of which nothing is written down.

    Args:
        settings: how to search.
        space: what.
        seed: of the proposals.

    Raises:
        UserError: the method needs what is not installed, or another space.
    """
    _check(settings, space)
    if settings.method == "reinforce":
        return ReinforceProposals(space, seed, sign=settings.signs[0])
    if settings.method in AT_ONCE:
        return DRAWS[settings.method](space, seed)
    from fanin.search.optuna_proposals import OptunaProposals

    return OptunaProposals(settings.method, space, seed, settings.batch, settings.directions)


def _check(settings: Settings, space: Space) -> None:
    method = settings.method
    if any(find_spec(package) is None for package in EXTRA.get(method, ())):
        raise UserError(f"hydra.sweeper.method={method}: needs an extra; pip install 'fanin[search]'")
    if method == "cmaes" and sum(axis.kind != "choice" for axis in space.axes) < 2:
        raise UserError("hydra.sweeper.method=cmaes: needs two axes of numbers that are always there; tpe takes any")
