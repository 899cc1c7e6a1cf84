"""Pruning of a finished run, round by round: each round is a run of its own, with the masks of its weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from fanin.catalogue import config_folder
from fanin.errors import OptionError, UserError
from fanin.parts.regularizers import Mask
from fanin.record.atomic_files import write_atomically
from fanin.record.columns import FINISHED, SNAPSHOT
from fanin.record.run_files import read_run
from fanin.record.run_folder import RunFolder
from fanin.run.identity import identify
from fanin.run.pruning import MASKS, Pruning, masks_of, pruned_weights, stream_of
from fanin.run.request import Unseen, Viewer
from fanin.run.trained import Trained, trained_run
from fanin.sweep.job import execute_together
from fanin.sweep.worker import Posted


def prune(
    run: Path,
    asked: Pruning,
    out: Path,
    viewer: Callable[[Path], Viewer] = lambda folder: Unseen(),
    stop_requested: Callable[[], bool] = lambda: False,
    masks_from: Path | None = None,
) -> Iterator[Path]:
    """Prune a finished run and train what is left, in folders round_1, round_2, ... of `out`, one after the other.

    A round that is finished is not run again, and one that was interrupted resumes.

    Their masks lie in `out`/masks.

    Args:
        run: its folder.
        asked: how.
        out: where the rounds' folders go.
        viewer: shows how a round goes, of which it is given the folder.
        stop_requested: asked before each step.
        masks_from: `out` of another pruning of the run, whose rounds' masks are taken as they are: a control.

    Yields:
        the folder of each round, as soon as it is trained.

    Raises:
        UserError: the run cannot be pruned, or a round failed.
        KeyboardInterrupt: a stop was requested.
    """
    found = read_run(run)
    if found.state not in FINISHED:
        raise UserError(f"{run}: its state is {found.state}; a network is pruned when it has been trained")
    early = run / "checkpoints" / f"{asked.rewind}.pt"
    if asked.rewind.startswith("step_") and not early.is_file():
        kept = ", ".join(sorted(path.stem for path in early.parent.glob("*.pt") if SNAPSHOT.fullmatch(path.name)))
        fix = "trainer.snapshots=5 keeps the weights after each fifth"
        raise UserError(f"--rewind {asked.rewind}: {run} has kept {kept or 'no snapshots'}; {fix}")
    plain, record = _configuration(run)
    before = trained_run(run)
    last, masks = run, before.recipe.mask.masks() if before.recipe.mask is not None else None
    start, seed = _kept(masks), before.recipe.seed
    for done in range(1, asked.rounds + 1):
        folder = out / f"round_{done}"
        if masks_from is None:
            stream, left = stream_of(asked, seed, done), start * asked.kept(done)
            masks = masks_of(pruned_weights(before.model), left, scope=asked.scope, before=masks, random=stream)
        else:
            masks = _masks_of(masks_from, done)
        file = out / MASKS / f"{folder.name}.pt"
        _write_masks(file, masks, folder)
        config, node = _round(plain, record, asked, run, last, file, 1 - _kept(masks))
        _run(config, node, folder, viewer(folder), stop_requested)
        yield folder
        last = folder if asked.steps != 0 else run  # without a training there are no other weights
        if done < asked.rounds and masks_from is None:
            before = trained_run(folder)


def _masks_of(pruning: Path, done: int) -> dict[str, Tensor]:
    """Those of a round of another pruning.

    Raises:
        UserError: it has none.
    """
    file = pruning.resolve() / MASKS / f"round_{done}.pt"
    try:
        return Mask(path=str(file)).masks()
    except OptionError as error:
        raise UserError(f"--masks {pruning}: {str(error).removeprefix('path=')}") from None


def _kept(masks: dict[str, Tensor] | None) -> float:
    if masks is None:
        return 1.0
    return sum(int(mask.sum()) for mask in masks.values()) / sum(mask.numel() for mask in masks.values())


def _write_masks(path: Path, masks: dict[str, Tensor], folder: Path) -> None:
    """Write the masks of the round in a folder; those that are there already stay, with their time.

    Raises:
        UserError: a finished round with others is there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        there = torch.load(path, weights_only=True)
        if there.keys() == masks.keys() and all(torch.equal(there[name], masks[name]) for name in masks):
            return
        if read_run(folder).state in FINISHED:
            raise UserError(f"{folder} holds another pruning, which stays as it is; give another --out")
    write_atomically(path, partial(torch.save, masks))


def _configuration(run: Path) -> tuple[dict[str, Any], DictConfig]:
    """A run's configuration as plain values, and what Hydra recorded of it.

    Raises:
        UserError: there is no record.
    """
    file = run / ".hydra" / "hydra.yaml"
    if not file.is_file():
        raise UserError(f"{run}: has no .hydra/hydra.yaml, from which its configuration is composed again")
    config = read_run(run).config.config
    plain: Any = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
    record = OmegaConf.load(file).hydra
    assert isinstance(record, DictConfig)
    return plain | {"force": False, "pause_at": None}, record


def _round(
    plain: dict[str, Any], record: DictConfig, asked: Pruning, run: Path, last: Path, masks: Path, share: float
) -> tuple[dict[str, Any], DictConfig]:
    """The configuration of a round: the run's own with masks, from where it starts."""
    made, node = copy.deepcopy(plain), copy.deepcopy(record)
    mask = {"_target_": "fanin.parts.regularizers.Mask", "path": str(masks.resolve()), "share": round(share, 4)}
    made["regularizer"] = dict(made.get("regularizer") or {}) | {
        "mask": mask | {"redraw": 1 if asked.rewind == "redraw" else 0}
    }
    if asked.rewind == "none" or asked.rewind.startswith("step_"):
        option = OmegaConf.to_container(OmegaConf.load(config_folder() / "initializer" / "pretrained.yaml"))
        assert isinstance(option, dict)
        source, checkpoint = (last, "last") if asked.rewind == "none" else (run, asked.rewind)
        made["initializer"] = option | {"path": str(source.resolve()), "checkpoint": checkpoint}
        OmegaConf.set_struct(node, False)
        node.runtime.choices.initializer = "pretrained"
    if asked.steps is not None:
        made["trainer"]["steps"] = asked.steps
    return made, node


def _run(
    config: dict[str, Any], node: DictConfig, folder: Path, viewer: Viewer, stop_requested: Callable[[], bool]
) -> None:
    """Train one round in its folder.

    Raises:
        UserError: it failed, diverged, or is being run by another process.
        KeyboardInterrupt: a stop was requested.
    """
    cfg = OmegaConf.create(config)
    identity = identify(cfg, node)
    record = OmegaConf.to_container(node)
    assert isinstance(record, dict)
    typed = {str(key): value for key, value in record.items()}
    posted = Posted(cfg, identity, RunFolder(folder), viewer, config=config, overrides=[], record={"hydra": typed})
    (outcome,) = execute_together([posted], stop_requested)
    if outcome["state"] == "interrupted":
        raise KeyboardInterrupt
    if outcome["state"] in ("failed", "busy"):
        raise UserError(f"{folder}: {outcome['error'] or 'is being run by another process'}")


def trained_with_masks(folder: Path) -> tuple[Trained, dict[str, Tensor]]:
    """A round's network, and its masks."""
    trained = trained_run(folder)
    return trained, trained.recipe.mask.masks() if trained.recipe.mask is not None else {}
