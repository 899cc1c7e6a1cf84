"""What Python and the C library do beside the work, at a pace that suits programs of many large tensors."""

import atexit
import gc
import os
import sys
import threading
from typing import NoReturn

COLLECT_EVERY = 10_000
"""New objects between two searches for garbage; Python's own number is 700."""

KEEP_FREE = 2**30
"""Bytes; blocks that are smaller, and free memory up to as much, are not given back to the system."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def collect_rarely() -> None:
    """Search only where very many objects are made: imports, and the models of many runs, leave hardly any garbage.

    At Python's own pace a tenth of a command's time goes into it.
    """
    gc.set_threshold(COLLECT_EVERY, *gc.get_threshold()[1:])


def keep_freed_memory() -> None:
    """Let glibc keep what one program of runs has freed for the next, where it is glibc that allocates.

    By default it gives large blocks back at once, and every page of the next ones is a fault that the system answers
    with a page of zeros: a tenth of the time of short runs.
    """
    import ctypes

    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_TRIM_THRESHOLD, KEEP_FREE)
        libc.mallopt(M_MMAP_THRESHOLD, KEEP_FREE)


def leave(code: int) -> NoReturn:
    """End this process as sys.exit does, but leave it to the system to free the memory.

    Python would take down all that torch and pandas have made, object by object: half a second after a run, more than
    one after a large grid. What waits for the end is done: other threads, exit functions, buffered output.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except OSError:  # a pipe that nobody reads any more, a full disk
        code = code or 120  # Python's own
    os._exit(code)
