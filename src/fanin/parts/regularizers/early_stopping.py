"""Early stopping: where training ends by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fanin.errors import choice, integer, number

MONITORS = ("val_loss", "val_error", "train_loss", "train_error")


@dataclass(kw_only=True)
class EarlyStopping:
    """Stop when the monitored number has not improved for a while; `new` gives the counter of one run.

    Source: Prechelt 1998.

    Args:
        monitor: val_loss, val_error, train_loss or train_error; smaller is better.
        patience: evaluations in a row without improvement after which to stop, >= 1.
        min_delta: an improvement is a fall by more than this below the best, >= 0.

    Raises:
        OptionError: a value is out of range.
    """

    monitor: str = "val_loss"
    patience: int = 10
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        choice("monitor", self.monitor, MONITORS)
        integer("patience", self.patience, 1)
        self.min_delta = number("min_delta", self.min_delta, 0)

    def new(self) -> Patience:
        """A counter at its start."""
        return Patience(self.patience, self.min_delta)


class Patience:
    """Counts evaluations in a row without improvement.

    Attributes:
        best: the smallest value that counted as an improvement; inf before the first.
        waited: evaluations since then.
    """

    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        self.patience, self.min_delta = patience, min_delta
        self.best = math.inf
        self.waited = 0

    def update(self, value: float) -> bool:
        """Take one evaluation; True when it is time to stop. NaN is no improvement."""
        if value < self.best - self.min_delta:  # false for NaN
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return self.waited >= self.patience

    def state_dict(self) -> dict[str, float]:
        """What a resumed run needs."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a state_dict."""
        self.best, self.waited = float(state["best"]), int(state["waited"])
