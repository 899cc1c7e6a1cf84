"""What the fork server imports for its workers: all that every run imports, here or later."""

from __future__ import annotations

import atexit
import gc
from importlib import import_module

from fanin.upkeep import collect_rarely, keep_freed_memory

collect_rarely()
keep_freed_memory()
for name in ("run", "sweep.pool", "activations", "preprocess"):
    import_module(f"fanin.{name}")
import_module("torch.utils.flop_counter")

# Half a million objects that are no garbage: workers that search for some leave them out, and their memory shared.
gc.collect()
gc.freeze()
atexit.register(gc.unfreeze)
