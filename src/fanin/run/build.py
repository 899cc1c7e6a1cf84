"""From a composed configuration to objects: every option made, every mistake in it found.

Mistakes are collected, so that a user sees all of them at once and before anything is written.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from fanin.catalogue import GROUPS, KEYS, PARTS
from fanin.errors import OptionError, UserError, flag, integer, told_of
from fanin.parts.data import Dataset
from fanin.parts.optimizers.base import GroupOptimizer
from fanin.parts.optimizers.parameter_groups import Factors
from fanin.parts.per_run import is_stackable
from fanin.parts.regularizers import Mask, Regularizer
from fanin.report.studies import load_study
from fanin.run.bounded_cache import BoundedCache
from fanin.run.compatibility import TRIAL, check_together
from fanin.run.contracts import check_dataset, check_kind, check_step, own_fault
from fanin.run.make_option import Options, UnknownKey, find, make
from fanin.run.objective import check_objective
from fanin.run.recipe import Recipe
from fanin.run.teacher import attach_teacher
from fanin.train.settings import Trainer
from fanin.train.step import Method

ALONE = tuple(name for name in PARTS if not (GROUPS[name].several or GROUPS[name].offered))
"""Groups whose one option is made from nothing but its keys."""


def check(cfg: DictConfig, typed: Sequence[str] = (), notes: dict[str, None] | None = None) -> list[UserError]:
    """Every mistake in a composed configuration; an empty list where it can be run.

    Args:
        typed: the overrides that a user typed for it, none of which may be passed over in silence.
        notes: gets what is no mistake, and yet to be told: a line each.
    """
    errors: list[UserError] = []
    options = Options(cfg)
    made = _compose_recipe(options, errors)
    if made is not None and full_batch(made.make_optimizer):
        errors += _typed_batch_size(cfg, typed)
        if notes is not None and cfg.trainer.batch_size not in ("all", Trainer.batch_size):
            notes[
                f"trainer.batch_size={cfg.trainer.batch_size} does not count: {cfg.optimizer._target_} takes the whole "
                "training set in each step"
            ] = None
    try:
        load_study(options["study"] if isinstance(cfg.get("study"), DictConfig) else cfg.get("study"))
    except UserError as error:
        errors.append(error)
    return errors


def full_batch(make_optimizer: Callable[..., torch.optim.Optimizer]) -> bool:
    """Whether an optimizer takes the whole training set in each step, whatever trainer.batch_size says."""
    made = make_optimizer(TRIAL)
    return isinstance(made, GroupOptimizer) and made.full_batch


def _typed_batch_size(cfg: DictConfig, typed: Sequence[str]) -> Iterator[OptionError]:
    size = cfg.trainer.batch_size
    if size != "all" and any(word.lstrip("+").startswith("trainer.batch_size=") for word in typed):
        allowed = "all with this optimizer, which takes the whole training set in each step"
        yield OptionError("trainer.batch_size", size, allowed, "leave it out, or take optimizer=sgd")


def recipe(cfg: DictConfig | Options) -> Recipe:
    """The options of a configuration.

    Raises:
        UserError: the first mistake in it.
    """
    errors: list[UserError] = []
    made = _compose_recipe(options_of(cfg), errors)
    if errors:
        raise errors[0]
    assert made is not None
    return made


def options_of(cfg: DictConfig | Options) -> Options:
    """The options of a configuration, which may have been read before."""
    return cfg if isinstance(cfg, Options) else Options(cfg)


def load_data(cfg: DictConfig | Options, device: torch.device, dtype: torch.dtype, *, indices: bool = False) -> Dataset:
    """The preprocessed data set of a configuration on a device; the runs of one process share it. See Dataset.to."""
    options = options_of(cfg)
    data, preprocess = options["data"], options["preprocess"]
    key = json.dumps([data, preprocess], sort_keys=True)

    def load() -> Dataset:
        with told_of("data"), own_fault("data"):
            source = make("data", data)
            dataset = source.with_label_noise(source.with_random_labels(check_dataset("data", source.load())))
        with told_of("preprocess"), own_fault("preprocess"):
            return check_dataset("preprocess", make("preprocess", preprocess)(dataset))

    indices = indices and _data_sets.get(key, load).integers
    there = (key, device, dtype, indices)
    return _data_sets.get(there, lambda: _data_sets.get(key, load).to(device, dtype, indices=indices))


def load_inputs(
    cfg: DictConfig | Options, inputs: torch.Tensor, device: torch.device, dtype: torch.dtype, *, indices: bool = False
) -> torch.Tensor:
    """Further examples of a configuration's data set as its network takes them: mapped as its test part is.

    Args:
        cfg, device, dtype, indices: see `load_data`.
        inputs: [N, ...] as the data set has them before preprocessing.
    """
    options = options_of(cfg)
    with told_of("data"), own_fault("data"):
        known = check_dataset("data", make("data", options["data"]).load())
    given = inputs.to(known.test_x.dtype).reshape(-1, *known.input_shape)
    data = replace(known, test_x=given, test_y=known.test_y.new_zeros(len(given)))
    with told_of("preprocess"), own_fault("preprocess"):
        mapped = check_dataset("preprocess", make("preprocess", options["preprocess"])(data))
    return mapped.to(device, dtype, indices=indices).test_x


def _bytes(data: Dataset) -> int:
    """Of its largest parts."""
    return sum(part.nbytes for part in (data.train_x, data.val_x, data.test_x))


def forget_own_data() -> None:
    """Load data sets that are not fanin's own anew from now on: a host may have changed their classes."""
    _data_sets.forget(lambda key: re.search(r'_target_": "(?!fanin\.)', str(key)) is not None)


_data_sets: BoundedCache[Dataset] = BoundedCache(most=2**30, size=_bytes)


def _compose_recipe(options: Options, errors: list[UserError]) -> Recipe | None:
    """Make every option; mistakes go to `errors`, and None is returned if there is one."""
    cfg = options.cfg
    errors += [UnknownKey(str(key), cfg.get(str(key)), "fanin", list(KEYS)) for key in cfg if key not in KEYS]

    def attempt(make: Callable[[], Any]) -> Any:
        try:
            return make()
        except UserError as error:
            errors.append(error)
        return None

    seed = attempt(lambda: integer("seed", cfg.get("seed"), 0))
    attempt(lambda: flag("force", cfg.get("force")))
    if cfg.get("pause_at") is not None:
        attempt(lambda: integer("pause_at", cfg.get("pause_at"), 1))
    attempt(lambda: check_objective(cfg.get("objective")))
    parts = {name: attempt(partial(_single, options, name)) for name in ALONE}
    regularizers: list[Regularizer] = attempt(lambda: _listed(options, "regularizer")) or []
    augmentations = attempt(lambda: _listed(options, "augment")) or []
    optimizer: Any
    optimizer, factors = attempt(lambda: _optimizer(options)) or (None, Factors())
    method = attempt(lambda: _method(parts, regularizers)) if not errors else None
    dropout = next((item for item in regularizers if item.acts("make")), None)
    offered = {"activation": parts["activation"], "normalization": parts["normalization"], "dropout": dropout}
    wraps = [item for item in regularizers if item.acts("wrap")]
    parts["initializer"] = attempt(partial(_single, options, "initializer", **offered))
    if errors or method is None:
        if parts["activation"] and parts["normalization"]:  # its own keys, whatever else is wrong
            with torch.device("meta"):
                attempt(lambda: _make_model(options, parts, dropout, wraps, (1, 28, 28), 10))
        return None
    made = Recipe(
        seed=seed,
        trainer=parts["trainer"],
        data=parts["data"],
        make_model=partial(_make_model, options, parts, dropout, wraps),
        initializer=parts["initializer"],
        make_optimizer=optimizer,
        lr=float(options["optimizer"].get("lr", 0.0)),
        schedule=parts["schedule"],
        method=method,
        dropout=dropout,
        early_stopping=next((item for item in regularizers if item.acts("new")), None),
        probe=parts["probe"],
        normalization=parts["normalization"],
        make_activation=parts["activation"],
        batch=parts["batch"],
        lr_scaling=parts["lr_scaling"],
        factors=factors,
        mask=next((item for item in regularizers if isinstance(item, Mask)), None),
        evaluation=parts["evaluation"],
        # In an order of their own, for a list typed in another order is the same configuration; noise comes last.
        augmentations=sorted(augmentations, key=lambda one: (not one.needs_image, type(one).__name__)),
    )
    if full_batch(optimizer):
        made.trainer = replace(made.trainer, batch_size="all")

    def load(indices: bool) -> Dataset:
        return load_data(options, torch.device("cpu"), torch.float32, indices=indices)

    attempt(lambda: check_together(options, made, load))
    if not errors:
        attempt(lambda: attach_teacher(options, made, load, recipe))
    if not errors:
        made.drawn_of, made.stackable = _drawn_of(options), _stackable(options)
    return made


def _drawing_options(options: Options) -> dict[str, dict[str, Any]]:
    """The options that say what a network computes, by group; of regularizers those that make or change modules."""
    found = {name: options[name] for name in ("model", "activation", "normalization", "loss")}
    for name, node in options["regularizer"].items():
        kind = find(str(node["_target_"]), GROUPS["regularizer"].bases, "regularizer")
        if isinstance(kind, type) and issubclass(kind, Regularizer) and (kind.acts("make") or kind.acts("wrap")):
            found[f"regularizer.{name}"] = node
    return found


def _drawn_of(options: Options) -> str:
    """What recipes share whose networks are drawn alike and look at the same data, all but their seed."""
    shared = {name: options[name] for name in ("data", "preprocess", "initializer")}
    return json.dumps(shared | _drawing_options(options), sort_keys=True)


def _stackable(options: Options) -> bool:
    """Whether what a network computes may be computed for many at once, see `stackable`."""
    nodes = [(key.partition(".")[0], str(node["_target_"])) for key, node in _drawing_options(options).items()]
    return all(is_stackable(find(target, GROUPS[group].bases, group)) for group, target in nodes)


def _make_model(
    options: Options,
    parts: dict[str, Any],
    dropout: Regularizer | None,
    wraps: Sequence[Regularizer],
    input_shape: tuple[int, ...],
    outputs: int,
) -> nn.Module:
    with own_fault("model"):
        model: nn.Module = make(
            "model",
            options["model"],
            in_features=math.prod(input_shape),
            input_shape=input_shape,
            out_features=outputs,
            activation=parts["activation"],
            normalization=parts["normalization"],
            dropout=dropout,
        )
    check_kind("model", model)
    for one in wraps:
        model = one.wrap(model)
    return model


def _method(parts: dict[str, Any], regularizers: Sequence[Regularizer]) -> Method:
    """The parts of a step."""
    try:
        return Method.of(parts["loss"], regularizers, parts["clipping"], parts["averaging"], parts["noise"])
    except OptionError as error:
        raise error.within("regularizer") from None


def _optimizer(options: Options) -> tuple[Callable[..., torch.optim.Optimizer], Factors]:
    """The optimizer, awaiting its parameters, and its factors; tried on one, for it checks its keys only then."""
    read = GROUPS["optimizer"].read
    node = {key: value for key, value in options["optimizer"].items() if key not in read}
    if "lr" not in node:
        raise OptionError("optimizer.lr", None, "there: every optimizer has a learning rate")
    with told_of("optimizer"):
        factors = Factors.of(*(options["optimizer"].get(key) for key in read))
    with own_fault("optimizer"):
        awaiting: Callable[..., torch.optim.Optimizer] = make("optimizer", node, params=TRIAL)
        tried = awaiting([nn.Parameter(torch.zeros(2, 2))])
    check_kind("optimizer", tried)
    check_step(node["_target_"], tried)
    return awaiting, factors


def _single(options: Options, group: str, **offered: Any) -> Any:
    """The option of a group of which there is one, with what its constructor may ask for."""
    with own_fault(group):
        made = make(group, options[group], **offered)
        check_kind(group, made() if GROUPS[group].fresh else made)
    return made


def _listed(options: Options, group: str) -> list[Any]:
    """The options of a group that takes a list: each brings its own name as a key."""
    made = []
    for name, node in options[group].items():
        if not isinstance(node, dict):
            nested = "a mapping under the option's own name, for the group takes several: NAME: {_target_: ...}"
            raise OptionError(f"{group}.{name}", node, nested)
        with own_fault(f"{group}.{name}"):
            made.append(make(f"{group}.{name}", node))
        check_kind(group, made[-1], name)
    return made
