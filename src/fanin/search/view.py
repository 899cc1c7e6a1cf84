"""The rungs of a search as a user sees them: a table that lives above its runs, or a line for each rung."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from fanin.errors import counted
from fanin.sweep import grid_view

MOST_ROWS = 12
"""Rungs that are shown, the last ones."""


@dataclass
class RungLine:
    """What is shown of a rung; what came of it once it is over."""

    bracket: int
    rung: int
    trials: int
    runs: int
    steps: int
    best: str = ""
    dropped: int = 0


@dataclass
class RungView:
    """What a user sees of the rungs.

    Args:
        metric: by which configurations are compared.
        brackets: whether they come in brackets of rungs.
    """

    metric: str
    brackets: bool
    lines: list[RungLine] = field(default_factory=list)

    def begun(self, line: RungLine) -> None:
        """A rung has begun."""
        self.lines.append(line)
        grid_view.above = self.table

    def ended(self, best: str, dropped: int) -> None:
        """It has ended, with its best configuration, and so many that leave."""
        line = self.lines[-1]
        line.best, line.dropped = best, dropped
        place = f"bracket {line.bracket}, rung {line.rung}: " if self.brackets else ""
        of = f" ({counted(line.runs, 'run')})" if line.runs != line.trials else ""
        left = f"; {dropped} dropped" if dropped else ""
        many, length = counted(line.trials, "configuration"), counted(line.steps, "step")
        console = Console(highlight=False)
        said = f"{place}{many}{of} to {length}; best {best}{left}"
        console.print(said, soft_wrap=not console.is_terminal, style="bold")

    def close(self) -> None:
        """Show nothing any more."""
        grid_view.above = None

    def table(self) -> Table:
        """The last rungs."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("bracket", "rung", "configurations", "runs", "steps", "dropped"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column(f"best {self.metric}", no_wrap=True)
        for one in self.lines[-MOST_ROWS:]:
            numbers = one.bracket, one.rung, one.trials, one.runs, one.steps
            dropped = str(one.dropped) if one.dropped else ""
            table.add_row(*(f"{number:,}" for number in numbers), dropped, one.best)
        return table
