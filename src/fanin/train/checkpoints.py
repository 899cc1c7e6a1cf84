"""Checkpoints of R runs: what is needed to go on from a step as if nothing had happened."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from fanin.devices import widest
from fanin.train.learner import Learner
from fanin.train.run_state import Run, State

LEAST_SECONDS = 10.0
"""Between two checkpoints of once an epoch, at least: on small data an epoch is over before its checkpoint is."""


def save_checkpoints(learner: Learner, runs: Sequence[Run], pending: Sequence[Tensor], done: int | None) -> None:
    """Write, for every run, what is needed to resume from step `done` without a difference.

    Args:
        learner: of the runs.
        runs: each with the folder that its checkpoint goes to.
        pending: losses and errors [2, R] of the steps since the last row of metrics.csv.
        done: steps made; None if the runs have ended.
    """
    fetched = torch.stack(list(pending)).cpu() if pending else torch.zeros(0, 2, len(runs))
    for index, run in enumerate(runs):
        state = {"step": run.step if done is None else done, "ended": done is None}
        state |= run.state_dict(fetched[:, :, index].tolist()) | learner.state(index)
        run.recorder.flush()
        run.recorder.folder.save("last", partial(torch.save, state))


def load_checkpoints(
    learner: Learner, runs: Sequence[Run], states: Sequence[State], device: torch.device
) -> list[Tensor]:
    """Take over the checkpoints of one step; returns what was pending, [2, R] a step, on the device."""
    for index, (run, state) in enumerate(zip(runs, states, strict=True)):
        learner.load_state(index, state)
        run.load_state_dict(state, learner.culprit(index))
    pending = torch.tensor([state["pending"] for state in states], dtype=torch.float64)  # [R, steps, 2]
    return [row.T.to(device, widest(device)) for row in pending.transpose(0, 1)] if pending.numel() else []
