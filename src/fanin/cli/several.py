"""`torchrun --nproc-per-node N -m fanin ...`: one run by several processes, of which the first writes and speaks."""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fanin.errors import UserError


def launched(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Rank and number of the processes that torchrun has started; (0, 1) without it.

    Raises:
        UserError: they cannot be.

    >>> launched({"RANK": "1", "WORLD_SIZE": "2"}), launched({})
    ((1, 2), (0, 1))
    """
    names = ("RANK", "WORLD_SIZE")
    if any(name not in environment for name in names):
        return 0, 1
    told = " ".join(f"{name}={environment[name]}" for name in names)
    try:
        rank, count = (int(environment[name]) for name in names)
    except ValueError:
        rank, count = -1, 0
    if not 0 <= rank < count:
        raise UserError(f"{told}: must be integers, 0 <= RANK < WORLD_SIZE, as torchrun sets them; or unset both")
    return rank, count


@contextmanager
def as_torchrun_says(*, grid: bool, rehearsed: bool) -> Iterator[list[str]]:
    """Be one of the processes of a run while the block runs; gives overrides that this one needs.

    All but the first work in a folder of their own, which goes with them, and say only what they alone have met.

    Args:
        grid: whether a grid was asked for.
        rehearsed: whether nothing is run.

    Raises:
        UserError: a grid was asked for, or the processes do not come together.
    """
    rank, count = launched()
    if count == 1:
        yield []
        return
    if rehearsed:
        if rank == 0:
            yield []
            return
        sys.exit(0)
    if grid:
        if rank:
            sys.exit(1)
        raise UserError(
            f"-m: a grid is not run by the {count} processes of torchrun, which share one run; leave torchrun out: "
            "the grid's own workers take the cores and devices"
        )
    from fanin import ranks
    from fanin.sweep.signals import StopRequest

    StopRequest.echo = math.inf  # the terminal and torchrun both send what stops; who waits too long is killed by that
    spoken = sys.stdout, sys.stderr
    try:
        ranks.join(rank, count)
        if rank == 0:
            yield []
            return
        with tempfile.TemporaryDirectory(prefix="fanin-rank-", ignore_cleanup_errors=True) as own:
            with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
                sys.stdout = sys.stderr = nowhere
                try:
                    yield [f"hydra.run.dir={own}/run", "trainer.progress=false"]
                except UserError:  # the first process meets it, too, and tells it
                    sys.exit(1)
                finally:
                    sys.stdout, sys.stderr = spoken
            _tell_own(rank, count)
    finally:
        ranks.leave()


def _tell_own(rank: int, count: int) -> None:
    """Say what has failed in this process alone; where there was nothing to do, it ends well."""
    from fanin import ranks
    from fanin.sweep.job import outcomes

    for outcome in outcomes:
        error = str(outcome["error"] or "")
        if error.startswith(ranks.NOTHING):
            outcome["state"] = "skipped"
        elif error and not error.startswith(ranks.LOST):
            print(f"fanin: process {rank} of {count} failed: {error}", file=sys.stderr)
