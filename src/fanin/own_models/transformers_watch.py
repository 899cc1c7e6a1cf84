"""The watch for the Trainer of Hugging Face's transformers."""

from __future__ import annotations

from typing import Any

from fanin.own_models.callbacks import Following, base

CALLBACK: Any = base("transformers.TrainerCallback")

COLUMNS = {"loss": "batch_loss", "eval_loss": "val_loss", "learning_rate": "lr", "epoch": "epoch"}
"""Columns of metrics.csv by the names of what the Trainer logs."""


class TransformersWatch(Following, CALLBACK):  # type: ignore[misc]
    """Watches what transformers' Trainer trains: Trainer(callbacks=[fanin.TransformersWatch("outputs/mine")]).

    The Trainer (4.46 or newer) says nothing before it clips: gradients are those of the update. Losses are those that
    it logs.

    Args:
        folder: of the run.
        settings: of `fanin.watch`.

    Raises:
        UserError: transformers is not installed.
    """

    _lr: float | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin."""
        self.begin(kwargs["model"], getattr(kwargs.get("optimizer"), "scaler", None))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Gradients and the learning rate, as the update takes them: after it they are others."""
        if self.watch is not None:
            self._lr = float(kwargs["optimizer"].param_groups[0]["lr"])
            self.watch.gradients()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A step, after its update."""
        if self.watch is not None:
            self.watch.step(updated=True, lr=self._lr, epoch=state.epoch)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """What the Trainer logs."""
        self.write(logs or {}, COLUMNS)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The end."""
        self.end()
