"""What the fork server imports for its workers: all that every run imports, here or later."""

from __future__ import annotations

import atexit
import gc
import os
from importlib import import_module

from fanin.process import collect_rarely, keep_freed_memory, open_files

collect_rarely()
keep_freed_memory()
open_files()
for name in ("run.execute", "sweep.pool", "parts.activations", "parts.preprocess"):
    import_module(f"fanin.{name}")
import_module("fanin.train.flops").formulas()

# Half a million objects that are no garbage: workers that search for some leave them out, and their memory shared.
gc.collect()
gc.freeze()


def _leave(server: int = os.getpid()) -> None:
    """End the server at once: whoever waits for the end of its streams waits for the command no longer than that."""
    if os.getpid() == server:
        os._exit(0)


atexit.register(_leave)
