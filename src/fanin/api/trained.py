"""The trained network of a run, in a host's process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def trained(folder: Path) -> nn.Module:
    """The network with the weights that the run in a folder ended with, on the CPU and in evaluation mode.

    Raises:
        UserError: there is no configuration or no checkpoint, or they do not fit.
    """
    from fanin.api.application import prepare_process
    from fanin.api.host import guest, torchs_own

    with guest(), torchs_own():
        prepare_process()
        from fanin.run.trained import trained_run

        return trained_run(folder).model
