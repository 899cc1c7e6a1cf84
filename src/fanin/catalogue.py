"""The groups of conf/: one row each, which the builder, the help, the reference and the grids read. No torch here.

A new group is a row, a folder of YAML files, a base class, and the place where its option acts. A new option of a
group is a class that derives from one of the group's bases, and a YAML file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Sharing = Literal["all", "numbers", "nothing"]


@dataclass(frozen=True, kw_only=True)
class Group:
    """One group of options.

    Args:
        name: its folder in conf/ and its key in a configuration.
        words: what `fanin --help` and the reference say of it.
        bases: what the `_target_` of an option derives from or, for a function, returns: dotted names of classes. None
            for groups that set keys of other groups.
        target: the class that makes the option where its YAML does not name one.
        several: whether a run takes a list of its options, each under its own name.
        fresh: whether objects are made anew wherever a run needs one: the option stays a function of nothing or, for an
            optimizer, of the parameters.
        offered: what the builder gives to an option's constructor, if it has such arguments.
        shapes_model: whether its keys say what the model is made of.
        read: keys that an option of it may have beside its constructor's, with what is said of them.
        in_step: whether its options compute in a training step: only stackable ones can be trained as one program.
        shared: what runs must share of it to be trained as one program: all of its keys, all but numbers, or nothing.
            A part may say it itself; see `fanin.parts.per_run.program_keys`.
        spelled: how subtitles spell its options, where not by their own names.
    """

    name: str
    words: str
    bases: tuple[str, ...] = ()
    target: str = ""
    several: bool = False
    fresh: bool = False
    offered: tuple[str, ...] = ()
    shapes_model: bool = False
    read: Mapping[str, str] = field(default_factory=dict)
    in_step: bool = False
    shared: Sharing = "all"
    spelled: Mapping[str, str] = field(default_factory=dict)


TABLE = (
    Group(name="experiment", words="a study: settings and the grid they are swept over"),
    Group(
        name="data",
        words="what is learned",
        bases=("fanin.parts.data.Source",),
        spelled={
            "mnist": "MNIST",
            "fashion_mnist": "Fashion-MNIST",
            "cifar10": "CIFAR-10",
            "cifar100": "CIFAR-100",
            "csv": "CSV",
        },
    ),
    Group(
        name="preprocess",
        words="fitted on the training part, applied to all",
        bases=("fanin.parts.preprocess.Preprocess",),
    ),
    Group(
        name="augment",
        words="a list: what is done to training batches",
        bases=("fanin.parts.augmentations.Augmentation",),
        several=True,
    ),
    Group(
        name="model",
        words="the network",
        bases=("torch.nn.Module",),
        offered=("in_features", "input_shape", "out_features", "activation", "normalization", "dropout"),
        shapes_model=True,
        in_step=True,
    ),
    Group(
        name="activation",
        words="between its layers",
        bases=("torch.nn.Module",),
        fresh=True,
        shapes_model=True,
        in_step=True,
        spelled={"relu": "ReLU", "gelu": "GELU", "elu": "ELU", "selu": "SELU", "silu": "SiLU"},
    ),
    Group(
        name="initializer",
        words="of the weights; biases are 0 by default",
        bases=("fanin.parts.initializers.Initializer",),
        offered=("activation", "normalization", "dropout"),
        shared="nothing",
    ),
    Group(
        name="normalization",
        words="each with `placement=pre_activation` or `post_activation`",
        bases=("fanin.parts.normalization.Normalization",),
        shapes_model=True,
        in_step=True,
        spelled={
            "batch": "batch normalization",
            "group": "group normalization",
            "instance": "instance normalization",
            "layer": "layer normalization",
            "local_response": "local response normalization",
            "rms": "RMS normalization",
            "spectral": "spectral normalization",
            "weight": "weight normalization",
        },
    ),
    Group(name="loss", words="of the data", bases=("fanin.parts.losses.Loss",), shapes_model=True, in_step=True),
    Group(
        name="regularizer",
        words="a list: on the weights, activations, targets, or the end of training",
        bases=("fanin.parts.regularizers.Regularizer",),
        several=True,
        shapes_model=True,
        shared="numbers",
        in_step=True,
    ),
    Group(
        name="optimizer",
        words="from gradients to steps",
        bases=("torch.optim.Optimizer",),
        fresh=True,
        offered=("params",),
        read={
            "factors": "{pattern: number}: by what the rate of the parameters so named is multiplied",
            "decay_factors": "the same of the weight decay, the optimizer's own or the regularizer's",
        },
        shared="numbers",
        in_step=True,
        spelled={
            "sgd": "SGD",
            "gd": "GD",
            "adam": "Adam",
            "adamw": "AdamW",
            "rmsprop": "RMSprop",
            "lbfgs": "L-BFGS",
            "bfgs": "BFGS",
            "saga": "SAGA",
            "svrg": "SVRG",
        },
    ),
    Group(name="clipping", words="of the gradient", bases=("fanin.parts.clipping.Clipping",), in_step=True),
    Group(
        name="noise",
        words="added to the gradient, after clipping",
        bases=("fanin.parts.gradient_noise.GradientNoise",),
        in_step=True,
        shared="numbers",
    ),
    Group(
        name="averaging",
        words="of the iterates; evaluation is on the average",
        bases=("fanin.parts.averaging.Averaging",),
    ),
    Group(
        name="schedule",
        words="of the learning rate, each with a warm-up",
        bases=("fanin.parts.schedules.Schedule",),
        shared="nothing",
    ),
    Group(name="batch", words="the batch size over the steps", bases=("fanin.parts.batch_schedules.BatchSchedule",)),
    Group(
        name="lr_scaling",
        words="of the learning rate with the batch size",
        bases=("fanin.parts.lr_scaling.Scaling",),
        shared="nothing",
    ),
    Group(name="probe", words="what is measured inside", bases=("fanin.probes.Probe",)),
    Group(
        name="evaluation",
        words="of the weights that a run ends with",
        bases=("fanin.train.settings.Evaluation",),
        target="fanin.train.settings.Evaluation",
    ),
    Group(
        name="trainer",
        words="device, steps, cadences, precision",
        bases=("fanin.train.settings.Trainer",),
        target="fanin.train.settings.Trainer",
    ),
    Group(name="debug", words="laid over everything else"),
)
"""Every group, in the order of `fanin --help`."""

GROUPS = {group.name: group for group in TABLE}
"""Every group by its name."""

PARTS = tuple(group.name for group in TABLE if group.bases)
"""Groups whose options become objects of a run."""

SEVERAL = tuple(group.name for group in TABLE if group.several)
"""Groups of which a run takes a list."""

KEYS = (*PARTS, "seed", "force", "pause_at", "objective", "study")
"""The keys of a run's configuration."""


def config_folder() -> Path:
    """conf/ of an installed wheel (inside the package) or of a checkout (at its top level)."""
    package = Path(__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"
