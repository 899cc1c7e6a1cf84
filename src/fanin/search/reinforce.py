"""A controller that learns by policy gradient which choices are good, as in architecture search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fanin.search.random_proposals import RandomProposals, TrialResult

LEVELS = 8
"""Parts that an interval is cut into; the place within a part is drawn evenly."""

RATE = 2.0
"""Of an update."""

PATIENCE = 50
"""Draws of the policy that were all proposed before; then a configuration is drawn evenly."""


@dataclass
class ReinforceProposals(RandomProposals):
    """Draws from a softmax over the levels of each axis, whose logits follow the policy gradient.

    $theta_j <- theta_j + rate mean_i A_i (e_(l_ij) - softmax(theta_j))$ over the configurations i of a batch, l_ij
    their levels on axis j, and $A_i = (mean - v_i)/sd$ of their values: the batch's mean is the baseline. What is not
    finite counts as the worst of the batch. The axes are independent: a controller of one state.

    Args:
        sign: 1 where values are to be small, -1 where they are to be large.

    Source: Williams, Simple statistical gradient-following algorithms for connectionist reinforcement learning (1992);
    Zoph and Le, Neural architecture search with reinforcement learning (2017).
    """

    sign: int = 1
    logits: dict[str, NDArray[np.float64]] = field(init=False)
    levels: dict[int, dict[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        axes = self.space.all_axes
        self.logits = {axis.name: np.zeros(int(min(axis.count, LEVELS + len(axis.choices)))) for axis in axes}

    def policy(self, name: str) -> NDArray[np.float64]:
        """The probabilities of the levels of an axis."""
        weights = np.exp(self.logits[name] - self.logits[name].max())
        probabilities: NDArray[np.float64] = weights / weights.sum()
        return probabilities

    def shares(self, number: int, attempt: int) -> dict[str, float]:
        """A level of each axis by the policy, and a place within it."""
        evenly = super().shares(number, attempt)
        random = np.random.default_rng([self.seed, number, attempt, 1])
        found, levels = {}, {}
        for name, within in evenly.items():
            count = len(self.logits[name])
            drawn = random.choice(count, p=self.policy(name) if attempt < PATIENCE else None)
            levels[name] = int(drawn)
            found[name] = (levels[name] + within) / count
        self.levels[number] = levels
        return found

    def tell(self, results: Sequence[TrialResult]) -> None:
        """Follow the gradient of a batch; one in which all are alike says nothing."""
        values = np.array([self.sign * result.values[0] for result in results], float)
        good = np.isfinite(values)
        if not good.any():
            return
        values = np.where(good, values, values[good].max())
        if (spread := float(values.std())) == 0:
            return
        before = {name: self.policy(name) for name in self.logits}
        for result, advantage in zip(results, (values.mean() - values) / spread, strict=True):
            for name in self.params.get(result.trial, {}):
                step = -before[name]
                step[self.levels[result.trial][name]] += 1
                self.logits[name] = self.logits[name] + RATE * float(advantage) * step / len(results)
