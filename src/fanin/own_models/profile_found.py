"""What one look at a fresh model has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fanin.own_models.advice import Advice
from fanin.theory import InitAnalysis

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Found:
    """What one look at a fresh model has found.

    Attributes:
        table: a row per layer and quantity, with the columns of profiles.csv; its snapshot is init.
        advice: what to mend; empty where neither pass vanishes or explodes.
        analysis: how norms change over depth, and where this draw lies among fresh draws; None without weight layers.
        drawn_by: the rule that the weights follow; empty where none is known, or several were declared.
        no_law: why theory does not reach all norms; empty where it does.
        no_redraw: why there is no band of redraws, or what is the same in all of them.
    """

    table: pd.DataFrame
    advice: list[Advice]
    analysis: InitAnalysis | None
    drawn_by: str = ""
    no_law: str = ""
    no_redraw: str = ""

    @property
    def verdict(self) -> str:
        """critical, stable, vanishing, exploding or blocked; empty without weight layers."""
        return "" if self.analysis is None else self.analysis.verdict

    @property
    def sources(self) -> list[str]:
        """What the bands go by."""
        return sorted({str(one) for one in self.table["source"].dropna()})
