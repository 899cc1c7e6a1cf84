"""Pages of single runs, each with its own figures in the run's folder."""

from __future__ import annotations

from pathlib import Path

from fanin.record.run_files import read_into
from fanin.report.figures.class_curves import class_curves_figure
from fanin.report.figures.confusion import confusion_figure
from fanin.report.figures.curvature import curvature_figure
from fanin.report.figures.depth import movement_figure, study_figure
from fanin.report.figures.encoding import plain
from fanin.report.figures.residuals import residuals_figure
from fanin.report.figures.ridges import ridges_figure
from fanin.report.figures.saving import save
from fanin.report.figures.steps import curves_figure
from fanin.report.figures.style import Sheet, look
from fanin.report.figures.surface import every_surface_figure
from fanin.report.read.configurations import group_runs, setting
from fanin.report.read.curvature import read_curvature
from fanin.report.read.folders import PAGE, Run
from fanin.report.read.histograms import read_histograms
from fanin.report.read.reuse import Drawn, drawn_before, fingerprint, forget, noted, remember
from fanin.report.read.series import Metrics, Profiles
from fanin.report.read.surfaces import surfaces_of
from fanin.report.write.run_page import page_of_run

RECORD = ".run_figures.json"


def write_run_page(run: Run, style: str, *, back: Path | None, folder: Path | None = None) -> Path:
    """Write the page of a run; its figures are drawn where a file of the run has changed since they were.

    Args:
        run: as it was read.
        style: of the figures, see figures.paper.
        back: the page of all runs, where there is one.
        folder: where the page goes, by default report/ in the run's folder.

    Raises:
        OSError: a folder that cannot be written.
    """
    alone = Run(run.folder)  # with notes of its own
    read_into(alone)
    alone.name, alone.experiment = run.name, run.experiment
    place = folder or run.folder / PAGE.parent
    place.mkdir(exist_ok=True)
    mark = fingerprint([alone], [style, *(str(path.stat().st_size) for path in run.folder.glob("events.*"))])
    drawn = drawn_before(place, mark, RECORD)
    if drawn is None:
        forget(place, RECORD)
        before = noted([alone])
        drawn = Drawn(_draw(alone, Profiles([alone]), Metrics([alone]), place, style))
        remember(place, mark if noted([alone]) == before else "", drawn, RECORD)
    return page_of_run(alone, place, drawn.figures, back=back)


def _draw(run: Run, profiles: Profiles, metrics: Metrics, folder: Path, style: str) -> list[Path]:
    """Draw what there is of one run."""
    runs, configurations = [run], group_runs([run])
    sheet = Sheet(plain(run.name, 100), setting(runs, configurations), configurations)
    with look(style):
        figures = {
            "curves": curves_figure(sheet, runs, metrics),
            "study": study_figure(sheet, runs, profiles, metrics),
            "movement": movement_figure(sheet, runs, profiles),
            "layers": every_surface_figure(sheet, surfaces_of(runs, [0], profiles)),
            "histograms": ridges_figure(sheet, read_histograms(run.folder, run.notes)),
            "curvature": curvature_figure(sheet, run, read_curvature(run.folder, run.notes), metrics),
            "confusion": confusion_figure(sheet, runs),
            "residuals": residuals_figure(sheet, runs),
            "classes": class_curves_figure(sheet, run, folder),
        }
        drawn = [save(figure, folder, f"run_{name}") for name, figure in figures.items() if figure is not None]
    return [path for paths in drawn for path in paths]
