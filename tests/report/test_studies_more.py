"""The claims of the studies of regularization, schedules and noise, on run folders whose numbers are made up."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanin.report.claim import judge
from fanin.report.read.folders import read_runs
from fanin.report.read.series import Metrics, Profiles
from fanin.report.statistics import paired
from fanin.report.studies.base import Claim
from fanin.report.studies.schedule.claims import FROM_THE_TOP

Write = Callable[..., Path]
HEADER = "step,epoch,lr,batch_loss,batch_error,train_loss,train_error,val_loss,val_error,test_loss,test_error,seconds\n"
SEEDS = (0, 1, 2)


class Grid:
    """A study's runs, to be written one by one and judged together."""

    def __init__(self, place: Path, write: Write, experiment: str) -> None:
        self.place, self.write, self.experiment = place, write, experiment

    def run(
        self,
        choices: dict[str, Any],
        seed: int,
        *,
        state: str = "done",
        last: int = 100,
        batches: float = 1.0,
        **metrics: Any,
    ) -> Path:
        """One run with these final metrics, and this loss of the last batches."""
        small = {"depth": 2, "width": 4, "count": 2, "last": last, "experiment": self.experiment}
        folder = self.write(self.place, seed=seed, state=state, overrides=choices, metrics=metrics, **small)
        (folder / "metrics.csv").write_text(f"{HEADER}1,0,0.1,9,0,,,,,,,1\n500,0,0.1,{batches!r},0,,,,,,,1\n")
        return folder

    def curve(self, choices: dict[str, Any], seed: int, steps: Any, losses: Any, **metrics: Any) -> None:
        """One run whose loss over the whole training set is this."""
        folder = self.run(choices, seed, last=int(steps[-1]), **metrics)
        rows = [f"{int(s)},0,0.1,1,0,{float(v)!r},0,,,,,1\n" for s, v in zip(steps, losses, strict=True)]
        (folder / "metrics.csv").write_text(HEADER + "".join(rows))

    def claims(self) -> list[Claim]:
        """As the report judges them."""
        runs = read_runs(sorted(self.place.iterdir()), self.place)
        (study,), notes = judge(runs, Profiles(runs), Metrics(runs))
        assert (notes, study.notes) == ([], [])
        return study.claims

    def claim(self, words: str) -> Claim:
        """The one claim whose text has these words."""
        (found,) = [one for one in self.claims() if words in one.text]
        return found


ON_WEIGHTS = ("l1", "l2", "weight_decay", "max_norm", "dropout")


@pytest.fixture
def regularization(tmp_path: Path, write_run: Write) -> Grid:
    return Grid(tmp_path, write_run, "regularization_study")


def regularized(grid: Grid, name: str, errors: tuple[float, ...], batches: float = 0.01, **more: Any) -> None:
    """Runs of one regularizer under sgd, a seed each."""
    for seed, error in enumerate(errors):
        numbers = {"train_error": 0.0, "test_loss": 1.0, "batches": batches, "test_error": error} | more
        grid.run({"regularizer": name, "optimizer": "sgd"}, seed, **numbers)


# Differences to (0.20, 0.21, 0.19): -0.10 each; or -0.10, +0.02, -0.02, whose interval holds 0.
CLEAR, UNCLEAR = (0.10, 0.11, 0.09), (0.10, 0.23, 0.17)
ABOUT, RAISED = (0.21, 0.23, 0.19), (0.23, 0.24, 0.22)


@pytest.mark.parametrize(("unclear", "holds"), [((), True), (("l1",), False)])
def test_all_five_have_to_lower_the_test_error(regularization: Grid, unclear: tuple[str, ...], *, holds: bool) -> None:
    assert paired([-0.10, 0.02, -0.02]).high > 0 > paired([-0.10, -0.1, -0.1]).high
    regularized(regularization, "none", (0.20, 0.21, 0.19))
    for name in ON_WEIGHTS:
        regularized(regularization, name, UNCLEAR if name in unclear else CLEAR)
    claim = regularization.claim("lowers the test error")
    assert claim.holds is holds
    assert "max_norm -10 points [-10, -10]" in claim.evidence


def test_a_narrowed_grid_cannot_be_judged(regularization: Grid) -> None:
    regularized(regularization, "none", (0.20, 0.21, 0.19))
    regularized(regularization, "l2", CLEAR)
    verdicts = {one.text: one.holds for one in regularization.claims()}
    assert [text for text, holds in verdicts.items() if holds is not None] == [
        "without a regularizer the net memorizes its training set and errs on the test set"
    ]
    told = regularization.claim("lowers the test error").evidence
    missing = ("l1", "weight_decay", "max_norm", "dropout")
    assert told == "no finished runs of " + ", ".join(f"none and {name} with 3 seeds in common" for name in missing)


def test_two_seeds_say_nothing_of_differences(regularization: Grid) -> None:
    """Their intervals are as wide as anything that is measured."""
    for name in ("none", *ON_WEIGHTS, "label_smoothing", "early_stopping"):
        regularized(regularization, name, (0.1, 0.2) if name == "none" else (0.09, 0.18))
    judged = [one.text for one in regularization.claims() if one.holds is not None]
    assert judged == ["without a regularizer the net memorizes its training set and errs on the test set"]


@pytest.mark.parametrize(
    ("train", "test", "holds"), [(0.0, 0.2, True), (0.01, 0.078, True), (0.02, 0.2, False), (0.0, 0.066, False)]
)
def test_overfitting_is_a_gap(regularization: Grid, train: float, test: float, *, holds: bool) -> None:
    regularized(regularization, "none", (0.2, test), train_error=train)
    assert regularization.claim("memorizes").holds is holds


@pytest.mark.parametrize(
    ("batches", "errors", "holds"), [(0.051, CLEAR, True), (0.049, CLEAR, False), (0.051, UNCLEAR, False)]
)
def test_dropout_costs_loss_in_training(
    regularization: Grid, batches: float, errors: tuple[float, ...], *, holds: bool
) -> None:
    regularized(regularization, "none", (0.20, 0.21, 0.19), 0.01)
    regularized(regularization, "dropout", errors, batches)
    assert regularization.claim("dropout's noise").holds is holds


@pytest.mark.parametrize(("errors", "holds"), [(RAISED, True), (ABOUT, False), (CLEAR, False)])
def test_label_smoothing_raises_the_error(regularization: Grid, errors: tuple[float, ...], *, holds: bool) -> None:
    regularized(regularization, "none", (0.20, 0.21, 0.19))
    regularized(regularization, "label_smoothing", errors, test_loss=0.8)
    assert regularization.claim("label smoothing").holds is holds


@pytest.mark.parametrize(("steps", "loss", "holds"), [(73, 0.9, True), (75, 0.9, False), (30, 1.2, False)])
def test_early_stopping_saves_steps(regularization: Grid, steps: int, loss: float, *, holds: bool) -> None:
    regularized(regularization, "none", (0.20, 0.21, 0.19))
    for seed in SEEDS:
        choices = {"regularizer": "early_stopping", "optimizer": "sgd"}
        regularization.run(choices, seed, last=steps, test_loss=loss, test_error=0.2, train_loss=0.1)
    assert regularization.claim("early stopping").holds is holds


STEPS = np.arange(0, 101, 10)


def decayed(grid: Grid, optimizer: str, share: float, rate: float = 0.002, **more: Any) -> None:
    """Runs of l2 and of weight decay, whose losses differ by a share in the end; learning rate 0.1."""
    losses = np.exp(-STEPS / 50)
    apart = np.where(STEPS >= 50, share, 0.0)
    for seed in SEEDS:
        common = {"optimizer": optimizer, "optimizer.lr": 0.1, **more}
        penalty = {"regularizer": "l2", "regularizer.l2.strength": 0.02}
        decay = {"regularizer": "weight_decay", "regularizer.weight_decay.rate": rate}
        spoilt = share * (1 + 0.01 * seed)  # equal differences have no interval
        grid.curve(common | penalty, seed, STEPS, losses, train_loss=0.1)
        grid.curve(common | decay, seed, STEPS, losses * (1 + apart), train_loss=0.1 * (1 + spoilt))


@pytest.mark.parametrize(
    ("precision", "share", "holds"),
    # Half of the digits: sqrt(2^-52) = 1.5e-8 and sqrt(2^-23) = 3.5e-4.
    [("float64", 1.4e-8, True), ("float64", 1.6e-8, False), ("float32", 3.3e-4, True), ("float32", 3.6e-4, False)],
)
def test_rounding_is_told_from_a_difference(regularization: Grid, precision: str, share: float, *, holds: bool) -> None:
    decayed(regularization, "sgd", share, **{"trainer.precision": precision})
    claim = regularization.claim("under sgd")
    assert claim.holds is holds
    assert f"{share:.1g} apart" in claim.evidence


def test_only_numbers_that_belong_together_are_compared(regularization: Grid) -> None:
    decayed(regularization, "sgd", 0.5, rate=0.003)
    assert regularization.claim("under sgd").holds is None


@pytest.mark.parametrize(("share", "holds"), [(1.0, True), (-0.5, True), (0.85, False), (0.09, False), (0.0, False)])
def test_adam_tells_them_apart(regularization: Grid, share: float, *, holds: bool) -> None:
    decayed(regularization, "adam", share)
    assert regularization.claim("under adam").holds is holds


@pytest.fixture
def schedules(tmp_path: Path, write_run: Write) -> Grid:
    return Grid(tmp_path, write_run, "schedule_study")


def scheduled(grid: Grid, name: str, warmup: int, losses: tuple[float | None, ...]) -> None:
    """Runs of one schedule, a seed each; None diverged."""
    for seed, loss in enumerate(losses):
        state = "diverged" if loss is None else "done"
        choices = {"schedule": name, "schedule.warmup_steps": warmup}
        grid.run(choices, seed, state=state, batches=math.nan if loss is None else loss)


@pytest.mark.parametrize(
    ("cold", "warm", "holds"),
    [
        ([None] * 10, [0.1] * 10, True),
        ([None] * 9 + [0.1], [0.1] * 9 + [None], True),
        ([None] * 8 + [0.1] * 2, [0.1] * 10, False),
        ([None] * 10, [0.1] * 8 + [None] * 2, False),
    ],
)
def test_a_warm_up_decides(schedules: Grid, cold: list[float], warm: list[float], *, holds: bool) -> None:
    """Ten runs a side, of the seven schedules that start at the highest rate: one stray run is allowed, two are not."""
    start = 0
    for name, count in zip(FROM_THE_TOP, (2, 2, 2, 1, 1, 1, 1), strict=True):
        scheduled(schedules, name, 0, tuple(cold[start : start + count]))
        scheduled(schedules, name, 300, tuple(warm[start : start + count]))
        start += count
    scheduled(schedules, "one_cycle", 0, (0.1, 0.1))  # starts low: none of these runs
    claim = schedules.claim("trains with one")
    assert claim.holds is holds
    assert f"{sum(one is not None for one in cold)} of 10 runs train without" in claim.evidence
    assert schedules.claim("start low").evidence == "no finished runs of schedule=triangular schedule.warmup_steps=0"
    scheduled(schedules, "triangular", 0, (0.1, None))
    assert schedules.claim("start low").holds is True  # three of four


def test_a_schedule_that_was_left_out_leaves_the_claim_open(schedules: Grid) -> None:
    """Six of the seven are no seven."""
    for name in FROM_THE_TOP:
        scheduled(schedules, name, 0, (None, None))
        if name != "step":
            scheduled(schedules, name, 300, (0.1, 0.1))
    claim = schedules.claim("trains with one")
    assert (claim.holds, claim.evidence) == (None, "no finished runs of step with one")


@pytest.mark.parametrize(
    ("cosine", "linear", "holds", "ends"),
    [
        ((0.07, 0.07, 0.07), (0.09, 0.09, 0.11), True, True),  # linear is lower in the mean, and each seed's mean is
        ((0.08, 0.08, 0.08), (0.11, 0.11, 0.11), False, False),  # linear is higher: x 1.1, and ends at x 0.89 with two
        ((0.05, 0.05, 0.11), (0.05, 0.05, 0.11), False, True),  # the last seed is higher
        ((0.095, 0.095, 0.096), (0.095, 0.095, 0.096), True, False),  # lower, but by too little
    ],
)
def test_falling_rates_end_lower(
    schedules: Grid, cosine: tuple[float, ...], linear: tuple[float, ...], *, holds: bool, ends: bool
) -> None:
    scheduled(schedules, "constant", 300, (0.1, 0.1, 0.1))
    scheduled(schedules, "constant", 0, (0.001, 0.001, 0.001))  # no matter: without a warm-up
    for name in ("step", "inverse_time", "exponential", "cosine", "one_cycle"):
        scheduled(schedules, name, 300, cosine)
    assert schedules.claim("every falling schedule").holds is schedules.claim("end at about 0").holds is None
    scheduled(schedules, "linear", 300, linear)
    assert schedules.claim("every falling schedule").holds is holds
    assert schedules.claim("end at about 0").holds is ends


def test_runs_that_diverged_are_no_end(schedules: Grid) -> None:
    scheduled(schedules, "constant", 300, (None, None))
    scheduled(schedules, "cosine", 300, (0.1, 0.1))
    assert schedules.claim("every falling schedule").holds is None


@pytest.fixture
def noise(tmp_path: Path, write_run: Write) -> Grid:
    return Grid(tmp_path, write_run, "noise_reduction_study")


LONG = np.arange(20, 2001, 20)
MINIMUM = 0.8


def measured(grid: Grid, above: Any, depth: int = 1, seed: int = 0, **choices: Any) -> None:
    """A run of sgd, or with other choices, whose loss is so far above the minimum (of the deep problem, 0)."""
    values = {"model.depth": depth, "optimizer": "sgd", "batch": "constant", "averaging": "none"} | choices
    grid.curve(values, seed, LONG, np.broadcast_to(above, LONG.shape) + (MINIMUM if depth == 1 else 0))


@pytest.mark.parametrize("decades", [3.0, 5.5])
def test_a_constant_factor_is_a_straight_line(noise: Grid, decades: float) -> None:
    """Rates are read off over the middle half: decades in 1000 steps, as they were put in."""
    for seed, start in ((0, 0.1), (1, 0.03)):
        measured(noise, 2e-3, seed=seed)
        measured(noise, start * 10.0 ** (-decades * LONG / 1000), seed=seed, optimizer="svrg")
    claim = noise.claim("svrg")
    assert claim.evidence.startswith(f"{decades:g} decades in 1000 steps, R^2 1.0000")
    # Both ends are below a thousandth of sgd's 2e-3 at 5.5 decades in 1000 steps; at 3 they are 1e-7 and 3e-8.
    assert claim.holds is True
    assert noise.claim("stalls").holds is True


def test_a_falling_power_is_no_constant_factor(noise: Grid) -> None:
    """1/t^4 ends low enough, and bends: R^2 of log t against t over [1/4, 3/4] is 0.98."""
    for seed in (0, 1):
        measured(noise, 2e-3, seed=seed)
        measured(noise, 1e6 * LONG**-4.0 * 1e-3, seed=seed, optimizer="svrg")
    measured(noise, 1e-14 * 10.0 ** (-LONG / 1000.0), seed=3, optimizer="svrg", batch="growing")
    measured(noise, 1e-14 * 10.0 ** (-LONG / 1000.0), seed=4, optimizer="svrg", batch="growing")
    x = np.linspace(0.25, 0.75, 50)
    fit = np.corrcoef(x, np.log(x))[0, 1] ** 2
    assert fit < 0.985
    claim = noise.claim("svrg")
    assert claim.holds is False
    assert f"R^2 {fit:.2f}" in claim.evidence


@pytest.mark.parametrize(("fall", "holds"), [(1.0, True), (0.55, True), (0.45, False)])
def test_a_floor_is_where_nothing_falls(noise: Grid, fall: float, *, holds: bool) -> None:
    for seed in (0, 1):
        measured(noise, np.where(LONG > 1000, fall * 2e-3, 2e-3), seed=seed)
        measured(noise, 0.1 * 10.0 ** (-5 * LONG / 1000), seed=seed, optimizer="svrg")
    assert noise.claim("stalls").holds is holds


@pytest.mark.parametrize(("share", "holds"), [(0.09, True), (0.11, False)])
def test_floors_are_compared_seed_by_seed(noise: Grid, share: float, *, holds: bool) -> None:
    for seed, floor in ((0, 1e-2), (1, 1e-4)):
        measured(noise, floor, seed=seed)
        measured(noise, 0.1 * 10.0 ** (-6 * LONG / 1000), seed=seed, optimizer="svrg")
        measured(noise, share * floor, seed=seed, batch="growing")
        # Before its start the average is that of nothing.
        late = np.where(LONG <= 300, 1.0, share * floor)
        measured(noise, late, seed=seed, averaging="polyak", **{"averaging.start": 300})
    for what in ("growing batch", "averaging the iterates"):
        claim = noise.claim(what)
        assert claim.holds is holds
        assert claim.evidence.startswith(f"{share:g} of it")


def test_without_agreement_on_the_minimum_nothing_is_judged(noise: Grid) -> None:
    """The two lowest losses are 1e-5 apart, a hundredth of sgd's floor."""
    measured(noise, 1e-3)
    measured(noise, 2e-5, optimizer="svrg")
    measured(noise, 1e-5, optimizer="svrg", seed=1)
    verdicts = [one.holds for one in noise.claims()]
    assert verdicts == [None] * 6
    assert "agree on where the minimum is" in noise.claim("stalls").evidence


@pytest.mark.parametrize(("half_life", "falls"), [(600.0, True), (3000.0, False)])
def test_the_deep_problem(noise: Grid, half_life: float, *, falls: bool) -> None:
    """From step 900 (the mean place of the middle tenth) to 1900 the loss falls to 2^(-1000 / half_life)."""
    loss = 2.0 ** (-LONG / half_life)
    measured(noise, loss, depth=3)
    measured(noise, 2 * loss if falls else 0.5 * loss, depth=3, averaging="polyak")
    claim = noise.claim("sgd has no floor")
    assert claim.holds is falls
    assert claim.evidence.endswith(f"is {2 ** (-1000 / half_life):.2g} of that in the middle")
    lag = noise.claim("lags behind")
    assert (lag.holds, lag.evidence.split(" times")[0]) == (falls, f"its loss is {2 if falls else 0.5}")


@pytest.mark.parametrize("experiment", ["regularization_study", "schedule_study", "noise_reduction_study"])
def test_an_empty_study_claims_nothing(tmp_path: Path, write_run: Write, experiment: str) -> None:
    grid = Grid(tmp_path, write_run, experiment)
    grid.run({"optimizer": "lion"}, 0)
    assert {one.holds for one in grid.claims()} == {None}
