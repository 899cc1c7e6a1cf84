"""From a composed configuration to objects: every option made, every mistake in it found.

Mistakes are collected, so that a user sees all of them at once and before anything is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from fanin.data import Dataset
from fanin.errors import OptionError, UserError, flag, integer
from fanin.initializers import Initializer
from fanin.models.layers import fans, weight_layers
from fanin.options import UnknownKey, container, make, option
from fanin.overlay import Overlay
from fanin.probes import Probe
from fanin.regularizers import L2, Dropout, EarlyStopping
from fanin.schedules import Schedule
from fanin.settings import Trainer
from fanin.theory import Layer, law_for

GROUPS = (
    "data", "model", "activation", "initializer", "normalization", "regularizer", "optimizer", "schedule", "probe",
    "trainer",
)  # fmt: skip
TRIAL = [nn.Parameter(torch.zeros(2, 2))]
"""Parameters that an optimizer is tried on."""

KEYS = (*GROUPS, "seed", "force")
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}


@dataclass
class Recipe:
    """The options of one configuration, made and checked.

    Args:
        make_model: (in_features, out_features) -> a model whose weights are yet to be drawn.
        make_optimizer: parameters -> optimizer.
        theory: whether the exact finite-width theory holds for this recipe.
        activation: name of the activation, the key of its law.
    """

    seed: int
    trainer: Trainer
    data: Any
    make_model: Callable[[int, int], nn.Module]
    initializer: Initializer
    make_optimizer: Callable[..., torch.optim.Optimizer]
    lr: float
    schedule: Schedule
    penalties: list[L2]
    dropout: Dropout | None
    early_stopping: EarlyStopping | None
    probe: Probe
    activation: str
    theory: bool

    @property
    def device(self) -> torch.device:
        """Where the run computes."""
        wanted = self.trainer.device
        return torch.device("cuda" if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()) else "cpu")

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and inputs."""
        return DTYPES[self.trainer.precision]

    @property
    def autocast(self) -> torch.dtype | None:
        """Of the forward pass, where it is lower than that of the weights."""
        return torch.bfloat16 if self.trainer.precision == "bfloat16" else None

    def overlay(self, model: nn.Module) -> Overlay:
        """The theory of the model as this recipe initializes it, empty where none applies."""
        law = law_for(self.activation) if self.theory else None
        if law is None:
            return Overlay()
        layers = []
        for name, module in weight_layers(model):
            fan_in, fan_out = fans(module.get_parameter("weight"))
            variance = self.initializer.variance(fan_in, fan_out)
            if variance is None or variance <= 0:
                return Overlay()
            layers.append(Layer(name, fan_in, fan_out, fan_in * variance))
        return Overlay(layers, law)


def check(cfg: DictConfig) -> list[UserError]:
    """Every mistake in a composed configuration; an empty list where it can be run."""
    errors: list[UserError] = []
    _compose_recipe(cfg, errors)
    return errors


def recipe(cfg: DictConfig) -> Recipe:
    """The options of a configuration.

    Raises:
        UserError: the first mistake in it.
    """
    errors: list[UserError] = []
    made = _compose_recipe(cfg, errors)
    if errors:
        raise errors[0]
    assert made is not None
    return made


@lru_cache(maxsize=4)
def _load(data_json: str) -> Dataset:
    dataset: Dataset = instantiate(json.loads(data_json)).load()
    return dataset


@lru_cache(maxsize=4)
def _load_on(data_json: str, device: torch.device, dtype: torch.dtype) -> Dataset:
    return _load(data_json).to(device, dtype)


def load_data(cfg: DictConfig, device: torch.device, dtype: torch.dtype) -> Dataset:
    """The data set of a configuration on a device; the runs of one process share it."""
    return _load_on(json.dumps(container(cfg, "data"), sort_keys=True), device, dtype)


def _compose_recipe(cfg: DictConfig, errors: list[UserError]) -> Recipe | None:
    """Make every option; mistakes go to `errors`, and None comes back where there is one."""
    errors += [UnknownKey(str(key), cfg[key], "fanin", list(KEYS)) for key in cfg if key not in KEYS]

    def attempt(make: Callable[[], Any]) -> Any:
        try:
            return make()
        except UserError as error:
            errors.append(error)
        return None

    seed = attempt(lambda: integer("seed", cfg.get("seed"), 0))
    attempt(lambda: flag("force", cfg.get("force")))
    trainer = attempt(lambda: _trainer(cfg))
    parts = {name: attempt(partial(option, cfg, name)) for name in ("activation", "initializer", "normalization")}
    regularizers = attempt(lambda: _regularizers(cfg)) or []
    dropout = next((item for item in regularizers if isinstance(item, Dropout)), None)
    offered = {"activation": parts["activation"], "normalization": parts["normalization"], "dropout": dropout}

    def make_model(in_features: int, out_features: int) -> nn.Module:
        model: nn.Module = option(cfg, "model", in_features=in_features, out_features=out_features, **offered)
        return model

    if parts["activation"] and parts["normalization"]:
        attempt(lambda: _model_on_meta(cfg, make_model))
    schedule, probe, data = (attempt(partial(option, cfg, name)) for name in ("schedule", "probe", "data"))
    optimizer = attempt(lambda: _optimizer(cfg))
    if errors:
        return None
    made = Recipe(
        seed=seed,
        trainer=trainer,
        data=data,
        make_model=make_model,
        initializer=parts["initializer"],
        make_optimizer=optimizer,
        lr=float(cfg.optimizer.lr),
        schedule=schedule,
        penalties=[item for item in regularizers if isinstance(item, L2)],
        dropout=dropout,
        early_stopping=next((item for item in regularizers if isinstance(item, EarlyStopping)), None),
        probe=probe,
        activation=getattr(getattr(parts["activation"], "func", None), "__name__", ""),
        theory=parts["initializer"].exact_normal and parts["normalization"].make(1) is None and dropout is None
        and str(cfg.model._target_) == "fanin.models.Mlp",
    )  # fmt: skip
    attempt(lambda: _check_together(cfg, made))
    return made


def _check_together(cfg: DictConfig, made: Recipe) -> None:
    """What no option can see alone; loads the data, so that a missing file shows before anything is written."""
    if made.trainer.device == "cuda" and not torch.cuda.is_available():
        raise OptionError("trainer.device", "cuda", "cpu or auto", "torch finds no CUDA device here")
    if made.trainer.batch_size == 1 and str(cfg.normalization._target_).endswith("BatchNorm"):
        raise OptionError("trainer.batch_size", 1, "at least 2 with normalization=batch", "or take normalization=layer")
    if "lr" not in cfg.optimizer:
        raise OptionError("optimizer.lr", None, "there: every optimizer has a learning rate")
    try:
        data = load_data(cfg, torch.device("cpu"), torch.float32)
    except OptionError as error:
        raise error.within("data") from None
    try:
        made.trainer.check_batch(len(data.train_x))
    except OptionError as error:
        raise error.within("trainer") from None
    if made.probe.batch_size > len(data.train_x):
        raise OptionError(
            "probe.batch_size", made.probe.batch_size, f"at most the {len(data.train_x)} training examples"
        )
    stopping = made.early_stopping
    if stopping and stopping.monitor.startswith("val") and not len(data.val_x):
        key, fix = "regularizer.early_stopping.monitor", "or set data.val_size"
        raise OptionError(key, stopping.monitor, "train_loss or train_error while data.val_size=0", fix)


_sound_models: set[str] = set()


def _model_on_meta(cfg: DictConfig, make_model: Callable[[int, int], nn.Module]) -> None:
    """Try the model, shapes only: a width of a million costs nothing; the runs of a grid mostly share one."""
    key = json.dumps([container(cfg, group) for group in ("model", "activation", "normalization", "regularizer")])
    if key not in _sound_models:
        with torch.device("meta"):
            make_model(784, 10)
        _sound_models.add(key)


def _trainer(cfg: DictConfig) -> Trainer:
    trainer: Trainer = make("trainer", {"_target_": "fanin.settings.Trainer", **container(cfg, "trainer")})
    return trainer


def _optimizer(cfg: DictConfig) -> Callable[..., torch.optim.Optimizer]:
    """The optimizer, awaiting its parameters; tried on one, for it checks its keys only then."""
    node = container(cfg, "optimizer")
    awaiting: Callable[..., torch.optim.Optimizer] = make("optimizer", node | {"_partial_": True}, params=TRIAL)
    return awaiting


def _regularizers(cfg: DictConfig) -> list[Any]:
    """The list of regularizers: each option of the group brings its own name as a key."""
    return [make(f"regularizer.{name}", dict(node)) for name, node in container(cfg, "regularizer").items()]
