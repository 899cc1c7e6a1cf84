"""How long a run is, before it is run."""

from __future__ import annotations

import json

from fanin.run.build import load_data, recipe
from fanin.run.execute import batches_of, steps_of
from fanin.run.make_option import Options

DECIDING = ("trainer", "data", "preprocess", "batch", "optimizer")
"""The groups that say how many updates a run has: by itself, or the batches of its data."""


def length_key(options: Options) -> str:
    """Equal for configurations with the same number of updates."""
    return json.dumps([options[name] for name in DECIDING], sort_keys=True)


def updates_of(options: Options) -> int:
    """The updates of a whole run: `trainer.steps`, or those of its epochs, for which its data are loaded.

    Raises:
        UserError: the configuration cannot be run.
    """
    made = recipe(options)
    if made.trainer.steps is not None:
        return made.trainer.steps
    data = load_data(options, made.device, made.dtype, indices=made.takes_indices)
    return steps_of(made, batches_of([made], data))
