"""optimizer_race by the real command: paths against closed forms, rates, claims and what falsifies them."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from command_line import Said, fanin, read, runs, table
from fanin.report.read.folders import find_runs, read_runs
from fanin.report.studies.base import Claim, Evidence
from fanin.report.studies.optimizer_race import OptimizerRace
from fanin.report.studies.optimizer_race.figure import looks_of
from fanin.report.studies.optimizer_race.races import Race, fitted_order
from fanin.theory.optimizer_rates import best
from fanin.theory.surfaces import surface

KAPPA, STEPS = 50.0, 150
CENTRE, START = np.array([0.5, -0.5]), np.array([-3.5, -1.5])
TURN = np.array([[np.cos(np.pi / 6), -np.sin(np.pi / 6)], [np.sin(np.pi / 6), np.cos(np.pi / 6)]])
BENDS = np.array([1.0, KAPPA])


@pytest.fixture(scope="module")
def race(tmp_path_factory: pytest.TempPathFactory) -> tuple[Said, Path]:
    """Some of the race, on the quadratic; and where its runs lie."""
    folder = tmp_path_factory.mktemp("race")
    some = "optimizer=gd,momentum,ema_momentum,nesterov,newton"
    said = fanin(folder, "experiment=optimizer_race", "model.kind=quadratic", some, f"trainer.steps={STEPS}")
    return said, folder / "outputs" / "optimizer_race"


def path(grid: Path, optimizer: str) -> np.ndarray:
    """The points of an optimizer's run, [STEPS + 1, 2]."""
    (run,) = (run for name, run in runs(grid).items() if f"optimizer={optimizer}," in name)
    rows = table(run / "trajectory.csv")
    assert [int(row["step"]) for row in rows] == list(range(STEPS + 1))
    return np.array([[float(row["theta_1"]), float(row["theta_2"])] for row in rows])


@pytest.mark.slow
def test_gradient_descent_is_its_closed_form(race: tuple[Said, Path]) -> None:
    """x_t = x* + (I - a P)^t (x_0 - x*); each step rounds by some eps of the coordinates, and shrinks what was."""
    points = path(race[1], "gd")
    step = TURN @ np.diag(1 - 2 / (1 + KAPPA) * BENDS) @ TURN.T
    expected = [CENTRE + np.linalg.matrix_power(step, t) @ (START - CENTRE) for t in range(STEPS + 1)]
    np.testing.assert_allclose(points, expected, rtol=0, atol=1e-12)
    distance = np.linalg.norm(points - CENTRE, axis=1)
    np.testing.assert_allclose(distance[1:] / distance[:-1], 1 - 2 / (KAPPA + 1), rtol=1e-10)


@pytest.mark.slow
def test_momentum_is_its_recursion(race: tuple[Said, Path]) -> None:
    """(x, v) <- ((1 - a l) x + rho v, rho v - a l x) along each eigenvector of curvature l, from rest."""
    points = path(race[1], "momentum")
    root = np.sqrt(KAPPA)
    a, rho = 4 / (root + 1) ** 2, ((root - 1) / (root + 1)) ** 2
    starts = TURN.T @ (START - CENTRE)
    expected = []
    for t in range(STEPS + 1):
        powers = [np.linalg.matrix_power(np.array([[1 - a * l, rho], [-a * l, rho]]), t)[0, 0] for l in BENDS]  # noqa: E741
        expected.append(CENTRE + TURN @ (powers * starts))
    np.testing.assert_allclose(points, expected, rtol=0, atol=1e-11)
    np.testing.assert_allclose(path(race[1], "ema_momentum"), points, rtol=0, atol=1e-11)


def test_nesterov_is_its_two_sequences(race: tuple[Said, Path]) -> None:
    """phi_(t+1) = theta_t - a grad f(theta_t), theta_(t+1) = phi_(t+1) + rho (phi_(t+1) - phi_t)."""
    points = path(race[1], "nesterov")
    bowl = TURN @ np.diag(BENDS) @ TURN.T
    third = np.sqrt(3 * KAPPA + 1)
    a, rho = 4 / third**2, (third - 2) / (third + 2)
    theta = phi = START
    for point in points:
        np.testing.assert_allclose(point, theta, rtol=0, atol=1e-11)
        ahead = theta - a * bowl @ (theta - CENTRE)
        theta, phi = ahead + rho * (ahead - phi), ahead


def test_newton_needs_one_step(race: tuple[Said, Path]) -> None:
    np.testing.assert_allclose(path(race[1], "newton")[1:], np.tile(CENTRE, (STEPS, 1)), rtol=0, atol=1e-13)


def test_what_the_runs_and_the_report_say(race: tuple[Said, Path]) -> None:
    said, grid = race
    assert (said.code, len(runs(grid))) == (0, 5)
    for run in runs(grid).values():
        logged, result = table(run / "metrics.csv"), read(run / "result.json")
        assert len(logged) == STEPS + 1  # and the end
        assert float(logged[0]["batch_error"]) == pytest.approx(1, rel=1e-12)
        assert result["metrics"]["train_error"] < 1e-3
        assert table(run / "profiles.csv") == []
    with (grid / "report" / "claims.csv").open(newline="") as file:
        told = {row["claim"]: row["verdict"] for row in csv.DictReader(file)}
    assert list(told.values()) == ["holds"] * 6 + ["cannot be judged"] * 3
    assert sum("claim holds" in line for line in said.out) == 6
    assert {"optimizer_race.png", "optimizer_race.svg"} <= {one.name for one in (grid / "report").iterdir()}
    rows = [line.split(" | ") for line in (grid / "report" / "table.md").read_text().splitlines() if line[:1] == "|"]
    assert rows[0][2:7] == ["steps to 1e-06", "ends in", "factor a step", "theory", "order"]
    orders = {row[0].split("optimizer=")[1].split(",")[0]: row[6] for row in rows[2:7]}
    # Newton's method is there at once; gradient descent is not near enough to say which minimum it goes to.
    assert {name: orders[name] for name in ("gd", "newton")} == {"gd": "-", "newton": "-"}
    assert [float(orders[name]) for name in ("momentum", "nesterov")] == pytest.approx([1, 1], abs=0.01)
    cells = {row[0].split("optimizer=")[1].split(",")[0]: row[2:6] for row in rows[2:7]}
    # (49/51)^(2 t) <= 1e-6 first at t = 173, and sqrt(17) (49/51)^150 = 0.0102: beyond the steps of this race.
    assert cells["gd"] == ["-", "on the way", "0.9608", "0.9608"]
    assert cells["newton"] == ["1", "minimum", "-", "0"]
    assert [cells[name][3] for name in ("momentum", "nesterov")] == ["0.7522", "0.8372"]


def test_orders_of_convergence_are_those_of_known_sequences() -> None:
    """A factor a step, its wobble, Newton's iteration for a root (2), the secant method's (1.618), and one step."""
    steps = np.arange(60.0)
    assert fitted_order(0.7**steps) == pytest.approx(1, abs=1e-12)
    assert fitted_order(0.7**steps * (1 + 0.2 * np.cos(steps))) == pytest.approx(1, abs=0.02)
    newton = [10.0]
    for _ in range(6):  # x <- (x + 2/x) / 2: x_(t+1) - sqrt 2 = (x_t - sqrt 2)^2 / (2 x_t)
        newton.append((newton[-1] + 2 / newton[-1]) / 2)
    assert fitted_order(np.abs(np.array(newton) - 2**0.5)) == pytest.approx(2, abs=0.1)
    golden = (1 + 5**0.5) / 2
    assert fitted_order(0.5**golden ** np.arange(8.0)) == pytest.approx(golden, rel=1e-9)
    assert fitted_order(np.array([4.0, 3e-15, 2e-15, 3e-15])) is None


def judged(grid: Path) -> list[Claim]:
    """The claims of the runs in a folder; they read neither profiles nor metrics."""
    found = read_runs(find_runs([grid]), grid)
    return list(OptimizerRace().claims(Evidence(found, [], None, None)))  # type: ignore[arg-type]


Points = np.ndarray


@pytest.mark.parametrize(
    ("optimizer", "change", "falsified"),
    [
        # 1 % more a step, and 1 % less; a path that is another from its middle on; a second step that is needed.
        ("gd", lambda x, t: CENTRE + (x - CENTRE) * 1.01**t, [0]),
        ("momentum", lambda x, t: CENTRE + (x - CENTRE) * 1.01**t, [1, 5]),
        ("nesterov", lambda x, t: CENTRE + (x - CENTRE) * 0.98**t, [2]),
        ("newton", lambda x, t: np.where(t == 1, CENTRE + 1e-9, x), [3]),
        ("momentum", lambda x, t: CENTRE + (START - CENTRE) * 0.99**t, [1, 4, 5]),
        ("ema_momentum", lambda x, t: np.where(t == 70, x + 1e-6, x), [5]),
    ],
)
def test_claims_can_fail(
    race: tuple[Said, Path],
    tmp_path: Path,
    optimizer: str,
    change: Callable[[Points, Points], Points],
    falsified: list[int],
) -> None:
    grid = tmp_path / "optimizer_race"
    shutil.copytree(race[1], grid, ignore=shutil.ignore_patterns("report", "checkpoints", "events*"))
    assert [claim.holds for claim in judged(grid)] == [True] * 6 + [None] * 3
    points = change(path(grid, optimizer), np.arange(STEPS + 1)[:, None])
    (run,) = (run for name, run in runs(grid).items() if f"optimizer={optimizer}," in name)
    lines = [f"{step},{x!r},{y!r}" for step, (x, y) in enumerate(points.tolist())]
    (run / "trajectory.csv").write_text("\n".join(["step,theta_1,theta_2", *lines]) + "\n")
    assert [place for place, claim in enumerate(judged(grid)) if claim.holds is False] == falsified


def test_learning_rates_have_looks_of_their_own() -> None:
    """Every rate of an optimizer on one surface has another colour; its number is named where all surfaces share it."""

    def racing(kind: str, optimizer: str, *rates: float) -> list[Race]:
        points = np.zeros((2, 2))
        return [Race(None, surface(kind), (kind,), optimizer, {"lr": lr}, points) for lr in rates]  # type: ignore[arg-type]

    alone = looks_of({("valley",): racing("valley", "gd", 0.1, 0.3, 0.2)})
    assert [look.label for look in alone.values()] == ["gd lr=0.1", "gd lr=0.2", "gd lr=0.3"]
    two = looks_of(
        {
            ("valley",): racing("valley", "gd", 0.1, 0.2) + racing("valley", "adam", 1.0),
            ("saddle",): racing("saddle", "gd", 0.1, 0.4) + racing("saddle", "adam", 2.0),
        }
    )
    assert [look.label for look in two.values()] == ["gd lr=0.1", "gd no. 2", "adam"]
    for looks in (alone, two):
        assert len({look.colour for look in looks.values()}) == 3


def test_runs_that_are_missing_or_broken_judge_nothing(race: tuple[Said, Path], tmp_path: Path) -> None:
    grid = tmp_path / "optimizer_race"
    shutil.copytree(race[1], grid, ignore=shutil.ignore_patterns("report", "checkpoints", "events*"))
    for name, run in runs(grid).items():
        if "optimizer=gd," in name:
            shutil.rmtree(run)
        if "optimizer=newton," in name:
            (run / "trajectory.csv").unlink()
    assert [claim.holds for claim in judged(grid)] == [None, True, True, None, None, True, None, None, None]
    known = best("gd", KAPPA)
    assert known is not None
    assert known.formula in judged(grid)[0].text
