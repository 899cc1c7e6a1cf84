"""The watch for the Trainer of Hugging Face's transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fanin.own_models.callbacks import Following, base

CALLBACK: Any = base("transformers.TrainerCallback")

COLUMNS = {"loss": "batch_loss", "eval_loss": "val_loss", "learning_rate": "lr", "epoch": "epoch"}
"""Columns of metrics.csv by the names of what the Trainer logs."""


class TransformersWatch(CALLBACK):  # type: ignore[misc]
    """Watches what transformers' Trainer trains: Trainer(callbacks=[fanin.TransformersWatch("outputs/mine")]).

    The Trainer says nothing before it clips: gradients are those of the update. Losses are those that it logs.

    Args:
        folder: of the run.
        settings: of `fanin.watch`.

    Raises:
        UserError: transformers is not installed.
    """

    def __init__(self, folder: str | Path, **settings: Any) -> None:
        super().__init__()
        self.following = Following(folder, **settings)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin."""
        self.following.begin(kwargs["model"])

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A step, after its update and before its gradients are gone."""
        if self.following.watch is not None:
            self.following.watch.step(updated=True, epoch=state.epoch)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """What the Trainer logs."""
        self.following.log(logs or {}, COLUMNS)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The end."""
        self.following.end()
