"""Curves of a classifier's scores: against scikit-learn, ties included, and the files of a real run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics

from command_line import TINY, fanin, read, runs, table
from fanin.report.class_curves import (
    as_classes,
    calibration_error,
    class_curves,
    macro_precision,
    macro_roc,
    reliability,
    top_k,
)
from fanin.report.cli import main
from fanin.report.figures.class_curves import class_curves_figure
from fanin.report.figures.style import Sheet
from fanin.report.read.configurations import group_runs
from fanin.report.read.folders import read_runs
from read_back import points


def drawn(ties: bool, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of 4 classes on 60 examples, whose true class has more on average; whole numbers where there are ties."""
    random = np.random.default_rng([seed, int(np.random.randint(2**31))])
    targets = np.concatenate([np.arange(4), random.integers(4, size=56)])
    scores = random.normal(size=(60, 4)) + 1.5 * np.eye(4)[targets]
    return (np.round(scores) if ties else scores), targets


@pytest.mark.parametrize("ties", [False, True])
def test_curves_are_those_of_scikit_learn(ties: bool) -> None:
    """Of p = softmax in float64, rounded where equal ones come out a unit apart: scikit-learn ranks by exact values."""
    scores, targets = drawn(ties)
    p = np.round(softmax(scores, axis=1), 12)
    curves = class_curves(scores, targets)
    assert [one.label for one in curves] == [0, 1, 2, 3]
    for one in curves:
        own = targets == one.label
        rates = metrics.roc_curve(own, p[:, one.label], drop_intermediate=False)[:2]
        np.testing.assert_allclose([one.false_positive, one.recall], rates, rtol=1e-12)
        assert one.area == pytest.approx(metrics.roc_auc_score(own, p[:, one.label]), rel=1e-12)
        precision, recall, _ = metrics.precision_recall_curve(own, p[:, one.label])
        most = np.flatnonzero(one.recall == 1)[0] + 1  # scikit-learn goes on to all examples, too
        np.testing.assert_allclose(one.precision[:most], precision[::-1][:most], rtol=1e-12)
        np.testing.assert_allclose(one.recall[:most], recall[::-1][:most], rtol=1e-12)
        assert one.average_precision == pytest.approx(metrics.average_precision_score(own, p[:, one.label]), rel=1e-12)
    area = np.mean([one.area for one in curves])
    assert area == pytest.approx(metrics.roc_auc_score(targets, p, multi_class="ovr"), rel=1e-12)
    x, y = macro_roc(curves)
    assert np.trapezoid(y, x) == pytest.approx(area, rel=1e-12)
    assert (np.diff(x) >= 0).all()
    mean = macro_precision(curves)
    best = [max(p for p, r in zip(one.precision, one.recall, strict=True) if r >= 0.5 - 1e-12) for one in curves]
    assert mean[100] == pytest.approx(np.mean(best), rel=1e-12)
    for k, share in enumerate(top_k(scores, targets), start=1):
        if k < 4 and not ties:
            assert share == pytest.approx(metrics.top_k_accuracy_score(targets, p, k=k), rel=1e-12)
    assert top_k(scores, targets)[-1] == 1


def test_the_figure_shows_the_curves_of_the_scores(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    """Read back from its axes: a line for each class, their mean, what was right by confidence, the first k answers."""
    scores, targets = drawn(ties=False, seed=1)
    folder = write_run(tmp_path, depth=2, width=4, count=2)
    np.savez(folder / "scores.npz", test_scores=scores, test_targets=targets)
    runs = read_runs([folder], tmp_path)
    figure = class_curves_figure(Sheet("a title", "a setting", group_runs(runs)), runs[0], tmp_path)
    assert figure is not None
    roc, recall, sure, first = ([points(line) for line in axes.get_lines()] for axes in figure.axes)
    p = softmax(scores, axis=1)
    for label in range(4):
        own = targets == label
        rates = metrics.roc_curve(own, p[:, label], drop_intermediate=False)[:2]
        np.testing.assert_allclose(roc[label], np.transpose(rates), rtol=1e-12)
        precision, found, _ = metrics.precision_recall_curve(own, p[:, label])
        few = len(recall[label])  # scikit-learn goes on to all examples, too
        np.testing.assert_allclose(recall[label], np.transpose([found[::-1], precision[::-1]])[:few], rtol=1e-12)
        assert recall[label][-1, 0] == 1
    area = metrics.roc_auc_score(targets, p, multi_class="ovr")
    assert np.trapezoid(roc[4][:, 1], roc[4][:, 0]) == pytest.approx(area, rel=1e-12)
    assert any(f"mean area {area:.4g}" in words.get_text() for words in figure.axes[0].texts)
    bins = reliability(scores, targets)
    assert sure[1].tolist() == [[one.confidence, one.accuracy] for one in bins]
    assert [bar.get_height() for bar in figure.axes[2].patches] == [one.accuracy for one in bins]
    shares = [metrics.top_k_accuracy_score(targets, p, k=k) for k in (1, 2, 3)]
    assert first[0] == pytest.approx(np.column_stack([(1, 2, 3, 4), [*shares, 1]]))


def test_calibration_by_hand() -> None:
    """Confidences 0.8 of three examples, two of them right, and 0.5 of one that is wrong."""
    logit = np.log(4)
    scores = as_classes(np.array([[logit], [logit], [-logit], [0.0]]))
    targets = np.array([1, 0, 0, 1])  # the logit of 0 answers class 0
    bins = reliability(scores, targets)
    assert [(one.examples, round(one.confidence, 12)) for one in bins] == [(1, 0.5), (3, 0.8)]
    assert [one.accuracy for one in bins] == [0.0, pytest.approx(2 / 3)]
    assert calibration_error(bins) == pytest.approx((3 * (0.8 - 2 / 3) + 0.5) / 4, rel=1e-12)


@pytest.mark.slow
def test_a_run_that_keeps_its_scores_has_their_curves(tmp_path: Path) -> None:
    assert fanin(tmp_path, *TINY, "trainer.scores=true", "data.image_size=8", "optimizer.lr=0.5", "probe=off").code == 0
    (run,) = runs(tmp_path / "outputs" / "runs").values()
    found = read(run / "result.json")
    kept = np.load(run / "scores.npz")
    wrong = (kept["test_scores"].argmax(axis=1) != kept["test_targets"]).mean()
    assert wrong == pytest.approx(found["metrics"]["test_error"], rel=1e-12)
    assert main([str(run)]) == 0
    place = run / "report"
    assert (place / "run_classes.png").is_file()
    curve = [row for row in table(place / "roc.csv") if row["class"] == "mean"]
    x, y = (np.array([float(row[name]) for row in curve]) for name in ("false_positive", "recall"))
    assert np.trapezoid(y, x) == pytest.approx(found["evaluation"]["test"]["roc_auc"], rel=1e-9)
    assert float(table(place / "top_k.csv")[0]["share"]) == pytest.approx(1 - wrong, rel=1e-12)
    assert sum(int(row["examples"]) for row in table(place / "calibration.csv")) == len(kept["test_targets"])
    assert {"precision_recall.csv"} <= {path.name for path in place.iterdir()}
