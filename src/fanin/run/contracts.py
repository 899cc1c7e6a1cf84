"""What an option of each group has to be, a user's own too: what it derives from, and what its code may not do."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from fanin.catalogue import GROUPS
from fanin.errors import UserError
from fanin.parts.data import Dataset
from fanin.parts.optimizers.base import GroupOptimizer
from fanin.parts.optimizers.objective import ObjectiveOptimizer
from fanin.targets import classes

NOT_THEIRS = (str(Path(__file__).parents[1]), "site-packages")
"""Where no user's code lies."""


def check_kind(group: str, made: object, name: str = "") -> None:
    """Refuse what is not of its group's kind, which a function may return in spite of its declaration.

    Args:
        group: of the option.
        made: the option.
        name: its own, where a group takes several.

    Raises:
        UserError: what it must derive from.
    """
    bases = GROUPS[group].bases
    if not isinstance(made, classes(*bases)):
        names = " or ".join(base.rpartition(".")[2] for base in bases)
        raise UserError(f"{group}{name and '.'}{name}: {type(made).__name__} must derive from {names}")


def check_dataset(group: str, made: object) -> Dataset:
    """What a group's option returned, if it is a data set; else UserError."""
    if not isinstance(made, Dataset):
        raise UserError(f"{group}: must give a fanin.parts.data.Dataset, not {type(made).__name__}")
    return made


def check_step(target: str, optimizer: torch.optim.Optimizer) -> None:
    """Refuse an optimizer that cannot make its step from the gradients alone, as torch's own LBFGS and SparseAdam.

    Args:
        target: what made it.
        optimizer: over parameters of its own, on which a step with gradients of 0 is tried.

    Raises:
        UserError: what it says to that.
    """
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise UserError(f"optimizer: {target} asks for the loss again in each step; of such there is optimizer=lbfgs")
    if isinstance(optimizer, GroupOptimizer | ObjectiveOptimizer):
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    try:
        optimizer.step()
    except Exception as error:
        said = " ".join(str(error).split()) or "it says no more"
        raise UserError(f"optimizer: {target} cannot make a step: {type(error).__name__}: {said}") from error


@contextmanager
def own_fault(group: str) -> Iterator[None]:
    """Tell in one line, with the group's name and the place, what a part's own code raises while it is made."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        said = f"{group}: {type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [frame for frame in frames if not any(folder in frame.filename for folder in NOT_THEIRS)]
        place = f" ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})" if theirs else ""
        raise UserError(said + place) from error
