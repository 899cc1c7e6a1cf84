"""Comparing sides: which runs are pairs, what is left out and said, and the files of the command."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fanin.errors import UserError
from fanin.report.cli import main
from fanin.report.compare.written import Compared, compare

WriteRun = Callable[..., Path]
Command = Callable[..., subprocess.CompletedProcess[str]]
SIDES = ("optimizer=sgd", "optimizer=adam")
SMALL = {"depth": 2, "width": 4, "count": 2}


@pytest.fixture
def add(write_run: WriteRun, tmp_path: Path) -> Callable[..., Path]:
    """Writes a run of an optimizer with a test error; the rest as make_run."""

    def write(optimizer: str, seed: int, value: float | None, *, under: str = "study", **more: Any) -> Path:
        others = more.pop("others", {})
        metrics = {"test_error": value} | more.pop("metrics", {})
        overrides = {"optimizer": optimizer, **others}
        return write_run(tmp_path / under, overrides=overrides, seed=seed, metrics=metrics, **SMALL, **more)

    return write


def configure(run: Path, old: str, new: str) -> None:
    """Change what Hydra recorded of a run's configuration."""
    path = run / ".hydra" / "config.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def row(result: Compared, position: int = 0) -> dict[str, str]:
    """A row of compare.csv."""
    with (result.out / "compare.csv").open(newline="") as file:
        return list(csv.DictReader(file))[position]


def test_pairs_of_seeds_with_the_real_command(tmp_path: Path, add: Callable[..., Path], command: Command) -> None:
    random = np.random.default_rng(3)
    sgd, adam = random.uniform(0.05, 0.1, (2, 12))
    for seed in range(12):
        add("sgd", seed, sgd[seed])
        add("adam", seed, adam[seed])
    done = command(tmp_path, "--compare", *SIDES, "--out", tmp_path / "there")
    assert (done.returncode, done.stderr) == (0, "")
    with (tmp_path / "there" / "compare.csv").open(newline="") as file:
        (found,) = csv.DictReader(file)
    expected = stats.ttest_rel(adam, sgd)
    interval = expected.confidence_interval()
    numbers = {key: float(found[key]) for key in found if found[key] and key not in ("first", "side", "metric")}
    # The numbers went through JSON and CSV in their shortest exact form; sums of 12 in another order.
    assert numbers == pytest.approx(
        {
            "pairs": 12, "mean_difference": (adam - sgd).mean(), "low": interval.low, "high": interval.high,
            "sd_difference": (adam - sgd).std(ddof=1), "median_difference": np.median(adam - sgd),
            "t_p": expected.pvalue, "wilcoxon_p": stats.wilcoxon(adam, sgd).pvalue,
            "below": (adam < sgd).sum(), "above": (adam > sgd).sum(),
            "first_mean": sgd.mean(), "first_sd": sgd.std(ddof=1), "first_median": np.median(sgd),
            "side_mean": adam.mean(), "side_sd": adam.std(ddof=1), "side_median": np.median(adam),
            "first_runs": 12, "first_unpaired": 0, "first_diverged": 0, "first_unfinished": 0,
            "first_without_value": 0,
            "side_runs": 12, "side_unpaired": 0, "side_diverged": 0, "side_unfinished": 0, "side_without_value": 0,
        },
        rel=1e-9,
    )  # fmt: skip
    assert (found["first"], found["side"], found["metric"]) == (*SIDES, "test_error")
    printed = " ".join(done.stdout.split())
    assert f"12 pairs {' '.join(SIDES)} difference" in printed
    assert f"95 % interval [{interval.low:+.3g}, {interval.high:+.3g}]" in printed
    assert f"paired t-test p = {expected.pvalue:.2g} Wilcoxon p = {stats.wilcoxon(adam, sgd).pvalue:.2g}" in printed
    assert max(map(len, done.stdout.splitlines()[:10])) <= 80
    text = (tmp_path / "there" / "compare.md").read_text()
    assert f"| seed=11 | {sgd[11]:.6g} | {adam[11]:.6g} | {adam[11] - sgd[11]:+.6g} |" in text
    assert (tmp_path / "there" / "compare.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "</svg>" in (tmp_path / "there" / "compare.svg").read_text()
    behind = command("--compare", *SIDES, tmp_path, "--out", tmp_path / "again")
    assert (behind.returncode, behind.stdout.replace("/again", "/there")) == (0, done.stdout)


def test_without_a_folder_it_is_outputs(
    tmp_path: Path, add: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(3):
        add("sgd", seed, 0.1, under="there/outputs")
        add("adam", seed, 0.2 + seed / 100, under="there/outputs")
    monkeypatch.chdir(tmp_path / "there")
    assert main(["--compare", *SIDES]) == 0
    assert "3 pairs" in " ".join(capsys.readouterr().out.split())
    monkeypatch.chdir(tmp_path)
    assert main(["--compare", *SIDES]) == 1
    assert capsys.readouterr().err == "fanin-report: outputs: no such folder\n"


def test_other_overrides_are_paired_too(tmp_path: Path, add: Callable[..., Path]) -> None:
    # A difference of 0.01 c + 0.001 seed, on errors that vary far more with c and seed than with the optimizer.
    differences = []
    for c in (1, 2):
        for seed in (0, 1, 7):
            add("sgd", seed, 0.3 * c - 0.02 * seed, others={"initializer.c": c, "model.depth": 3})
            add("adam", seed, 0.3 * c - 0.019 * seed + 0.01 * c, others={"initializer.c": float(c), "model.depth": 3})
            differences.append(0.01 * c + 0.001 * seed)
    add("adam", 0, 0.0, others={"initializer.c": 5, "model.depth": 3})
    result = compare([tmp_path], SIDES)
    (one,) = result.comparisons
    assert list(one.values["pair"]) == [f"initializer.c={c}, seed={seed}" for c in (1, 2) for seed in (0, 1, 7)]
    assert list(one.values["difference"]) == pytest.approx(differences, rel=1e-9)
    assert one.statistics is not None
    assert one.statistics.t_p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, rel=1e-6)
    assert row(result)["side_unpaired"] == "1"
    assert one.notes[:2] == [
        "matched on initializer.c, seed",
        "left out: 1 run of optimizer=adam: initializer.c=5, where optimizer=sgd has 1 or 2",
    ]
    assert any("pairs differ in initializer.c too" in note for note in one.notes)


def test_pairs_of_folds_are_not_independent(tmp_path: Path, add: Callable[..., Path]) -> None:
    # The differences 1, 2, 3 and 6 of test_four_differences_by_hand, in hundredths, on folds of four.
    for fold, difference in enumerate((0.01, 0.02, 0.03, 0.06)):
        for optimizer, value in (("sgd", 0.1), ("adam", 0.1 + difference)):
            run = add(optimizer, 0, 0.5, others={"data.fold": fold}, metrics={"val_error": value})
            configure(run, "  root: data\n", "  root: data\n  folds: 4\n")
    result = compare([tmp_path], SIDES)
    (one,) = result.comparisons
    half = stats.t.ppf(0.975, 3) * math.sqrt(98) / 6 / 100  # s^2 (1/4 + 1/3) = 98/36
    found = row(result)
    assert (result.metric, found["folds"], found["pairs"]) == ("val_error", "4", "4")
    assert [float(found[key]) for key in ("low", "high")] == pytest.approx([0.03 - half, 0.03 + half], rel=1e-9)
    assert any("1/n + 1/(k-1), k = 4 (Nadeau & Bengio 2003)" in note for note in one.notes)


def test_what_has_no_value_is_left_out_and_counted(tmp_path: Path, add: Callable[..., Path]) -> None:
    for seed in range(3):
        add("sgd", seed, 0.1 * seed)
        add("adam", seed, 0.1 * seed + 0.01 * (seed + 1))
    add("sgd", 3, 0.9, c=3.0)  # diverged, though an error of it is known
    add("adam", 3, 0.1)
    add("sgd", 4, 0.1)
    add("adam", 4, None, state="failed", error="RuntimeError: x")
    add("sgd", 5, 0.1)
    add("adam", 5, None)
    add("sgd", 6, 0.1)
    result = compare([tmp_path], SIDES)
    found = row(result)
    assert {key: int(value) for key, value in found.items() if key.endswith(("ed", "value", "runs", "pairs"))} == {
        "pairs": 3, "first_runs": 7, "side_runs": 6, "first_unpaired": 1, "side_unpaired": 0,
        "first_diverged": 1, "side_diverged": 0, "first_unfinished": 0, "side_unfinished": 1,
        "first_without_value": 0, "side_without_value": 1,
    }  # fmt: skip
    assert float(found["mean_difference"]) == pytest.approx(0.02)
    notes = " | ".join(result.comparisons[0].notes)
    assert "which are not counted as lost; diverged: 1 of optimizer=sgd, 0 of optimizer=adam" in notes
    assert "left out: 1 run of optimizer=sgd: seed=6, where optimizer=adam has 0 or 1 or 2 or 3 or 4 or 5" in notes
    assert "unfinished or failed: 0 of optimizer=sgd, 1 of optimizer=adam" in notes
    assert notes in " | ".join((result.out / "compare.md").read_text().replace("\n- ", " | ").splitlines())


def test_every_side_is_compared_with_the_first(tmp_path: Path, add: Callable[..., Path]) -> None:
    for seed in range(2):
        add("sgd", seed, 0.1 + 0.1 * seed)
        add("adam", seed, 0.2 + 0.2 * seed)
        add("lion", seed + 1, 0.5)
    result = compare([tmp_path], (*SIDES, "optimizer=lion"))
    adam, lion = result.comparisons
    assert (adam.first.text, lion.first.text, len(adam.values), len(lion.values)) == (SIDES[0], SIDES[0], 2, 1)
    assert float(row(result, 0)["mean_difference"]) == pytest.approx(0.15)
    assert "1 pair left; an interval needs at least two pairs" in lion.notes
    # Never a bare mean: one pair has neither numbers nor a row in the figure.
    assert (row(result, 1)["mean_difference"], row(result, 1)["first_mean"]) == ("", "")
    assert "1 pair left; an interval needs" in (result.out / "compare.md").read_text()
    assert "optimizer=lion" not in (result.out / "compare.svg").read_text()


def test_an_option_means_what_it_brings_along(tmp_path: Path, add: Callable[..., Path]) -> None:
    """The README's grid of learning rates and its grid of optimizers in one folder: each optimizer at its own rate.

    sgd's own rate is 0.1, where it learns; adam's is 0.001. Told first is what was left out.
    """
    for seed in range(3):
        configure(add("sgd", seed, 0.1 + 0.01 * seed), "lr: 0.003", "lr: 0.1")
        configure(add("adam", seed, 0.2 + 0.02 * seed), "lr: 0.003", "lr: 0.001")
        add("sgd", seed, 0.7, others={"optimizer.lr": 0.001})
        add("sgd", seed, 0.3, others={"optimizer.lr": 0.01})
    (one,) = compare([tmp_path], SIDES).comparisons
    assert list(one.values["first"]) == pytest.approx([0.1, 0.11, 0.12])
    assert list(one.values["side"]) == pytest.approx([0.2, 0.22, 0.24])
    assert one.notes == [
        "matched on seed",
        "left out: 6 runs of optimizer=sgd: optimizer.lr=0.001 or 0.01, not its own 0.1: name optimizer.lr in every "
        "side to compare them",
    ]


def test_rates_that_both_sides_have_are_matched(tmp_path: Path, add: Callable[..., Path]) -> None:
    """A crossed grid: sgd's own 0.1 is typed for adam, adam's own 0.001 for sgd."""
    for optimizer, own, other in (("sgd", 0.1, 0.001), ("adam", 0.001, 0.1)):
        configure(add(optimizer, 0, own), "lr: 0.003", f"lr: {own}")
        add(optimizer, 0, 2 * other, others={"optimizer.lr": other})
    (one,) = compare([tmp_path], SIDES).comparisons
    assert list(one.values["first"]) == pytest.approx([0.002, 0.1])
    assert list(one.values["side"]) == pytest.approx([0.001, 0.2])
    assert one.notes[0] == "matched on optimizer.lr"


def test_what_a_group_brings_along_does_not_part_a_pair(tmp_path: Path, add: Callable[..., Path]) -> None:
    """Two experiments: their configurations count, but for the learning rate that belongs to the optimizer."""
    for seed in range(2):
        configure(add("sgd", seed, 0.1 * seed, under="a", experiment="a"), "lr: 0.003", "lr: 0.1")
        configure(add("adam", seed, 0.3 * seed, under="b", experiment="b"), "lr: 0.003", "lr: 0.001")
    assert len(compare([tmp_path], SIDES).comparisons[0].values) == 2
    assert len(compare([tmp_path], ("experiment=a,optimizer=sgd", "experiment=b")).comparisons[0].values) == 2
    for seed in range(2):
        configure(tmp_path / "b" / f"optimizer=adam,seed={seed}", "batch_size: 100", "batch_size: 50")
    with pytest.raises(UserError, match=r"trainer\.batch_size=100, where optimizer=adam has 50; .*0 pairs left;"):
        compare([tmp_path], SIDES)
    named = [f"{side},trainer.batch_size={size}" for side, size in zip(SIDES, (100, 50), strict=True)]
    assert len(compare([tmp_path], named).comparisons[0].values) == 2


def test_a_list_of_options_is_a_side(tmp_path: Path, write_run: WriteRun) -> None:
    """Hydra records no choice of a list: the default's options are the keys of its configuration."""
    for seed in range(2):
        plain = write_run(tmp_path, overrides={"regularizer": "none"}, seed=seed, metrics={"test_error": 0.1}, **SMALL)
        both = write_run(tmp_path, overrides={}, seed=seed, metrics={"test_error": 0.1 + 0.1 * seed}, **SMALL)
        configure(plain, "trainer:", "regularizer: {}\ntrainer:")
        configure(both, "trainer:", "regularizer:\n  l2: {_target_: a.L2}\n  dropout: {_target_: a.D}\ntrainer:")
    (one,) = compare([tmp_path], ("regularizer=none", "regularizer=[l2,dropout]")).comparisons
    assert list(one.values["difference"]) == pytest.approx([0, 0.1])


def test_any_number_of_a_result_can_be_compared(tmp_path: Path, add: Callable[..., Path]) -> None:
    for seed in range(2):
        for optimizer, f1 in (("sgd", 0.5), ("adam", 0.75 + 0.1 * seed)):
            path = add(optimizer, seed, 0.1) / "result.json"
            content = json.loads(path.read_text()) | {"evaluation": {"test": {"f1": f1}}}
            path.write_text(json.dumps(content))
    for metric, expected in (("f1", 0.3), ("seconds", 0.0), ("train_loss", 0.0)):
        found = row(compare([tmp_path], SIDES, metric))
        assert float(found["mean_difference"]) == pytest.approx(expected)
    with pytest.raises(UserError, match=r"--metric test_eror: none of these runs has it; did you mean test_error\?"):
        compare([tmp_path], SIDES, "test_eror")


@pytest.mark.parametrize(
    ("sides", "said"),
    [
        (["optimizer=sgd"], "--compare optimizer=sgd: needs two sides or more, e.g. --compare optimizer=sgd .*"),
        (["optimizer=sgd", "adam"], "--compare adam: a side is key=value.*"),
        (["optimizer=sgd", "optimizer=lion"], "--compare optimizer=lion: no run matches; optimizer is adam, sgd in .*"),
        (
            ["optimizer=sgd", "optimizer=adam,optimizer.lr=0.1"],
            "--compare optimizer=adam,optimizer.lr=0.1: no run matches; each of its values occurs, but not in one run",
        ),
        (["optimizer=sgd", "optimiser=adam"], r"--compare optimiser=adam: no run has a key optimiser; did you mean .*"),
        (
            ["optimizer=sgd", "zzz=1"],
            "--compare zzz=1: no run has a key zzz; the runs differ in optimizer, optimizer.lr, seed",
        ),
        (["optimizer=sgd", "seed=0"], r"--compare optimizer=sgd seed=0: .*,seed=0 is on both sides; say more of each"),
        (
            ["optimizer=adam", "optimizer=sgd,optimizer.lr=0.1"],
            "optimizer=sgd,optimizer.lr=0.1 against optimizer=adam: matched on seed; left out: 1 run of optimizer=adam"
            ": seed=1, where optimizer=sgd,optimizer.lr=0.1 has 0; 1 pair left; an interval needs at least two pairs",
        ),
        (
            ["optimizer=adam,optimizer.lr=0.01", "optimizer=sgd"],
            r"--compare optimizer=sgd: two runs for one pair \(seed=0\), .*optimizer=sgd,optimizer.lr=0.01,seed=0 and "
            ".*optimizer=sgd,optimizer.lr=0.1,seed=0; they differ in optimizer.lr: name it in every side",
        ),
    ],
)
def test_mistakes_are_said_in_one_line(tmp_path: Path, add: Callable[..., Path], sides: list[str], said: str) -> None:
    add("sgd", 0, 0.1, others={"optimizer.lr": 0.1})
    add("sgd", 0, 0.1, others={"optimizer.lr": 0.01})
    for seed in range(2):
        add("adam", seed, 0.2, others={"optimizer.lr": 0.01})
    with pytest.raises(UserError) as caught:
        compare([tmp_path], sides)
    assert re.fullmatch(said, str(caught.value))
    assert not (tmp_path / "study" / "report").exists()


def test_the_same_run_twice_is_no_pair(tmp_path: Path, add: Callable[..., Path]) -> None:
    for under in ("a", "b"):
        add("sgd", 0, 0.1, under=under)
    add("adam", 0, 0.1)
    with pytest.raises(UserError, match=r"a/optimizer=sgd,seed=0 and b/.*; they are the same run twice"):
        compare([tmp_path], SIDES)
