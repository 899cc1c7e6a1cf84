"""What a user sees of one run: a progress bar on a terminal, one line at its end anywhere."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fanin.process import typed_path
from fanin.record.outcome import TASKS

REFRESH = 0.1
"""Seconds between two drawings of the bar: drawing more often would cost training time."""


class Display:
    """The bar and the lines of one run.

    Args:
        folder: of the run.
        enabled: false shows only the final line.
    """

    def __init__(self, folder: Path, *, enabled: bool = True) -> None:
        self.name = folder.name
        relative = os.path.relpath(folder, typed_path("."))
        self.shown = str(folder) if relative.startswith("..") else relative
        self.console = Console(highlight=False)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._drawn = 0.0
        self._enabled = enabled and self.console.is_terminal

    def __enter__(self) -> Display:
        if self._enabled:
            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=16),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]}  error {task.fields[error]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self.console,
                auto_refresh=False,
                transient=True,
            )
            room = self.console.width - 80  # what the numbers leave
            name = self.name if len(self.name) <= room else self.name[: max(0, room - 1)] + "…" if room > 8 else ""
            self._task = self._bar.add_task(name, total=None, visible=False, loss="-", error="-")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, step: int, steps: int, loss: float, error: float) -> None:
        """Show where the run is."""
        if self._bar is None:
            return
        self._bar.update(
            self._task,
            visible=True,
            completed=step,
            total=steps,
            loss=number_or_dash(loss, ".4f"),
            error=number_or_dash(error, ".1%"),
        )
        now = time.monotonic()
        if now - self._drawn >= REFRESH or step >= steps:
            self._drawn = now
            self._bar.refresh()

    def ended(self, result: dict[str, Any]) -> None:
        """The final line of a run."""
        self.line(*ending(result))

    def line(self, text: str, style: str = "") -> None:
        """One line about the run."""
        self.console.print(
            f"[bold]{_escaped(self.shown)}[/]  [{style or 'default'}]{_escaped(text)}[/]",
            soft_wrap=not self.console.is_terminal,
        )


def number_or_dash(value: float, form: str) -> str:
    """A number in a form, "-" where there is none yet or it is not finite."""
    return format(value, form) if math.isfinite(value) else "-"


def ending(result: dict[str, Any]) -> tuple[str, str]:
    """How a run ended, from its result: the words and their colour."""
    parts = []
    if result["diverged"]:
        broken = result["diverged"]
        of = "" if broken["layer"] in (None, "", broken["what"]) else f" of {broken['layer']}"
        parts.append(f"diverged at step {broken['step']}: {broken['what']}{of} not finite")
    elif result["outcome"] == "init only":
        parts.append("profiles at init only")
    else:
        since = result.get("overfits_from")
        word = result["outcome"] + (f", overfits from step {since}" if since is not None else "")
        parts.append(f"{word}: step {result['steps']}, {_metrics(result)}")
    if result["verdict"]:
        parts.append(f"init {told_verdict(result['init'] or {}, result['verdict'])}")
    parts.append(f"{result['seconds']:.1f} s")
    return ", ".join(parts), "magenta" if result["diverged"] else "green"


def told_verdict(init: dict[str, Any], verdict: str) -> str:
    """ "stable", or "forward stable, backward vanishing" where the two passes differ."""
    forward, backward = init.get("forward"), init.get("backward")
    return verdict if forward == backward or not backward else f"forward {forward}, backward {backward}"


def _metrics(result: dict[str, Any]) -> str:
    """ "train loss 0.1 error 3.0 %, test loss 0.2 error 5.1 %", of what there is, in the words of the task."""
    words, metrics, task = [], result["metrics"], TASKS.get(result.get("task", ""), TASKS["classification"])
    for part in ("train", "val", "test"):
        loss, error = metrics.get(f"{part}_loss"), metrics.get(f"{part}_error")
        if loss is not None and error is not None and math.isfinite(error):
            told = f"{error:.1%}" if task.percent else f"{error:.4g}"
            words.append(f"{part} {task.loss} {loss:.4f} {task.error} {told}")
    return ", ".join(words)


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
