"""How often Python searches for garbage: at its own pace a tenth of a command's time goes into it."""

import gc

COLLECT_EVERY = 10_000
"""New objects between two searches; Python's own number is 700."""


def collect_rarely() -> None:
    """Search only where very many objects are made: imports, and the models of many runs, leave hardly any garbage."""
    gc.set_threshold(COLLECT_EVERY, *gc.get_threshold()[1:])
