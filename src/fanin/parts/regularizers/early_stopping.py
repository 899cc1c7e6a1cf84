"""Early stopping: where training ends by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from fanin.errors import choice, integer, number
from fanin.parts.per_run import stackable
from fanin.parts.regularizers.base import Regularizer
from fanin.parts.regularizers.patience import Patience
from fanin.record.columns import MONITORS


@stackable
@dataclass(kw_only=True)
class EarlyStopping(Regularizer):
    """Stop when the monitored number has not improved for a while.

    The run ends with the weights of its best evaluation, whatever ended it: patience, the last step or a target. One
    that diverged ends with what it diverged to.

    Source: Prechelt 1998.

    Args:
        monitor: val_loss, val_error, batch_loss or batch_error, of the training batches since the row before, or
            train_loss or train_error, of the whole training part; smaller is better.
        patience: evaluations in a row without improvement after which to stop, >= 1.
        min_delta: an improvement is a fall by more than this below the best, >= 0.

    Raises:
        OptionError: a value is out of range.
    """

    key: ClassVar[str] = "patience"

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

    @staticmethod
    def program_keys(keys: Mapping[str, Any]) -> object:
        """None: each run of a program ends by itself."""
        return None
