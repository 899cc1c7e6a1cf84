"""One of the R runs of a loop: what is its own, whatever it is trained together with."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

import torch
from torch import Tensor

from fanin.parts.regularizers import Patience
from fanin.parts.schedules import Schedule
from fanin.record.outcome import Lowest
from fanin.record.recorder import ProfileRow, Recorder
from fanin.train.curvature_state import CurvatureState
from fanin.train.learner import Culprit

State = dict[str, Any]


@dataclass
class Run:
    """What the loop keeps for one of its R runs.

    Args:
        recorder: where its numbers go.
        lr: its learning rate, before the schedule.
        schedule: the learning rate as a function of the step.
        patience: its early stopping, or None.
        monitor: the column of metrics.csv that early stopping and the best checkpoint watch.
        annotate: makes profile rows, with theory beside them, from labels and values.
        config_hash: of its configuration; a checkpoint bears it, so that only the same run resumes from it.
        scale: factor of the learning rate at a step, for the size of its batch.
        first_loss: that of the first step's batch, before its update.
        spent: the bytes and passes that it has taken, by their names in result.json.
        lowest: where the validation loss has been lowest.
        spectrum: of the network's Jacobian at init, by the names of SPECTRUM; empty where nobody asked for it.
        shown: called at every logged row with (step, loss, error): the progress bar.
        told: called with anything else that there is to say, a line each.
    """

    recorder: Recorder
    lr: float
    schedule: Schedule
    patience: Patience | None
    monitor: str
    annotate: Callable[[str, list[Any], list[float]], list[ProfileRow]]
    config_hash: str
    shown: Callable[[int, float, float], None]
    scale: Callable[[int], float] = lambda step: 1.0
    told: Callable[[str], object] = lambda line: None
    window: deque[tuple[float, float]] = field(default_factory=deque)
    row: dict[str, float | None] = field(default_factory=dict)
    first_loss: float | None = None
    spent: dict[str, float | None] = field(default_factory=dict)
    lowest: Lowest = field(default_factory=Lowest)
    best: float = math.inf
    best_weights: dict[str, Tensor] | None = None
    final: dict[str, float | None] = field(default_factory=dict)
    state: str = "running"
    stopped_by: str = ""
    step: int = 0
    seconds: float = 0.0
    diverged: tuple[int, Culprit] | None = None
    evaluation: dict[str, Any] | None = None
    generalization: dict[str, float | None] | None = None
    spectrum: dict[str, float] = field(default_factory=dict)
    curvature: CurvatureState = field(default_factory=CurvatureState)

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return self.schedule(step, self.lr) * self.scale(step)

    def log(
        self,
        first_step: int,
        losses: Tensor,
        errors: Tensor,
        culprit: Culprit | None,
        *,
        stop: bool,
        window: Callable[[int], int],
    ) -> None:
        """Make a row of the losses and errors of the steps since the last one.

        Args:
            first_step: of those steps.
            losses, errors: of each of them, on the host.
            culprit: where the run broke, if it has.
            stop: whether breaking ends it; the steps after that are then no steps.
            window: batches before a step whose mean error is held against a target.
        """
        count = len(losses)
        if first_step == 0:
            self.first_loss = float(losses[0])
        if culprit and self.diverged is None:
            broke_at = int((~torch.isfinite(losses)).nonzero()[0]) + 1
            self.diverged = (first_step + broke_at, culprit)
            if stop:
                self.state, count = "diverged", broke_at
        self.step = first_step + count
        self.window.extend(zip(losses[:count].tolist(), errors[:count].tolist(), strict=True))
        while len(self.window) > window(self.step):
            self.window.popleft()
        self.row = {
            "step": self.step,
            "lr": self.rate(self.step - 1),
            "batch_loss": float(losses[:count].mean()),
            "batch_error": float(errors[:count].mean()),
        }

    def decide(self, target: float | None, window: int, *, evaluated: bool) -> bool:
        """Whether to stop, for a target reached or, where the monitored number was evaluated, a patience lost."""
        errors = [error for _, error in self.window]
        if target is not None and len(errors) >= window and math.fsum(errors) / len(errors) <= target:
            self.state, self.stopped_by = "done", "target_error"
        if evaluated:
            self.schedule.follow(self.row)
            self.lowest.follow(self.row)
        watched = self.row.get(self.monitor) if evaluated else None
        if watched is not None and self.patience is not None and self.patience.update(watched):
            self.state, self.stopped_by = "done", "early_stopping"
        return self.state != "running"

    @property
    def ends_with_best(self) -> dict[str, Tensor] | None:
        """The weights that early stopping keeps, whatever ends the run but divergence; None: it ends with its last."""
        return self.best_weights if self.patience is not None and self.diverged is None else None

    @property
    def improved(self) -> bool:
        """Whether the row just logged holds the best monitored number so far; asking makes it the best."""
        watched = self.row.get(self.monitor)
        if watched is None or not watched < self.best:
            return False
        self.best = watched
        return True

    def state_dict(self, pending: Sequence[Sequence[float]]) -> State:
        """What is needed to resume, the learner's part apart; `pending` are losses and errors since the last row."""
        return {
            "config_hash": self.config_hash,
            "seconds": self.seconds,
            "pending": [list(pair) for pair in pending],
            "window": [list(pair) for pair in self.window],
            "first_loss": self.first_loss,
            "lowest": astuple(self.lowest),
            "best": self.best,
            "patience": self.patience.state_dict() if self.patience else {},
            "schedule": self.schedule.state_dict(),
            "best_weights": self.best_weights if self.patience else None,
            "diverged_at": self.diverged[0] if self.diverged else None,
            "rows": self.recorder.rows,
            "curvature": self.curvature.state_dict(),
        }

    def load_state_dict(self, state: State, culprit: Culprit | None) -> None:
        """Load what `state_dict` returned; `culprit` is what the learner says."""
        self.window = deque((loss, error) for loss, error in state["window"])
        self.best, self.step, self.seconds = state["best"], state["step"], state["seconds"]
        self.first_loss, self.lowest = state.get("first_loss"), Lowest(*state.get("lowest", ()))
        if self.patience:
            self.patience.load_state_dict(state["patience"])
        if followed := state.get("schedule"):
            self.schedule.load_state_dict(followed)
        self.best_weights = state["best_weights"]
        self.curvature = CurvatureState.of(state.get("curvature"))
        if state["diverged_at"] is not None and culprit is not None:
            self.diverged = (state["diverged_at"], culprit)
