"""From a composed configuration to objects: every option made, every mistake in it found.

Options are called with exactly the keys of their YAML; a key that the option does not know is an error, also one
added with "+". Mistakes are collected, so that a user sees all of them at once and before anything is written.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from fanin.data import Dataset
from fanin.errors import OptionError, UserError, did_you_mean, flag, integer
from fanin.initializers import Initializer
from fanin.models.layers import fans, weight_layers
from fanin.overlay import Overlay
from fanin.probes import Probe
from fanin.regularizers import L2, Dropout, EarlyStopping
from fanin.schedules import Schedule
from fanin.settings import Trainer
from fanin.theory import Layer, law_for

# Hydra logs what it cannot import; the same is told here, as one line.
logging.getLogger("hydra").addHandler(logging.NullHandler())

GROUPS = (
    "data", "model", "activation", "initializer", "normalization", "regularizer", "optimizer", "schedule", "probe",
    "trainer",
)  # fmt: skip
KEYS = (*GROUPS, "seed", "force")
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}


class UnknownKey(UserError):
    """A key that nothing reads."""

    def __init__(self, key: str, value: object, owner: str, known: list[str]) -> None:
        hint = did_you_mean(key.rpartition(".")[2], known)
        super().__init__(
            f"unknown key {key}={value}: {owner} knows {', '.join(sorted(known)) or 'no keys'}" + (hint and f"; {hint}")
        )


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
    return _load_on(json.dumps(_container(cfg, "data"), sort_keys=True), device, dtype)


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
    parts = {name: attempt(partial(_option, cfg, name)) for name in ("activation", "initializer", "normalization")}
    regularizers = attempt(lambda: _regularizers(cfg)) or []
    dropout = next((item for item in regularizers if isinstance(item, Dropout)), None)
    offered = {"activation": parts["activation"], "normalization": parts["normalization"], "dropout": dropout}

    def make_model(in_features: int, out_features: int) -> nn.Module:
        model: nn.Module = _option(cfg, "model", in_features=in_features, out_features=out_features, **offered)
        return model

    if parts["activation"] and parts["normalization"]:
        attempt(lambda: _model_on_meta(cfg, make_model))
    schedule, probe, data = (attempt(partial(_option, cfg, name)) for name in ("schedule", "probe", "data"))
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
    key = json.dumps([_container(cfg, group) for group in ("model", "activation", "normalization", "regularizer")])
    if key not in _sound_models:
        with torch.device("meta"):
            make_model(784, 10)
        _sound_models.add(key)


def _container(cfg: DictConfig, group: str) -> dict[str, Any]:
    """A group's options as plain values, interpolations resolved."""
    try:
        node = OmegaConf.to_container(cfg[group], resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{group}: {str(error).splitlines()[0]}") from None
    if not isinstance(node, dict):
        raise UserError(f"{group}={node}: must be an option of its group, not a value; fanin --help lists them")
    return {str(key): value for key, value in node.items()}


def _option(cfg: DictConfig, group: str, **offered: Any) -> Any:
    """The object that a group's `_target_` makes from its keys and, of what is offered, what it asks for."""
    return _make(group, _container(cfg, group), **offered)


def _make(group: str, node: dict[str, Any], **offered: Any) -> Any:
    target = str(node.get("_target_", ""))
    try:
        signature = inspect.signature(get_object(target))
    except (ImportError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise OptionError(f"{group}._target_", target or None, "an importable class or function", reason) from None
    parameters = signature.parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        own = [key for key in parameters if key not in offered and key != "params"]
        for key, value in node.items():
            if key not in parameters and key not in ("_target_", "_partial_"):
                raise UnknownKey(f"{group}.{key}", value, target, own)
        for part in ("normalization", "dropout"):
            if offered.get(part) is not None and part not in parameters and not _is_neutral(offered[part]):
                raise UserError(f"{group}: {target} takes no {part}; choose none")
        offered = {key: value for key, value in offered.items() if key in parameters}
    try:
        # Parts that are made already are handed over as they are: instantiate would look for configs inside them.
        made = instantiate(node | {"_partial_": True})(**offered)
        return made if not node.get("_partial_") else instantiate(node)
    except OptionError as error:
        raise error.within(group) from None
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, OptionError):
            raise cause.within(group) from None
        raise UserError(f"{group}: {str(cause or error).splitlines()[0]}") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{group}: {target}: {str(error).splitlines()[0]}") from None


def _is_neutral(part: Any) -> bool:
    """A normalization that makes nothing."""
    return hasattr(part, "make") and hasattr(part, "placement") and part.make(1) is None


def _trainer(cfg: DictConfig) -> Trainer:
    trainer: Trainer = _make("trainer", {"_target_": "fanin.settings.Trainer", **_container(cfg, "trainer")})
    return trainer


def _optimizer(cfg: DictConfig) -> Callable[..., torch.optim.Optimizer]:
    """The optimizer, awaiting its parameters; tried on one, for it checks its keys only then."""
    node = _container(cfg, "optimizer")
    _make("optimizer", node | {"_partial_": False}, params=[nn.Parameter(torch.zeros(2, 2))])
    make: Callable[..., torch.optim.Optimizer] = instantiate(node | {"_partial_": True})
    return make


def _regularizers(cfg: DictConfig) -> list[Any]:
    """The list of regularizers: each option of the group brings its own name as a key."""
    return [_make(f"regularizer.{name}", dict(node)) for name, node in _container(cfg, "regularizer").items()]
