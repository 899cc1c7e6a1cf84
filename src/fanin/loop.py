"""The loop: one for every model, device and learner; it trains R runs in step, R = 1 being the ordinary run."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fanin.batches import Batches
from fanin.data import Dataset
from fanin.learner import Batch, Culprit, Learner
from fanin.probes.probe import Measured, Probe, measure_curves, measure_profile
from fanin.record.recorder import ProfileRow, Recorder
from fanin.regularizers import Patience
from fanin.schedules import Schedule
from fanin.settings import Trainer

State = dict[str, Any]


class Interrupted(Exception):
    """The user asked to stop; every run has been checkpointed."""


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
        config_hash: of its configuration; a checkpoint bears it, so that only the same run goes on from it.
        shown: called at every logged row with (step, loss, error): the progress bar.
    """

    recorder: Recorder
    lr: float
    schedule: Schedule
    patience: Patience | None
    monitor: str
    annotate: Callable[[str, list[Any], list[float]], list[ProfileRow]]
    config_hash: str
    shown: Callable[[int, float, float], None]
    window: deque[tuple[float, float]] = field(default_factory=deque)
    row: dict[str, float | None] = field(default_factory=dict)
    best: float = math.inf
    best_weights: dict[str, Tensor] | None = None
    state: str = "running"
    stopped_by: str = ""
    step: int = 0
    diverged: tuple[int, Culprit] | None = None

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return self.schedule(step, self.lr)


@dataclass
class Loop:
    """R runs on their way; `train` is the loop, the methods below it are its six verbs.

    Args:
        learner: does the steps of the R runs.
        batches: training batches by step.
        data: on the device; its validation and test parts are evaluated.
        trainer: how long and how often.
        probe: when to look.
        probe_data: the fixed batch of the profiles, [R, size, ...].
        runs: the R runs.
        stop_requested: asked before every step; true ends all runs as interrupted, checkpointed.
    """

    learner: Learner
    batches: Batches
    data: Dataset
    trainer: Trainer
    probe: Probe
    probe_data: Batch
    runs: Sequence[Run]
    stop_requested: Callable[[], bool] = lambda: False
    seconds: float = 0.0
    pending: list[Tensor] = field(default_factory=list)
    tags: tuple[str, ...] = ()

    def train(self, start: int = 0) -> None:
        """Train from step `start` until every run has ended: schedule, step, probe, evaluate, stop, checkpoint."""
        steps = self.trainer.total_steps(self.batches.steps_per_epoch)
        eval_every = self.trainer.eval_every or self.batches.steps_per_epoch
        checkpoint_every = (
            self.batches.steps_per_epoch if self.trainer.checkpoint_every is None else self.trainer.checkpoint_every
        )
        tic = time.perf_counter()
        for step in range(start, steps):
            if self.stop_requested():
                self.checkpoint(step)
                raise Interrupted
            if self.probe.profile_due(step):
                tic = self.paused(tic, partial(self.profile, "init" if step == 0 else str(step)))

            wanted = self.probe.curves if self.probe.curve_due(step) else ()
            rates = [run.rate(step) for run in self.runs]
            if wanted and self.probe.curve_batch == "fixed":
                self.curves(step, measure_curves(self.learner.observe(self.probe_data), wanted))
                wanted = ()
            result = self.learner.step(self.batches(step), rates, wanted)
            self.pending.append(torch.stack([result.loss.double(), result.error]))
            if result.curves is not None:
                self.curves(step, result.curves)

            done, last = step + 1, step + 1 == steps
            evaluate = done % eval_every == 0 or last
            if done == 1 or done % self.trainer.log_every == 0 or evaluate:
                self.log(done)
                if evaluate:
                    tic = self.paused(tic, self.evaluate)
                self.seconds, tic = self.seconds + time.perf_counter() - tic, time.perf_counter()
                self.write_rows()
                self.decide(done, evaluated=evaluate)
                if not any(run.state == "running" for run in self.runs):
                    break
            if checkpoint_every and done % checkpoint_every == 0 and not last:
                self.checkpoint(done)
        self.finish(steps)

    @property
    def window(self) -> int:
        """Batches that the training error is averaged over, against a target and at the end."""
        return self.trainer.target_window or self.batches.steps_per_epoch

    def profile(self, snapshot: str) -> None:
        """Measure every quantity over depth on the fixed batch, and write it."""
        labels, values = measure_profile(self.learner.observe(self.probe_data))
        for index, (run, row) in enumerate(zip(self.runs, values.tolist(), strict=True)):
            if snapshot == "final" or self.trains(index):
                run.recorder.profile(snapshot, run.annotate(snapshot, labels, row))

    def annotate_init(self) -> None:
        """Look at init once more without writing it: a resumed run needs what its first profile said."""
        labels, values = measure_profile(self.learner.observe(self.probe_data))
        for run, row in zip(self.runs, values.tolist(), strict=True):
            run.annotate("init", labels, row)

    def curves(self, step: int, measured: Measured) -> None:
        """Write the quantities that were measured at a step for every weight layer."""
        labels, values = measured
        if len(labels) != len(self.tags):
            width = len(str(max(index for _, index, _, _ in labels)))
            self.tags = tuple(f"layers/{quantity}/{index:0{width}d}_{layer}" for _, index, layer, quantity in labels)
        for index, (run, row) in enumerate(zip(self.runs, values.tolist(), strict=True)):
            if self.trains(index):
                run.recorder.curves(step, self.tags, row)

    def log(self, done: int) -> None:
        """Fetch the losses and errors since the last row, one copy to the host for all runs, into new rows."""
        fetched = torch.stack(self.pending).cpu()  # [steps since the last row, 2, R]
        first_step = done - len(self.pending)
        self.pending.clear()
        for index, run in enumerate(self.runs):
            if run.state != "running":
                continue
            losses, errors = fetched[:, 0, index], fetched[:, 1, index]
            culprit, count = self.learner.culprit(index), len(losses)
            if culprit and run.diverged is None:
                broke_at = int((~torch.isfinite(losses)).nonzero()[0]) + 1
                run.diverged = (first_step + broke_at, culprit)
                if self.trainer.stop_when_diverged:
                    run.state, count = "diverged", broke_at
            run.step = first_step + count
            run.window.extend(zip(losses[:count].tolist(), errors[:count].tolist(), strict=True))
            while len(run.window) > self.window:
                run.window.popleft()
            run.row = {
                "step": run.step,
                "epoch": run.step / self.batches.steps_per_epoch,
                "lr": run.rate(run.step - 1),
                "train_loss": float(losses[:count].mean()),
                "train_error": float(errors[:count].mean()),
            }

    def evaluate(self) -> None:
        """Add the validation loss and error to the rows."""
        self.add_evaluation("val", self.data.val_x, self.data.val_y)

    def add_evaluation(self, part: str, inputs: Tensor, targets: Tensor) -> None:
        """Add a part's loss and error to the rows of the runs that were just logged."""
        if len(inputs):
            losses, errors = (values.tolist() for values in self.learner.evaluate(inputs, targets))
            for run, loss, error in zip(self.runs, losses, errors, strict=True):
                run.row |= {f"{part}_loss": loss, f"{part}_error": error}

    def write_rows(self) -> None:
        """Write the new row of every run that is still on its way, or has just diverged."""
        for run in self.runs:
            if run.row and run.row.get("seconds") is None:
                run.row["seconds"] = self.seconds
                run.recorder.metrics(run.row)
                run.shown(run.step, float(run.row["train_loss"] or 0), float(run.row["train_error"] or 0))

    def decide(self, done: int, *, evaluated: bool) -> None:
        """Stop the runs that have reached their target, lost their patience or broken."""
        for index, run in enumerate(self.runs):
            if run.state != "running":
                continue
            target = self.trainer.target_error
            errors = [error for _, error in run.window]
            if target is not None and len(errors) >= self.window and math.fsum(errors) / len(errors) <= target:
                run.state, run.stopped_by = "done", "target_error"
            watched = run.row.get(run.monitor)
            if evaluated and watched is not None:
                if watched < run.best:
                    run.best, run.best_weights = watched, self.learner.best_weights(index)
                    run.recorder.folder.save("best", partial(torch.save, {"model": run.best_weights}))
                if run.patience is not None and run.patience.update(watched):
                    run.state, run.stopped_by = "done", "early_stopping"
            if run.state == "running":
                run.recorder.folder.write_status("running", at_most_every=1.0, **self.position(run))

    def checkpoint(self, done: int, *, ended: bool = False) -> None:
        """Write, for every run, what is needed to go on from here as if nothing had happened."""
        if self.pending:
            fetched = torch.stack(self.pending).cpu()
        for index, run in enumerate(self.runs):
            state = {
                "step": done,
                "config_hash": run.config_hash,
                "seconds": self.seconds,
                "pending": fetched[:, :, index].tolist() if self.pending else [],
                "window": [list(pair) for pair in run.window],
                "best": run.best,
                "patience": run.patience.state_dict() if run.patience else {},
                "best_weights": run.best_weights if run.patience else None,
                "diverged_at": run.diverged[0] if run.diverged else None,
                "ended": ended,
            } | self.learner.state(index)
            run.recorder.flush()
            run.recorder.folder.save("last", partial(torch.save, state))

    def resume(self, states: Sequence[State]) -> int:
        """Go on from checkpoints of one step; returns the step to start from."""
        for index, (run, state) in enumerate(zip(self.runs, states, strict=True)):
            self.learner.load_state(index, state)
            run.window = deque((loss, error) for loss, error in state["window"])
            run.best, run.step = state["best"], state["step"]
            if run.patience:
                run.patience.load_state_dict(state["patience"])
            run.best_weights, culprit = state["best_weights"], self.learner.culprit(index)
            if state["diverged_at"] is not None and culprit is not None:
                run.diverged = (state["diverged_at"], culprit)
        self.seconds = states[0]["seconds"]
        pending = torch.tensor([state["pending"] for state in states], dtype=torch.float64)  # [R, steps, 2]
        device = self.batches.inputs.device
        self.pending = [row.T.to(device) for row in pending.transpose(0, 1)] if pending.numel() else []
        return int(states[0]["step"])

    def finish(self, steps: int) -> None:
        """Restore the best weights where a run was stopped early, test, take the last profile, save.

        The last row of metrics.csv holds the validation and test parts of the weights that the run ends with.
        """
        if steps == 0:
            if self.probe.profile_due(0):
                self.profile("init")
            for run in self.runs:
                run.state = "done"
            return
        for index, run in enumerate(self.runs):
            run.state = "diverged" if run.diverged else "done"
            if run.stopped_by == "early_stopping" and run.best_weights is not None:
                self.learner.load_weights(index, run.best_weights)
            run.row = {"step": run.step, "epoch": run.step / self.batches.steps_per_epoch}
        self.add_evaluation("val", self.data.val_x, self.data.val_y)
        self.add_evaluation("test", self.data.test_x, self.data.test_y)
        for run in self.runs:
            run.recorder.metrics(run.row | {"seconds": self.seconds})
        if self.probe.profile_due(0):
            self.profile("final")
        self.checkpoint(max(run.step for run in self.runs), ended=True)

    def trains(self, index: int) -> bool:
        """Whether a run is on its way: not ended, nor broken since its last row where that ends it."""
        broken = self.trainer.stop_when_diverged and self.learner.culprit(index) is not None
        return self.runs[index].state == "running" and not broken

    def position(self, run: Run) -> dict[str, Any]:
        """Where a run is, in the words of status.json."""
        steps = self.trainer.total_steps(self.batches.steps_per_epoch)
        epoch = run.step / self.batches.steps_per_epoch
        return {"step": run.step, "steps": steps, "epoch": epoch, "seconds": self.seconds}

    def paused(self, tic: float, work: Callable[[], object]) -> float:
        """Do something while the training clock stands still; returns the clock's new start."""
        self.seconds += time.perf_counter() - tic
        work()
        return time.perf_counter()
