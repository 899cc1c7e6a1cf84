"""Studies on other seeds than their own, and settings under which a claim has to fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import TINY, Said, fanin, read, runs, table

OTHER_SEEDS = "seed=3,4,5"
FRESH_SEEDS = "seed=range(200,210)"
"""Neither the studies' own nor those of the pilot that their bounds were taken from, 100 to 109."""


def verdicts(folder: Path, experiment: str, *typed: str) -> tuple[Said, dict[str, str]]:
    """What the command said, and the verdict of each claim."""
    said = fanin(folder, f"experiment={experiment}", *typed, seconds=1800)
    assert said.code == 0
    rows = table(folder / "outputs" / experiment / "report" / "claims.csv")
    return said, {row["claim"]: row["verdict"] for row in rows}


def test_the_whole_training_part_is_told_where_asked_for(tmp_path: Path) -> None:
    """At each evaluation, the last of which is of the weights in the end and so not done again."""
    fanin(tmp_path, *TINY, "trainer.eval_train=true", "trainer.eval_every=2", "probe=off")
    (run,) = runs(tmp_path / "outputs" / "runs").values()
    rows = table(run / "metrics.csv")
    assert [row["step"] for row in rows if row["train_loss"]] == ["2", "4", "6"]
    metrics = read(run / "result.json")["metrics"]
    assert all(metrics[name] == float(rows[-2][name]) for name in ("train_loss", "train_error"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "seeds", "count"),
    [
        ("regularization_study", FRESH_SEEDS, 7), ("schedule_study", FRESH_SEEDS, 4),
        ("noise_reduction_study", FRESH_SEEDS, 6), ("normalization_study", OTHER_SEEDS, 10),
        ("activation_study", OTHER_SEEDS, 9), ("preprocessing_study", OTHER_SEEDS, 6),
        ("normalization_gradients_study", FRESH_SEEDS, 10), ("phase_study", FRESH_SEEDS, 3),
        ("finite_width_study", "seed=range(200,264)", 6), ("trainable_depth_study", FRESH_SEEDS, 4),
        ("residual_study", FRESH_SEEDS, 8), ("isometry_study", FRESH_SEEDS, 6),
        ("law_study", "seed=range(200,224)", 5), ("symmetry_study", "seed=100,101,102,103", 5),
        ("landscape_study", "seed=100,101", 3), ("edge_of_stability_study", "seed=100,101", 5),
        ("flat_minima_study", FRESH_SEEDS, 8),
        ("saddle_study", FRESH_SEEDS, 8), ("conditioning_study", FRESH_SEEDS, 7),
        ("lottery_study", FRESH_SEEDS, 4), ("distillation_study", FRESH_SEEDS, 4),
        ("minima_study", FRESH_SEEDS, 4), ("init_persistence", FRESH_SEEDS, 1),
        ("transfer_study", FRESH_SEEDS, 5), ("batch_study", FRESH_SEEDS, 5),
        ("search_study", FRESH_SEEDS, 2),
    ],
)  # fmt: skip
def test_the_claims_hold_on_other_seeds(tmp_path: Path, experiment: str, seeds: str, count: int) -> None:
    said, told = verdicts(tmp_path, experiment, seeds, "hydra/launcher=auto")
    assert list(told.values()) == ["holds"] * count
    assert sum("claim holds" in line for line in said.out) == count


@pytest.mark.slow
def test_at_a_low_rate_no_warm_up_is_needed(tmp_path: Path) -> None:
    _, told = verdicts(
        tmp_path, "schedule_study", "optimizer.lr=0.003", "schedule=constant,cosine", "trainer.steps=400"
    )
    assert told["from the highest rate on the net does not train without a warm-up, and trains with one"] == (
        "does not hold"
    )


@pytest.mark.slow
def test_saga_joins_the_same_folder(tmp_path: Path) -> None:
    """A study grows run by run: saga beside sgd, and without svrg two of its runs say where the minimum is."""
    some = ("model.depth=1", "averaging=none", "batch=constant")
    verdicts(tmp_path, "noise_reduction_study", *some, "optimizer=sgd")
    _, told = verdicts(tmp_path, "noise_reduction_study", *some, "optimizer=saga")
    claim = "on the convex problem {} at the same step comes closer to the minimum by a constant factor a step"
    assert (told[claim.format("saga")], told[claim.format("svrg")]) == ("holds", "cannot be judged")


@pytest.mark.slow
def test_without_the_whole_objective_the_floor_cannot_be_judged(tmp_path: Path) -> None:
    some = ("model.depth=1", "averaging=none", "batch=constant", "trainer.steps=100", "trainer.eval_train=false")
    _, told = verdicts(tmp_path, "noise_reduction_study", *some)
    assert set(told.values()) == {"cannot be judged"}
