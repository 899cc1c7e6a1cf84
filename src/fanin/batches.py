"""Mini-batches by index from data that lies on the device: a pure function of the step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fanin.streams import generator


class Batches:
    """The batches of R runs, each with a data order of its own.

    Batch k of epoch e is the k-th stretch of a permutation drawn from (seed, "data", e), so any step's batch can
    be had without those before it: a resumed run sees what an undisturbed one would have. The last incomplete
    batch of an epoch is left out; its examples come back in the next epoch's order.

    Args:
        inputs: [N, ...], on the device.
        targets: [N].
        batch_size: B, at most N.
        seeds: one per run.
    """

    def __init__(self, inputs: Tensor, targets: Tensor, batch_size: int, seeds: Sequence[int]) -> None:
        self.inputs, self.targets, self.batch_size, self.seeds = inputs, targets, batch_size, seeds
        self.steps_per_epoch = len(inputs) // batch_size
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def select(self, indices: Sequence[int]) -> Batches:
        """The batches of some of the runs, going on where these are."""
        chosen = Batches(self.inputs, self.targets, self.batch_size, [self.seeds[index] for index in indices])
        chosen._epoch, chosen._order = self._epoch, self._order[list(indices)] if self._epoch >= 0 else self._order
        return chosen

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs [R, B, ...] and targets [R, B] of a step, counted from 0."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            # Drawn on the CPU, so that the order is the same on every device; one copy an epoch.
            orders = [torch.randperm(len(self.inputs), generator=generator(s, "data", epoch)) for s in self.seeds]
            self._order = torch.stack(orders).to(self.inputs.device)
            self._epoch = epoch
        chosen = self._order[:, place * self.batch_size : (place + 1) * self.batch_size]
        # index_select copies whole rows: a third of the time of self.inputs[chosen].
        flat = chosen.flatten()
        inputs, targets = self.inputs.index_select(0, flat), self.targets.index_select(0, flat)
        return inputs.view(*chosen.shape, *inputs.shape[1:]), targets.view(chosen.shape)


def probe_batch(inputs: Tensor, targets: Tensor, size: int, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The fixed batch that profiles are measured on: [R, size, ...], drawn from (seed, "probe")."""
    chosen = torch.stack([torch.randperm(len(inputs), generator=generator(s, "probe"))[:size] for s in seeds])
    chosen = chosen.to(inputs.device)
    return inputs[chosen], targets[chosen]
