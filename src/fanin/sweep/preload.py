"""What the fork server imports for its workers: all that every run imports, here or later."""

from __future__ import annotations

import atexit
import gc

import fanin.activations
import fanin.preprocess
import fanin.run
import fanin.sweep.pool  # noqa: F401

# Half a million objects that are no garbage: the search for it, in the workers, leaves them out and their memory shared.
gc.collect()
gc.freeze()
atexit.register(gc.unfreeze)
