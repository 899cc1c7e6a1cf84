"""The trained network of a run, made anew from its configuration and filled from its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.errors import UserError
from fanin.record.checkpoint_file import damage
from fanin.record.run_files import read_run

if TYPE_CHECKING:
    from torch import Tensor, nn


def trained(folder: Path) -> nn.Module:
    """The network with the weights that the run in a folder ended with, on the CPU and in evaluation mode.

    Raises:
        UserError: there is no configuration or no checkpoint, or they do not fit.
    """
    from omegaconf import OmegaConf

    from fanin.api.application import prepare_process
    from fanin.api.host import guest, torchs_own

    run = read_run(folder)
    if not run.config.config:
        raise UserError(f"{folder}: no run's folder: it has neither result.json nor .hydra/config.yaml")
    with guest(), torchs_own():
        prepare_process()
        config = {"force": False, **run.config.config}
        model = _initial(OmegaConf.to_container(OmegaConf.create(config), resolve=True))
        if run.steps or not run.result:
            weights = _weights(folder / "checkpoints" / "last.pt")
            try:
                model.load_state_dict(weights)
            except RuntimeError as error:
                told = " ".join(str(error).split())
                raise UserError(f"{folder}: its checkpoint does not fit the network now: {told}") from None
    return model.eval()


def _initial(config: Any) -> nn.Module:
    """The network of a configuration at its initialization, on the CPU."""
    from omegaconf import OmegaConf

    from fanin.run.build import load_data, recipe
    from fanin.run.networks import initialized
    from fanin.train.batches import probe_batch

    config["trainer"]["device"] = "cpu"
    options = OmegaConf.create(config)
    made = recipe(options)
    data = load_data(options, made.device, made.dtype, indices=made.takes_indices)
    inputs, _ = probe_batch(data.train_x, data.train_y, made.probe.batch_size, [made.seed])
    return initialized(made, data, inputs[0])


def _weights(path: Path) -> dict[str, Tensor]:
    """The model's state in a checkpoint, its averages in the place of iterates where there are some.

    Raises:
        UserError: it is not there, or it cannot be read.
    """
    import torch

    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; the run has not come as far as its first one")
    if reason := damage(path):
        raise UserError(f"{path}: {reason}")
    state = torch.load(path, weights_only=True, map_location="cpu")
    average = state.get("average") or {}
    averaged = average.get("tensors", {}) if average.get("started", True) else {}
    return {name: averaged.get(name, value) for name, value in state["model"].items()}
