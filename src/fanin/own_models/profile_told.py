"""A look at a model in words: for a terminal, and for a notebook."""

from __future__ import annotations

import base64
import io
import math
from html import escape
from typing import Any

from fanin.own_models.profile_figure import profile_panel
from fanin.own_models.profile_found import Found

SHOWN = 12
"""Layers that a table shows, evenly spread."""

SHOWN_QUANTITIES = ("activation_norm", "gradient_norm")


def lines_of(found: Found) -> list[str]:
    """Verdict, advice, what the bands go by, and the layers' norms."""
    heads, rows = layer_table(found)
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (heads, *rows)]
    return [*summary(found), *(line.rstrip() for line in table if rows)]


def summary(found: Found) -> list[str]:
    """All but the table."""
    lines = [f"verdict: {_verdict(found)}"]
    lines += [f"advice: {one}" for one in found.advice]
    drawn = f", weights drawn by {found.drawn_by}" if found.drawn_by else ""
    lines.append(f"band: {', '.join(found.sources) or 'none'}{drawn}")
    lines += [f"{name}: {why}" for name, why in (("law", found.no_law), ("redraws", found.no_redraw)) if why]
    return lines


def _verdict(found: Found) -> str:
    said = found.analysis
    if said is None:
        return "none, for the model has no weight layer that ran"
    words = (
        said.verdict if said.backward in (None, said.forward) else f"forward {said.forward}, backward {said.backward}"
    )
    if said.quantile is not None:
        words += f"; the last hidden norm lies above {100 * said.quantile:.0f} % of fresh draws"
    return words


def layer_table(found: Found) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of the layers' norms, 16 to 84 % of fresh draws beside each."""
    of_layers = found.table[found.table["axis"] == "weight"]
    shown = [one for one in SHOWN_QUANTITIES if (of_layers["quantity"] == one).any()]
    cells: dict[tuple[int, str], list[str]] = {}
    for row in of_layers.to_dict("records"):
        if row["quantity"] in shown:
            cells.setdefault((row["index"], row["layer"]), []).extend([_number(row["value"]), _band(row)])
    rows = [[str(index), layer, *cells[index, layer]] for index, layer in sorted(cells)]
    if len(rows) > SHOWN:
        rows = [rows[place] for place in sorted({round(at * (len(rows) - 1) / (SHOWN - 1)) for at in range(SHOWN)})]
    heads = ["", "layer", *(head for one in shown for head in (one.replace("_", " "), "16 to 84 %"))]
    return heads, [[*row, *[""] * (len(heads) - len(row))] for row in rows]


def _number(value: float) -> str:
    return f"{value:.4g}"


def _band(row: dict[Any, Any]) -> str:
    low, high = row["band_low"], row["band_high"]
    return "" if math.isnan(low) else f"{low:.3g} – {high:.3g}"


def html_of(found: Found) -> str:
    """The same with the figure, for a notebook."""
    from matplotlib.figure import Figure

    heads, rows = layer_table(found)
    told = "".join(f"<li>{escape(line)}</li>" for line in summary(found))
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    there = set(found.table.loc[found.table["axis"] == "weight", "quantity"])
    shown = [one for one in SHOWN_QUANTITIES if one in there]
    image = ""
    if shown:
        figure = figure_of(found, Figure(figsize=(5.0 * len(shown), 3.6), layout="constrained"))
        held = io.BytesIO()
        figure.savefig(held, format="png", dpi=90)
        image = (
            f'<img alt="norms over depth" src="data:image/png;base64,{base64.b64encode(held.getvalue()).decode()}"/>'
        )
    return f"<div><ul>{told}</ul>{image}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def figure_of(found: Found, figure: Any) -> Any:
    """Both norms over depth on a figure."""
    there = set(found.table.loc[found.table["axis"] == "weight", "quantity"])
    shown = [one for one in SHOWN_QUANTITIES if one in there]
    for place, quantity in zip(figure.subplots(1, len(shown), squeeze=False).flat, shown, strict=True):
        profile_panel(found.table, quantity, place)
    return figure
