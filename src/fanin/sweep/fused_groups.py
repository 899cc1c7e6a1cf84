"""Which runs of a grid are trained as one program, and how many at a time: what fits, split over the workers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from omegaconf import DictConfig

from fanin.process import free_memory, open_files
from fanin.sweep.plan import Planned
from fanin.sweep.structure import drawn_key, structure_key

CPU_LIMIT = 64
"""Runs in a program on a core: more gain nothing there."""

CPU_MEMORY = 320e6
"""Bytes of a program on a core: more gain nothing, and take longer to be set aside than they save."""

CPU_MEMORY_UNTRAINED = CPU_MEMORY / 2
"""The same where only profiles at init are taken: all memory is then used once."""

GPU_LIMIT = 512
FILES = 6
"""That a run has open: its lock, log, metrics, profiles, events and, of a small model, its trajectory."""

OTHER_FILES = 64
"""Of a worker: libraries, lines to other processes, a checkpoint that is being written."""

SHARE = 0.25
"""Of the memory that is free, for all programs together."""


def fuse(runs: Sequence[Planned], max_fused: int | str, workers: int, *, gpu: bool) -> tuple[list[list[Planned]], int]:
    """Groups of runs that are trained as one program each, and the number of runs that cannot be fused.

    The members of a program decide how its sums are rounded. So a grid that was interrupted is grouped as it was at
    first, without the runs that are finished, where that takes no longer than to group anew what is left.

    Args:
        runs: of the grid, those that are finished too.
        max_fused: runs in a program, or "auto" for what fits into the memory.
        workers: number of groups that run at a time.
        gpu: whether they run on GPUs.
    """
    alike: dict[str, list[Planned]] = {}
    alone: list[list[Planned]] = []
    for run in runs:
        key = structure_key(run.composed.resolved)
        if key is not None:
            alike.setdefault(key, []).append(run)
        elif not run.finished:
            alone.append([run])
    groups = []
    for members in alike.values():
        left = [run for run in members if not run.finished]
        if left:
            largest = most_together(left[0].composed.task, max_fused, workers, gpu=gpu)
            anew, before = split(left, largest, workers), split(members, largest, workers)
            unfinished = [[run for run in group if not run.finished] for group in before]
            unfinished = [group for group in unfinished if group]
            groups += unfinished if _time(unfinished, workers) <= _time(anew, workers) else anew
    return [*groups, *alone], len(alone)


def split(members: Sequence[Planned], largest: int, workers: int) -> list[list[Planned]]:
    """Runs in groups of about one size.

    Those that are trained are dealt out, so that runs of every kind, which may end early, are in each group. Of those
    that are not, what is expected of a recipe takes most of the time: each group has as few recipes as that allows.
    """
    count = number_of_groups(len(members), largest, workers)
    if any(run.composed.resolved["trainer"]["steps"] != 0 for run in members):
        return [list(members[place::count]) for place in range(count)]
    recipes: dict[str | None, list[Planned]] = {}
    for run in members:
        recipes.setdefault(drawn_key(run.composed.resolved), []).append(run)
    ordered = [run for alike in recipes.values() for run in alike]
    ends = [len(ordered) * place // count for place in range(count + 1)]
    return [ordered[start:end] for start, end in pairwise(ends)]


def _time(groups: Sequence[Sequence[Planned]], workers: int) -> int:
    """How long groups take, in the time of a run: each goes to the worker that is free first."""
    busy = [0] * workers
    for group in groups:
        busy[busy.index(min(busy))] += len(group)
    return max(busy)


def number_of_groups(runs: int, largest: int, workers: int) -> int:
    """How many groups of at most so many runs: as many for each worker, and as few as that allows.

    All are of about one size, so that no worker waits for another.
    """
    rounds = math.ceil(math.ceil(runs / largest) / workers)
    return min(rounds * workers, runs)


def most_together(cfg: DictConfig, max_fused: int | str, workers: int, *, gpu: bool) -> int:
    """The most runs of this structure that are put into one program: what was typed, or fits into the memory.

    Each has files open all the time that it is trained, and a process may not have more of them than the system says.
    """
    most_open = max(1, (open_files() - OTHER_FILES) // FILES)
    if isinstance(max_fused, int):
        return min(max_fused, most_open)
    from fanin.devices import device_of, own_free_memory
    from fanin.sweep.memory import bytes_of_a_run

    free = (own_free_memory(device_of("auto")) if gpu else None) or free_memory()
    share, limit = SHARE * free / workers, GPU_LIMIT
    if not gpu:
        share, limit = min(share, CPU_MEMORY if cfg.trainer.steps != 0 else CPU_MEMORY_UNTRAINED), CPU_LIMIT
    return max(1, min(int(share / bytes_of_a_run(cfg)), limit, most_open))
