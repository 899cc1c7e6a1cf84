"""Runs, from their configurations to their folders."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from fanin.parts.data import Dataset
from fanin.record.recorder import Recorder
from fanin.record.run_folder import RunFolder
from fanin.run.build import load_data, recipe
from fanin.run.identity import Identity
from fanin.run.recipe import Recipe
from fanin.run.result import result_of
from fanin.run.theory_overlay import Overlay
from fanin.streams import draws_from_it, generator, stream_seed, torch_stream
from fanin.train.batches import Batches, probe_batch
from fanin.train.flops import flops_of_step
from fanin.train.fused_learner import FusedLearner
from fanin.train.learner import Learner
from fanin.train.loop import Interrupted, Loop
from fanin.train.run_state import Run
from fanin.train.single_learner import SingleLearner
from fanin.train.trained_model import TrainedModel

log = logging.getLogger(__name__)

Shown = Callable[[int, int, float, float], None]  # step, steps, loss, error


@dataclass
class Member:
    """One configuration that is to be trained, maybe together with others.

    Args:
        cfg: the composed configuration.
        identity: its name, its hash and what it varies.
        folder: owned by this process.
        shown: told the progress at each logged row.
        ended: told the content of result.json as soon as it is written.
    """

    cfg: DictConfig
    identity: Identity
    folder: RunFolder
    shown: Shown = lambda *_: None
    ended: Callable[[dict[str, Any]], None] = lambda result: None


def run(
    cfg: DictConfig,
    identity: Identity,
    folder: RunFolder,
    stop_requested: Callable[[], bool] = lambda: False,
    shown: Shown = lambda *_: None,
) -> dict[str, Any]:
    """Train one configuration in its folder; see `run_together`. Returns the content of result.json."""
    results: list[dict[str, Any]] = []
    run_together([Member(cfg, identity, folder, shown, results.append)], stop_requested)
    return results[0]


def run_together(members: Sequence[Member], stop_requested: Callable[[], bool] = lambda: False) -> None:
    """Train configurations together, each in its folder, going on from checkpoints where there are fitting ones.

    Args:
        members: one, or several of one structure (see `structure_key`) whose checkpoints, if any, are of one step.
        stop_requested: asked before each step.

    Raises:
        Interrupted: a stop was requested; the runs are checkpointed and marked.
        UserError: a configuration cannot be run.
    """
    recipes = [recipe(member.cfg) for member in members]
    made = recipes[0]
    if made.trainer.threads is not None:
        torch.set_num_threads(made.trainer.threads)
    states = [None if one.cfg.force else checkpoint_of(one.folder, one.identity) for one in members]
    data = load_data(members[0].cfg, made.device, made.dtype)
    batches = batches_of(recipes, data)
    steps = steps_of(made, batches)
    recorders, by_recorder = [], {}
    for member, state in zip(members, states, strict=True):
        resume_step = None if state is None else state["step"]
        recorder = Recorder(member.folder, resume_step, full=made.trainer.eval_train)
        member.folder.write_status("running", step=0 if state is None else state["step"], steps=steps)
        if state is None:
            recorder.describe(member.identity.name, member.identity.hparams)
        recorders.append(recorder)
        by_recorder[id(recorder)] = member
    loop, overlays = assemble(
        recipes,
        data,
        batches,
        recorders,
        [member.identity.config_hash for member in members],
        [member.shown for member in members],
        stop_requested,
    )
    theories = dict(zip(map(id, recorders), zip(recipes, overlays, strict=True), strict=True))
    counts = {
        "parameters": loop.learner.parameter_count,
        "flops_per_step": flops_of(loop.learner, batches),
    }

    def ended(one: Run) -> None:
        member, (its_recipe, overlay) = by_recorder[id(one.recorder)], theories[id(one.recorder)]
        epochs = loop.batches.epoch(one.step)
        result = result_of(one, member.cfg, member.identity, its_recipe, overlay, data, epochs)
        one.recorder.close(one.state)
        member.folder.write_status(one.state, **loop.position(one))
        result |= counts
        member.folder.write_result(result)
        member.ended(result)

    loop.ended = ended
    start = 0
    if states[0] is not None:
        start = loop.resume([state for state in states if state is not None])
    try:
        loop.train(start)
    except Interrupted:
        for one in loop.runs:
            folder = by_recorder[id(one.recorder)].folder
            folder.write_status("interrupted", error="stopped by the user", **loop.position(one))
            one.recorder.close()
        raise


def assemble(
    recipes: Sequence[Recipe],
    data: Dataset,
    batches: Batches,
    recorders: Sequence[Recorder],
    hashes: Sequence[str],
    shown: Sequence[Shown],
    stop_requested: Callable[[], bool] = lambda: False,
) -> tuple[Loop, list[Overlay]]:
    """The loop of R runs, ready to train from step 0, and the theory of each."""
    first = recipes[0]
    fixed = probe_batch(data.train_x, data.train_y, first.probe.batch_size, batches.seeds)
    models = [initialized(made, data, inputs) for made, inputs in zip(recipes, fixed[0], strict=True)]
    overlays = [made.overlay(model) for made, model in zip(recipes, models, strict=True)]
    steps = steps_of(first, batches)
    runs = []
    for made, recorder, overlay, config_hash, show in zip(recipes, recorders, overlays, hashes, shown, strict=True):
        made.schedule.fit(steps)
        made.method.averaging.fit(steps)
        one = Run(
            recorder=recorder,
            lr=made.lr,
            schedule=made.schedule,
            patience=made.early_stopping.new() if made.early_stopping else None,
            monitor=made.early_stopping.monitor if made.early_stopping else "val_loss",
            annotate=overlay.annotate,
            config_hash=config_hash,
            scale=lambda step, made=made: made.lr_scaling.factor(batches.size(step)),  # type: ignore[misc]
            shown=lambda step, loss, error, show=show: show(step, steps, loss, error),  # type: ignore[misc]
        )
        runs.append(one)
    trained = [trained_model(made, model, batches) for made, model in zip(recipes, models, strict=True)]
    learner = FusedLearner(trained) if len(trained) > 1 else SingleLearner(trained[0])
    classifies = first.method.loss.classification
    loop = Loop(learner, batches, data, first.trainer, first.probe, fixed, runs, stop_requested, classifies)
    return loop, overlays


def flops_of(learner: Learner, batches: Batches) -> int:
    """Floating point operations of a step of one run, counted once for runs of one structure."""
    inputs = batches.inputs[:1].expand(batches.batch_size, *batches.inputs.shape[1:])
    with torch.random.fork_rng(devices=[]):  # it is not in every run of a process
        return flops_of_step(learner.model, inputs, structure=repr(learner.model))


def batches_of(recipes: Sequence[Recipe], data: Dataset) -> Batches:
    """The training batches of some runs."""
    first, seeds = recipes[0], [made.seed for made in recipes]
    size = first.trainer.batch(len(data.train_x))
    return Batches(data.train_x, data.train_y, size, seeds, first.batch, first.augmentations)


def steps_of(made: Recipe, batches: Batches) -> int:
    """Updates of a whole run."""
    return batches.steps(made.trainer.epochs) if made.trainer.steps is None else made.trainer.steps


def initialized(made: Recipe, data: Dataset, inputs: Tensor) -> nn.Module:
    """The model of a recipe on its device, its weights drawn; `inputs` are a batch to calibrate them on."""
    with torch.random.fork_rng(devices=[]):  # a user's model may draw from it, while it is made and after
        torch.default_generator.manual_seed(stream_seed(made.seed, "init"))
        model = made.make_model(data.input_shape, made.method.loss.out_features(data.classes))
        model = model.to(device=made.device, dtype=made.dtype)
        made.initializer(model, lambda name: generator(made.seed, "init", name))
        made.initializer.calibrate(model, inputs)
    return model


def trained_model(made: Recipe, model: nn.Module, batches: Batches) -> TrainedModel:
    """The network of one run with its optimizer and its streams."""
    draws = any(hasattr(module, "generator") for module in model.modules())
    dropout = generator(made.seed, "dropout", device=made.device) if draws else None
    if draws_from_it(model):
        draws, dropout = True, torch_stream(made.device).manual_seed(stream_seed(made.seed, "dropout"))
    return TrainedModel(
        model=model,
        optimizer=made.make_optimizer([parameter for parameter in model.parameters() if parameter.requires_grad]),
        method=made.method,
        dropout=dropout,
        probe_dropout=partial(generator, made.seed, "probe", "dropout", device=made.device) if draws else None,
        autocast=made.autocast,
        stop_when_diverged=made.trainer.stop_when_diverged,
        batches=batches,
    )


def checkpoint_of(folder: RunFolder, identity: Identity) -> dict[str, Any] | None:
    """The state to go on from; None where there is none that fits."""
    path = folder.checkpoints / "last.pt"
    if not path.exists() or folder.status.get("state") in (None, "done", "diverged"):
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        if state["config_hash"] == identity.config_hash and not state["ended"]:
            log.info("going on from %s at step %d", path, state["step"])
            return state
        reason = "it is the end of a run" if state["ended"] else "it belongs to another configuration"
    except Exception as error:
        reason = f"it cannot be read ({type(error).__name__})"
    log.warning("%s is left aside: %s; starting afresh", path, reason)
    return None
