"""The trained network of a run, made anew from its configuration and filled from its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from fanin.errors import UserError
from fanin.parts.data import Dataset
from fanin.record.run_files import read_run
from fanin.run.build import load_data, recipe
from fanin.run.networks import initialized
from fanin.run.pruning import MASKS
from fanin.run.recipe import Recipe
from fanin.run.weights import load_weights
from fanin.train.batches import probe_batch


@dataclass
class Trained:
    """What is left of a run, on the CPU.

    Attributes:
        folder: the run's.
        options: its configuration.
        recipe: its options.
        data: preprocessed.
        model: with the weights that the run ended with, in evaluation mode.
        initial: parameters and buffers as they were at step 0, by name.
        digest: tells these weights from those of another training in the same folder.
    """

    folder: Path
    options: DictConfig
    recipe: Recipe
    data: Dataset
    model: nn.Module
    initial: dict[str, Tensor]
    digest: str


def trained_run(folder: Path, precision: str | None = None, checkpoint: str = "last") -> Trained:
    """The network with the weights that the run in a folder ended with, and what it was trained on.

    Args:
        folder: of the run.
        precision: of weights and data; None for the run's own.
        checkpoint: whose weights; "last" for those that the run ended with.

    Raises:
        UserError: there is no configuration or no checkpoint, or they do not fit.
    """
    run = read_run(folder)
    if not run.config.config:
        raise UserError(f"{folder}: no run's folder: it has neither result.json nor .hydra/config.yaml")
    config = OmegaConf.create({"force": False, **run.config.config})
    plain: Any = OmegaConf.to_container(config, resolve=True)
    plain["trainer"] |= {"device": "cpu"} | ({"precision": precision} if precision else {})
    _find_masks(plain, folder)
    options = OmegaConf.create(plain)
    made = recipe(options)
    data = load_data(options, made.device, made.dtype, indices=made.takes_indices)
    inputs, _ = probe_batch(data.train_x, data.train_y, made.probe.batch_size, [made.seed])
    model = initialized(made, data, inputs[0])
    initial = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    digest = "initial"
    if run.steps or not run.result:
        path = folder / "checkpoints" / f"{checkpoint}.pt"
        load_weights(model, folder, checkpoint)
        digest = path.read_bytes()[-8:].decode(errors="replace")
    return Trained(folder, options, made, data, model.eval(), initial, digest)


def _find_masks(plain: dict[str, Any], folder: Path) -> None:
    """Where the masks of a pruned run are no longer at their path: those beside its folder, moved together with it."""
    mask = (plain.get("regularizer") or {}).get("mask") or {}
    path = mask.get("path")
    if isinstance(path, str) and not Path(path).is_file():
        beside = folder.resolve().parent / MASKS / Path(path).name
        mask |= {"path": str(beside)} if beside.is_file() else {}
