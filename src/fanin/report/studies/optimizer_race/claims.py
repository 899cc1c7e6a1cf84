"""optimizer_race: optimizers on surfaces of two variables, their rates on the quadratic against theory.

On a quadratic whose curvatures lie between 1 and kappa, the best fixed numbers multiply the distance to the minimum by
$1 - 2/(kappa + 1)$ a step of gradient descent, $(sqrt kappa - 1)/(sqrt kappa + 1)$ of heavy-ball momentum and
$1 - 2/sqrt(3 kappa + 1)$ of Nesterov's; Newton's method is there in one step.

Source: Polyak 1964; Nesterov 1983; Lessard, Recht & Packard 2016.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from matplotlib.figure import Figure

from fanin.report.figures.style import Sheet
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Columns, Evidence, Study
from fanin.report.studies.optimizer_race.figure import race_figure
from fanin.report.studies.optimizer_race.races import TOLERANCE, Race, fitted_factor, race_of, races
from fanin.theory.optimizer_rates import Best, best

SLACK = 1e-6
"""The share of a factor that rounding makes: shares of 1e-7 of the two distances over some steps, and roots that are
double to the square root of the machine's precision."""

EPS = float(np.finfo(np.float64).eps)


def rate_claim(evidence: Evidence, optimizer: str) -> Claim:
    """The distance to the quadratic's minimum shrinks by the best factor a step.

    The tolerance is what theory leaves open (`Best.between`), which way the start lies from the minimum, and rounding.
    """
    found, known = _best_runs(evidence, optimizer), best(optimizer, 2.0)
    formula = known.formula if known else ""
    name = NAMES.get(optimizer, optimizer)
    text = f"on the quadratic, with the best fixed hyperparameters, {name} converges by the factor {formula} a step"
    if not found:
        return Claim.missing(text, f"{optimizer} at these numbers on model.kind=quadratic")
    words, holds = [], True
    for race, told in found:
        fit = fitted_factor(race.distance)
        if fit is None:
            return Claim.missing(text, f"{optimizer} with steps enough for a rate")
        measured, first, last = fit
        least, most = told.between(first, last)
        holds &= least * (1 - SLACK) <= measured <= most * (1 + SLACK)
        words.append(
            f"kappa {race.condition:g}: {measured:.5f} measured over steps {first} to {last}, {told.factor:.5f} in "
            "theory" + (f" at last and {least:.5f} to {most:.5f} over these" if most > least else "")
        )
    return Claim(text, holds, "; ".join(words))


def newton_claim(evidence: Evidence) -> Claim:
    """One step to the quadratic's minimum, but for the rounding of a linear system of that condition number."""
    text = "on the quadratic Newton's method reaches the minimum in one step, up to rounding"
    found = [
        race
        for race in _on(evidence, "quadratic", "newton")
        if race.numbers.get("damping") == 0 and race.numbers["lr"] == 1 and len(race.points) > 1
    ]
    if not found:
        return Claim.missing(text, {"model.kind": "quadratic", "optimizer": "newton", "optimizer.damping": 0})
    after = [(race, race.distance[1] / np.hypot(*race.points[0])) for race in found]
    # Solving rounds by a share kappa eps of the solution, and forming gradient and Hessian by some eps as well.
    holds = all(share <= 100 * race.condition * EPS for race, share in after)
    return Claim(text, holds, ", ".join(f"kappa {race.condition:g}: {share:.1g} of the start" for race, share in after))


def faster_claim(evidence: Evidence) -> Claim:
    """Momentum needs about the root of gradient descent's number of steps."""
    text = "on the quadratic momentum arrives in fewer steps than gradient descent"
    pairs = [
        (one, other)
        for one, _ in _best_runs(evidence, "momentum")
        for other, _ in _best_runs(evidence, "gd")
        if one.key == other.key
    ]
    if not pairs:
        return Claim.missing(text, "gd and momentum at their best numbers on model.kind=quadratic")
    counts = [(one.arrival, other.arrival) for one, other in pairs]
    holds = all(one is not None and (other is None or one < other) for one, other in counts)
    told = [
        f"kappa {one.condition:g}: {_steps(one.arrival)} against {_steps(other.arrival)} steps" for one, other in pairs
    ]
    return Claim(text, holds, ", ".join(told))


def ends_claim(evidence: Evidence, text: str, kind: str, wanted: dict[str, str]) -> Claim:
    """Where the paths of some optimizers end on a surface."""
    found = {name: _on(evidence, kind, name) for name in wanted}
    if not all(found.values()):
        return Claim.missing(text, *({"model.kind": kind, "optimizer": name} for name in wanted if not found[name]))
    ends = {name: [race.end for race in some] for name, some in found.items()}
    holds = all(end == wanted[name] for name, some in ends.items() for end in some)
    return Claim(text, holds, ", ".join(f"{name}: {' and '.join(dict.fromkeys(some))}" for name, some in ends.items()))


def same_claim(evidence: Evidence) -> Claim:
    """The moving average of the gradients is momentum with another name for the learning rate."""
    text = "ema_momentum with the rate a/(1 - beta) takes the same path as momentum with the rate a and rho = beta"
    apart = []
    for one in races(evidence.runs_with({"optimizer": "momentum"})):
        for other in races(evidence.runs_with({"optimizer": "ema_momentum"})):
            beta, lr = other.numbers.get("beta", 0.0), one.numbers["lr"]
            if one.noisy or other.noisy:
                continue
            same = math.isclose(one.numbers.get("momentum", -1), beta, rel_tol=1e-12, abs_tol=1e-12)
            same &= math.isclose(other.numbers["lr"] * (1 - beta), lr, rel_tol=1e-12)
            if same and one.key == other.key:
                steps = min(len(one.points), len(other.points))
                far = float(np.abs(one.points[:steps] - other.points[:steps]).max())
                apart.append((one.surface.kind, far))
    if not apart:
        return Claim.missing(text, "momentum and ema_momentum at such numbers on one surface")
    # Rounding apart by eps of the coordinates grows on the way down a curved floor, by some powers of ten at most.
    evidence_words = ", ".join(f"{kind}: {far:.0e} apart at most" for kind, far in apart)
    return Claim(text, all(far <= 1e-9 for _, far in apart), evidence_words)


def bent_claim(evidence: Evidence) -> Claim:
    """Curvature is worth most where the valley is narrow and bent."""
    text = "on rosenbrock Newton's method and L-BFGS arrive in a fifth of the steps of any of the others"
    curved = [race for name in ("newton", "lbfgs") for race in _on(evidence, "rosenbrock", name)]
    runs = races(evidence.runs_with({"model.kind": "rosenbrock"}))
    others = [race for race in runs if race.optimizer not in ("newton", "lbfgs") and not race.noisy]
    there = {race.optimizer for race in (*curved, *others)}
    if missing := [name for name in RACERS if name not in there]:
        return Claim.missing(text, f"{', '.join(missing)} on model.kind=rosenbrock")
    most = max(math.inf if race.arrival is None else race.arrival for race in curved)
    least = min(len(race.points) if race.arrival is None else race.arrival for race in others)
    told = [f"{race.optimizer} {_steps(race.arrival)}" for race in (*curved, *others)]
    return Claim(text, 5 * most <= least, "steps: " + ", ".join(told))


NAMES = {"gd": "gradient descent"}
RACERS = ("newton", "lbfgs", "gd", "momentum", "ema_momentum", "unbiased_momentum", "nesterov", "adam")
"""The optimizers of the study; a user may add others."""


def _on(evidence: Evidence, kind: str, optimizer: str) -> list[Race]:
    found = races(evidence.runs_with({"model.kind": kind, "optimizer": optimizer}))
    return [race for race in found if not race.noisy]


def _best_runs(evidence: Evidence, optimizer: str) -> list[tuple[Race, Best]]:
    """The races on quadratics with the best hyperparameters, and what theory says of them."""
    found = []
    for race in _on(evidence, "quadratic", optimizer):
        known = best(optimizer, race.condition)
        if known and all(math.isclose(race.numbers[key], one, rel_tol=1e-9) for key, one in known.numbers.items()):
            found.append((race, known))
    return found


def _steps(count: int | None) -> str:
    return "never" if count is None else str(count)


def _column(text: Callable[[Race], str]) -> Callable[[list[Run]], str]:
    """A column's text for the runs of one configuration, once where all agree."""

    def cell(runs: list[Run]) -> str:
        found = [race_of(run) for run in runs]
        return ", ".join(dict.fromkeys("" if race is None else text(race) for race in found))

    return cell


def _measured(race: Race) -> str:
    fit = fitted_factor(race.distance) if race.theory is not None else None
    return "-" if fit is None else f"{fit[0]:.4f}"


COLUMNS: Columns = (
    (f"steps to {TOLERANCE:g}", _column(lambda race: "-" if race.arrival is None else str(race.arrival))),
    ("ends in", _column(lambda race: race.end)),
    ("factor a step", _column(_measured)),
    ("theory", _column(lambda race: "-" if race.theory is None else f"{race.theory:.4f}" if race.theory else "0")),
    ("order", _column(lambda race: "-" if race.order is None else f"{race.order:.2f}")),
)


class OptimizerRace(Study):
    """Optimizers on surfaces of two variables."""

    caption = (
        "Above, each surface's contours and the way that each optimizer takes over it, from the circle; stars are "
        "minima, crosses saddles, triangles maxima. Below, how far it is above the lowest minimum, as a "
        "share of what it was at the start; the dotted line is the tolerance of the table."
    )
    columns = COLUMNS
    profiles = False

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """All of them, each judged by itself."""
        yield from (rate_claim(evidence, name) for name in ("gd", "momentum", "nesterov"))
        yield newton_claim(evidence)
        yield faster_claim(evidence)
        yield same_claim(evidence)
        yield ends_claim(
            evidence,
            "started beside the saddle's stable axis, gradient descent and momentum escape the saddle and reach a "
            "minimum, and Newton's method converges to the saddle",
            "saddle",
            {"gd": "minimum", "momentum": "minimum", "newton": "saddle"},
        )
        yield ends_claim(
            evidence,
            "in the valley gradient descent stays in the shallow minimum that it meets first, and momentum crosses "
            "the pass to the deep one",
            "valley",
            {"gd": "other minimum", "momentum": "minimum"},
        )
        yield bent_claim(evidence)

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """See race_figure."""
        return race_figure(sheet, evidence)
