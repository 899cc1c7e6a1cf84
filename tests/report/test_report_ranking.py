"""Three sides or more: statistics against enumeration, scipy and numbers worked out by hand; the command's files."""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fanin.record.columns import METRICS, names
from fanin.report import rank_statistics
from fanin.report.cli import main
from fanin.report.compare.time_to_target import TimeToTarget
from fanin.report.rank_statistics import (
    blocks_of,
    cliques,
    critical_difference,
    friedman,
    holm,
    improvement,
    mean_ranks,
    rank_biserial,
    standardized,
)

WriteRun = Callable[..., Path]
OPTIMIZERS = ("sgd", "adam", "lion", "rmsprop")
SIDES = [f"optimizer={name}" for name in OPTIMIZERS]


@pytest.mark.parametrize("seed", range(3))
def test_holm_is_the_closed_test_of_bonferronis(seed: int) -> None:
    """A hypothesis is rejected if Bonferroni rejects every set that holds it: the largest |S| min p over such sets."""
    p = np.random.default_rng(seed).uniform(0, 0.4, 5)
    sets = [s for n in range(1, 6) for s in itertools.combinations(range(5), n)]
    expected = [max(min(1.0, len(s) * p[list(s)].min()) for s in sets if i in s) for i in range(5)]
    assert holm(p.tolist()) == pytest.approx(expected, rel=1e-12)
    with_nan = holm([p[0], math.nan, *p[1:]])
    assert [with_nan[0], *with_nan[2:]] == pytest.approx(expected, rel=1e-12)
    assert math.isnan(with_nan[1])


@pytest.mark.parametrize("seed", range(3))
def test_effect_sizes_as_scipys_tests_imply_them(seed: int) -> None:
    d = np.random.default_rng(seed).normal(0.3, 1, 11)
    total = 11 * 12 / 2
    assert abs(rank_biserial(d)) == pytest.approx(1 - 2 * stats.wilcoxon(d).statistic / total, rel=1e-12)
    assert rank_biserial(-d) == -rank_biserial(d)
    assert standardized(d) == pytest.approx(stats.ttest_1samp(d, 0).statistic / math.sqrt(11), rel=1e-12)
    assert math.isnan(standardized(np.array([0.5, 0.5])))
    assert math.isnan(rank_biserial(np.zeros(3)))


def is_quantile(value: float, share: float, exact: np.ndarray) -> bool:
    """Whether a value is this quantile of an exact distribution, up to four standard errors of the resampling."""
    slack = 4 * math.sqrt(share * (1 - share) / rank_statistics.RESAMPLES)
    return bool((exact < value - 1e-9).mean() <= share + slack and (exact <= value + 1e-9).mean() >= share - slack)


@pytest.mark.parametrize("sizes", [(4,), (3, 2)])
def test_bootstrap_intervals_are_those_of_all_samples(sizes: tuple[int, ...]) -> None:
    """Runs drawn with replacement within each data set: 4^4, or 3^3 2^2 samples, each as likely."""
    random = np.random.default_rng(sum(sizes))
    strata = [random.normal(size=(n, 3)) for n in sizes]
    every = [list(itertools.product(range(n), repeat=n)) for n in sizes]

    def means(samples: Sequence[tuple[int, ...]]) -> np.ndarray:
        drawn = [values[list(sample)] for values, sample in zip(strata, samples, strict=True)]
        blocks = drawn[0] if len(drawn) == 1 else np.array([np.median(one, axis=0) for one in drawn])
        return np.array([stats.rankdata(block) for block in blocks]).mean(axis=0)

    exact = np.array([means(samples) for samples in itertools.product(*every)])
    found = mean_ranks(strata)
    assert found.estimate == pytest.approx(means([tuple(range(n)) for n in sizes]), rel=1e-12)
    for side in range(3):
        assert is_quantile(found.low[side], 0.025, exact[:, side])
        assert is_quantile(found.high[side], 0.975, exact[:, side])


@pytest.mark.parametrize("sizes", [(3,), (2, 3)])
def test_the_probability_of_improvement_is_mann_whitneys(sizes: tuple[int, ...]) -> None:
    random = np.random.default_rng(10 + sum(sizes))
    strata = [random.integers(0, 4, (n, 2)).astype(float) for n in sizes]
    strata[0][0, 1] = math.inf  # a run that diverged is better than none
    found = improvement(strata)
    parts = [stats.mannwhitneyu(one[:, 0], one[:, 1]).statistic / len(one) ** 2 for one in strata]
    assert found.estimate == pytest.approx([0.5, np.mean(parts)], rel=1e-12)

    def wins(values: np.ndarray) -> list[float]:
        every = list(itertools.product(range(len(values)), repeat=len(values)))
        pairs = itertools.product(every, every)
        return [stats.mannwhitneyu(values[list(i), 0], values[list(j), 1]).statistic / len(i) ** 2 for i, j in pairs]

    exact = np.array([np.mean(one) for one in itertools.product(*map(wins, strata))])
    assert is_quantile(found.low[1], 0.025, exact)
    assert is_quantile(found.high[1], 0.975, exact)


def test_critical_differences_are_demsars_table() -> None:
    """Table 5 (a) of Demsar (2006), q at 0.05 for 2 to 10 classifiers, as printed with three decimals."""
    printed = (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164)
    for k, q in enumerate(printed, start=2):
        assert critical_difference(k, 7) / math.sqrt(k * (k + 1) / 42) == pytest.approx(q, abs=0.00101)


@pytest.mark.parametrize("seed", range(3))
def test_friedmans_statistic_by_its_formula(seed: int) -> None:
    blocks = np.random.default_rng(seed).normal([0, 0.5, 1, 1], 1, (9, 4))
    blocks[0, 0] = math.inf
    ranks = np.array([stats.rankdata(block) for block in blocks]).mean(axis=0)
    statistic = 12 * 9 / (4 * 5) * ((ranks**2).sum() - 4 * 25 / 4)
    assert friedman(blocks) == pytest.approx(stats.chi2(3).sf(statistic), rel=1e-9)
    assert math.isnan(friedman(np.ones((3, 3))))
    assert blocks_of([blocks, blocks + 1])[1, 1:] == pytest.approx(np.sort(blocks[:, 1:], axis=0)[4] + 1)


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_the_largest_that_lie_together(seed: int) -> None:
    random = np.random.default_rng(seed)
    ranks, critical = random.uniform(1, 6, 6), random.uniform(0.5, 2.5)
    sets = [set(s) for n in range(2, 7) for s in itertools.combinations(range(6), n)]
    close = [s for s in sets if np.ptp(ranks[list(s)]) <= critical]
    expected = [s for s in close if not any(s < other for other in close)]
    found = cliques(ranks, critical)
    assert sorted(map(sorted, expected)) == sorted(sorted(group.tolist()) for group in found)
    assert all(np.all(np.diff(ranks[group]) >= 0) for group in found)


def test_the_score_is_the_area_under_the_profile() -> None:
    ratios = np.array([[1.0, 1.5, math.inf], [4.0, 1.0, 2.25], [5.0, 3.0, 1.0]])
    grid = np.linspace(1, 4, 30001)
    profile = np.array([[(column <= x).mean() for column in ratios.T] for x in grid])
    area = np.trapezoid(profile, grid, axis=0) / 3
    # A step between two points of the grid is off by a third of its distance, 1e-4, over 3, at most.
    assert TimeToTarget("val_error", [], [], ratios).scores == pytest.approx(area, abs=1e-4)


@pytest.fixture
def four(write_run: WriteRun, tmp_path: Path) -> dict[str, np.ndarray]:
    """Four optimizers at eight seeds, and the last one's seed 2 diverged; their errors, and the steps to 0.25."""
    random = np.random.default_rng(5)
    values = {name: random.uniform(0.1, 0.2, 8) + 0.02 * i for i, name in enumerate(OPTIMIZERS)}
    curves = {name: random.uniform(0, 1, (8, 4)) for name in OPTIMIZERS}
    for name in OPTIMIZERS:
        for seed in range(8):
            diverges: dict[str, Any] = {"c": 3.0} if (name, seed) == ("rmsprop", 2) else {}
            metrics = {"test_error": float(values[name][seed])}
            size = {"depth": 2, "width": 4, "count": 2}
            run = write_run(tmp_path, overrides={"optimizer": name}, seed=seed, metrics=metrics, **size, **diverges)
            with (run / "metrics.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, names(METRICS), lineterminator="\n")
                writer.writeheader()
                for step, error in enumerate(curves[name][seed].tolist(), start=1):
                    writer.writerow({"step": 10 * step, "batch_error": error})
    return values | {f"{name} curve": curve for name, curve in curves.items()}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_four_sides_with_the_command(
    four: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "--compare", *SIDES, "--reference", "optimizer=adam", "--format", "json"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    report = tmp_path / "report"
    rows = {row["side"]: row for row in table(report / "compare.csv")}
    assert [*rows] == ["optimizer=sgd", "optimizer=lion", "optimizer=rmsprop"]
    assert {row["first"] for row in rows.values()} == {"optimizer=adam"}
    there = {name: np.arange(8) != 2 if name == "rmsprop" else np.full(8, fill_value=True) for name in OPTIMIZERS}
    differences = {name: (four[name] - four["adam"])[there[name]] for name in ("sgd", "lion", "rmsprop")}
    p = [stats.ttest_1samp(d, 0).pvalue for d in differences.values()]
    order = np.argsort(p)
    expected = np.maximum.accumulate(np.minimum(1, np.sort(p) * [3, 2, 1]))[np.argsort(order)]
    assert [float(row["t_p_holm"]) for row in rows.values()] == pytest.approx(expected, rel=1e-9)
    for name, d in differences.items():
        assert float(rows[f"optimizer={name}"]["effect"]) == pytest.approx(d.mean() / d.std(ddof=1), rel=1e-9)
    assert f"(Holm {expected[0]:.2g})" in printed

    values = np.array([four[name] for name in OPTIMIZERS]).T
    values[2, 3] = math.inf
    ranks = np.array([stats.rankdata(row) for row in values]).mean(axis=0)
    found = {row["side"]: row for row in table(report / "compare_ranks.csv")}
    assert [*found] == [SIDES[i] for i in np.argsort(ranks)]
    for i, side in enumerate(SIDES):
        assert float(found[side]["mean_rank"]) == pytest.approx(ranks[i], rel=1e-12)
        assert float(found[side]["mean_rank_low"]) <= ranks[i] <= float(found[side]["mean_rank_high"])
        wins = stats.mannwhitneyu(values[:, 1], values[:, i]).statistic / 64
        told = found[side]["p_better"]
        assert (told == "") if i == 1 else float(told) == pytest.approx(wins, rel=1e-12)
    # The target: the median of what adam's eight curves end at, and the first of the steps 10, 20, 30 and 40 there.
    target = np.median(four["adam curve"][:, -1])
    steps = np.full((8, 4), math.inf)
    for i, name in enumerate(OPTIMIZERS):
        for seed, curve in enumerate(four[f"{name} curve"]):
            steps[seed, i] = min((10 * (at + 1) for at in range(4) if curve[at] <= target), default=math.inf)
    best = steps.min(axis=1, keepdims=True)
    assert np.isfinite(best).all()
    scores = np.clip((4 - steps / best) / 3, 0, 1).mean(axis=0)
    for i, side in enumerate(SIDES):
        assert (found[side]["followed"], float(found[side]["target"])) == ("batch_error", pytest.approx(target))
        assert float(found[side]["reached"]) == np.isfinite(steps[:, i]).mean()
        assert float(found[side]["steps_to_target"]) == np.median(steps[:, i])
        assert float(found[side]["profile_score"]) == pytest.approx(scores[i], rel=1e-12)
    assert "1 run of optimizer=rmsprop diverged, which ranks behind every number" in printed
    svg = (report / "compare_ranks.svg").read_text()
    assert all(side in svg for side in SIDES)
    assert "## Ranks" in (report / "compare.md").read_text()
    assert len(json.loads((report / "compare.json").read_text())) == 3


def test_several_data_sets_are_the_blocks(tmp_path: Path, write_run: WriteRun) -> None:
    """Three sides on three data sets of three seeds: ranks of medians, on the second another order than on the others.

    The first side's runs end at 0.4, 0.5 and 0.6 of a scale of the data set's own; the others' are there sooner.
    """
    errors = {
        "mnist": ([0.1, 0.2, 0.9], [0.3, 0.4, 0.5], [0.6, 0.0, 0.7]),
        "digits": ([0.5, 0.6, 0.7], [0.1, 0.2, 0.3], [0.0, 0.9, 0.4]),
        "letters": ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]),
    }
    speed = {"sgd": 1, "adam": 2, "lion": 4}
    for data, of in errors.items():
        for optimizer, values in zip(OPTIMIZERS, of, strict=False):
            for seed, value in enumerate(values):
                overrides = {"optimizer": optimizer, "data": data}
                size = {"depth": 2, "width": 4, "count": 2}
                run = write_run(tmp_path, overrides=overrides, seed=seed, metrics={"test_error": value}, **size)
                with (run / "metrics.csv").open("w", newline="") as file:
                    writer = csv.DictWriter(file, names(METRICS), lineterminator="\n")
                    writer.writeheader()
                    for step in (10, 20, 40):
                        ended = (0.4 + 0.1 * seed) * len(data)
                        error = ended if step * speed[optimizer] >= 40 else 2.0 * len(data)
                        writer.writerow({"step": step, "batch_error": error})
    assert main([str(tmp_path), "--compare", *SIDES[:3]]) == 0
    found = {row["side"]: row for row in table(tmp_path / "report" / "compare_ranks.csv")}
    # Medians 0.2, 0.4, 0.6; 0.6, 0.2, 0.4; 0.2, 0.5, 0.8: ranks 1 3 1, 2 1 2 and 3 2 3.
    assert [float(found[side]["mean_rank"]) for side in SIDES[:3]] == pytest.approx([5 / 3, 5 / 3, 8 / 3])
    assert {(row["blocks"], row["block"], row["runs"]) for row in found.values()} == {("3", "data set", "9")}
    cd = 2.3437 * math.sqrt(3 * 4 / (6 * 3))
    assert float(found[SIDES[0]]["critical_difference"]) == pytest.approx(cd, rel=1e-4)
    # Each data set's target is the middle of 0.4, 0.5 and 0.6 of its scale: seeds 0 and 1 get there, at 40, 20 and 10.
    assert [float(found[side]["reached"]) for side in SIDES[:3]] == pytest.approx([2 / 3] * 3)
    assert [float(found[side]["steps_to_target"]) for side in SIDES[:3]] == [40, 20, 10]
    # Ratios 4, 2 and 1 to the best on each: (4 - ratio) / 3.
    assert [float(found[side]["profile_score"]) for side in SIDES[:3]] == pytest.approx([0, 2 / 3, 1])
    text = (tmp_path / "report" / "compare.md").read_text()
    assert "target of batch error: 3 on digits, 3.5 on letters, 2.5 on mnist, the median that optimizer=sgd" in text


def test_two_sides_are_not_ranked(four: dict[str, np.ndarray], tmp_path: Path) -> None:
    assert main([str(tmp_path), "--compare", *SIDES[:3]]) == 0
    assert main([str(tmp_path), "--compare", *SIDES[:2]]) == 0
    report = tmp_path / "report"
    assert not {"compare_ranks.csv", "compare_ranks.png", "compare_ranks.svg"} & {p.name for p in report.iterdir()}
    assert not {"effect", "t_p_holm"} & set(table(report / "compare.csv")[0])


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--compare", *SIDES, "--reference", "optimizer=adm"], "did you mean optimizer=adam?"),
        (["--compare", *SIDES[:2], "--reference", "seed=0"], "the sides are optimizer=sgd, optimizer=adam"),
        (["--reference", "optimizer=adam"], "a side of --compare; add --compare optimizer=sgd optimizer=adam"),
    ],
)
def test_a_reference_is_one_of_the_sides(
    four: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str], typed: list[str], said: str
) -> None:
    assert main([str(tmp_path), *typed]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fanin-report: --reference")
    assert line.endswith(said)
    assert not (tmp_path / "report").exists()


def test_ranks_that_are_all_alike_have_no_interval() -> None:
    """Ten runs in each of which the first is the best: its mean rank is 1 in every resample, to the last bit."""
    values = np.column_stack([np.arange(10.0), np.arange(10.0) + 0.5, np.arange(10.0) + 0.7])
    ranks = mean_ranks([values])
    assert [one.tolist() for one in ranks] == [[1.0, 2.0, 3.0]] * 3
