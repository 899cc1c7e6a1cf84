"""Profiles over depth: norms at initialization over theory, with the loss in training; and what training changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from fanin.errors import counted
from fanin.report.figures import lines
from fanin.report.figures.encoding import GREY, entry
from fanin.report.figures.limits import Curve, cut_off, decades_differ, log_limits, tell_beyond, usual_top
from fanin.report.figures.lines import draw_profile, mark_handles
from fanin.report.figures.steps import metric_row
from fanin.report.figures.style import Sheet, darker, label_row, log_axis
from fanin.report.read.folders import Run, task_of
from fanin.report.read.series import Metrics, Profiles
from fanin.report.statistics import geometric_mean, positive

LAYERS = "weight layer"
# By weight layers where they have activations, for modules alternate: a linear map's norm, its activation's, ...
NORMS = {
    "activation_norm": ("activation norm of a layer", "‖Z‖"),
    "gradient_norm": ("gradient norm of a layer", "‖∂L/∂W‖"),
}
MOVEMENT = NORMS | {
    "weight_variance": ("weight variance of a layer", "n Var(W)"),
    "weight_movement": ("weight movement of a layer", "‖W − W(0)‖ / ‖W(0)‖"),
}
WIDTHS = (7.5, 9.5, 13.2)  # inches, for so many panels
MOST_BANDS = 6
MOST_THEORY = 12
DASHES = (0, (4, 2.2))
DOTTED = (0, (5, 1.5, 1, 1.5))
BEFORE: dict[str, Any] = {"lw": 3.0, "alpha": 0.35}
AFTER: dict[str, Any] = {"lw": 1.3, "ls": (0, (4, 1.8))}  # visible upon it where nothing has changed


def study_figure(sheet: Sheet, runs: Sequence[Run], profiles: Profiles, metrics: Metrics) -> Figure | None:
    """The study's figure, of as many panels as there is something to draw; None if there is nothing.

    Activation norm and gradient norm over weight layers, measured (thin: one seed, thick: geometric mean) over theory
    or redraws (dashed: median, shaded: 16 to 84 % of fresh draws, dotted: mean square); training loss over steps with
    the loss of guessing.
    """
    shown = [quantity for quantity in NORMS if profiles.lengths("init", "weight", quantity).any()]
    trained = any(len(metrics.series(i, "batch_loss")[0]) > 1 for i in range(len(runs)))
    count = len(shown) + trained
    if not count:
        return None
    word = task_of(runs).loss
    figure, rows = sheet.rows(count, count, WIDTHS[count - 1], 4.5, [1.25, 1, 1][:count])
    told = {quantity: NORMS[quantity] for quantity in shown} | (
        {"batch_loss": (f"training {word}", word)} if trained else {}
    )
    for row, letter, (quantity, (title, unit)) in zip(rows, "abc", told.items(), strict=False):
        if quantity in NORMS:
            init_row(row, sheet, profiles, quantity)
        else:
            metric_row(row, sheet, runs, metrics, quantity)
        label_row(row, letter, title, "step" if quantity not in NORMS else LAYERS, unit)
    panels = [place for row in rows for place in row]
    sheet.legend(figure, panels, [*style_handles(sheet, profiles), *mark_handles(panels)])
    return figure


def has_theory(profiles: Profiles) -> bool:
    """Whether any run has a theory for what the figure shows."""
    return any(np.isfinite(profiles.matrix("init", "weight", quantity, "theory")).any() for quantity in NORMS)


def theory_words(sheet: Sheet, profiles: Profiles) -> str:
    """What the figure shows of theory, as the end of a sentence: no more than is drawn."""
    if not has_theory(profiles):
        return ". There is no theory for this recipe."
    count, drawn = sheet.crowd, []
    if count <= MOST_THEORY and not sheet.encoding.dashed:
        drawn.append("dashed: the median of fresh draws")
    if count <= MOST_BANDS:
        drawn.append("shaded: what 68 % of fresh draws lie within, by a law or by redraws as the legend says")
        drawn.append("dotted: mean square")
    return "; ".join(["", *drawn]) + "." if drawn else ". Theory is left out among so many lines: profiles.csv has it."


def sources(profiles: Profiles) -> list[str]:
    """What the bands of the figure go by, laws and redraws; none of an earlier version's files."""
    found = {str(word) for quantity in NORMS for word in profiles.words("init", "weight", quantity, "source").flat}
    return sorted(found - {"", "nan"})


def init_row(row: Sequence[Axes], sheet: Sheet, profiles: Profiles, quantity: str) -> None:
    """One quantity at initialization over depth, for every configuration, with its theory; a panel for each facet."""
    parts = sheet.facets if len(row) > 1 else [sheet]
    drawn = [_draw_init(axes, part, profiles, quantity) for axes, part in zip(row, parts, strict=True)]
    _end_log(row, drawn)


def _end_log(row: Sequence[Axes], drawn: Sequence[Sequence[Curve]]) -> None:
    """End the logarithmic axis that panels share before what lies far beyond the rest, and say so."""
    ends = log_limits([y for curves in drawn for _, y, _ in curves])
    if ends is not None:
        low, high = row[0].get_ylim()
        ends = max(low, ends[0]), min(high, ends[1])
        for axes, curves in zip(row, drawn, strict=True):
            tell_beyond(axes, cut_off(axes, ends[1], curves, ends[0]), len(curves), alone=len(row) == 1)
    for axes in row:
        log_axis(axes)


def _draw_init(axes: Axes, sheet: Sheet, profiles: Profiles, quantity: str) -> list[Curve]:
    axes.set_yscale("log")
    of = ("init", "weight", quantity)
    values, lengths = profiles.matrix(*of), profiles.lengths(*of)
    theory, low, high = (profiles.matrix(*of, name) for name in ("theory", "band_low", "band_high"))
    redraws = [profiles.matrix(*of, name) for name in ("redraw_low", "redraw_high")]
    mean_square = profiles.matrix("init", "weight", f"{quantity}_mean_square", "theory")
    count, drawn = sheet.crowd, []

    def line(curve: np.ndarray, colour: object, style: object, lw: float, order: float) -> None:
        axes.plot(np.arange(1, len(curve) + 1), positive(curve), ls=style, color=colour, lw=lw, zorder=order)

    for one, colour, look in zip(sheet.configurations, sheet.colours, sheet.encoding.styles, strict=True):
        members, dark = one.members, darker(colour)
        if count <= MOST_BANDS:
            band = geometric_mean(low[members]), geometric_mean(high[members])
            axes.fill_between(np.arange(1, len(band[0]) + 1), *band, color=colour, alpha=0.13, lw=0, zorder=1.5)
            for edge in band if len(members) > lines.MOST_SEEDS else ():  # through the cloud, which hides the shade
                line(edge, dark, "-", 0.7, 3.3)
            for edge in redraws:  # beside a law
                line(geometric_mean(edge[members]), dark, DOTTED, 0.9, 3.4)
            line(geometric_mean(mean_square[members]), dark, ":", 0.9, 3.4)
        if count <= MOST_THEORY and not sheet.encoding.dashed:
            line(geometric_mean(theory[members]), dark, DASHES, 0.9, 3.5)
        style = {"seeds": lines.cloud_size(count), "lw": lines.mean_width(count)}
        mean = draw_profile(axes, values[members], lengths[members], colour, log=True, **style | look)
        drawn.append((np.arange(1.0, len(mean) + 1), mean, colour))
    return drawn


def style_handles(sheet: Sheet, profiles: Profiles) -> list[Artist]:
    """Legend entries for the line styles that occur; that there is no theory is said where there is none."""
    norm, found, known = ("init", "weight", "activation_norm"), sources(profiles), has_theory(profiles)
    most, drawn = max(len(one.members) for one in sheet.configurations), lines.cloud_size(sheet.crowd)
    over = "fold" if any(one.folds for one in sheet.configurations) else "seed"
    single = f"one {over}" + (f" ({drawn} of {most} drawn)" if most > drawn else "")
    median = "median of fresh draws" if found and all(word.startswith("redraw") for word in found) else "theory"
    band = f"16 to 84 %: {', '.join(found)}" if found else "±1 sd of one seed"
    lined = known and sheet.crowd <= MOST_THEORY and not sheet.encoding.dashed
    banded = known and sheet.crowd <= MOST_BANDS
    law, redraws = (np.isfinite(profiles.matrix(*norm, name)).any() for name in ("band_low", "redraw_low"))
    mean_square = profiles.matrix("init", "weight", "activation_norm_mean_square", "theory").size > 0
    said: list[tuple[Any, Artist]] = [
        (most > 1 and drawn > 1, entry(single, lw=0.7, alpha=0.7)),
        (most > 1, entry(f"mean over {over}s", lw=1.8)),
        (not known and profiles.lengths(*norm).any(), entry("(no theory for this recipe)", ls="")),
        (lined, entry(median, lw=1.1, ls=DASHES)),
        (banded and law, Patch(color=GREY, alpha=0.2, lw=0, label=band)),
        (banded and redraws, entry("16 and 84 % of redraws", lw=1.1, ls=DOTTED)),
        (banded and mean_square, entry("theory, mean square", lw=1.1, ls=":")),
    ]
    return [handle for there, handle in said if there]


def movement_figure(sheet: Sheet, runs: Sequence[Run], profiles: Profiles) -> Figure | None:
    """Activation norm, gradient norm and weight variance before (broad) and after training (dashed), and movement.

    Means over the seeds that have both snapshots. Diverged runs are left out: where they broke off says nothing, and
    would set the scale. None if no weight moved in any run: before and after are the same.
    """
    moved = ("final", "weight", "weight_movement")
    trained = (profiles.lengths(*moved) > 0) & np.array([run.state != "diverged" for run in runs])
    if not (profiles.matrix(*moved)[trained] > 0).any():
        return None
    figure, rows = sheet.rows(len(MOVEMENT), 2, 10.0, 7.2)
    for row, letter, (quantity, (title, unit)) in zip(rows, "abcd", MOVEMENT.items(), strict=True):
        before_and_after_row(row, sheet, trained, profiles, quantity)
        label_row(row, letter, title, LAYERS, unit, last=row is rows[-1])
    styles = {"before training": BEFORE, "after training": AFTER | ({"ls": "-"} if sheet.encoding.dashed else {})}
    handles: list[Artist] = [entry(name, **style) for name, style in styles.items()]
    if diverged := sum(run.state == "diverged" for run in runs):
        handles.append(entry(f"({counted(diverged, 'diverged run')} left out)", ls=""))
    panels = [place for row in rows for place in row]
    there = {k for k, one in enumerate(sheet.configurations) if trained[one.members].any()}
    sheet.legend(figure, panels, [*handles, *mark_handles(panels)], there)
    return figure


def before_and_after_row(
    row: Sequence[Axes], sheet: Sheet, trained: np.ndarray, profiles: Profiles, quantity: str
) -> None:
    """One quantity before and after; of the movement, which is 0 before, only after; a panel for each facet.

    The axis is logarithmic where norms are shown, and where the curves lie decades apart.

    Args:
        row: a panel for each facet of the sheet, or one for all.
        sheet, profiles, quantity: what is drawn.
        trained: of all runs, those that are drawn.
    """
    moved, parts = quantity == "weight_movement", sheet.facets if len(row) > 1 else [sheet]
    of = {name: (name, "weight", quantity) for name in (("final",) if moved else ("init", "final"))}
    read = {name: (profiles.matrix(*key), profiles.lengths(*key)) for name, key in of.items()}
    ended = [those for one in sheet.configurations if (those := [i for i in one.members if trained[i]])]
    after, lengths = read["final"]
    log = quantity.endswith("_norm") or decades_differ(
        [lines.mean_while_all(after[those], lengths[those], log=False) for those in ended]
    )
    drawn: list[list[Curve]] = []
    for axes, part in zip(row, parts, strict=True):
        axes.set_yscale("log" if log else "linear")
        curves: list[Curve] = []
        for one, colour, look in zip(part.configurations, part.colours, part.encoding.styles, strict=True):
            chosen, late = [i for i in one.members if trained[i]], look if moved or sheet.encoding.dashed else AFTER
            means = []
            for snapshot, (values, lengths) in read.items():
                own = BEFORE if snapshot == "init" else {**look, "lw": 1.5 if moved else AFTER["lw"], "ls": late["ls"]}
                means.append(draw_profile(axes, values[chosen], lengths[chosen], colour, seeds=1, log=log, **own))
            layers = np.concatenate([np.arange(1.0, len(mean) + 1) for mean in means])
            curves.append((layers, np.concatenate(means), colour))
        drawn.append(curves)
    if log:
        _end_log(row, drawn)
        return
    top = usual_top([mean for curves in drawn for _, mean, _ in curves])
    for axes, curves in zip(row, drawn, strict=True):
        axes.set_ylim(bottom=0)
        tell_beyond(axes, cut_off(axes, top, curves), len(curves), alone=len(row) == 1)
        if moved and top <= 9.99:  # of more than 999 % the ratio itself is easier to read
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
