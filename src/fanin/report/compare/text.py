"""A comparison in words and tables: compare.md and the terminal."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fanin.report.write.tables import markdown
from fanin.report.write.terminal import line, near

if TYPE_CHECKING:
    from fanin.report.compare.comparison import Compared, Comparison

MOST_PAIRS = 200


def write_markdown(path: Path, result: Compared) -> None:
    """The tables, their notes and the pairs."""
    words = result.metric.replace("_", " ")
    lines = [f"# {result.title}: paired comparison of {words}", ""]
    for one in result.comparisons:
        header, rows = summary(one)
        lines += [f"## {one.side} against {one.first}", "", *markdown(header, rows), ""] if rows else [f"## {one.side}"]
        lines += [*(f"- {note}" for note in one.notes), ""]
        shown = list(zip(one.pairs, one.values, strict=True))[:MOST_PAIRS]
        pairs = [[pair.label, f"{a:.6g}", f"{b:.6g}", f"{b - a:+.6g}"] for pair, (a, b) in shown]
        lines += [*markdown(["pair", one.first, one.side, "difference"], pairs), ""] if rows else []
    lines += ["Difference: the side minus the first, over pairs of runs that agree in everything else; 95 % t-interval"]
    lines += [
        "of its mean. p values are two-sided: of a mean difference of zero (paired t-test), and of differences that"
    ]
    lines += ["are symmetric about zero (Wilcoxon's signed-rank test). sd: over runs, and over differences."]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def print_compared(result: Compared, console: Console) -> None:
    """Print the comparisons, what was left out, and the files written."""
    console.print(Text(f"{result.title}: {result.metric}", style="bold"))
    for one in result.comparisons:
        header, rows = summary(one)
        if rows:
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
            for position, name in enumerate(header):
                table.add_column(Text(name), justify="right" if position else "left", overflow="fold")
            for row in rows:
                table.add_row(*map(Text, row))
            console.print(table)
        for note in one.notes:
            about = "" if rows else f"{one.side} against {one.first}: "
            console.print(Text(f"note: {about}{note}", style="yellow"))
    for name, path in (("table", result.tables[0]), ("text", result.tables[1]), ("figure", result.figures[0])):
        line(console, f"{name:<12}{near(path)}")


def summary(one: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and rows of one comparison's table; no rows with fewer than two pairs, for a bare mean says nothing."""
    header = [f"{len(one.pairs)} pairs", one.first, one.side, "difference"]
    found = one.statistics
    if found is None or one.spreads is None:
        return header, []
    first, side = one.spreads
    signs = f"{found.below} below, {found.above} above 0"
    return header, [
        [
            "mean ± sd",
            *(f"{each.mean:.4g} ± {each.sd:.2g}" for each in one.spreads),
            f"{found.mean:+.4g} ± {found.sd:.2g}",
        ],
        ["95 % interval", "", "", f"[{found.low:+.3g}, {found.high:+.3g}]"],
        ["median", f"{first.median:.4g}", f"{side.median:.4g}", f"{found.median:+.4g}"],
        ["signs", "", "", signs],
        ["paired t-test", "", "", _p(found.t_p)],
        ["Wilcoxon", "", "", _p(found.wilcoxon_p)],
    ]


def _p(value: float) -> str:
    return "no p: all equal" if math.isnan(value) else f"p = {value:.2g}"
