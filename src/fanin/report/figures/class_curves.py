"""The figure of a classifier's scores: ROC, precision over recall, reliability, the first k answers; and its tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fanin.record.csv_file import write_table
from fanin.report.class_curves import (
    RECALLS,
    as_classes,
    calibration_error,
    class_curves,
    macro_precision,
    macro_roc,
    reliability,
    top_k,
)
from fanin.report.figures.style import GREY, OKABE_ITO, Sheet, panel
from fanin.report.read.folders import Run
from fanin.report.statistics import Floats

PARTS = ("test", "val")
MOST_CLASSES = 20
"""Whose curves are drawn; of more the mean over classes alone is."""


def scores_of(run: Run) -> tuple[str, Floats, NDArray[np.intp]] | None:
    """A part, its scores [N, K] and its classes [N], of what the run has kept; None without finite ones."""
    path = run.folder / "scores.npz"
    if run.state != "done" or not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as kept:
            part = next(part for part in PARTS if f"{part}_scores" in kept and len(kept[f"{part}_scores"]))
            scores, targets = as_classes(kept[f"{part}_scores"]), kept[f"{part}_targets"].astype(np.intp)
            sound = scores.ndim == 2 and len(scores) == len(targets) and np.isfinite(scores).all()
    except (OSError, ValueError, KeyError, StopIteration, IndexError) as error:
        run.notes.append(f"scores.npz cannot be read: {error or 'it has no scores'}")
        return None
    return (part, scores, targets) if sound and targets.min() >= 0 and targets.max() < scores.shape[1] else None


def sampled_scores_of(run: Run, part: str) -> Floats | None:
    """The scores of a part, [N, K], of probabilities that are means over masks; None where the run has kept none."""
    try:
        with np.load(run.folder / "scores.npz", allow_pickle=False) as kept:
            return np.asarray(kept[f"{part}_sampled_scores"], float) if f"{part}_sampled_scores" in kept else None
    except (OSError, ValueError):
        return None


def class_curves_figure(sheet: Sheet, run: Run, folder: Path) -> Figure | None:
    """Draw what the scores say, and write roc.csv, precision_recall.csv, top_k.csv and calibration.csv into a folder,
    and calibration_sampled.csv of means over masks (evaluation.samples).

    None where the run has kept no scores.
    """
    kept = scores_of(run)
    curves = class_curves(*kept[1:]) if kept else []
    if kept is None or not curves:
        return None
    part, scores, targets = kept
    figure, (roc, recall, sure, first) = sheet.figure(2, 2, 9.4, 8.0)
    thin = curves if len(curves) <= MOST_CLASSES else []
    for one in thin:
        roc.plot(one.false_positive, one.recall, color=GREY, lw=0.7, alpha=0.6)
        recall.step(one.recall, one.precision, color=GREY, lw=0.7, alpha=0.6, where="pre")
    each = "a class each; " if thin else ""
    area, precision = (np.mean([getattr(one, name) for one in curves]) for name in ("area", "average_precision"))
    macro = macro_roc(curves)
    roc.plot(*macro, color=OKABE_ITO[0], lw=1.8)
    roc.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    panel(roc, "a", f"ROC ({each}mean area {area:.4g})", "false positive rate", "recall")
    mean = macro_precision(curves)
    recall.plot(RECALLS, mean, color=OKABE_ITO[0], lw=1.8)
    panel(recall, "b", f"precision ({each}mean average precision {precision:.4g})", "recall", "precision")
    bins = reliability(scores, targets)
    sure.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    sure.bar(
        [one.low for one in bins], [one.accuracy for one in bins], [one.high - one.low for one in bins],
        align="edge", color=OKABE_ITO[1], alpha=0.4, lw=0,
    )  # fmt: skip
    sure.plot([one.confidence for one in bins], [one.accuracy for one in bins], "o-", color=OKABE_ITO[0], ms=4)
    said = f"{calibration_error(bins):.3g}"
    more = sampled_scores_of(run, part)
    if more is not None and more.shape == scores.shape:
        means = reliability(more, targets)
        across, up = [one.confidence for one in means], [one.accuracy for one in means]
        sure.plot(across, up, "s--", color=OKABE_ITO[2], ms=4, label="mean over masks")
        sure.legend(loc="upper left")
        said += f", with masks {calibration_error(means):.3g}"
        write_table(folder / "calibration_sampled.csv", means[0]._fields, means)
    panel(sure, "c", f"reliability (calibration error {said})", "confidence", "share right")
    shares = top_k(scores, targets)
    first.plot(range(1, len(shares) + 1), shares, "o-", color=OKABE_ITO[0], ms=4)
    panel(first, "d", f"the class is among the first k, {part} part", "k", "share")

    def rows(own: Iterable[Sequence[Any]], macro: Sequence[Floats]) -> list[list[Any]]:
        each = [[label, *map(float, point)] for label, *columns in own for point in zip(*columns, strict=True)]
        return each + [["mean", None, *map(float, point)] for point in zip(*macro, strict=True)]

    of_roc = rows(((one.label, one.threshold, one.false_positive, one.recall) for one in curves), macro)
    of_recall = rows(((one.label, one.threshold, one.recall, one.precision) for one in curves), (RECALLS, mean))
    write_table(folder / "roc.csv", ("class", "threshold", "false_positive", "recall"), of_roc)
    write_table(folder / "precision_recall.csv", ("class", "threshold", "recall", "precision"), of_recall)
    write_table(folder / "top_k.csv", ("k", "share"), [[k + 1, float(share)] for k, share in enumerate(shares)])
    write_table(folder / "calibration.csv", bins[0]._fields, bins)
    return figure
