"""What the loop asks of R runs that are trained together.

The loop never sees a model: it hands batches and learning rates over and gets numbers with a leading axis R back,
on the device. So the same loop trains one run and, with another learner, many runs stacked as one program.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from fanin.devices import home, widened
from fanin.probes.capture import Observation
from fanin.probes.probe import Measured
from fanin.probes.quantities import Quantity

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


class Learner(ABC):
    """R runs of one structure, trained in step.

    Attributes:
        runs: R.
        parameter_count: of one run.
        chunk: examples that are evaluated at once.
        note: what the first step has shown that a user should know, in one line; empty where there is nothing.
    """

    runs: int
    parameter_count: int
    chunk: ClassVar[int]
    note: str = ""

    @property
    @abstractmethod
    def model(self) -> nn.Module:
        """The model of the first run."""

    @property
    @abstractmethod
    def networks(self) -> Sequence[Any]:
        """The R networks in training, a `TrainedModel` each, with the tensors that are trained."""

    @abstractmethod
    def step(self, batch: Batch, rates: Sequence[float], curves: Sequence[str | Quantity] = ()) -> StepResult:
        """One update of every run; a run whose loss is not finite takes none (unless told to continue).

        The quantities in `curves` are measured in the very pass that trains, at the weights before the update. Their
        gradients are those of the loss, without penalties and clipping.
        """

    @property
    @abstractmethod
    def optimizer_bytes(self) -> int:
        """Of the tensors that the optimizer of one run remembers."""

    @abstractmethod
    def observe(self, batch: Batch) -> Observation:
        """One forward and backward pass that leaves no trace: no update, no statistics, no random draw of training.

        Gradients are of the data loss alone.
        """

    @abstractmethod
    def jacobians(self, inputs: Tensor, *, norms: bool, spectra: bool) -> Measured:
        """What a profile says of Jacobians, for inputs [R, B, ...], without a trace; see `fanin.probes.jacobians`."""

    @torch.no_grad()
    def evaluate(self, inputs: Tensor, targets: Tensor, outputs: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean loss and error, [R] each, over a data set [N, ...] in evaluation mode, of the average where there is.

        Args:
            inputs: [N, ...].
            targets: [N].
            outputs: what `predict` has given for these inputs, where it was asked.
        """
        self.settle()
        sums = torch.zeros(2, self.runs, dtype=torch.float64, device=home(inputs.device))
        start = 0
        for x, y in zip(torch.split(inputs, self.chunk), torch.split(targets, self.chunk), strict=True):
            answers = self.answers(x) if outputs is None else outputs[:, start : start + len(x)]
            start += len(x)
            loss, error = self.measured(answers, y, x)
            sums += torch.stack([widened(loss), widened(error)]) * len(x)
        means = sums / len(inputs)
        return means[0], means[1]

    @torch.no_grad()
    def predict(self, inputs: Tensor) -> Tensor:
        """Outputs [R, N, K] for a data set [N, ...], as `evaluate` has them."""
        self.settle()
        return torch.cat([self.answers(x) for x in torch.split(inputs, self.chunk)], dim=1)

    @abstractmethod
    def answers(self, inputs: Tensor) -> Tensor:
        """Outputs [R, B, K] for inputs [B, ...] in evaluation mode, of the average where there is."""

    @abstractmethod
    def measured(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss and error, [R] each, of outputs [R, B, K] for targets [B] and inputs [B, ...]."""

    @abstractmethod
    def settle(self) -> None:
        """Estimate the running statistics that belong to an average of iterates, where that is due."""

    @abstractmethod
    def point(self, run: int) -> Tensor:
        """All trained parameters of a run as one vector."""

    @abstractmethod
    def culprit(self, run: int) -> Culprit | None:
        """Where the first pass whose loss was not finite left the finite numbers; None as long as there was none."""

    @abstractmethod
    def state(self, run: int) -> dict[str, Any]:
        """Everything needed to resume the run: tensors and plain values, readable with weights_only."""

    @abstractmethod
    def load_state(self, run: int, state: dict[str, Any]) -> None:
        """Load what `state` returned."""

    @abstractmethod
    def select(self, indices: Sequence[int]) -> Learner:
        """A learner of some of the runs, where they are; the others stay as they are."""

    @abstractmethod
    def best_weights(self, run: int) -> dict[str, Tensor]:
        """A copy of what is evaluated: the run's model state, or the average of its iterates."""

    @abstractmethod
    def load_weights(self, run: int, weights: dict[str, Tensor]) -> None:
        """Replace the run's model state, and its average."""
