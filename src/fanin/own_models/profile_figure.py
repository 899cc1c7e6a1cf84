"""The panel of a look at a model: that of a report, of one run."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fanin.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def profile_panel(table: pd.DataFrame, quantity: str, axes: Axes | None = None) -> Axes:
    """Draw a quantity of a table with the columns of profiles.csv over the weight layers.

    Raises:
        UserError: the table has no such quantity.
    """
    from fanin.report.figures.depth import LAYERS, NORMS, init_row, style_handles
    from fanin.report.figures.lines import mark_handles
    from fanin.report.figures.style import Sheet
    from fanin.report.read.configurations import group_runs
    from fanin.report.read.folders import read_runs
    from fanin.report.read.series import PROFILES, Profiles, read_table

    known = list(dict.fromkeys(table.loc[table["axis"] == "weight", "quantity"]))
    if quantity not in known:
        raise UserError(f"quantity: the table has no {quantity} of weight layers; it has {', '.join(known)}")
    with tempfile.TemporaryDirectory() as place:  # the report reads files
        table.to_csv(Path(place, "profiles.csv"), index=False)
        runs = read_runs([Path(place)], Path(place))
        profiles = Profiles(runs, read_table(runs, "profiles.csv", PROFILES))  # now: the file is gone below
    if axes is None:
        import matplotlib.pyplot as plt

        axes = plt.subplots()[1]
    sheet = Sheet("", "", group_runs(runs))
    init_row([axes], sheet, profiles, quantity)
    title, unit = NORMS.get(quantity, (quantity.replace("_", " "), ""))
    axes.set(xlabel=LAYERS, ylabel=unit, title=title)
    if handles := [*style_handles(sheet, profiles), *mark_handles([axes])]:
        axes.legend(handles=handles, fontsize="small")
    return axes
