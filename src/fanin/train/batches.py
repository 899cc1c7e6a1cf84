"""Mini-batches by index from data that lies on the device: a pure function of the step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fanin.parts.augmentations import Augmentation
from fanin.parts.batch_schedules import BatchSchedule, Constant
from fanin.streams import generator


class Batches:
    """The batches of R runs, each with a data order of its own.

    The data are read as an endless row of epochs, each in an order drawn from (seed, "data", epoch), and cut into
    batches. So any step's batch can be had without those before it: a resumed run sees what an undisturbed one would
    have. Where all batches are of one size, the last incomplete batch of an epoch is left out, and its examples come
    back in the next epoch's order; batches that grow run on over the end of an epoch.

    Args:
        inputs: [N, ...], on the device.
        targets: [N].
        batch_size: B of the first step, at most N.
        seeds: one per run.
        schedule: the batch size of each step.
        augmentations: what is done to the inputs of a batch, one after the other; draws from (seed, "augment", step).

    Attributes:
        rows: [R, B], the examples of the batch that was asked for last.
    """

    def __init__(
        self,
        inputs: Tensor,
        targets: Tensor,
        batch_size: int,
        seeds: Sequence[int],
        schedule: BatchSchedule | None = None,
        augmentations: Sequence[Augmentation] = (),
    ) -> None:
        self.inputs, self.targets, self.batch_size, self.seeds = inputs, targets, batch_size, seeds
        self.schedule, self.augmentations = schedule or Constant(), augmentations
        self.steps_per_epoch = len(inputs) // batch_size
        self.rows = torch.empty(0, dtype=torch.int64)
        self._orders: dict[int, Tensor] = {}

    def select(self, indices: Sequence[int]) -> Batches:
        """The batches of some of the runs, going on where these are."""
        seeds = [self.seeds[index] for index in indices]
        chosen = Batches(self.inputs, self.targets, self.batch_size, seeds, self.schedule, self.augmentations)
        chosen._orders = {epoch: order[list(indices)] for epoch, order in self._orders.items()}
        return chosen

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs [R, B, ...] and targets [R, B] of a step, counted from 0."""
        self.rows = self._rows(step)
        # index_select copies whole rows, which is faster than self.inputs[rows].
        flat = self.rows.flatten()
        inputs, targets = self.inputs.index_select(0, flat), self.targets.index_select(0, flat)
        inputs, targets = inputs.view(*self.rows.shape, *inputs.shape[1:]), targets.view(self.rows.shape)
        if self.augmentations:
            inputs = torch.stack(
                [self._augmented(one, seed, step) for one, seed in zip(inputs, self.seeds, strict=True)]
            )
        return inputs, targets

    def size(self, step: int) -> int:
        """Examples in the batch of a step."""
        return self.schedule.size(step, self.batch_size, len(self.inputs))

    def adapts(self, step: int) -> bool:
        """Whether the sizes to come depend on the gradients of a step's examples; see BatchSchedule."""
        return self.schedule.due(step, self.batch_size, len(self.inputs))

    def adapt(self, step: int, variance: float, square: float) -> None:
        """Choose the sizes to come by the gradients of a step's examples; see BatchSchedule."""
        self.schedule.adapt(step, self.batch_size, len(self.inputs), variance, square)

    def seen(self, step: int) -> int:
        """How many examples the steps before this one have taken, each as often as it was."""
        return self.schedule.seen(step, self.batch_size, len(self.inputs))

    def epoch(self, step: int) -> float:
        """How many epochs the steps before this one have taken."""
        return self.seen(step) / self._epoch_length

    def window(self, step: int) -> int:
        """The batches before a step that hold an epoch's examples; one more than there are where they hold fewer."""
        if isinstance(self.schedule, Constant):
            return self.steps_per_epoch
        examples, count = 0, 0
        while examples < len(self.inputs) and count <= step:
            count += 1
            examples += self.size(step - count) if count <= step else 0
        return count

    def ends_epoch(self, step: int) -> bool:
        """Whether the batch of a step holds the end of an epoch, or of several."""
        before, after = (self.schedule.seen(at, self.batch_size, len(self.inputs)) for at in (step, step + 1))
        return before // self._epoch_length < after // self._epoch_length

    def steps(self, epochs: float) -> int:
        """Steps in a number of epochs, at least 1."""
        if isinstance(self.schedule, Constant):
            return max(1, round(epochs * self.steps_per_epoch))
        step = 1
        while self.epoch(step) < epochs:
            step += 1
        return step

    @property
    def _epoch_length(self) -> int:
        constant = isinstance(self.schedule, Constant)
        return self.steps_per_epoch * self.batch_size if constant else len(self.inputs)

    def _rows(self, step: int) -> Tensor:
        """The examples of a step's batch, from one epoch or over the end of some."""
        place, wanted = self.schedule.seen(step, self.batch_size, len(self.inputs)), self.size(step)
        if wanted == len(self.inputs):  # all examples: each once, wherever the epoch began
            return self._order(place // self._epoch_length)
        pieces: list[Tensor] = []
        while wanted:
            epoch, start = divmod(place, self._epoch_length)
            taken = min(wanted, self._epoch_length - start)
            pieces.append(self._order(epoch)[:, start : start + taken])
            place, wanted = place + taken, wanted - taken
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)

    def _order(self, epoch: int) -> Tensor:
        """The runs' orders of an epoch, [R, N]."""
        if epoch not in self._orders:
            # Drawn on the CPU, so that the order is the same on every device; one copy an epoch.
            orders = [torch.randperm(len(self.inputs), generator=generator(s, "data", epoch)) for s in self.seeds]
            self._orders = {epoch: torch.stack(orders).to(self.inputs.device)}
        return self._orders[epoch]

    def _augmented(self, inputs: Tensor, seed: int, step: int) -> Tensor:
        stream = generator(seed, "augment", step)
        for augmentation in self.augmentations:
            inputs = augmentation(inputs, stream)
        return inputs


def probe_batch(inputs: Tensor, targets: Tensor, size: int, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The fixed batch that profiles are measured on: [R, size, ...], drawn from (seed, "probe")."""
    chosen = torch.stack([torch.randperm(len(inputs), generator=generator(s, "probe"))[:size] for s in seeds])
    chosen = chosen.to(inputs.device)
    return inputs[chosen], targets[chosen]
