"""Figures for a paper: a column wide, 8 points, as vector graphics whose text can be edited."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from textwrap import fill
from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Text

COLUMN = 3.25
"""The width of a column in inches, as ICML has it; those of NeurIPS and IEEE take it, too."""
PANEL = 2.0
"""The height of a panel in inches."""
POINTS = 8.0
RC: dict[Any, Any] = {
    "font.size": POINTS, "axes.titlesize": POINTS, "axes.labelsize": POINTS, "legend.fontsize": POINTS,
    "xtick.labelsize": POINTS, "ytick.labelsize": POINTS, "figure.figsize": (COLUMN, PANEL + 0.4),
    "svg.fonttype": "none", "pdf.fonttype": 42, "ps.fonttype": 42, "savefig.dpi": 300,
}  # fmt: skip
"""Letters stay letters: text elements in SVG, an embedded TrueType font in PDF."""

_chosen: ContextVar[bool] = ContextVar("paper", default=False)


def for_paper() -> bool:
    """Whether figures are being drawn for a paper."""
    return _chosen.get()


@contextmanager
def chosen(style: str) -> Iterator[None]:
    """Draw in a style: paper, or screen."""
    token = _chosen.set(style == "paper")
    try:
        yield
    finally:
        _chosen.reset(token)


def in_column(text: str, letters: int = 32) -> str:
    """Words in lines that a column has room for beside its names of rows; as they are on a screen.

    Names of configurations break after their commas.
    """
    if not for_paper():
        return text
    words = text.replace(",", ", ").replace(",  ", ", ").split("\n")
    return "\n".join(fill(line, letters, break_long_words=len(line) > 2 * letters) for line in words)


def in_points(figure: Figure) -> None:
    """Give every text the size of the paper's; text is placed anew when the figure is drawn."""
    for text in figure.findobj(Text):
        text.set_fontsize(POINTS)
