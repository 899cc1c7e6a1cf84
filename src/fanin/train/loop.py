"""The loop: one for every model, device and learner; it trains R runs in step, R = 1 being the ordinary run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from fanin.errors import UserError
from fanin.parts.data import Dataset
from fanin.probes.histograms import histogram_tags, measure_histograms
from fanin.probes.jacobians import SPECTRUM
from fanin.probes.probe import Label, Measured, Probe, curve_tags, measure_curves, measure_profile
from fanin.record.atomic_files import write_atomically
from fanin.train import checkpoints
from fanin.train.batches import Batches
from fanin.train.curvature_record import CurvatureRecord
from fanin.train.estimator_variances import estimator_variances
from fanin.train.example_gradients import gradient_moments
from fanin.train.final_evaluation import Part, add_evaluation, evaluate_finally
from fanin.train.learner import Batch, Learner
from fanin.train.peak_memory import peak_memory
from fanin.train.residuals import keep_residuals
from fanin.train.run_state import Run, State
from fanin.train.sampled_evaluation import finite, sampled, sampled_scores
from fanin.train.settings import Trainer

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Run)


class Interrupted(Exception):
    """The user asked to stop; every run that was on its way has been checkpointed."""


@dataclass
class Loop(Generic[R]):
    """R runs on their way; `train` is the loop, the methods below it are its verbs.

    Args:
        learner: does the steps of the R runs.
        batches: training batches by step.
        data: on the device; its validation and test parts are evaluated.
        trainer: how long and how often.
        probe: when to look.
        probe_data: the fixed batch of the profiles, [R, size, ...].
        runs: the R runs, those that are still on their way; one that ends leaves.
        classifies: whether the networks' outputs are scores of classes.
        estimates: whether their outputs are estimates of numbers: then residuals.csv has those of the test part.
        samples: passes with dropout on that the last evaluation averages over; 0 for none.
        evaluates: whether weights that take no step are evaluated, for they were trained before.
        stop_requested: asked before every step; true ends all runs as interrupted, checkpointed.
        ended: told of every run that ends, as soon as its last file but the result is written.
        pause_at: the step before which all runs pause, None for never.
        halted: told of every run that pauses, as soon as its checkpoint and its row are written.
        flops_per_step: floating point operations of the first pass of a step of `batches.batch_size` examples.
    """

    learner: Learner
    batches: Batches
    data: Dataset
    trainer: Trainer
    probe: Probe
    probe_data: Batch
    runs: list[R]
    stop_requested: Callable[[], bool] = lambda: False
    classifies: bool = True
    ended: Callable[[R], None] = lambda run: None
    evaluates: bool = False
    estimates: bool = False
    samples: int = 0
    pause_at: int | None = None
    halted: Callable[[R], None] = lambda run: None
    flops_per_step: int = 0
    pending: list[Tensor] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    tags: tuple[str, ...] = ()
    checkpointed: float = field(default_factory=time.monotonic)
    _curvature: CurvatureRecord | None = None
    _told: set[str] = field(default_factory=set)

    def train(self, start: int = 0) -> None:
        """Train from step `start` until every run has ended: schedule, step, probe, evaluate, stop, checkpoint."""
        steps = self.steps
        tic = time.perf_counter()
        for step in range(start, steps):
            if self.stop_requested():
                self.checkpoint(step)
                raise Interrupted
            if self.pause_at is not None and step >= self.pause_at:
                self.spent(tic)
                self.pause(step)
                return
            if self.probe.profile_due(step):
                tic = self.paused(tic, partial(self.profile, "init" if step == 0 else str(step)))
            if self.probe.histogram_due(step):
                tic = self.paused(tic, partial(self.histograms, step))

            wanted = self.probe.curves if self.probe.curve_due(step) else ()
            if wanted and self.probe.curve_batch == "fixed":
                self.curves(step, measure_curves(self.learner.observe(self.probe_data), wanted))
                wanted = ()
            if self.probe.trajectory:
                self.trajectory(step)
            if self.curvature.due(step):
                tic = self.paused(tic, partial(self.curvature.at, step))
            batch, rates = self.batches(step), [run.rate(step) for run in self.runs]
            if self.batches.adapts(step):
                self.adapt(step, batch)
            before = self.curvature.before_update(step)
            result = self.learner.step(batch, rates, wanted)
            if before is not None:
                tic = self.paused(tic, partial(self.curvature.after_update, step, before, rates, batch))
            self.pending.append(torch.stack([result.loss.to(result.error.dtype), result.error]))
            if step == start and self.learner.note:
                self.tell(self.learner.note)
            if result.curves is not None:
                self.curves(step, result.curves)

            done, last = step + 1, step + 1 == steps
            evaluate = self.due(self.trainer.eval_every, done) or last
            if done == 1 or done % self.trainer.log_every == 0 or evaluate:
                self.log(done)
                if evaluate:
                    tic = self.paused(tic, self.evaluate_due)
                tic = self.spent(tic)
                self.write_rows()
                tic = self.paused(tic, partial(self.decide, evaluated=evaluate))
                if not self.runs:
                    return
            if self.snapshot_due(done):
                self.snapshot(done)
            if self.checkpoint_due(done) and not last:
                self.checkpoint(done)
        self.finish()

    @property
    def steps(self) -> int:
        """Updates of a whole run."""
        return self.trainer.length(self.batches.steps)

    def due(self, every: int | None, done: int) -> bool:
        """Whether something that is done every so many steps, 0 for never, None for once an epoch, is due now."""
        if every is None:
            return self.batches.ends_epoch(done - 1)
        return every > 0 and done % every == 0

    def window(self, step: int) -> int:
        """Batches before a step whose mean error is held against a target."""
        return self.trainer.target_window or self.batches.window(step)

    def profile(self, snapshot: str, *, write: bool = True) -> None:
        """Measure every quantity over depth on the fixed batch, and write it.

        A resumed run looks at init once more without writing it: its verdict needs what the first profile said.
        """
        labels, values = measure_profile(self.learner.observe(self.probe_data), self.probe.measures)
        if self.probe.jacobians or self.probe.spectrum:
            of = {"norms": self.probe.jacobians, "spectra": self.probe.spectrum}
            more, others = self.learner.jacobians(self.probe_data[0], **of)
            labels, values = [*labels, *more], torch.cat([values, others], dim=1)
        for index, (run, row) in enumerate(zip(self.runs, values.tolist(), strict=True)):
            if snapshot == "init":
                run.spectrum = {name: row[at] for at, (*_, name) in enumerate(labels) if name in SPECTRUM}
            rows = run.annotate(snapshot, labels, row)
            if write and (snapshot == "final" or self.trains(index)):
                run.recorder.profile(snapshot, rows)

    def histograms(self, step: int | None) -> None:
        """Write histograms of the weight layers on the fixed batch, at a step; None for the end, at each run's last."""
        places, values = measure_histograms(self.learner.observe(self.probe_data), self.probe.histograms)
        tags = histogram_tags(places)
        for index, (run, rows) in enumerate(zip(self.runs, values.tolist(), strict=True)):
            if rows and (step is None or self.trains(index)):
                run.recorder.histograms(run.step if step is None else step, places, tags, rows)

    def curves(self, step: int, measured: Measured) -> None:
        """Write the quantities that were measured at a step for every weight layer."""
        labels, values = measured
        if labels != self.labels:
            self.labels, self.tags = labels, curve_tags(labels)
        for index, (run, row) in enumerate(zip(self.runs, values.tolist(), strict=True)):
            if self.trains(index):
                run.recorder.curves(step, self.tags, row)

    @property
    def curvature(self) -> CurvatureRecord:
        """Looks at the curvature of the runs that are on their way."""
        if self._curvature is None or self._curvature.learner is not self.learner:
            self._curvature = CurvatureRecord(
                self.learner, self.batches, self.probe, self.probe_data, self.runs, self.trains, self.tell_once
            )
        return self._curvature

    def trajectory(self, step: int) -> None:
        """Write the parameters of every run as they are before a step."""
        for index, run in enumerate(self.runs):
            if self.trains(index) or step == run.step:
                run.recorder.trajectory(step, self.learner.point(index).tolist())

    def adapt(self, step: int, batch: Batch) -> None:
        """Choose the sizes of the batches to come by the gradients of the examples of this one; of one run."""
        (own,), (inputs, targets) = self.learner.networks, (batch[0][0], batch[1][0])
        if own.culprit is None:
            try:
                moments = gradient_moments(own, inputs, targets)
            except RuntimeError as error:
                raise UserError(
                    f"batch: adaptive cannot take the gradient of each example of {type(own.model).__name__} "
                    f"({str(error).splitlines()[0]}); take batch=growing"
                ) from error
            self.batches.adapt(step, *moments)
            own.passes.repeat(len(inputs))

    def log(self, done: int) -> None:
        """Fetch the losses and errors since the last row, one copy to the host for all runs, into new rows."""
        fetched = torch.stack(self.pending).cpu()  # [steps since the last row, 2, R]
        first_step = done - len(self.pending)
        self.pending.clear()
        for index, run in enumerate(self.runs):
            losses, errors, culprit = fetched[:, 0, index], fetched[:, 1, index], self.learner.culprit(index)
            stop = self.trainer.stop_when_diverged
            run.log(first_step, losses, errors, culprit, stop=stop, window=self.window)
            run.row |= self.place(index, run.step)

    def place(self, index: int, step: int) -> dict[str, float | None]:
        """Where a run is after some steps, in each of the units that metrics.csv has."""
        examples, passes = self.batches.seen(step), self.learner.networks[index].passes
        again = (examples + passes.repeated) / self.batches.batch_size
        return {
            "step": step,
            "epoch": self.batches.epoch(step),
            "examples": examples,
            "gradients": examples + passes.gradients,
            "flops": round(self.flops_per_step * again) + passes.flops,
        }

    def evaluate_due(self) -> None:
        """Add the evaluations during training to the rows."""
        for name in self.in_training:
            add_evaluation(self.learner, self.runs, name, self.parts[name])

    @property
    def in_training(self) -> tuple[str, ...]:
        """The parts that are evaluated during training: the validation part and, if requested, the training part."""
        return ("val", "train") if self.trainer.eval_train else ("val",)

    @property
    def parts(self) -> dict[str, Part]:
        """Inputs and targets of each part of the data, by name."""
        return {
            "train": (self.batches.inputs, self.batches.targets),
            "val": (self.data.val_x, self.data.val_y),
            "test": (self.data.test_x, self.data.test_y),
        }

    def tell(self, line: str) -> None:
        """Say something of all runs, to the user and in their logs."""
        log.warning(line)
        for run in self.runs:
            run.told(line)

    def tell_once(self, kind: str, line: str) -> None:
        """Say something unless something of its kind has been said."""
        if kind not in self._told:
            self._told.add(kind)
            self.tell(line)

    def write_rows(self) -> None:
        """Write the new row of every run."""
        for run in self.runs:
            run.recorder.metrics(run.row | {"seconds": run.seconds})
            run.shown(run.step, float(run.row["batch_loss"] or 0), float(run.row["batch_error"] or 0))

    def decide(self, *, evaluated: bool) -> None:
        """Keep the best weights; finish the runs that have reached their target, lost their patience or broken."""
        for index, run in enumerate(self.runs):
            if evaluated and run.state == "running" and run.improved:
                run.best_weights = self.learner.best_weights(index)
                run.recorder.folder.save("best", partial(torch.save, {"model": run.best_weights}))
            if run.state == "running" and not run.decide(
                self.trainer.target_error, self.window(run.step), evaluated=evaluated
            ):
                run.recorder.folder.write_status("running", at_most_every=1.0, **self.position(run))
        over = [index for index, run in enumerate(self.runs) if run.state != "running"]
        self.leave(over)

    def leave(self, over: Sequence[int]) -> None:
        """Finish some of the runs, and go on with the others."""
        if over:
            self.narrowed(over).finish()
            left = self.narrowed([index for index in range(len(self.runs)) if index not in over])
            self.learner, self.batches, self.probe_data, self.runs = (
                left.learner, left.batches, left.probe_data, left.runs,
            )  # fmt: skip

    def pause(self, done: int) -> None:
        """Checkpoint all runs at a step and leave them, each with an evaluated row of metrics.csv.

        Where a run goes on, that row is taken away again: it then has the same files as one that has never paused.
        """
        self.checkpoint(done)
        if self.pending:
            self.log(done)
            broken = [index for index, run in enumerate(self.runs) if run.state != "running"]
            if broken:
                self.narrowed(broken).write_rows()
                self.leave(broken)
        for index, run in enumerate(self.runs):
            run.row |= {**self.place(index, done), "lr": run.rate(done - 1)}
        if self.runs:
            self.evaluate_due()
        for run in self.runs:
            run.recorder.pause(run.row | {"seconds": run.seconds})
            self.halted(run)

    def finish(self) -> None:
        """End all runs: the weights they end with, their evaluation, last profile, last checkpoint.

        With early stopping these are the best weights, whatever ended the run, but for one that diverged; else the
        last ones. The last row of metrics.csv is of them, without what an earlier row says of them already.
        """
        if self.steps == 0 and self.probe.profile_due(0):
            self.profile("init")
        if self.steps == 0 and self.curvature.due(0):
            self.curvature.at(0)
        rows = [run.row for run in self.runs]
        for index, run in enumerate(self.runs):
            run.state = "diverged" if run.diverged else "done"
            restored = run.ends_with_best
            if restored is not None:
                self.learner.load_weights(index, restored)
            run.row = {**self.place(index, run.step), "seconds": run.seconds}
        if self.steps > 0 or self.evaluates:
            evaluate_finally(self.learner, self.runs, self.parts, rows, self.in_training, classifies=self.classifies)
        if (self.trainer.scores or self.samples) and self.classifies:
            self.keep_scores()
        if self.estimates and (self.steps > 0 or self.evaluates):
            keep_residuals(self.learner, self.runs, self.parts["test"], self.data.target_scale)
        for index, run in enumerate(self.runs):
            inputs, targets = (one[index] for one in self.probe_data)
            variances = estimator_variances(self.learner.networks[index], inputs, targets)
            if variances and run.state == "done" and (self.steps > 0 or self.evaluates):
                run.evaluation = (run.evaluation or {}) | variances
        if self.steps > 0:
            if self.probe.trajectory:
                self.trajectory(self.runs[0].step)
            if self.probe.profile_due(0):
                self.profile("final")
            if self.curvature.due(self.runs[0].step, end=True):
                self.curvature.at(self.runs[0].step)
            self.checkpoint(None)
        if self.probe.histograms:
            self.histograms(None)
        for index, run in enumerate(self.runs):
            run.spent = self.spent_by(index)
            self.ended(run)

    def snapshot_due(self, done: int) -> bool:
        """Whether a part of the training ends here whose weights are kept: step t ends part floor(t parts / steps)."""
        parts, steps = self.trainer.snapshots, self.steps
        return done * parts // steps > (done - 1) * parts // steps

    def snapshot(self, done: int) -> None:
        """Keep the weights of every run as they are evaluated, under the step."""
        for index, run in enumerate(self.runs):
            weights = {"model": self.learner.best_weights(index)}
            run.recorder.folder.save(f"step_{done}", partial(torch.save, weights))

    def spent_by(self, index: int) -> dict[str, float | None]:
        """What a run has taken: its memory in bytes, what its passes were."""
        own, place = self.learner.networks[index], self.place(index, self.runs[index].step)
        return {
            "gradient_bytes": sum(one.nbytes for one in own.parameters),
            "optimizer_bytes": self.learner.optimizer_bytes,
            "peak_memory": peak_memory(self.batches.inputs.device),
            **{name: place[name] for name in ("examples", "gradients", "flops")},
        }

    def keep_scores(self) -> None:
        """Write what every run's network puts out for the parts that it was not trained on, with dropout on too."""
        parts = {name: part for name, part in self.parts.items() if name != "train" and len(part[0])}
        outputs = {name: self.learner.predict(part[0]).cpu().numpy() for name, part in parts.items()}
        for index, run in enumerate(self.runs):
            kept = {f"{name}_scores": outputs[name][index] for name in parts}
            kept |= {f"{name}_targets": part[1].cpu().numpy() for name, part in parts.items()}
            for name, part in parts.items() if self.samples and run.state == "done" else ():
                found = sampled(self.learner.networks[index], part[0], self.samples, self.learner.chunk)
                kept |= {f"{name}_sampled_scores": finite(found.log_p).numpy()}
                kept |= {f"{name}_entropy": found.entropy.numpy(), f"{name}_information": found.information.numpy()}
                if name == "test" and run.evaluation is not None:
                    run.evaluation |= sampled_scores(found, kept["test_scores"], part[1], self.samples)
            write_atomically(run.recorder.folder.path / "scores.npz", partial(np.savez, **kept))

    def checkpoint_due(self, done: int) -> bool:
        """Whether a checkpoint is due now; one an epoch also has to wait until the last is some seconds old."""
        every = self.trainer.checkpoint_every
        waits = every is None and time.monotonic() - self.checkpointed < checkpoints.LEAST_SECONDS
        return self.due(every, done) and not waits

    def checkpoint(self, done: int | None) -> None:
        """Write what is needed to resume from step `done`, None for the end; see save_checkpoints."""
        checkpoints.save_checkpoints(self.learner, self.runs, self.pending, done)
        self.checkpointed = time.monotonic()

    def resume(self, states: Sequence[State]) -> int:
        """Load checkpoints of one step; returns the step to start from."""
        if self.probe.profile_due(0):
            self.profile("init", write=False)  # of the fresh weights, before they are replaced
        self.pending = checkpoints.load_checkpoints(self.learner, self.runs, states, self.batches.inputs.device)
        return int(states[0]["step"])

    def narrowed(self, indices: Sequence[int]) -> Loop[R]:
        """A loop of some of the runs, where they are."""
        chosen = list(indices)
        return replace(
            self,
            learner=self.learner.select(chosen),
            batches=self.batches.select(chosen),
            probe_data=(self.probe_data[0][chosen], self.probe_data[1][chosen]),
            runs=[self.runs[index] for index in chosen],
            pending=[row[:, chosen] for row in self.pending],
        )

    def trains(self, index: int) -> bool:
        """Whether a run is on its way: not ended, nor broken since its last row where that ends it."""
        broken = self.trainer.stop_when_diverged and self.learner.culprit(index) is not None
        return self.runs[index].state == "running" and not broken

    def position(self, run: Run) -> dict[str, Any]:
        """Where a run is, in the words of status.json."""
        epoch = self.batches.epoch(run.step)
        return {"step": run.step, "steps": self.steps, "epoch": epoch, "seconds": run.seconds}

    def spent(self, tic: float) -> float:
        """Share the time since `tic` among the runs that are trained together; returns the clock's new start."""
        now = time.perf_counter()
        for run in self.runs:
            run.seconds += (now - tic) / len(self.runs)
        return now

    def paused(self, tic: float, work: Callable[[], object]) -> float:
        """Do something while the training clock stands still; returns the clock's new start."""
        self.spent(tic)
        work()
        return time.perf_counter()
