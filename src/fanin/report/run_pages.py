"""Pages of single runs, each with its own figures in the run's folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from fanin.record import columns
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
from fanin.report.read.curvature import read_curvature, verdict_words
from fanin.report.read.differences import command_of, differences, typed_in
from fanin.report.read.folders import PAGE, Run
from fanin.report.read.histograms import read_histograms
from fanin.report.read.reuse import Drawn, drawn_before, fingerprint, forget, noted, remember
from fanin.report.read.series import Metrics, Profiles
from fanin.report.read.surfaces import surfaces_of
from fanin.report.write.tables import Table
from fanin.report.write.templates import by_ending, href, write_template

RECORD = ".run_figures.json"
MOST_LINES = 200  # of the log, its last
MOST_BYTES = 1 << 20
DESCRIBED = (*columns.FINAL, *columns.EVALUATION, *columns.INIT)


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


def page_of_run(run: Run, folder: Path, figures: Sequence[Path], *, back: Path | None) -> Path:
    """Write run.html into a folder, where its figures are; every text from outside is escaped.

    Args:
        run: as it was read.
        folder: where the page goes.
        figures: of this run, called run_<name>.
        back: the page of all runs, where there is one.
    """
    page = folder / PAGE.name
    named = {stem.removeprefix("run_"): paths for stem, paths in by_ending(figures).items()}
    told = [(one, run.numbers.get(one.name)) for one in DESCRIBED]
    numbers = [(one.name, f"{value:.6g}", one.meaning) for one, value in told if value is not None]
    different = [(Markup("<code>{}</code>").format(one.key), one.value, one.default) for one in differences(run)]
    link = Markup('<a href="{}">{}</a>')
    files = [(link.format(href(path, page), name), str(size)) for path, name, size in files_of(run.folder)]
    write_template(
        page, "run_page.html", run=run, figures=named, title=run.experiment, back=back,
        different=Table("different", ("key", "this run", "default"), different),
        numbers=Table("numbers", ("name", "value", "meaning"), numbers, (1,)),
        files=Table("files", ("file", "bytes"), files, (1,)), point=verdict_words(run.result.get("curvature")),
        command=command_of(run), cwd=typed_in(run), log=_log(run.folder / "run.log"),
    )  # fmt: skip
    return page


def files_of(folder: Path) -> list[tuple[Path, str, int]]:
    """The files of a run: path, name below the run's folder, bytes; what a report has written there is left out."""
    found = []
    for place, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if Path(place, name) != folder / PAGE.parent)
        for name in sorted(names):
            path = Path(place, name)
            if name != ".lock" and path.is_file():
                found.append((path, path.relative_to(folder).as_posix(), path.stat().st_size))
    return found


def _log(path: Path) -> str | None:
    """The last lines of the log; None where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - MOST_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    left = len(lines) - MOST_LINES
    return "\n".join([*([f"... {left} lines before, see {path.name}"] if left > 0 else []), *lines[-MOST_LINES:]])
