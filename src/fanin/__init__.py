"""fanin: a command-line laboratory for how deep networks start and keep training.

From Python: `fanin.run` and `fanin.sweep` run what the command runs, `fanin.load` reads what runs have written,
`fanin.compose` gives a configuration, and `fanin.watch` looks at a model in a loop of one's own. What parts of one's
own derive from is here by name as well: `from fanin import Initializer, Loss, Penalty, Schedule`. Each name is imported
when it is first asked for, so that `import fanin` costs nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fanin.api import plots as plots
    from fanin.api.composing import compose as compose
    from fanin.api.finished_run import Run as Run
    from fanin.api.grids import Sweep as Sweep
    from fanin.api.grids import sweep as sweep
    from fanin.api.runs import run as run
    from fanin.api.tables import Tables as Tables
    from fanin.api.tables import load as load
    from fanin.errors import OptionError as OptionError
    from fanin.errors import UserError as UserError
    from fanin.errors import choice as choice
    from fanin.errors import flag as flag
    from fanin.errors import integer as integer
    from fanin.errors import number as number
    from fanin.own_models.audit import Audit as Audit
    from fanin.own_models.audit import audit as audit
    from fanin.own_models.callbacks import KerasWatch as KerasWatch
    from fanin.own_models.lightning_watch import LightningWatch as LightningWatch
    from fanin.own_models.profile import Profile as Profile
    from fanin.own_models.profile import profile as profile
    from fanin.own_models.transformers_watch import TransformersWatch as TransformersWatch
    from fanin.own_models.watcher import Watch as Watch
    from fanin.own_models.watcher import watch as watch
    from fanin.parts.augmentations import Augmentation as Augmentation
    from fanin.parts.averaging import Averaging as Averaging
    from fanin.parts.batch_schedules import BatchSchedule as BatchSchedule
    from fanin.parts.clipping import BoundedClipping as BoundedClipping
    from fanin.parts.clipping import Clipping as Clipping
    from fanin.parts.data import Dataset as Dataset
    from fanin.parts.data import Source as Source
    from fanin.parts.gradient_noise import GradientNoise as GradientNoise
    from fanin.parts.initializers import Independent as Independent
    from fanin.parts.initializers import Initializer as Initializer
    from fanin.parts.losses import Loss as Loss
    from fanin.parts.lr_scaling import Scaling as Scaling
    from fanin.parts.models import fans as fans
    from fanin.parts.models import weight_layers as weight_layers
    from fanin.parts.noise import NoiseModule as NoiseModule
    from fanin.parts.normalization import Normalization as Normalization
    from fanin.parts.optimizers.base import GroupOptimizer as GroupOptimizer
    from fanin.parts.optimizers.objective import Objective as Objective
    from fanin.parts.optimizers.objective import ObjectiveOptimizer as ObjectiveOptimizer
    from fanin.parts.per_run import Number as Number
    from fanin.parts.per_run import spread as spread
    from fanin.parts.per_run import stackable as stackable
    from fanin.parts.preprocess import Preprocess as Preprocess
    from fanin.parts.regularizers import Dropout as Dropout
    from fanin.parts.regularizers import EarlyStopping as EarlyStopping
    from fanin.parts.regularizers import Penalty as Penalty
    from fanin.parts.regularizers import Regularizer as Regularizer
    from fanin.parts.schedules import Schedule as Schedule
    from fanin.parts.schedules import Timed as Timed
    from fanin.probes import Probe as Probe
    from fanin.report.studies.base import Claim as Claim
    from fanin.report.studies.base import Evidence as Evidence
    from fanin.report.studies.base import Study as Study

ROOMS = {
    "fanin.api": ("plots",),
    "fanin.api.composing": ("compose",),
    "fanin.api.finished_run": ("Run",),
    "fanin.api.grids": ("Sweep", "sweep"),
    "fanin.api.runs": ("run",),
    "fanin.api.tables": ("Tables", "load"),
    "fanin.errors": ("OptionError", "UserError", "choice", "flag", "integer", "number"),
    "fanin.own_models.audit": ("Audit", "audit"),
    "fanin.own_models.callbacks": ("KerasWatch",),
    "fanin.own_models.lightning_watch": ("LightningWatch",),
    "fanin.own_models.profile": ("Profile", "profile"),
    "fanin.own_models.transformers_watch": ("TransformersWatch",),
    "fanin.own_models.watcher": ("Watch", "watch"),
    "fanin.parts.augmentations": ("Augmentation",),
    "fanin.parts.averaging": ("Averaging",),
    "fanin.parts.batch_schedules": ("BatchSchedule",),
    "fanin.parts.clipping": ("BoundedClipping", "Clipping"),
    "fanin.parts.data": ("Dataset", "Source"),
    "fanin.parts.gradient_noise": ("GradientNoise",),
    "fanin.parts.initializers": ("Independent", "Initializer"),
    "fanin.parts.losses": ("Loss",),
    "fanin.parts.lr_scaling": ("Scaling",),
    "fanin.parts.models": ("fans", "weight_layers"),
    "fanin.parts.noise": ("NoiseModule",),
    "fanin.parts.normalization": ("Normalization",),
    "fanin.parts.optimizers.base": ("GroupOptimizer",),
    "fanin.parts.optimizers.objective": ("Objective", "ObjectiveOptimizer"),
    "fanin.parts.per_run": ("Number", "spread", "stackable"),
    "fanin.parts.preprocess": ("Preprocess",),
    "fanin.parts.regularizers": ("Dropout", "EarlyStopping", "Penalty", "Regularizer"),
    "fanin.parts.schedules": ("Schedule", "Timed"),
    "fanin.probes": ("Probe",),
    "fanin.report.studies.base": ("Claim", "Evidence", "Study"),
}
"""Where each name lies."""

_WHERE = {name: room for room, names in ROOMS.items() for name in names}

__all__ = sorted(
    ["UserError", *(name for name, room in _WHERE.items() if room.startswith(("fanin.api", "fanin.own_models")))]
)
"""What is called; what parts derive from is imported by its name, and not by `*`."""

CALLED = ("run", "sweep")
"""Packages of fanin whose names are functions as well: they can be called."""


class _Called(ModuleType):
    """A package that is a function, too: `fanin.run([...])` beside `fanin.run.execute`."""

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self.__wrapped__(*args, **keywords)

    @property
    def __wrapped__(self) -> Any:
        """The function."""
        name = self.__name__.rpartition(".")[2]
        return getattr(import_module(_WHERE[name]), name)


class _Fanin(ModuleType):
    """This package; a package below it that is a function, too, becomes one when Python has imported it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in CALLED and type(value) is ModuleType:
            value.__class__ = _Called
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Fanin


def __getattr__(name: str) -> Any:
    """A name of the list above, from the module in which it lies."""
    if name not in _WHERE:
        raise AttributeError(f"module 'fanin' has no attribute {name!r}")
    if name in CALLED:
        return import_module(f"fanin.{name}")
    room = import_module(_WHERE[name])
    found = getattr(room, name) if hasattr(room, name) else import_module(f"{_WHERE[name]}.{name}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
