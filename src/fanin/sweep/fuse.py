"""Which runs of a grid are trained as one program, and how many at a time: what fits, split over the workers."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence

from omegaconf import DictConfig

from fanin.errors import OptionError, integer
from fanin.sweep.plan import Planned

CPU_LIMIT = 64
"""Runs in a program on a core: more gain nothing there."""

GPU_LIMIT = 512
FREE = ("seed", "initializer", "schedule", "lr_scaling")
"""Parts of a configuration that never keep runs apart."""

SHARE = 0.25
"""Of the memory that is free, for all programs together."""


def fuse(runs: Sequence[Planned], max_fused: object, workers: int, *, gpu: bool) -> tuple[list[list[Planned]], int]:
    """Groups of runs that are trained as one program each, and the number of runs that cannot be fused.

    Args:
        runs: what is to be run.
        max_fused: runs in a program, or "auto" for what fits into the memory.
        workers: number of groups that run at a time.
        gpu: whether they run on GPUs.

    Raises:
        OptionError: max_fused is neither a positive integer nor "auto".
    """
    from fanin.sweep.grouping import structure_key

    alike: dict[str, list[Planned]] = {}
    keys: dict[str, str | None] = {}
    alone: list[list[Planned]] = []
    for run in runs:
        told = {key: value for key, value in run.composed.plain.items() if key not in FREE}
        text = json.dumps(told, sort_keys=True, default=str)
        if text not in keys:
            keys[text] = structure_key(run.composed.task)
        key = keys[text]
        if key is None:
            alone.append([run])
        else:
            alike.setdefault(key, []).append(run)
    groups = []
    for members in alike.values():
        largest = most_together(members[0].composed.task, max_fused, workers, gpu=gpu)
        # As many groups as workers where there are runs enough, and all of about one size: nobody waits for the last.
        count = max(math.ceil(len(members) / largest), min(workers, len(members)))
        groups += [members[place::count] for place in range(count)]
    return [*groups, *alone], len(alone)


def most_together(cfg: DictConfig, max_fused: object, workers: int, *, gpu: bool) -> int:
    """The most runs of this structure that are put into one program."""
    if max_fused != "auto":
        try:
            return integer("max_fused", max_fused, 1)
        except OptionError as error:
            raise OptionError("hydra.launcher.max_fused", error.value, "auto or an integer >= 1") from None
    import torch

    free = torch.cuda.mem_get_info()[0] if gpu else os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    fitting = int(SHARE * free / workers / bytes_of_a_run(cfg))
    return max(1, min(fitting, GPU_LIMIT if gpu else CPU_LIMIT))


def bytes_of_a_run(cfg: DictConfig) -> int:
    """About what a run takes in memory: weights with their copies, activations with their gradients."""
    import torch

    from fanin.build import load_data, recipe
    from fanin.models.layers import fans, weight_layers

    made = recipe(cfg)
    data = load_data(cfg, torch.device("cpu"), torch.float32)
    with torch.device("meta"):
        model = made.make_model(data.input_shape, made.method.loss.out_features(data.classes))
    weights = sum(parameter.numel() for parameter in model.parameters())
    units = sum(fans(layer.get_parameter("weight"))[1] for _, layer in weight_layers(model)) + data.in_features
    # Weights: themselves, their start, gradient, best copy and two moments; activations: before and after the
    # nonlinearity, with their gradients.
    return 4 * (6 * weights + 4 * made.trainer.batch(len(data.train_x)) * units)
