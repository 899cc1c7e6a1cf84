"""What an option of each group has to be, a user's own too: what it derives from, and what its code may not do."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from fanin.errors import UserError
from fanin.parts.augmentations import Augmentation
from fanin.parts.averaging import Averaging
from fanin.parts.batch_schedules import BatchSchedule
from fanin.parts.clipping import Clipping, NoClipping
from fanin.parts.data import Dataset
from fanin.parts.initializers import Initializer
from fanin.parts.losses import Loss
from fanin.parts.lr_scaling import Scaling
from fanin.parts.preprocess import Preprocess
from fanin.parts.regularizers import SAM, Dropout, EarlyStopping, LabelSmoothing, MaxNorm, Penalty, WeightDecay
from fanin.parts.schedules import Schedule
from fanin.probes import Probe

KINDS: dict[str, tuple[type, ...]] = {
    "preprocess": (Preprocess,),
    "augment": (Augmentation,),
    "model": (nn.Module,),
    "initializer": (Initializer,),
    "loss": (Loss,),
    "regularizer": (Penalty, WeightDecay, Dropout, EarlyStopping, LabelSmoothing, MaxNorm, SAM),
    "optimizer": (torch.optim.Optimizer,),
    "clipping": (Clipping, NoClipping),
    "averaging": (Averaging,),
    "schedule": (Schedule,),
    "batch": (BatchSchedule,),
    "lr_scaling": (Scaling,),
    "probe": (Probe,),
}
"""What the options of a group derive from; of those that are not here, others find out."""

NOT_THEIRS = (str(Path(__file__).parents[1]), "site-packages")
"""Where no user's code lies."""


def check_kind(group: str, made: object, name: str = "") -> None:
    """Refuse what is none of its group's kind.

    Args:
        group: of the option.
        made: the option.
        name: its own, where a group takes several.

    Raises:
        UserError: what it must derive from.
    """
    kinds = KINDS.get(group, (object,))
    if not isinstance(made, kinds):
        names = [kind.__name__ for kind in kinds if kind is not NoClipping]
        known = ("one of " if len(names) > 1 else "") + ", ".join(names)
        raise UserError(f"{group}{name and '.'}{name}: {type(made).__name__} must derive from {known}")


def check_dataset(group: str, made: object) -> Dataset:
    """What a group's option gave, if it is a data set; else UserError."""
    if not isinstance(made, Dataset):
        raise UserError(f"{group}: must give a fanin.parts.data.Dataset, not {type(made).__name__}")
    return made


def check_step(target: str, optimizer: torch.optim.Optimizer) -> None:
    """Refuse an optimizer that cannot make its step from the gradients alone, as torch's own LBFGS."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise UserError(f"optimizer: {target} asks for the loss again in each step; of such there is optimizer=lbfgs")


@contextmanager
def own_fault(group: str) -> Iterator[None]:
    """Tell in one line, with the group's name and the place, what a part's own code raises while it is made."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        said = f"{group}: {type(error).__name__}: {' '.join(str(error).split())}"
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [frame for frame in frames if not any(folder in frame.filename for folder in NOT_THEIRS)]
        place = f" ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})" if theirs else ""
        raise UserError(said + place) from error
