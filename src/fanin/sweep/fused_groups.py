"""Which runs of a grid are trained as one program, and how many at a time: what fits, split over the workers."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from omegaconf import DictConfig

from fanin.sweep.plan import Planned

CPU_LIMIT = 64
"""Runs in a program on a core: more gain nothing there."""

CPU_MEMORY = 320e6
"""Bytes of a program on a core: more gain nothing, and take longer to be set aside than they save."""

CPU_MEMORY_UNTRAINED = CPU_MEMORY / 2
"""The same where only profiles at init are taken: all memory is then used once."""

GPU_LIMIT = 512
SHARE = 0.25
"""Of the memory that is free, for all programs together."""


def fuse(runs: Sequence[Planned], max_fused: int | str, workers: int, *, gpu: bool) -> tuple[list[list[Planned]], int]:
    """Groups of runs that are trained as one program each, and the number of runs that cannot be fused.

    Args:
        runs: what is to be run.
        max_fused: runs in a program, or "auto" for what fits into the memory.
        workers: number of groups that run at a time.
        gpu: whether they run on GPUs.
    """
    from fanin.sweep.structure import structure_key

    alike: dict[str, list[Planned]] = {}
    alone: list[list[Planned]] = []
    for run in runs:
        key = structure_key(run.composed.resolved)
        if key is None:
            alone.append([run])
        else:
            alike.setdefault(key, []).append(run)
    groups = []
    for members in alike.values():
        largest = most_together(members[0].composed.task, max_fused, workers, gpu=gpu)
        count = number_of_groups(len(members), largest, workers)
        groups += [members[place::count] for place in range(count)]
    return [*groups, *alone], len(alone)


def number_of_groups(runs: int, largest: int, workers: int) -> int:
    """How many groups of at most so many runs: as many for each worker, and as few as that allows.

    All are of about one size, so that no worker waits for another.
    """
    rounds = math.ceil(math.ceil(runs / largest) / workers)
    return min(rounds * workers, runs)


def most_together(cfg: DictConfig, max_fused: int | str, workers: int, *, gpu: bool) -> int:
    """The most runs of this structure that are put into one program."""
    if isinstance(max_fused, int):
        return max_fused
    import torch

    from fanin.sweep.memory import bytes_of_a_run

    free = torch.cuda.mem_get_info()[0] if gpu else os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    share, limit = SHARE * free / workers, GPU_LIMIT
    if not gpu:
        share, limit = min(share, CPU_MEMORY if cfg.trainer.steps != 0 else CPU_MEMORY_UNTRAINED), CPU_LIMIT
    return max(1, min(int(share / bytes_of_a_run(cfg)), limit))
