"""The live view of a grid: counts, the running runs with step and loss, and the time left."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fanin.run.request import ONCE
from fanin.sweep.run_view import number_or_dash

ORDER = ("done", "diverged", "paused", "failed", "interrupted", "busy", "skipped")
COLOURS = {
    "done": "green", "diverged": "magenta", "paused": "cyan", "failed": "red", "interrupted": "yellow",
    "busy": "yellow",
}  # fmt: skip
MOST_ROWS = 16
"""Running runs that are shown, each in a row."""

REFRESH = 0.25
"""Seconds between two drawings."""

above: Callable[[], RenderableType] | None = None
"""Makes what stands above the running runs, of whoever launches several grids one after the other."""


@dataclass
class _Running:
    started: float
    step: int = 0
    steps: int = 0
    loss: float = float("nan")
    error: float = float("nan")


class Board:
    """What a user sees of a grid: a table that lives on a terminal; elsewhere one plain line per event.

    Args:
        jobs: number of runs to be run.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.console = Console(highlight=False)
        self.states: Counter[str] = Counter()
        self.running: dict[str, _Running] = {}
        self._said: set[str] = set()
        self._began = time.monotonic()
        self._drawn = 0.0
        self._live = (
            Live(console=self.console, auto_refresh=False, transient=True) if self.console.is_terminal else None
        )

    def __enter__(self) -> Board:
        if self._live and self.jobs:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def started(self, name: str) -> None:
        """A worker took a run."""
        self.running[name] = _Running(time.monotonic())

    def told(self, name: str, kind: str, content: list[Any]) -> None:
        """A message of a run: a step or a line."""
        if kind == "step" and name in self.running:
            one = self.running[name]
            one.step, one.steps, one.loss, one.error = content
        elif kind == "line":
            self.line(name, *content)

    def finished(self, name: str, state: str) -> None:
        """A run ended in a state; an empty state means that it will be tried again."""
        self.running.pop(name, None)
        if state:
            self.states[state] += 1

    def line(self, name: str, text: str, style: str) -> None:
        """One line about a run; a line that all runs share is shown once."""
        if style == ONCE:
            if text in self._said:
                return
            self._said.add(text)
        self.console.print(
            Text.assemble((name, "bold"), "  ", (text, style or "default")), soft_wrap=not self.console.is_terminal
        )

    def refresh(self) -> None:
        """Draw again, if it is time."""
        now = time.monotonic()
        if self._live and now - self._drawn >= REFRESH:
            self._drawn = now
            self._live.update(self._picture(), refresh=True)

    def _picture(self) -> Group:
        over = sum(self.states.values())
        counts = Text(f"{over}/{self.jobs} runs")
        for state in ORDER:
            if self.states[state]:
                counts.append(f"  {self.states[state]} {state}", COLOURS.get(state, "dim"))
        left = self._left(over)
        if left is not None:
            counts.append(f"  about {clock(left)} left")
        table = Table.grid(padding=(0, 2))
        for name, one in list(self.running.items())[:MOST_ROWS]:
            share = f"{one.step}/{one.steps}" if one.steps else "starting"
            table.add_row(
                _short(name, self.console.width - 50),
                share,
                f"loss {number_or_dash(one.loss, '.4f')}",
                f"error {number_or_dash(one.error, '.1%')}",
            )
        if len(self.running) > MOST_ROWS:
            counts.append(f"  and {len(self.running) - MOST_ROWS} more running")
        return Group(*([above(), ""] if above else []), table, counts)

    def _left(self, over: int) -> float | None:
        """Seconds left, from what the runs so far have taken together; None before there is anything to go by."""
        done = over + sum(one.step / one.steps for one in self.running.values() if one.steps)
        if done <= 0:
            return None
        return (time.monotonic() - self._began) * (self.jobs - done) / done


def clock(seconds: float) -> str:
    """Seconds as a clock shows them: 1:05, or 2:00:00 with hours."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _short(name: str, room: int) -> str:
    room = max(room, 16)
    return name if len(name) <= room else "…" + name[1 - room :]
