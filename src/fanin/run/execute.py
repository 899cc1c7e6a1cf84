"""Runs, from their configurations to their folders."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fanin import ranks
from fanin.errors import UserError
from fanin.parts.data import Dataset
from fanin.record.columns import GRADIENT_CHECK, names
from fanin.record.csv_file import write_table
from fanin.record.recorder import Recorder
from fanin.run.build import load_data, recipe
from fanin.run.expected import Expecting
from fanin.run.networks import initialized, trained_model
from fanin.run.recipe import Recipe
from fanin.run.request import ONCE, Request
from fanin.run.result import result_of
from fanin.run.resume import MISFITS, UnfitCheckpoint, checkpoint_of, leave_aside
from fanin.run.theory_overlay import Overlay
from fanin.streams import generator
from fanin.train.batches import Batches, probe_batch
from fanin.train.flops import flops_of_step
from fanin.train.fused_learner import FusedLearner
from fanin.train.gradient_check import check_gradient, told_of_blocks
from fanin.train.learner import Batch, Learner
from fanin.train.loop import Interrupted, Loop
from fanin.train.peak_memory import begin_peak
from fanin.train.run_state import Run, State
from fanin.train.single_learner import SingleLearner
from fanin.train.trained_model import TrainedModel

log = logging.getLogger(__name__)


@dataclass
class Begun:
    """A request that is about to be trained.

    Args:
        request: what is to be run.
        recipe: its options, made.
        recorder: the open files of its folder.
        checkpoint: the state to resume from; None starts at step 0.
    """

    request: Request
    recipe: Recipe
    recorder: Recorder
    checkpoint: State | None = None


@dataclass(kw_only=True)
class RequestedRun(Run):
    """The state of a run that knows what was asked for: its request, its recipe and the theory of its network."""

    request: Request
    recipe: Recipe
    overlay: Overlay


def run_together(requests: Sequence[Request], stop_requested: Callable[[], bool] = lambda: False) -> None:
    """Train configurations together; see `train_together`. A checkpoint that does not fit is left aside.

    Raises:
        UnfitCheckpoint: one of several checkpoints does not fit; each of the requests alone can be run.
    """
    try:
        train_together(requests, stop_requested)
    except UnfitCheckpoint as error:
        if len(requests) > 1:
            raise
        (request,) = requests
        leave_aside(request.folder, str(error))
        request.folder.clear()
        train_together(requests, stop_requested)


def train_together(requests: Sequence[Request], stop_requested: Callable[[], bool]) -> None:
    """Train configurations together, each in its folder, going on from checkpoints where there are fitting ones.

    Args:
        requests: one, or several of one structure (see `structure_key`) whose checkpoints, if any, are of one step;
            their folders are owned by this process. Each viewer gets the progress at each logged row, and the
            content of result.json as soon as it is written.
        stop_requested: asked before each step.

    Raises:
        Interrupted: a stop was requested; the runs are checkpointed and marked.
        UserError: a configuration cannot be run.
        UnfitCheckpoint: a checkpoint could not be taken over, or the first step from it not be made.
    """
    recipes = [recipe(request.options) for request in requests]
    made = recipes[0]
    if made.trainer.threads is not None:
        torch.set_num_threads(made.trainer.threads)
    data = load_data(requests[0].options, made.device, made.dtype, indices=made.takes_indices)
    batches = batches_of(recipes, data)
    begun = [begin(*pair, steps_of(made, batches)) for pair in zip(requests, recipes, strict=True)]
    asked = 0

    def counted_stop() -> bool:
        nonlocal asked
        asked += 1
        return ranks.any_of(stop_requested())

    tell_remarks(begun, data)
    begin_peak(made.device)
    loop = assemble(begun, data, batches, counted_stop)
    counts = {
        "parameters": loop.learner.parameter_count,
        "flops_per_step": flops_of(loop.learner, batches),
    }

    def ended(one: RequestedRun) -> None:
        request = one.request
        epochs = loop.batches.epoch(one.step)
        result = result_of(one, request.options.plain, request.identity, one.recipe, one.overlay, data, epochs)
        result |= counts | one.spent
        one.recorder.close(one.state)
        request.folder.write_status(one.state, **loop.position(one))
        request.folder.write_result(result)
        request.viewer.ended(result)
        if better := better_typed(loop.learner.model, result):
            request.viewer.line(better)

    def halted(one: RequestedRun) -> None:
        one.recorder.close()
        one.request.folder.write_status("paused", **loop.position(one))
        told = {name: value for name in ("val_loss", "val_error") if (value := one.row.get(name)) is not None}
        said = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in told.items())
        one.request.viewer.line(f"paused at step {one.step} of {loop.steps}{said and ', '}{said}", "cyan")

    loop.flops_per_step = counts["flops_per_step"]
    loop.ended, loop.halted, loop.pause_at = ended, halted, requests[0].options.plain.get("pause_at")
    checkpoints = [one.checkpoint for one in begun if one.checkpoint is not None]
    try:
        loop.train(loop.resume(checkpoints) if checkpoints else 0)
    except (*MISFITS, RuntimeError) as error:
        taken_over = asked > 0 and not isinstance(error, MISFITS)
        if not checkpoints or asked > 1 or taken_over or isinstance(error, (UserError, torch.OutOfMemoryError)):
            raise
        for each in begun:
            each.recorder.close()
        raise UnfitCheckpoint(f"the run cannot resume from it ({type(error).__name__}: {error})") from error
    except Interrupted:
        for one in loop.runs:
            one.request.folder.write_status("interrupted", error="stopped by the user", **loop.position(one))
            one.recorder.close()
        raise


def better_typed(model: nn.Module, result: Mapping[str, Any]) -> str:
    """What to type for a model that says what it trains with, in a line, where a run with something else went wrong."""
    typed, choices = str(getattr(model, "trains_with", "")), result["choices"]
    group, _, option = typed.partition(" ")[0].partition("=")
    if not typed or choices.get(group) == option or result["outcome"] not in ("diverged", "no progress", "worsens"):
        return ""
    return f"{choices.get('model')} trains with {typed}; this was {group}={choices.get(group)}"


def begin(request: Request, made: Recipe, steps: int) -> Begun:
    """Open the files of a request whose run is to have so many steps, where it left off or afresh."""
    checkpoint = None if request.force else checkpoint_of(request.folder, request.identity)
    if checkpoint is not None and checkpoint["step"] >= steps:
        leave_aside(request.folder, f"it is of step {checkpoint['step']}, and the run has {steps}")
        checkpoint = None
    checkpoint = ranks.agreed(checkpoint)
    step, rows = (None, {}) if checkpoint is None else (checkpoint["step"], checkpoint.get("rows", {}))
    request.folder.resumed = checkpoint is not None
    recorder = Recorder(request.folder, step, rows=rows)
    request.folder.write_status("running", step=step or 0, steps=steps)
    if checkpoint is None:
        recorder.describe(request.name, request.identity.hparams)
    return Begun(request, made, recorder, checkpoint)


def tell_remarks(begun: Sequence[Begun], data: Dataset) -> None:
    """What is to be known of the data and the weights, to the users and in the logs: once."""
    remarks = [[*data.notes, *one.recipe.initializer.remarks()] for one in begun]
    for text in dict.fromkeys(text for each in remarks for text in each):
        log.warning(text)
    for one, texts in zip(begun, remarks, strict=True):
        for text in texts:
            one.request.viewer.line(text, ONCE)


def assemble(
    begun: Sequence[Begun], data: Dataset, batches: Batches, stop_requested: Callable[[], bool] = lambda: False
) -> Loop[RequestedRun]:
    """The loop of R runs, ready to train from step 0."""
    first = begun[0].recipe
    fixed = probe_batch(data.train_x, data.train_y, first.probe.batch_size, batches.seeds)
    steps = steps_of(first, batches)
    runs, trained = [], []
    for one, *batch in zip(begun, *fixed, strict=True):
        model = initialized(one.recipe, data, batch[0])
        runs.append(run_of(one, model, batches, steps))
        overlay = runs[-1].overlay
        overlay.expect = Expecting(one.recipe, model, (batch[0], batch[1]), data, steps, overlay.frozen)
        trained.append(trained_model(one.recipe, model, batches))
        if first.trainer.gradient_check and one.checkpoint is None:
            check_gradient_of(one, trained[-1], (batch[0], batch[1]))
    learner = FusedLearner(trained) if len(trained) > 1 else SingleLearner(trained[0])
    classifies = first.method.loss.classification
    loop = Loop(learner, batches, data, first.trainer, first.probe, fixed, runs, stop_requested, classifies)
    loop.evaluates, loop.estimates = first.initializer.trained, first.method.loss.task == "regression"
    loop.samples = first.evaluation.samples
    return loop


def check_gradient_of(begun: Begun, own: TrainedModel, batch: Batch) -> None:
    """Hold the gradient at the start against differences, see `check_gradient`; gradient_check.csv has all of it.

    Raises:
        UserError: they differ, with the names of the blocks.
    """
    made, folder = begun.recipe, begun.request.folder.path
    checked = check_gradient(own, batch, made.trainer.gradient_check, generator(made.seed, "probe", "gradient_check"))
    rows = [[getattr(one, name) for name in names(GRADIENT_CHECK)] for one in checked]
    write_table(folder / "gradient_check.csv", names(GRADIENT_CHECK), rows)
    wrong, lines = told_of_blocks(checked)
    if wrong:
        raise UserError(f"gradient check: {'; '.join(wrong)}")
    for line in lines:
        begun.request.viewer.line(f"gradient check: {line}")


def run_of(begun: Begun, model: nn.Module, batches: Batches, steps: int) -> RequestedRun:
    """The state of a run of so many steps, at its start."""
    request, made = begun.request, begun.recipe
    overlay, stopping = Overlay.over(model), made.early_stopping
    made.schedule.set_length(steps)
    made.method.averaging.set_length(steps)
    made.probe.set_length(steps)
    return RequestedRun(
        request=request,
        recipe=made,
        overlay=overlay,
        recorder=begun.recorder,
        lr=made.lr,
        schedule=copy(made.schedule),  # it may count, and a recipe stays as it is
        patience=stopping.new() if stopping else None,
        monitor=stopping.monitor if stopping else "val_loss",
        annotate=overlay.annotate,
        config_hash=request.identity.config_hash,
        scale=lambda step: made.lr_scaling.factor(batches.size(step)),
        told=request.viewer.line,
        shown=lambda step, loss, error: request.viewer.step(step, steps, loss, error),
    )


def flops_of(learner: Learner, batches: Batches) -> int:
    """Floating point operations of a step of one run, counted once for runs of one structure."""
    inputs = batches.inputs[:1].expand(batches.batch_size, *batches.inputs.shape[1:])
    with torch.random.fork_rng(devices=[]):  # it is not in every run of a process
        return flops_of_step(learner.model, inputs, structure=repr(learner.model))


def batches_of(recipes: Sequence[Recipe], data: Dataset) -> Batches:
    """The training batches of some runs."""
    first, seeds = recipes[0], [made.seed for made in recipes]
    size = first.trainer.batch(len(data.train_x))
    return Batches(data.train_x, data.train_y, size, seeds, deepcopy(first.batch), first.augmentations)


def steps_of(made: Recipe, batches: Batches) -> int:
    """Updates of a whole run."""
    return made.trainer.length(batches.steps)
