"""What a run can resume from: its last checkpoint, as long as that is whole, its own and of the right kinds."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fanin.record.checkpoint_file import damage
from fanin.record.run_folder import RunFolder
from fanin.run.identity import Identity
from fanin.train.run_state import State

log = logging.getLogger(__name__)

MISFITS = (LookupError, TypeError, ValueError, AttributeError)
"""What a state that is not of the run's kind raises in the first step from it; RuntimeError, too, before that."""


class UnfitCheckpoint(Exception):
    """A checkpoint could be read, but the run cannot resume from it."""


def checkpoint_of(folder: RunFolder, identity: Identity) -> State | None:
    """The state to resume from; None if there is none that fits, and the log says why."""
    path = folder.checkpoints / "last.pt"
    if not path.is_file() or folder.status.get("state") in ("done", "diverged"):
        return None
    try:
        reason = damage(path) or _unfit(state := torch.load(path, weights_only=True, map_location="cpu"), identity)
    except Exception as error:
        reason = f"it cannot be read ({type(error).__name__})"
    if reason is None:
        log.info("going on from %s at step %d", path, state["step"])
        return dict(state)
    leave_aside(folder, reason)
    return None


def leave_aside(folder: RunFolder, reason: str) -> None:
    """Say that the last checkpoint is not used, and why; the run starts afresh, and clears it away."""
    log.warning("%s is left aside: %s; starting afresh", folder.checkpoints / "last.pt", reason)


def _unfit(state: Any, identity: Identity) -> str | None:
    """Why a run cannot resume from a state; None if it can. What the learner keeps is judged by the learner."""
    if not isinstance(state, dict):
        return f"it holds a {type(state).__name__}, not a run's state"
    lacks = [name for name in ("config_hash", "ended", *KINDS) if name not in state and name != "rows"]
    if lacks:
        return f"it lacks {', '.join(lacks)}"
    if state["config_hash"] != identity.config_hash:
        return "it belongs to another configuration"
    if state["ended"] is not False:
        return "it is the end of a run"
    wrong = [name for name, right in KINDS.items() if name in state and not right(state[name])]
    return f"{', '.join(wrong)} in it cannot be right" if wrong else None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _are_pairs(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 and all(map(_is_number, pair)) for pair in value
    )


def _are_tensors(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, Tensor) for one in value.values())


KINDS: dict[str, Callable[[Any], bool]] = {
    "step": _is_count,
    "seconds": lambda value: _is_number(value) and math.isfinite(value) and value >= 0,
    "pending": _are_pairs,
    "window": _are_pairs,
    "best": _is_number,
    "patience": lambda value: isinstance(value, dict),
    "best_weights": lambda value: value is None or _are_tensors(value),
    "diverged_at": lambda value: value is None or _is_count(value),
    "model": _are_tensors,
    "optimizer": lambda value: isinstance(value, dict),
    "rows": lambda value: isinstance(value, dict) and all(map(_is_count, value.values())),  # not in older ones
}
"""What every checkpoint holds beside the run's hash, and how to tell that it may be right."""
