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
from fanin.parts.normalization import NoNorm, Normalization
from fanin.parts.optimizers.parameter_groups import Factors
from fanin.parts.regularizers import Mask, Regularizer
from fanin.parts.schedules import Schedule
from fanin.probes import Probe
from fanin.train.settings import Evaluation, Trainer
from fanin.train.step import Method

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
        make_activation: a fresh module of the activation.
        factors: of the learning rate and the decay of some parameters.
        mask: the regularizer that keeps pruned weights at 0.
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
    make_activation: Callable[[], nn.Module] = nn.Identity
    batch: BatchSchedule = field(default_factory=Constant)
    lr_scaling: Scaling = field(default_factory=NoScaling)
    augmentations: Sequence[Augmentation] = ()
    factors: Factors = field(default_factory=Factors)
    mask: Mask | None = None
    evaluation: Evaluation = field(default_factory=Evaluation)
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
