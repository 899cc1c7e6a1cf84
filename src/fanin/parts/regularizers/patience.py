"""When a number has not improved for too long."""

from __future__ import annotations

import math


class Patience:
    """Counts evaluations in a row without improvement.

    Attributes:
        best: the smallest value that counted as an improvement; inf before the first.
        waited: evaluations since then.

    >>> counter = Patience(2)
    >>> [counter.update(loss) for loss in (1.0, 0.5, 0.6, 0.5)]
    [False, False, False, True]
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
