"""What the loop asks of R runs that are trained together.

The loop never sees a model: it hands batches and learning rates over and gets numbers with a leading axis R back,
on the device. So the same loop trains one run and, with another learner, many runs stacked as one program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from fanin.probes.capture import Observation
from fanin.probes.probe import Measured

Batch = tuple[Tensor, Tensor]  # inputs [R, B, ...], targets [R, B]


class StepResult(NamedTuple):
    """The batch loss and error before the update, [R] each, and the curves where some were asked for."""

    loss: Tensor
    error: Tensor
    curves: Measured | None = None


class Culprit(NamedTuple):
    """Where a run first stopped being finite: the layer, and whether "weight", "activation" or "loss"."""

    layer: str
    what: str


class Learner(Protocol):
    """R runs of one structure, trained in step."""

    runs: int
    parameter_count: int  # of one run

    def step(self, batch: Batch, rates: Sequence[float], curves: Sequence[str] = ()) -> StepResult:
        """One update of every run; a run whose loss is not finite takes none (unless told to go on).

        The quantities in `curves` are measured in the very pass that trains, at the weights before the update.
        """

    def observe(self, batch: Batch) -> Observation:
        """One forward and backward pass that leaves no trace: no update, no statistics, no random draw of training."""

    def evaluate(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss and error, [R] each, over a data set [N, ...] in evaluation mode, of the average where there is."""

    def predict(self, inputs: Tensor) -> Tensor:
        """Outputs [R, N, K] for a data set [N, ...], as `evaluate` has them."""

    def point(self, run: int) -> Tensor:
        """All trained parameters of a run as one vector."""

    def culprit(self, run: int) -> Culprit | None:
        """Where the first pass whose loss was not finite left the finite numbers; None as long as there was none."""

    def state(self, run: int) -> dict[str, Any]:
        """Everything needed to go on with the run: tensors and plain values, readable with weights_only."""

    def load_state(self, run: int, state: dict[str, Any]) -> None:
        """Go on from a state."""

    def select(self, indices: Sequence[int]) -> Learner:
        """A learner of some of the runs, where they are; the others stay as they are."""

    def best_weights(self, run: int) -> dict[str, Tensor]:
        """A copy of what is evaluated: the run's model state, or the average of its iterates."""

    def load_weights(self, run: int, weights: dict[str, Tensor]) -> None:
        """Replace the run's model state, and its average."""
