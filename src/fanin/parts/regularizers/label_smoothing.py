"""Label smoothing: targets that leave some probability to every class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from fanin.errors import number
from fanin.parts.losses.base import Loss
from fanin.parts.per_run import stackable
from fanin.parts.regularizers.base import Regularizer


@stackable
@dataclass(kw_only=True)
class LabelSmoothing(Regularizer):
    """Targets $(1 - eps) onehot + eps/K$ in place of one-hot ones, of K classes.

    Logits then have a finite best value: the target's lies $ln(1 + K (1 - eps)/eps)$ above the others.
    Source: Szegedy et al. 2016.

    Args:
        eps: probability that is shared out among all K classes, the right one included, in [0, 1).

    Raises:
        OptionError: eps is out of range.

    >>> from fanin.parts.losses import CrossEntropy
    >>> LabelSmoothing(eps=0.1).minimized(CrossEntropy()).smoothing
    0.1
    """

    key: ClassVar[str] = "eps"

    eps: float = 0.1

    def __post_init__(self) -> None:
        self.eps = number("eps", self.eps, 0, 1, open_high=True)

    def minimized(self, loss: Loss) -> Loss:
        """The loss against the smoothed targets; see Regularizer."""
        return loss.smoothed(loss.smoothing + self.eps) if self.eps else loss

    @staticmethod
    def program_keys(keys: Mapping[str, Any]) -> object:
        """All of them: eps is a constant of the loss."""
        return dict(keys)
