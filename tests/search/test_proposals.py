"""Proposals that learn: the same after a kill, nearer to an optimum than draws, and told what was bad."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pytest
from scipy.stats import wilcoxon

from fanin.search.methods import proposer_of
from fanin.search.random_proposals import Job, Proposer, RandomProposals, TrialResult
from fanin.search.reinforce import RATE, ReinforceProposals
from fanin.search.settings import Settings
from fanin.search.space import Axis, Space

SPACE = Space(
    [
        Axis("optimizer.lr", "float", 1e-4, 1.0, log=True),
        Axis("model.depth", "int", 2, 19),
        Axis("activation", "choice", choices=("relu", "tanh")),
    ],
    ["model=mlp"],
    [(("activation=tanh",), [Axis("initializer.c", "float", 0.5, 2.0, condition=("activation=tanh",))])],
    [],
)
SLOWER = [pytest.param(method, marks=pytest.mark.slow) for method in ("gp", "cmaes", "nsga2")]


def settings(method: str, **more: object) -> Settings:
    given = {
        "method": method, "budget": "none", "trials": None, "seeds": 1, "eta": 3, "min_steps": None, "level": 0.05,
        "test": "wilcoxon",
        "batch": 5, "timeout": None, "seed": 0, "metric": "val_error", "direction": "minimize",
    }  # fmt: skip
    return Settings.of(given | more)


def proposer(grid: Path, method: str, space: Space = SPACE, **more: object) -> Proposer:
    (grid / "search").mkdir(parents=True, exist_ok=True)
    return proposer_of(settings(method, **more), space, grid, fresh=False)


def quadratic(job: Job) -> float:
    """(log10 lr + 2)^2 and a little of the depth, worst beyond lr = 0.5."""
    values = dict(word.split("=", 1) for word in job)
    lr, depth = float(values["optimizer.lr"]), int(values.get("model.depth", 7))
    return math.inf if lr > 0.5 else (math.log10(lr) + 2) ** 2 + (depth - 7) ** 2 / 100


def told(jobs: dict[int, Job], value: Callable[[Job], float] = quadratic) -> list[TrialResult]:
    found = {trial: value(job) for trial, job in jobs.items()}
    return [
        TrialResult(trial, (one,), "done" if math.isfinite(one) else "diverged", {9: one}, (f"run{trial}",))
        for trial, one in found.items()
    ]


def searched(made: Proposer, batches: int) -> list[Job]:
    jobs: list[Job] = []
    for _ in range(batches):
        proposed = made.propose(5)
        made.record()
        made.tell(told(proposed))
        jobs += proposed.values()
    return jobs


@pytest.mark.parametrize("method", ["random", "qmc", "tpe", *SLOWER])
def test_a_seed_reproduces_its_proposals_and_another_does_not(tmp_path: Path, method: str) -> None:
    first, again, other = (
        searched(proposer(tmp_path / name, method, seed=seed), 3)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )  # fmt: skip
    assert first == again
    assert first != other


@pytest.mark.parametrize("method", ["tpe", *SLOWER, pytest.param("random", marks=pytest.mark.slow)])
def test_killed_anywhere_it_goes_on_with_the_same_proposals(tmp_path: Path, method: str) -> None:
    """The journal is cut after every eleventh of its lines, in the middle of the next, as a kill leaves it."""
    expected = searched(proposer(tmp_path / "whole", method), 3)
    log = (tmp_path / "whole" / "search" / "study.log").read_bytes()
    lines = log.splitlines(keepends=True)
    for count in range(1, len(lines), 11):
        grid = tmp_path / f"cut{count}"
        (grid / "search").mkdir(parents=True)
        kept = b"".join(lines[:count]) + lines[count][:-7]
        (grid / "search" / "study.log").write_bytes(kept)
        assert searched(proposer(grid, method), 3) == expected
        trials = optuna_study(grid).trials
        assert [trial.number for trial in trials] == list(range(15))
        assert [trial.values for trial in trials] == [[quadratic(job)] for job in expected]


def optuna_study(grid: Path) -> optuna.Study:
    """The study as anybody opens it with Optuna."""
    backend = optuna.storages.journal.JournalFileBackend(str(grid / "search" / "study.log"))
    return optuna.load_study(study_name="search", storage=optuna.storages.JournalStorage(backend))


def test_the_study_has_the_values_the_states_and_the_runs(tmp_path: Path) -> None:
    made = proposer(tmp_path, "tpe", direction="maximize", metric="val_error")
    jobs = made.propose(5)
    made.record()
    assert {trial.state.name for trial in optuna_study(tmp_path).trials} == {"RUNNING"}
    results = [
        TrialResult(0, (0.5,), "done", {3: 0.4, 9: 0.5}, ("a",)),
        TrialResult(1, (0.3,), "dropped", {3: 0.3}, ("b",)),
        TrialResult(2, (-math.inf,), "diverged", {3: -math.inf}, ("c", "d")),
        TrialResult(3, (-math.inf,), "failed", {0: -math.inf}, ("e",)),
        TrialResult(4, (0.1,), "done", {9: 0.1}, ("f",)),
    ]
    made.tell(results)
    study = optuna_study(tmp_path)
    states = [trial.user_attrs["fanin"]["state"] for trial in study.trials]
    assert states == ["done", "dropped", "diverged", "failed", "done"]
    assert study.trials[1].state.name == "PRUNED"
    assert study.trials[0].intermediate_values == {3: 0.4, 9: 0.5}
    assert study.best_trial.number == 0
    values = dict(word.split("=", 1) for word in jobs[0])
    assert study.trials[0].params["optimizer.lr"] == float(values["optimizer.lr"])
    assert len(values["optimizer.lr"].split("e")[0].replace("0.", "").lstrip("0").replace(".", "")) <= 6


@pytest.mark.slow
@pytest.mark.parametrize("method", ["tpe", "gp"])
def test_learning_gets_nearer_to_the_optimum_than_drawing(tmp_path: Path, method: str) -> None:
    """A quadratic of the surface models in log lr, 20 seeds, 24 trials each: Wilcoxon's paired test at 1 %."""
    line = Space([Axis("optimizer.lr", "float", 1e-4, 0.5, log=True)], [], [], [])

    def best(which: str, seed: int) -> float:
        made = proposer(tmp_path / f"{which}{seed}", which, line, seed=seed)
        jobs: list[Job] = []
        for _ in range(6):
            proposed = made.propose(4)
            made.record()
            made.tell(told(proposed))
            jobs += proposed.values()
        return min(map(quadratic, jobs))

    learned, drawn = (np.array([best(which, seed) for seed in range(20)]) for which in (method, "random"))
    assert wilcoxon(drawn, learned, alternative="greater").pvalue < 0.01


def test_a_controllers_step_is_the_gradient_of_the_expected_value() -> None:
    """Of all levels of one axis once, values v: (mean - v)/sd (e_l - 1/K) in the mean, so 2 (mean - v_l)/(K sd)."""
    space = Space([Axis("activation", "choice", choices=("relu", "tanh", "elu", "selu"))], [], [], [])
    made = ReinforceProposals(space, seed=4)
    jobs = made.propose(4)
    values = {"relu": 0.1, "tanh": 0.4, "elu": 0.3, "selu": math.inf}
    made.tell(told(jobs, lambda job: values[job[0].partition("=")[2]]))
    costs = np.array([0.1, 0.4, 0.3, 0.4])  # what diverged is as bad as the worst
    assert made.logits["activation"] == pytest.approx((costs.mean() - costs) / costs.std() / 4 * RATE)
    assert made.policy("activation").sum() == pytest.approx(1)


def test_a_controller_finds_what_draws_do_not() -> None:
    """Of 6^4 choices the first on every axis is best, 0: the best of 96, against as many draws, over 20 seeds."""
    space = Space([Axis(name, "choice", choices=tuple("abcdef")) for name in ("w", "x", "y", "z")], [], [], [])

    def best(kind: type[RandomProposals], seed: int) -> float:
        made, values = kind(space, seed), list[float]()
        for _ in range(12):
            results = told(made.propose(8), lambda job: float(sum("abcdef".index(word[-1]) for word in job)))
            made.tell(results)
            values += [result.values[0] for result in results]
        return min(values)

    kinds = (ReinforceProposals, RandomProposals)
    learned, drawn = (np.array([best(kind, seed) for seed in range(20)]) for kind in kinds)
    assert wilcoxon(drawn, learned, alternative="greater").pvalue < 0.01


def test_a_controller_proposes_the_same_for_the_same_results() -> None:
    one, other = (ReinforceProposals(SPACE, seed=3) for _ in range(2))
    for _ in range(3):
        jobs = one.propose(5)
        assert other.propose(5) == jobs
        one.tell(told(jobs))
        other.tell(told(jobs))
