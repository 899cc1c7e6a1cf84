"""The outcome of a training in one word, from its final numbers and those of guessing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LEAST_CHANGE = 0.02
"""A loss or an error within this share of where it would be without training counts as no change."""

EXPLODED = 10.0
"""A final loss has exploded if it is this many times that at the start and this many times that of guessing."""

OVERFIT = 0.1
"""A training overfits if its validation loss ends this share above its lowest, and the loss of its batches lower."""

STANDARD_ERRORS = 3.0
"""An error counts as learned if it is this many standard errors below that of guessing."""


PARTS = ("train", "val", "test")
"""Of the data, as names of metrics begin."""


@dataclass(frozen=True)
class Task:
    """What a loss asks of a network, in the words for its numbers and for how a training ends.

    Attributes:
        loss: name of what is minimized.
        error: name of the number beside the loss, which metrics.csv has in the columns *_error.
        falls, stays, rises: the outcome, where the loss falls, stays and rises.
        percent: whether the number beside the loss is a share, shown in per cent.
    """

    loss: str
    error: str
    falls: str
    stays: str
    rises: str
    percent: bool = True


TASKS = {
    "classification": Task("loss", "error", "learns", "no progress", "explodes"),
    "reconstruction": Task("loss", "absolute error", "improves", "no progress", "worsens", percent=False),
    "regression": Task("loss", "absolute error", "improves", "no progress", "worsens", percent=False),
    "descent": Task("value", "share of the descent left", "descends", "stands still", "climbs"),
    "other": Task("loss", "error", "improves", "no progress", "worsens", percent=False),
}
"""By the names in `Loss.task`: classes to tell apart, inputs to reconstruct, numbers to estimate, a way to descend."""


def metric_words(name: str, task: Task) -> str:
    """A final metric in the words of its task: "train loss", "train value"."""
    part, _, what = name.partition("_")
    return f"{part} {getattr(task, what)}" if part in PARTS and what in ("loss", "error") else name.replace("_", " ")


def outcome(
    task: str,
    metrics: Mapping[str, Any],
    *,
    steps: int,
    diverged: bool = False,
    first_loss: float | None = None,
    chance_loss: float | None = None,
    chance_error: float | None = None,
    examples: Mapping[str, int] | None = None,
) -> str:
    """The outcome of a run.

    A classifier "learns" where its final training loss is below 98 % of that of guessing, or an error (of training,
    validation or test) lies below that of guessing by 2 % of it and by three standard errors sqrt(p (1 - p) / N); it
    "explodes" where its loss has grown to ten times both its start and guessing and its errors are more than half of
    guessing; else there is "no progress". Other tasks compare the final training loss with the first one.

    Args:
        task: a key of TASKS; an unknown one counts as "other".
        metrics: final numbers by their names in result.json, None if there is none.
        steps: updates made; 0 gives "init only", or "evaluated" if trained weights were.
        diverged: whether a number was not finite; gives "diverged".
        first_loss: training loss of the first step's batch, before its update.
        chance_loss: loss of the best constant answer where classes are equally frequent.
        chance_error: share of wrong answers of the best constant answer.
        examples: N by part: "train", "val", "test".
    """
    if diverged:
        return "diverged"
    if steps == 0:
        return "init only" if _finite(metrics.get("train_loss")) is None else "evaluated"
    words = TASKS.get(task, TASKS["other"])
    loss = _finite(metrics.get("train_loss"))
    if loss is None:
        return words.stays
    if task != "classification":
        return _change(words, loss, first_loss)
    errors = [_finite(metrics.get(f"{part}_error")) for part in ("train", "val", "test")]
    right = chance_error is not None and any(one is not None and one < chance_error / 2 for one in errors)
    if loss > EXPLODED * max(first_loss or 0.0, chance_loss or math.inf) and not right:
        return words.rises
    if chance_loss is not None and loss <= (1 - LEAST_CHANGE) * chance_loss:
        return words.falls
    if chance_error is None:
        return words.falls if chance_loss is None else words.stays
    beaten = (
        _beats(_finite(metrics.get(f"{part}_error")), chance_error, (examples or {}).get(part))
        for part in ("train", "val", "test")
    )
    return words.falls if any(beaten) else words.stays


@dataclass
class Lowest:
    """Where the validation loss of a training has been lowest, and where it is.

    Attributes:
        step: of the lowest.
        val_loss, batch_loss: there, nan before the first evaluation; batch_loss is the mean since the row before.
        last_val, last_batch: those of the last evaluation.
    """

    step: int = 0
    val_loss: float = math.nan
    batch_loss: float = math.nan
    last_val: float = math.nan
    last_batch: float = math.nan

    def follow(self, row: Mapping[str, float | None]) -> None:
        """Take a row of metrics.csv in; one without a validation loss says nothing."""
        val, batch = row.get("val_loss"), row.get("batch_loss")
        if val is None or batch is None:
            return
        self.last_val, self.last_batch = val, batch
        if not val >= self.val_loss:  # nan before the first
            self.step, self.val_loss, self.batch_loss = int(row["step"] or 0), val, batch

    @property
    def overfits_from(self) -> int | None:
        """The step from which the training overfits, None where it does not.

        >>> lowest = Lowest()
        >>> for step, val, batch in ((10, 0.9, 0.8), (20, 0.5, 0.4), (30, 0.52, 0.3), (40, 0.6, 0.2)):
        ...     lowest.follow({"step": step, "val_loss": val, "batch_loss": batch})
        >>> lowest.overfits_from
        20
        """
        rises = self.last_val > self.val_loss + OVERFIT * abs(self.val_loss)
        return self.step if rises and self.last_batch < self.batch_loss else None


def outcome_of(result: Mapping[str, Any]) -> str:
    """The outcome in result.json; that of an older version, which went by the loss alone, is worked out again.

    Such a file names no task. Of a classifier it has the confusion matrix of the test part, and so the number of
    examples of each class.
    """
    told = str(result.get("outcome") or "")
    if told != "no progress" or "task" in result:
        return told
    try:
        rows = [sum(row) for row in result["evaluation"]["test"]["confusion"]]
        chance_error, total = 1 - max(rows) / sum(rows), int(sum(rows))
        metrics, steps = dict(result["metrics"]), int(result["steps"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return told
    return outcome("classification", metrics, steps=steps, chance_error=chance_error, examples={"test": total})


def _change(words: Task, loss: float, first_loss: float | None) -> str:
    """How a loss ended, compared with its start."""
    if first_loss is None or not math.isfinite(first_loss):
        return words.falls
    least = LEAST_CHANGE * abs(first_loss)
    return words.falls if loss < first_loss - least else words.rises if loss > first_loss + least else words.stays


def _beats(error: float | None, chance: float, examples: int | None) -> bool:
    """Whether an error is below that of guessing by more than chance allows."""
    if error is None:
        return False
    noise = STANDARD_ERRORS * math.sqrt(chance * (1 - chance) / examples) if examples else 0.0
    return error < chance - max(LEAST_CHANGE * chance, noise)


def _finite(value: object) -> float | None:
    """A JSON value as a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None
