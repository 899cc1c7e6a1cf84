"""The weights in a run's checkpoint, as they are evaluated."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from fanin.errors import UserError
from fanin.record.checkpoint_file import damage


def weights_of(path: Path) -> dict[str, Tensor]:
    """The model's state in a checkpoint, its averages in the place of iterates where there are some.

    Raises:
        UserError: it is not there, or it cannot be read.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; the run has not come as far as its first one")
    if reason := damage(path):
        raise UserError(f"{path}: {reason}")
    state = torch.load(path, weights_only=True, map_location="cpu")
    average = state.get("average") or {}
    averaged = average.get("tensors", {}) if average.get("started", True) else {}
    return {name: averaged.get(name, value) for name, value in state["model"].items()}


def load_weights(model: nn.Module, folder: Path, checkpoint: str = "last") -> None:
    """Fill a network with the weights in a run's checkpoint.

    Raises:
        UserError: there is no such checkpoint, or it does not fit.
    """
    weights = weights_of(folder / "checkpoints" / f"{checkpoint}.pt")
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        told = " ".join(str(error).split())
        raise UserError(f"{folder}: its checkpoint does not fit the network now: {told}") from None
