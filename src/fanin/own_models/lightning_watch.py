"""The watch for Lightning's Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from fanin.own_models.callbacks import Following, base
from fanin.own_models.probe_pass import own_loss

CALLBACK: Any = base("lightning.pytorch.Callback", "pytorch_lightning.Callback")


class LightningWatch(CALLBACK):  # type: ignore[misc]
    """Watches what Lightning trains: Trainer(callbacks=[fanin.LightningWatch("outputs/mine", every=50)]).

    Gradients are those before clipping, without the factor of mixed precision; update ratios are measured, too.

    Args:
        folder: of the run.
        settings: of `fanin.watch`.

    Raises:
        UserError: Lightning is not installed.
    """

    def __init__(self, folder: str | Path, **settings: Any) -> None:
        super().__init__()
        self.following = Following(folder, **settings)
        self._steps = 0

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin, once the model is on its device."""
        self._steps = trainer.global_step
        self.following.begin(pl_module)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Gradients are there, unscaled, and not clipped yet."""
        if self.following.watch is not None:
            self.following.watch.gradients()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """A step, where an update was made: gradients may be accumulated over several batches."""
        if self.following.watch is None or trainer.global_step == self._steps:
            return
        self._steps = trainer.global_step
        rate = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else None
        loss: Tensor | None = own_loss(outputs)
        self.following.watch.step(loss=loss, lr=rate, epoch=float(trainer.current_epoch), updated=True)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """What was validated, under the names val_loss and val_error."""
        names = ("val_loss", "val_error")
        self.following.log(trainer.callback_metrics, {name: name for name in names})

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """The end."""
        self.following.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """The end by an error."""
        self.following.end(exception)
