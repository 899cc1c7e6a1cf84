"""Watches for other people's training loops, one for each library; none is imported here.

Each makes its watch as the training begins, of the model that is trained, and closes it at the end. What it takes
beside the folder is what `fanin.watch` takes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from fanin.errors import UserError
from fanin.own_models.watcher import Watch


class Following:
    """What the callbacks of all libraries have in common: a watch that begins and ends with a training.

    Args:
        folder: of the run.
        settings: of `fanin.watch`.

    Attributes:
        watch: there while the training runs.

    Raises:
        UserError: the library is not installed.
        TypeError: `fanin.watch` has no such setting.
    """

    def __init__(self, folder: str | Path, **settings: Any) -> None:
        super().__init__()
        inspect.signature(Watch).bind(None, folder, **settings)
        self.folder, self.settings = folder, settings
        self.watch: Watch | None = None

    def begin(self, model: torch.nn.Module, scaler: Any = None) -> None:
        """Make the watch.

        Args:
            model: that is trained.
            scaler: the library's torch.amp.GradScaler, None without one.
        """
        if self.watch is None:
            self.watch = Watch(model, self.folder, **{"scaler": scaler} | self.settings)

    def end(self, error: BaseException | None = None) -> None:
        """Close it."""
        if self.watch is not None:
            self.watch.close(error)
            self.watch = None

    def write(self, numbers: Mapping[str, Any], columns: Mapping[str, str]) -> None:
        """Write those numbers that metrics.csv has a column for; Lightning puts its own `log` on callbacks."""
        found = {column: float(numbers[name]) for name, column in columns.items() if name in numbers}
        if found and self.watch is not None:
            self.watch.log(**found)


def base(*places: str) -> type[Any]:
    """The first of some classes that is installed, by dotted names; one that cannot be made where none is."""
    for place in places:
        module, _, name = place.rpartition(".")
        try:
            found: type[Any] = getattr(import_module(module), name)
        except ImportError:
            continue
        return found

    def refuse(self: object) -> None:
        package = places[0].partition(".")[0]
        raise UserError(f"fanin.{type(self).__name__}: {package} is not installed; pip install {package}")

    return type("Missing", (), {"__init__": refuse})


class KerasWatch(Following):
    """For loops with the callbacks of Keras (its torch backend): on_train_begin, on_train_batch_end, ...

    `set_model` tells it the model. It looks after each update, and so measures update ratios. It derives from no class
    of Keras, and answers every other event of such loops with nothing. Losses are what the loop tells: Keras itself
    tells means since the epoch's start. Its own models keep weights apart from layers, and so have no curves.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     callback = KerasWatch(f"{folder}/mine", every=1)
    ...     model = torch.nn.Linear(3, 2)
    ...     callback.set_model(model)
    ...     callback.on_train_begin()
    ...     model(torch.ones(4, 3)).sum().backward()
    ...     callback.on_train_batch_end(0, {"loss": 1.5})
    ...     callback.on_train_end()
    """

    _batches: int | None = None
    _epoch = 0

    def set_params(self, params: Mapping[str, Any] | None) -> None:
        """Learn how many batches an epoch has, where it is known."""
        self._batches = (params or {}).get("steps")

    def set_model(self, model: torch.nn.Module) -> None:
        """Learn which model is trained."""
        self.model = model

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Begin."""
        self.begin(self.model)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """A step, after its update."""
        if self.watch is not None:
            passed = (batch + 1) / self._batches if self._batches else 0
            self.watch.step(loss=(logs or {}).get("loss"), updated=True, epoch=self._epoch + passed)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """What was validated."""
        self._epoch = epoch + 1
        self.write({"epoch": epoch + 1} | dict(logs or {}), {"epoch": "epoch", "val_loss": "val_loss"})

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """The end."""
        self.end()

    def __getattr__(self, name: str) -> Callable[..., None]:
        if not name.startswith(("on_", "set_")):
            raise AttributeError(f"{type(self).__name__} has no attribute {name}")
        return lambda *args, **settings: None
