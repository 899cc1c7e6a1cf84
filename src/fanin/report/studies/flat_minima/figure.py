"""The figure of flat_minima_study."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.record.overrides import display
from fanin.report.figures.style import Sheet, panel
from fanin.report.read.folders import Run
from fanin.report.studies.base import Evidence
from fanin.report.studies.drawing import DASHES, DOTS, colours_of, draw_points, entry, own_legend
from fanin.report.studies.flat_minima.ends import (
    BATCH,
    FACTORS,
    RATE,
    Rescaled,
    batches,
    flat_and_sharp,
    gap,
    log_sharpness,
    rescaled,
)

REACH, HEIGHT = 0.5, 1.5
"""Of the panel of lines: distance and loss."""

FLAT, SHARP = "#E69F00", "#CC79A7"


def draw(sheet: Sheet, evidence: Evidence) -> Figure | None:
    """Sharpness and gap over batches, the loss along the top eigenvector, and sharpness over the rescaling."""
    log = log_sharpness(evidence)

    def sharpness(run: Run) -> float | None:
        found = log(run)
        return None if found is None else math.exp(found)

    if not any(sharpness(run) is not None for run in evidence.runs_with({})):
        return None
    colours = colours_of(sorted(value for value in evidence.values(RATE) if isinstance(value, (int, float))))
    pairs = flat_and_sharp(evidence.runs_with({}))
    found = list(rescaled(evidence, pairs))
    count = 4 if found else 2
    made, axes = sheet.figure(1, count, 3.3 * count, 3.8)
    for place, of in zip(axes, (sharpness, gap), strict=False):
        _over_batches(place, evidence, of, colours)
        place.set_ylim(bottom=0)
    panel(axes[0], "a", "sharpness at the end", "batch")
    panel(axes[1], "b", "test less training loss", "batch")
    handles = [entry(f"lr {display(rate)}", colour) for rate, colour in colours.items()]
    handles += [entry("without sam", "black"), entry("with sam", "black", ls=DASHES)]
    if found:
        flat, sharp = pairs[0]
        _along(axes[2], [one for one in found if one.run is flat], FLAT, (1.0, min(FACTORS)))
        _along(axes[2], [one for one in found if one.run is sharp], SHARP, (1.0,))
        axes[2].set_xlim(-REACH, REACH)
        axes[2].set_ylim(0, HEIGHT)
        for which, colour in ((0, FLAT), (1, SHARP)):
            some = {pair[which].name for pair in pairs}
            draw_points(axes[3], [(one.factor, one.sharpness) for one in found if one.run.name in some], colour)
        axes[3].set_xscale("log")
        axes[3].set_yscale("log")
        axes[3].set_xticks(FACTORS, [f"{a:g}" for a in FACTORS])
        axes[3].minorticks_off()
        panel(axes[2], "c", "training loss", "distance along the top eigenvector")
        panel(axes[3], "d", "sharpness of the same function", "a: first layer times a, second / a")
        sizes = [display(run.value(BATCH)) for run in pairs[0]]
        handles += [entry(f"c, d: batch {size}", colour) for size, colour in zip(sizes, (FLAT, SHARP), strict=True)]
        handles.append(entry(f"the same, a = {min(FACTORS):g}", FLAT, ls=DOTS))
    own_legend(sheet, made, axes, handles)
    return made


def _over_batches(
    axes: Axes, evidence: Evidence, of: Callable[[Run], float | None], colours: Mapping[float, str]
) -> None:
    """A number of each run over the sizes of batches, in equal steps: solid without sam, dashed with it."""
    sizes = batches(evidence)
    for names, style in (([], "-"), (["sam"], DASHES)):
        for rate, colour in colours.items():
            points = [
                (float(place), value)
                for place, size in enumerate(sizes)
                for run in evidence.runs_with({BATCH: size, RATE: rate, "regularizer": names})
                if (value := of(run)) is not None
            ]
            draw_points(axes, points, colour, ls=style)
    axes.set_xticks(range(len(sizes)), [display(size) for size in sizes])


def _along(axes: Axes, some: list[Rescaled], colour: str, factors: tuple[float, ...]) -> None:
    """The loss over the distance from the weights."""
    for one in some:
        if one.factor in factors:
            at = one.line.x * float(one.line.about["lengths"][0])
            axes.plot(at, one.line.loss[0], color=colour, lw=1.6, ls="-" if one.factor == 1.0 else DOTS)
