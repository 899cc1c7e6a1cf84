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
class RungView:
    """What a user sees of the rungs.

    Args:
        metric: by which configurations are compared.
        brackets: whether they come in brackets of rungs.
    """

    metric: str
    brackets: bool
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def begun(self, bracket: int, rung: int, trials: int, runs: int, steps: str) -> None:
        """A rung has begun."""
        row = (f"{bracket}", f"{rung}", f"{trials:,}", f"{runs:,}", steps, "", "")
        self.rows.append(row)
        grid_view.above = self.table

    def ended(self, best: str, leave: int) -> None:
        """It has ended, with its best configuration, and so many that leave."""
        *row, _, _ = self.rows[-1]
        self.rows[-1] = (*row, best, f"{leave}" if leave else "")
        console = Console(highlight=False)
        bracket, rung, trials, runs, steps = row
        place = f"bracket {bracket}, rung {rung}: " if self.brackets else ""
        left = f"; {leave} dropped" if leave else ""
        of = f" ({runs} runs)" if runs != trials else ""
        said = f"{place}{counted(int(trials.replace(',', '')), 'configuration')}{of} to {steps}; best {best}{left}"
        console.print(said, soft_wrap=not console.is_terminal, style="bold")

    def close(self) -> None:
        """Show nothing any more."""
        grid_view.above = None

    def table(self) -> Table:
        """The last rungs."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("bracket", "rung", "configurations", "runs", "steps", f"best {self.metric}", "dropped"):
            table.add_column(name, justify="left" if name.startswith("best") else "right", no_wrap=True)
        for row in self.rows[-MOST_ROWS:]:
            table.add_row(*row)
        return table
