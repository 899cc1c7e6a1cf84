"""What a training step consists of beside the model and the optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fanin.parts.averaging import Averaging, NoAveraging
from fanin.parts.clipping import Clipping, NoClipping
from fanin.parts.losses import CrossEntropy, Loss
from fanin.parts.regularizers import SAM, MaxNorm, Penalty, WeightDecay


@dataclass(frozen=True, kw_only=True)
class Method:
    """From a batch to new weights, in this order.

    Args:
        loss: of the data; it is what is reported.
        smoothed: the loss whose gradient is taken: `loss` itself, or the same against smoothed targets.
        penalties: on the weights; their gradients are added to that of the loss.
        sam: the gradient is taken a step uphill.
        clipping: of the gradient.
        decays: shrink the weights before the optimizer's step.
        bounds: project the weights after it.
        averaging: of the iterates; evaluation is on the average.
    """

    loss: Loss = field(default_factory=CrossEntropy)
    smoothed: Loss | None = None
    penalties: Sequence[Penalty] = ()
    sam: SAM | None = None
    clipping: Clipping | NoClipping = field(default_factory=NoClipping)
    decays: Sequence[WeightDecay] = ()
    bounds: Sequence[MaxNorm] = ()
    averaging: Averaging = field(default_factory=NoAveraging)

    @property
    def minimized(self) -> Loss:
        """The loss of the data whose gradient is taken."""
        return self.smoothed or self.loss
