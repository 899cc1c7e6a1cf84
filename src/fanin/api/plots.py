"""fanin.plots: each panel of the report on axes of one's own, from runs, grids, tables or folders.

Lines, bands and marks are those of the report (docs/files.md tells of the columns they show); fonts and sizes are the
caller's. Every function returns the axes, takes `axes=None` for new ones of pyplot, and raises UserError, in one line,
where the runs have nothing of what is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.api.composing import Folder, composed, opened, words_of
from fanin.api.drawn_runs import Runs, drawn, new_axes, only_configuration, only_run, require, runs_of, with_legend
from fanin.api.finished_run import Run
from fanin.api.sweep_plots import (
    best,
    best_so_far,
    critical_differences,
    differences,
    diverged,
    heat_map,
    importance,
    improvement,
    pairs,
    parallel,
    pareto,
    performance_profile,
    ranks,
    rungs,
    sensitivity,
    slices,
    time_to_target,
)
from fanin.errors import OptionError, UserError, choice

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "best", "best_so_far", "confusion", "critical_differences", "curvature", "curve", "differences", "diverged",
    "heat_map", "histogram", "importance", "improvement", "landscape", "loss", "movement", "pairs", "parallel",
    "pareto", "performance_profile", "phase", "profile", "ranks", "rungs", "sensitivity", "slices", "surface",
    "time_to_target",
]  # fmt: skip


def loss(runs: Runs, axes: Axes | None = None, *, legend: bool = True) -> Axes:
    """The mean training loss of the batches since the last row, over steps; see `curve`."""
    return curve(runs, "batch_loss", axes, legend=legend)


def curve(runs: Runs, column: str, axes: Axes | None = None, *, band: bool = False, legend: bool = True) -> Axes:
    """A column of metrics.csv over steps: a line for each configuration, with the loss of guessing and divergences.

    Args:
        runs: what is drawn.
        column: such as batch_loss, val_error or train_loss.
        axes: to draw on.
        band: the 95 % interval over seeds, where there are three or more, in the place of single seeds.
        legend: whether the axes get one.

    Raises:
        UserError: no such column, or no run has two values of it.
    """
    from fanin.report.figures.lines import mark_handles
    from fanin.report.figures.steps import PARTS, metric_row
    from fanin.report.read.folders import task_of
    from fanin.report.read.series import METRICS

    part, _, what = str(column).partition("_")
    if column not in METRICS or what not in ("loss", "error"):
        known = [name for name in METRICS if name.endswith(("_loss", "_error"))]
        raise OptionError("column", column, f"one of {', '.join(known)}")
    read = runs_of(runs)
    metrics = read.metrics
    if not any(len(metrics.series(i, column)[0]) > 1 for i in range(len(read.runs))):
        raise UserError(
            f"{column}: no run has two values of it; trainer.eval_every and trainer.eval_train evaluate more"
        )
    place = new_axes(axes)
    metric_row([place], read.sheet, read.runs, metrics, column, band=band)
    word = str(getattr(task_of(read.runs), what))
    place.set(xlabel="step", ylabel=word, title=f"{PARTS.get(part, part)} {word}")
    return with_legend(place, read.sheet, mark_handles([place]), wanted=legend)


def profile(runs: Runs, quantity: str = "activation_norm", axes: Axes | None = None, *, legend: bool = True) -> Axes:
    """A quantity at initialization over the weight layers, with theory's line and band behind it.

    Args:
        runs: what is drawn.
        quantity: activation_norm, gradient_norm or another positive one of profiles.csv.
        axes: to draw on.
        legend: whether the axes get one.

    Raises:
        UserError: no run has that quantity at init.
    """
    from fanin.report.figures.depth import LAYERS, NORMS, init_row, style_handles
    from fanin.report.figures.lines import mark_handles

    read = runs_of(runs)
    profiles = read.profiles
    require(profiles, "init", quantity)
    place = new_axes(axes)
    init_row([place], read.sheet, profiles, quantity)
    title, unit = NORMS.get(quantity, (quantity.replace("_", " "), ""))
    place.set(xlabel=LAYERS, ylabel=unit, title=title)
    return with_legend(place, read.sheet, [*style_handles(read.sheet, profiles), *mark_handles([place])], wanted=legend)


def movement(runs: Runs, quantity: str = "weight_movement", axes: Axes | None = None, *, legend: bool = True) -> Axes:
    """What training changed, over the weight layers: a quantity before (broad) and after it (dashed).

    Diverged runs are left out, as in the report.

    Args:
        runs: what is drawn.
        quantity: weight_movement, ‖W − W(0)‖ / ‖W(0)‖; weight_variance, activation_norm or gradient_norm.
        axes: to draw on.
        legend: whether the axes get one.

    Raises:
        UserError: no run that was trained to its end has that quantity.
    """
    from fanin.report.figures.depth import LAYERS, MOVEMENT, before_and_after_row
    from fanin.report.figures.lines import mark_handles

    if quantity not in MOVEMENT:
        raise OptionError("quantity", quantity, f"one of {', '.join(MOVEMENT)}")
    read = runs_of(runs)
    profiles = read.profiles
    require(profiles, "final", quantity)
    there = profiles.lengths("final", "weight", quantity) > 0
    whole = there & [run.state != "diverged" for run in read.runs]
    if not whole.any():
        raise UserError(f"{quantity}: every run diverged, and where they broke off says nothing")
    place = new_axes(axes)
    before_and_after_row([place], read.sheet, whole, profiles, quantity)
    title, unit = MOVEMENT[quantity]
    place.set(xlabel=LAYERS, ylabel=unit, title=title)
    return with_legend(place, read.sheet, mark_handles([place]), wanted=legend)


def surface(runs: Runs, quantity: str = "activation_norm", axes: Axes | None = None, *, legend: bool = True) -> Axes:
    """A quantity over depth and time as a heat map, the mean over the runs given; logarithmic but for shares.

    Args:
        runs: of one configuration, which differ in their seeds.
        quantity: of the curves (probe.curves), or of profiles that were taken at three steps or more (probe.steps).
        axes: to draw on.
        legend: whether the figure gets a colour bar.

    Raises:
        UserError: several configurations, or the runs have no such quantity at three steps.
    """
    from fanin.report.figures.surface import LAYERS, colour_bar, scale_of, surface_panel
    from fanin.report.read.surfaces import surfaces_of

    read = only_configuration("surface", runs)
    found = surfaces_of(read.runs, range(len(read.runs)), read.profiles)
    if quantity not in found:
        known = f"there are {', '.join(found)}" if found else "probe.every=1 and probe.steps=[1,2] measure more"
        raise UserError(f"surface: quantity {quantity!r}: no run has it at three steps or more; {known}")
    shown = found[quantity]
    scale, title = scale_of([shown]), quantity.replace("_", " ")
    draw = partial(surface_panel, surface=shown, scale=scale)
    place = drawn(axes, draw, xlabel="step", ylabel=LAYERS[shown.axis], title=title)
    if legend:
        figure: Any = place.figure
        colour_bar(figure, [place], quantity, scale, [shown])
    return place


def histogram(run: Run | Folder, of: str = "weights", layer: str | None = None, axes: Axes | None = None) -> Axes:
    """Histograms of one layer over the steps of training as ridges, each as high as the others.

    Args:
        run: a run that took some, with probe.histograms.
        of: activations, weights or gradients.
        layer: the name of a weight layer, such as linear_2; by default the first.
        axes: to draw on.

    Raises:
        UserError: the run has none of this, or no such layer.
    """
    from fanin.report.figures.ridges import ridges_panel
    from fanin.report.read.histograms import read_histograms

    found = read_histograms(only_run("histogram", run)[1].folder, [])
    if of not in found:
        known = f"it has {', '.join(found)}" if found else "probe.histograms=[weights] takes some"
        raise UserError(f"histogram: of {of!r}: the run has none; {known}")
    names = {name: place for place in found[of] for name in place[1:]}
    if layer is not None and layer not in names:
        raise UserError(f"histogram: layer {layer!r}: there are {', '.join(map(str, names))}")
    place = next(iter(found[of])) if layer is None else names[layer]
    draw = partial(ridges_panel, histograms=found[of][place])
    return drawn(axes, draw, xlabel=of[:-1], ylabel="step", title=f"{of}: {place[1]}")


def curvature(run: Run | Folder, what: str = "sharpness", axes: Axes | None = None) -> Axes:
    """What looks at the curvature saw over the steps of training of one run.

    Args:
        run: a run with probe=curvature or probe.curvature.quantities.
        what: sharpness, with critical sharpness and the limit of stable gradient descent; eigenvalues, both ends; or
            density, the spectrum as an image.
        axes: to draw on.

    Raises:
        OptionError: `what` is none of these.
        UserError: several runs, or the run has none of this.
    """
    from fanin.report.figures.curvature import density_panel, eigenvalues_panel, sharpness_panel
    from fanin.report.read.curvature import read_curvature

    choice("what", what, ("sharpness", "eigenvalues", "density"))
    read, one = only_run("curvature", run)
    looks = read_curvature(one.folder, [])
    asked = {"sharpness": ("sharpness", 0), "eigenvalues": ("eigenvalue_largest", 1)}
    if not (looks.densities if what == "density" else len(looks.series(*asked[what])[0])):
        raise UserError(f"curvature: the run has no {what}; probe.curvature.quantities=[{what}] takes it")
    draw: Callable[[Axes], None] = partial(eigenvalues_panel, looks=looks)
    if what == "sharpness":
        draw = partial(sharpness_panel, looks=looks, config=one.config.config, rates=read.metrics.series(0, "lr"))
    elif what == "density":
        draw = partial(density_panel, found=next(iter(looks.densities.values())))
    return drawn(axes, draw, xlabel="step", ylabel="sharpness" if what == "sharpness" else "eigenvalue", title=what)


def confusion(runs: Runs, axes: Axes | None = None, *, part: str = "test") -> Axes:
    """What the classes are taken for: shares of each true class's examples, over all finished runs given.

    Args:
        runs: of one configuration, which differ in their seeds.
        axes: to draw on.
        part: of the data: test or val.

    Raises:
        UserError: several configurations, or no finished run has a matrix of at most 20 classes.
    """
    import numpy as np

    from fanin.report.figures.confusion import confusion_panel, matrix_of

    read = only_configuration("confusion", runs)
    matrices = [matrix for run in read.runs if (matrix := matrix_of(run, part)) is not None]
    if not matrices:
        raise UserError(f"confusion: no finished run has a matrix of its {part} part, of at most 20 classes")
    counts = np.sum(matrices, axis=0)
    title = f"{1 - counts.trace() / counts.sum():.3g} of {part} wrong"
    return drawn(axes, partial(confusion_panel, counts=counts), xlabel="answer", ylabel="true class", title=title)


def landscape(file: str | Path, column: str = "loss", axes: Axes | None = None) -> Axes:
    """A line or a plane through trained weights, as `fanin-landscape` has written it.

    Args:
        file: any of its files, such as outputs/runs/landscape/plane-0123456789.csv.
        column: loss or error.
        axes: to draw on.

    Raises:
        UserError: there is none, or it is not whole.
    """
    from fanin.record.landscape_files import read_landscape
    from fanin.report.figures.landscape import line_panel, plane_panel

    if column not in ("loss", "error"):
        raise OptionError("column", column, "loss or error")
    path = Path(file)
    found = read_landscape(path.parent, path.stem.removesuffix("-paths"))
    if found is None:
        raise UserError(f"{path}: no line or plane of fanin-landscape, or not all of its files")
    place = new_axes(axes)
    words = [*found.about.get("axes", []), "", ""]
    if found.is_line:
        line_panel(place, found, column)
        place.set(xlabel=words[0], ylabel=column)
    else:
        plane_panel(place.figure, place, found, column)  # type: ignore[arg-type]
        place.set(xlabel=words[0], ylabel=words[1], title=column)
    return place


def phase(recipe: Run | Sequence[str], axes: Axes | None = None) -> Axes:
    """Order and chaos over weight and bias variance, the critical line, and the recipe as a point; nothing is run.

    Args:
        recipe: a run, or overrides as fanin.run takes them.
        axes: to draw on.

    Raises:
        UserError: the recipe is wrong, or no plain chain of fully connected layers with one variance.
    """
    from omegaconf import OmegaConf

    from fanin.api.host import guest, torchs_own
    from fanin.api.theory_of_a_recipe import theory_of

    words = [] if isinstance(recipe, Run) else words_of(recipe)
    with guest(), torchs_own():
        with opened(words, None) as app:
            from fanin.run.identity import without_hydra

            known = OmegaConf.create({"force": False, **recipe.config}) if isinstance(recipe, Run) else None
            found = theory_of(without_hydra(composed(app, words)) if known is None else known)
        if found.activation is None or found.point is None or found.critical is None:
            raise UserError("phase: needs a chain of layers with one variance, of a known activation")
        place = new_axes(axes)
        from fanin.report.figures.phase import phase_panel

        phase_panel(place, found.activation, found.point, found.critical)
    return place
