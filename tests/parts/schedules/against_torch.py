"""The learning rates that one of torch's schedulers gives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.optim.lr_scheduler import LRScheduler

from fanin.parts.schedules import Schedule


def ours(schedule: Schedule, steps: int, lr: float) -> list[float]:
    """The learning rates of the first steps."""
    return [schedule(step, lr) for step in range(steps)]


def torchs(make: Callable[[torch.optim.Optimizer], LRScheduler], steps: int, lr: float) -> list[float]:
    """The same of a scheduler of torch."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler, rates = make(optimizer), []
    for step in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if step + 1 < steps:
            scheduler.step()
    return rates
