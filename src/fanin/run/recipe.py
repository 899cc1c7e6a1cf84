"""The recipe of a run: the options of one configuration as objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from fanin.devices import device_of
from fanin.parts.augmentations import Augmentation
from fanin.parts.batch_schedules import BatchSchedule, Constant
from fanin.parts.initializers import Initializer
from fanin.parts.lr_scaling import NoScaling, Scaling
from fanin.parts.models.layers import fans, weight_layers
from fanin.parts.normalization import NoNorm, Normalization
from fanin.parts.regularizers import Regularizer
from fanin.parts.schedules import Schedule
from fanin.probes import Probe
from fanin.run.theory_overlay import Overlay
from fanin.theory import ActivationLaw, Layer
from fanin.train.settings import Trainer
from fanin.train.step import Method

INDEPENDENT = ("normal", "independent")
"""Kinds of weights that are drawn one by one."""

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}


@dataclass
class Recipe:
    """The options of one configuration, made and checked.

    Args:
        make_model: (shape of an example, outputs) -> a model whose weights are yet to be drawn.
        make_optimizer: parameters -> optimizer.
        method: what a step consists of beside model and optimizer.
        augmentations: of training batches, in their order.
        dropout: the regularizer that makes modules behind hidden layers.
        early_stopping: the regularizer whose counter says when to end.
        law: the activation's law where scaled weights scale every norm, unless the model is no chain; else None.
        make_activation: a fresh module of the activation.
        takes_indices: whether inputs that are integers are indices for the model.
        drawn_of: equal for recipes whose networks, but for the seed, are drawn alike and look at the same data; None
            where that is not known.
        stackable: whether networks of it can be run as one program, as they cannot where a part may hold anything.
    """

    seed: int
    trainer: Trainer
    data: Any
    make_model: Callable[[tuple[int, ...], int], nn.Module]
    initializer: Initializer
    make_optimizer: Callable[..., torch.optim.Optimizer]
    lr: float
    schedule: Schedule
    method: Method
    dropout: Regularizer | None
    early_stopping: Regularizer | None
    probe: Probe
    normalization: Normalization = field(default_factory=NoNorm)
    law: ActivationLaw | None = None
    make_activation: Callable[[], nn.Module] = nn.Identity
    batch: BatchSchedule = field(default_factory=Constant)
    lr_scaling: Scaling = field(default_factory=NoScaling)
    augmentations: Sequence[Augmentation] = ()
    takes_indices: bool = False
    drawn_of: str | None = None
    stackable: bool = True

    @property
    def device(self) -> torch.device:
        """Where the run computes."""
        return device_of(self.trainer.device)

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and inputs."""
        return DTYPES[self.trainer.precision]

    @property
    def autocast(self) -> torch.dtype | None:
        """Of the forward pass, where it is lower than that of the weights."""
        return torch.bfloat16 if self.trainer.precision == "bfloat16" else None

    def overlay(self, model: nn.Module) -> Overlay:
        """What lies over the profile of the model as this recipe initializes it, but for what is expected of it."""
        layers = weight_layers(model)
        overlay = Overlay(
            frozen=[name for name, layer in layers if not layer.get_parameter("weight").requires_grad],
            matrices=[name for name, parameter in model.named_parameters() if parameter.ndim >= 2],
        )
        if not getattr(model, "is_chain", False):
            return overlay
        sizes = [(name, *fans(layer)) for name, layer in layers]
        overlay.widths = [fan_out for _, _, fan_out in sizes]
        if self.law is not None:
            drawn = [one for one in self.initializer.weight_laws(model).values() if one and one.kind in INDEPENDENT]
            if len(drawn) == len(sizes):
                overlay.layers = [Layer(*size, one.variance) for size, one in zip(sizes, drawn, strict=True)]
                biased = any(getattr(layer, "bias", None) is not None for _, layer in layers)
                if all(one.kind == "normal" and not (biased and one.bias_variance) for one in drawn):
                    overlay.law = self.law
        return overlay
