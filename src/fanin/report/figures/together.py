"""Figures that are drawn beside the report's other work, by processes of their own."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

Job = Callable[[], list[Path]]

_jobs: Mapping[str, Job] = {}
"""Inherited by the processes, for what a figure is drawn from cannot be sent quickly."""


@contextmanager
def drawing(jobs: Mapping[str, Job], processes: int) -> Iterator[Job]:
    """Draw figures while the block goes on with something else; what it is given waits for them.

    Where one process is asked for, or several cannot be had by a fork that is safe (this is not the only thread, or not
    Linux), they are drawn before the block begins.

    Args:
        jobs: by name; what each draws and writes is to depend on nothing that the block changes.
        processes: at most.

    Raises:
        Exception: of a job, when it is waited for.
    """
    global _jobs
    if min(processes, len(jobs)) < 2 or sys.platform != "linux" or threading.active_count() > 1:
        paths = [path for job in jobs.values() for path in job()]
        yield lambda: paths
        return
    _jobs = jobs
    pool = ProcessPoolExecutor(min(processes, len(jobs)), get_context("fork"), _begin)
    try:
        waiting = [pool.submit(_draw, name) for name in jobs]
        yield lambda: [path for one in waiting for path in one.result()]
    finally:
        pool.shutdown(cancel_futures=True)
        _jobs = {}


def _begin() -> None:
    """Leave the interrupt to the process that waits, and share its memory: what is there is collected no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()


def _draw(name: str) -> list[Path]:
    return _jobs[name]()
