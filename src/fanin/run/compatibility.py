"""Whether the options of a configuration fit together and to the data: what no option can see alone."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from fanin import devices, ranks
from fanin.catalogue import TABLE
from fanin.errors import OptionError, UserError, told_of
from fanin.parts.data import Dataset
from fanin.parts.losses import Loss
from fanin.parts.models.layers import takes_indices
from fanin.parts.optimizers.objective import ObjectiveOptimizer
from fanin.parts.optimizers.parameter_groups import Factors
from fanin.parts.per_run import is_stackable
from fanin.process import total_memory
from fanin.run.bounded_cache import BoundedCache
from fanin.run.make_option import Options
from fanin.run.recipe import Recipe
from fanin.train.sampled_evaluation import draws_noise

TRAJECTORY = 100
"""Parameters whose every step can be written."""

TRIAL = [nn.Parameter(torch.zeros(2, 2))]
"""Parameters that an optimizer is tried on."""

SHAPING = tuple(group.name for group in TABLE if group.shapes_model)
"""Groups whose keys say what the model is made of."""


def check_together(options: Options, made: Recipe, load: Callable[[bool], Dataset]) -> None:
    """Raise the first thing in a recipe that does not fit; loads the data, so that a missing file shows, too.

    The recipe learns what integers are to its model.

    Args:
        options: of the configuration, as plain values.
        made: its options.
        load: gives its preprocessed data on the CPU; told whether inputs that are integers are to stay so.

    Raises:
        UserError: what does not fit, in one line.
    """
    _check_device(made)
    _check_compiler(made)
    data = load(True)
    with told_of("trainer"):
        batch_size = made.trainer.batch(len(data.train_x))
    _check_data(made, data)
    _check_targets(made, data)
    if batch_size < ranks.count():
        raise OptionError("trainer.batch_size", batch_size, f"at least {ranks.count()}, the processes that share it")
    in_a_pass = batch_size // (made.trainer.accumulate * ranks.count())
    if in_a_pass <= 1 and made.normalization.mixes_examples:
        raise OptionError(
            "trainer.batch_size",
            in_a_pass,
            "at least 2 in each pass with normalization=batch",
            "or take normalization=layer",
        )
    if made.batch.adaptive and made.normalization.mixes_examples:
        raise UserError(
            "normalization=batch: batch=adaptive needs the gradient of each example, which depends on no other here; "
            "take normalization=layer, or batch=growing"
        )
    model = _model_on_meta(options, made, data)
    made.takes_indices = takes_indices(model)
    data = load(made.takes_indices)
    _check_memory(made, model)
    _check_loss(model, made)
    for key in ("random_labels", "label_noise"):
        if (share := options["data"].get(key)) and not made.method.loss.classification:
            allowed = f"0 with loss={made.method.loss.name}, which asks for no classes"
            raise OptionError(f"data.{key}", share, allowed, "leave it out")
    if not is_stackable(type(made.method.loss)):
        _check_own_loss(made.method.loss, data)
    with told_of("loss"):
        made.method.loss.check(data.train_x)
    with told_of("initializer"):
        made.initializer.check(model)
    _check_samples(made, model)
    _check_estimated(made, model)
    recurrent_p = getattr(made.dropout, "recurrent_p", None)
    if recurrent_p is not None and not hasattr(model, "recurrent_dropouts"):
        allowed = f"null for {type(model).__name__}, which has no recurrent connections to drop"
        raise OptionError("regularizer.dropout.recurrent_p", recurrent_p, allowed, "or take model=lstm")
    if made.mask is not None:
        with told_of("regularizer.mask"):
            made.mask.check(model)
    parameters = sum(one.numel() for one in model.parameters())
    if made.probe.trajectory and parameters > TRAJECTORY:
        allowed = f"false for a model of {parameters} parameters, more than {TRAJECTORY}"
        raise OptionError("probe.trajectory", True, allowed, "take model=surface or another small one")
    _check_optimizer(made, model, len(data.train_x), batch_size)


def _check_samples(made: Recipe, model: nn.Module) -> None:
    samples, loss = made.evaluation.samples, made.method.loss
    if samples and not loss.classification:
        allowed = f"0 with loss={loss.name}, which asks for no classes"
        raise OptionError("evaluation.samples", samples, allowed, "leave it out")
    if samples and not draws_noise(model):
        allowed = f"0 for a {type(model).__name__} without dropout, whose passes are all alike"
        raise OptionError("evaluation.samples", samples, allowed, "or take regularizer=dropout")


def _check_estimated(made: Recipe, model: nn.Module) -> None:
    """A model whose gradient is estimated, and what would take it for the derivative of the loss."""
    if not getattr(model, "estimates_gradient", False):
        return
    optimizer = made.make_optimizer(TRIAL)
    looks = made.probe.curvature
    in_training = bool(looks.quantities) and looks.mode == "training"
    for asked, fix in (
        (isinstance(optimizer, ObjectiveOptimizer), f"{type(optimizer).__name__}; take optimizer=adam"),
        (made.trainer.gradient_check > 0, "trainer.gradient_check"),
        (in_training, "probe.curvature.mode=training; take evaluation"),
    ):
        if asked:
            raise UserError(
                f"model: {type(model).__name__} estimates its gradient, which is the loss's derivative in the mean "
                f"alone and will not do for {fix}"
            )


def _check_device(made: Recipe) -> None:
    wanted, there = made.trainer.device, devices.accelerator()
    if wanted not in ("auto", "cpu", there):
        allowed = "cpu or auto" if there is None else f"{there}, cpu or auto"
        raise OptionError("trainer.device", wanted, allowed, f"torch finds no {wanted.upper()} device here")
    if made.trainer.precision == "float64" and not devices.has_float64(made.device):
        allowed = f"float32 or bfloat16 on {made.device.type}, which has no float64"
        raise OptionError("trainer.precision", "float64", allowed, "or take trainer.device=cpu")


def _check_compiler(made: Recipe) -> None:
    """A compiler for torch.compile; on a GPU it brings its own."""
    if not made.trainer.compile or made.device.type != "cpu":
        return
    name = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(name) is None:
        fix = f"torch.compile finds no C++ compiler {name}; install one, or set CXX"
        raise OptionError("trainer.compile", True, "false here", fix)


def _check_data(made: Recipe, data: Dataset) -> None:
    examples = len(data.train_x)
    if made.probe.batch_size > examples and not made.probe.takes_fewer:
        raise OptionError("probe.batch_size", made.probe.batch_size, f"at most the {examples} training examples")
    followed = {"schedule.monitor": made.schedule.follows}
    if made.early_stopping:
        followed["regularizer.early_stopping.monitor"] = made.early_stopping.monitor
    for key, monitor in followed.items():
        for part, there, setting, fix in (
            ("val", len(data.val_x) > 0, "data.val_size=0", "or set data.val_size"),
            ("train", made.trainer.eval_train, "trainer.eval_train=false", "or set trainer.eval_train=true"),
        ):
            if monitor and monitor.startswith(part) and not there:
                raise OptionError(key, monitor, f"batch_loss or batch_error while {setting}", fix)
    for augmentation in made.augmentations:
        name = type(augmentation).__name__.lower()
        try:
            augmentation.check(data.input_shape)
        except OptionError as error:
            raise error.within(f"augment.{name}") from None
        except UserError as error:
            raise UserError(f"augment={name}: {error}") from None


def _check_targets(made: Recipe, data: Dataset) -> None:
    """Give the recipe the loss of numbers where the targets are some, if there is one."""
    if not data.regression:
        return
    if made.method.smoothed is not None:
        raise UserError("regularizer=label_smoothing: the targets are numbers and no classes; leave it out")
    made.method = replace(made.method, loss=made.method.loss.of_numbers())


def _check_memory(made: Recipe, model: nn.Module) -> None:
    """A model whose weights alone, with their gradients where it is trained, are more than all memory there is."""
    total = total_memory() if made.device.type not in devices.VISIBLE else devices.own_memory(made.device)
    copies = 1 if made.trainer.steps == 0 else 2
    parameters = sum(one.numel() for one in model.parameters())
    needed = copies * parameters * made.dtype.itemsize
    if total is not None and needed > total:
        what = "weights" if copies == 1 else "weights and gradients"
        raise UserError(
            f"model: {parameters:,} parameters need {needed / 2**30:,.0f} GiB for {what}, and there are "
            f"{total / 2**30:,.0f} GiB on {made.device.type}; take a smaller model.width or model.depth"
        )


def _check_loss(model: nn.Module, made: Recipe) -> None:
    """A loss and a model that are made for each other."""
    loss, kind = made.method.loss, type(model).__name__.lower()
    loss_name = getattr(loss, "name", type(loss).__name__.lower())
    wanted = getattr(model, "needs_loss", None)
    if wanted is not None and loss_name != wanted:
        typed = f"loss={wanted} {getattr(model, 'trains_with', '')}".strip()
        raise UserError(f"model={kind}: needs loss={wanted}, not {loss_name}; type {typed}")
    if loss.needs_model is not None and wanted is None:
        raise UserError(f"loss={loss_name}: needs model={loss.needs_model}, not {kind}")


def _check_optimizer(made: Recipe, model: nn.Module, examples: int, batch_size: int) -> None:
    """What an optimizer asks that makes its steps from more than the gradient."""
    optimizer = made.make_optimizer(TRIAL)
    frozen = made.initializer.frozen(model)
    sizes = {name: one.numel() for name, one in model.named_parameters() if name not in frozen and one.requires_grad}
    made.factors.check(list(sizes), optimizer, decays=bool(made.method.decays))
    name, method = type(optimizer).__name__, made.method
    if method.proximals and not (
        getattr(optimizer, "proximal", False) or getattr(optimizer, "thresholds_itself", False)
    ):
        allowed = f"false with {name}, whose steps have no length of their own"
        fix = "take optimizer=sgd, momentum or adam, or coordinate_descent"
        raise OptionError("regularizer.l1.proximal", True, allowed, fix)
    if not isinstance(optimizer, ObjectiveOptimizer):
        return
    if optimizer.thresholds_itself and (bent := next((one for one in method.penalties if not one.smooth), None)):
        kind = type(bent).__name__
        raise UserError(
            f"regularizer: {name} would stay at the kinks of {kind}; take regularizer.l1.proximal=true, or l2"
        )
    trained = sum(sizes.values())
    with told_of("optimizer"):
        optimizer.check(trained, examples, batch_size)
    if not method.clipping.neutral:
        raise UserError(f"clipping: {name} makes its step from more than the gradient; take clipping=none")
    if made.factors != Factors():
        raise UserError(f"optimizer.factors: {name} makes one step of all parameters; take optimizer=sgd or adam")
    if not method.noise.neutral:
        raise UserError(f"noise: {name} makes its step from more than the gradient; take noise=none")
    changes = [method.sam] if method.sam is not None else [*method.decays, *([made.mask] if made.mask else [])]
    if changes:
        kind = type(changes[0]).__name__
        raise UserError(f"regularizer: {name} makes its step from more than the gradient, without {kind}; take l2")
    if optimizer.separates_examples and made.normalization.mixes_examples:
        raise UserError("normalization=batch: saga needs the gradient of each example, which depends on no other here")
    if optimizer.separates_examples and not made.batch.neutral:
        raise UserError("batch: saga takes an example at most once a step, and batches that grow may hold it twice")
    if made.augmentations and optimizer.remembers_examples:
        raise UserError(f"augment: {name} remembers training examples as they are; take augment=none")


_meta_models: BoundedCache[nn.Module] = BoundedCache(most=16)


def _model_on_meta(options: Options, made: Recipe, data: Dataset) -> nn.Module:
    """The model, shapes only: a width of a million costs nothing; the runs of a grid mostly share one."""
    parts = [options[group] for group in SHAPING]
    key = json.dumps([parts, data.input_shape, data.classes], sort_keys=True)

    def shaped() -> nn.Module:
        outputs = made.method.loss.out_features(data.classes)
        with torch.random.fork_rng(devices=[]):  # a user's model may draw from it
            model = _shaped(lambda: made.make_model(data.input_shape, outputs))
            _check_loss(model, made)
            _check_outputs(model, made.method.loss, data, outputs)
        return model

    return _meta_models.get(key, shaped)


def _shaped(make: Callable[[], nn.Module]) -> nn.Module:
    """A model on the meta device or, where it wants to see its numbers while it is made, on the CPU."""
    try:
        with torch.device("meta"):
            return make()
    except UserError as error:
        if not isinstance(error.__cause__, RuntimeError):  # by which torch refuses to look into a meta tensor
            raise
    return make()


def _check_outputs(model: nn.Module, loss: Loss, data: Dataset, outputs: int) -> None:
    """A model has something to train, and scores for all classes where the loss wants them.

    One that can be stacked is a function whose outputs are known; to try it costs torch a second of imports.
    """
    name, parameter = type(model).__name__, next(model.parameters(), None)
    if parameter is None:
        raise UserError(f"model: {name} has no parameters to train")
    if not loss.classification or is_stackable(type(model)):
        return
    try:
        with torch.no_grad():
            kind = torch.int64 if data.integers and takes_indices(model) else None
            found = model(torch.zeros(2, *data.input_shape, device=parameter.device, dtype=kind))
    except (Exception, SystemExit):  # it may want numbers, and the run itself tells more of what goes wrong
        return
    if not isinstance(found, Tensor) or found.shape != (2, outputs):
        shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise UserError(f"model: {name} must give outputs [examples, {outputs}]; of 2 examples it gives {shape}")


def _check_own_loss(loss: Loss, data: Dataset) -> None:
    """A loss of one's own is one number, which depends on the outputs."""
    count = min(2, len(data.train_x))
    outputs = torch.zeros(count, loss.out_features(data.classes), requires_grad=True)
    try:
        found = loss(outputs, data.train_y[:count], data.train_x[:count])
    except (Exception, SystemExit):  # as above; it may be made for outputs of another shape
        return
    name = type(loss).__name__
    if not isinstance(found, Tensor) or found.shape:
        shape = f"a tensor of shape {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise UserError(f"loss: {name} must give a scalar tensor, the mean over the batch, not {shape}")
    if not found.requires_grad:
        raise UserError(f"loss: {name} must depend on the outputs, so that there is a gradient")
