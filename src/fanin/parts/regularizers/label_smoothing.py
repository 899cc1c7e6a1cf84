"""Label smoothing: targets that leave some probability to every class."""

from __future__ import annotations

from dataclasses import dataclass

from fanin.errors import number


@dataclass(kw_only=True)
class LabelSmoothing:
    """Targets (1 - eps) one-hot + eps/K in place of one-hot ones, K classes; the loss does it: `Loss.smoothed(eps)`.

    Logits then have a finite best value: the target's lies ln(1 + K (1 - eps)/eps) above the others.
    Source: Szegedy et al. 2016.

    Args:
        eps: probability that is shared out among all K classes, the right one included, in [0, 1).

    Raises:
        OptionError: eps is out of range.
    """

    eps: float = 0.1

    def __post_init__(self) -> None:
        self.eps = number("eps", self.eps, 0, 1, open_high=True)
