"""The watch for Lightning's Trainer."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from fanin.own_models.callbacks import Following, base
from fanin.own_models.probe_pass import own_loss

CALLBACK: Any = base("lightning.pytorch.Callback", "pytorch_lightning.Callback")


class LightningWatch(Following, CALLBACK):  # type: ignore[misc]
    """Watches what Lightning trains: Trainer(callbacks=[fanin.LightningWatch("outputs/mine", every=50)]).

    Gradients are those before clipping, without the factor of mixed precision; update ratios are measured, too. Where
    gradients are accumulated, a step is an update, and its loss the mean over its batches.

    Args:
        folder: of the run.
        settings: of `fanin.watch`.

    Raises:
        UserError: Lightning is not installed.
    """

    _updates = 0
    _losses: tuple[Tensor, ...] = ()

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin, once the model is on its device."""
        self._updates, self._losses = trainer.global_step, ()
        self.begin(pl_module, getattr(trainer.precision_plugin, "scaler", None))

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Gradients are there, unscaled, and not clipped yet."""
        if self.watch is not None:
            self.watch.gradients()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """A step, where an update was made."""
        loss = own_loss(outputs)
        if loss is not None:
            self._losses += (loss.detach() * trainer.accumulate_grad_batches,)  # Lightning has divided it
        if self.watch is None or trainer.global_step == self._updates:
            return
        losses, self._updates, self._losses = self._losses, trainer.global_step, ()
        batches = trainer.num_training_batches
        passed = (batch_idx + 1) / batches if math.isfinite(batches) else 0
        self.watch.step(
            loss=sum(losses) / len(losses) if losses else None,
            lr=trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else None,
            epoch=trainer.current_epoch + passed,
            updated=True,
        )

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """What was validated, under the names val_loss and val_error; not the few batches before training."""
        if not trainer.sanity_checking:
            self.write(trainer.callback_metrics, {name: name for name in ("val_loss", "val_error")})

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """The end."""
        self.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """The end by an error."""
        self.end(exception)
