"""saddle_study: the index of critical points over their height, and which methods stay at a strict saddle.

A net's critical points are minima only where the loss is low: the higher one lies, the more of its Hessian's
eigenvalues are negative. Gradient descent leaves a strict saddle in a number of steps that grows with the logarithm of
how near it began to the stable axis; momentum and noise are faster; Newton's method is drawn to the saddle, and
saddle-free Newton driven away from it. On the surface theory gives the steps (`escape`).

The net's critical points are found by descent on the gradient's norm, which ends in a quarter to a half of the runs at
a point whose gradient is 0, and in the others where the gradient lies nearly in the kernel of the Hessian. The bounds
are from pilots of twelve other seeds (10 to 15, 40 to 45): of each one's 24 descents 12 and 6 came to critical points,
with a rank correlation of 0.98 and 1, and of 0.94 and more in each half of the first one's seeds; in the second all 24
runs of saddle-free Newton ended at losses of 0.615 to 0.619, below the lowest saddle's 0.762, 22 with no negative
eigenvalue and two with one of 104.

Source: Dauphin et al. 2014; Lee et al. 2016; Frye et al. 2021.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.report.figures.style import Sheet, panel
from fanin.report.studies.base import Claim, Evidence, Study, spread
from fanin.report.studies.drawing import DOTS, colours_of, entry, own_legend
from fanin.report.studies.optimizer_race.races import Race, races
from fanin.report.studies.pairs import MOST
from fanin.report.studies.saddle.critical import Point, points_of, rank_correlation
from fanin.report.studies.saddle.escape import in_theory, left_after
from fanin.report.studies.saddle.table import HEADER, rows_of

CORRELATION = 0.8
"""The least rank correlation of index and height."""

FLAT = 0.01
"""The largest share of negative eigenvalues at the end of saddle-free Newton: one of 104, as in the pilot; it leaves a
saddle whose curvature is a hundredth of the damping by a hundredth a step."""

FEWEST = 4
"""Critical points for a correlation."""

NAMES = {
    "gd": "gradient descent",
    "sgd": "with noise",
    "momentum": "momentum",
    "newton": "Newton",
    "saddle_free_newton": "saddle-free Newton",
    "gradient_norm": "descent on |g|",
}


def _on_saddle(evidence: Evidence, optimizer: str) -> list[Race]:
    runs = evidence.runs_with({"optimizer": optimizer, "model.kind": "saddle"})
    return [race for race in races(runs) if abs(race.points[0, 1]) < 0.1]


def _off_axis(some: Sequence[Race]) -> list[Race]:
    return [race for race in some if race.points[0, 1] != 0]


def _steps(races: Sequence[Race]) -> str:
    return spread([float(steps) for race in races if (steps := left_after(race)) is not None])


def _leaves(evidence: Evidence, optimizer: str) -> Claim:
    text = f"beside the stable axis {NAMES[optimizer]} leaves the saddle in as many steps as theory says"
    found = [race for race in _off_axis(_on_saddle(evidence, optimizer)) if in_theory(race) and not race.noisy]
    if not found:
        return Claim.missing(text, {"model.kind": "saddle", "optimizer": optimizer})
    words, holds = [], True
    for race in sorted(found, key=lambda one: abs(float(one.points[0, 1]))):
        steps, bounds = left_after(race), in_theory(race)
        assert bounds is not None
        holds &= steps is not None and bounds[0] <= steps <= bounds[1]
        words.append(
            f"from {abs(race.points[0, 1]):.0e}: {'never' if steps is None else steps}, theory {_between(*bounds)}"
        )
    return Claim(text, holds, "; ".join(dict.fromkeys(words)))


def _between(least: int, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}"


def _faster(evidence: Evidence) -> Claim:
    text = "from each start momentum leaves the saddle before gradient descent, and saddle-free Newton before both"
    order = ("saddle_free_newton", "momentum", "gd")
    steps = [
        {float(race.points[0, 1]): left_after(race) for race in _off_axis(_on_saddle(evidence, one)) if not race.noisy}
        for one in order
    ]
    starts = sorted(set(steps[0]) & set(steps[1]) & set(steps[2]))
    if not starts:
        return Claim.missing(text, *({"optimizer": one} for one in order))
    holds = True
    for start in starts:
        counts = [float("inf") if (count := one[start]) is None else count for one in steps]
        holds &= counts[0] < counts[1] < counts[2]
    told = [f"from {abs(start):.0e}: {', '.join(str(one[start]) for one in steps)} steps" for start in starts]
    return Claim(text, holds, "; ".join(told))


def _noise(evidence: Evidence) -> Claim:
    text = (
        "on the stable axis gradient descent goes to the saddle and stays; with noise it leaves, as soon as theory says"
    )
    still = [race for race in _on_saddle(evidence, "gd") if race.points[0, 1] == 0 and not race.noisy]
    noisy = [race for race in _on_saddle(evidence, "sgd") if race.points[0, 1] == 0 and in_theory(race)]
    if not still or not noisy:
        return Claim.missing(text, {"optimizer": "gd"}, {"optimizer": "sgd", "noise": "annealed"})
    holds = all(race.end == "saddle" and left_after(race) is None for race in still)
    for race in noisy:
        bounds, steps = in_theory(race), left_after(race)
        holds &= bounds is not None and steps is not None and bounds[0] <= steps <= bounds[1]
    return Claim(text, holds, f"{_steps(noisy)} steps with noise, theory {_between(*(in_theory(noisy[0]) or (0, 0)))}")


def _drawn(evidence: Evidence) -> Claim:
    text = "beside the stable axis Newton's method ends in the saddle from every start, saddle-free Newton from none"
    ends = {
        name: [race.end for race in _off_axis(_on_saddle(evidence, name))] for name in ("newton", "saddle_free_newton")
    }
    if missing := [{"optimizer": name} for name, some in ends.items() if not some]:
        return Claim.missing(text, *missing)
    holds = set(ends["newton"]) == {"saddle"} and set(ends["saddle_free_newton"]) == {"minimum"}
    words = [f"{NAMES[name]}: {' and '.join(dict.fromkeys(some))}" for name, some in ends.items()]
    return Claim(text, holds, ", ".join(words))


def _higher(evidence: Evidence) -> Claim:
    text = "the higher a critical point of the net lies, the more eigenvalues are negative"
    found = points_of(evidence, "gradient_norm")
    there = [point for point in found if point.critical]
    if len(there) < FEWEST or len({point.height for point in there}) < 2:
        return Claim.missing(text, f"optimizer=gradient_norm that came to {FEWEST} critical points")
    told = rank_correlation(there)
    shares = spread([100 * point.share for point in there])
    words = (
        f"rank correlation {told:.3f} over {len(there)} critical points of {len(found)} descents, {shares} % negative"
    )
    return Claim(text, told >= CORRELATION, words)


def _lower(evidence: Evidence) -> Claim:
    text = (
        "nine in ten runs of saddle-free Newton end below every saddle that was found, with at most 1 % of the "
        "eigenvalues negative"
    )
    free = points_of(evidence, "saddle_free_newton")
    saddles = [point for point in points_of(evidence, "gradient_norm") if point.critical and point.negative > 0]
    if not free or not saddles:
        return Claim.missing(text, {"model": "mlp", "optimizer": "saddle_free_newton"}, {"optimizer": "gradient_norm"})
    lowest = min(point.height for point in saddles)
    below = [point for point in free if point.height < lowest and point.share <= FLAT]
    words = (
        f"{len(below)} of {len(free)}, at {spread([point.height for point in below], 4)}; lowest saddle {lowest:.4g}"
    )
    return Claim(text, len(below) >= MOST * len(free), words)


def _escape_panel(axes: Axes, evidence: Evidence, colours: dict[str, str]) -> None:
    """How far from the stable axis, over steps."""
    for name, colour in colours.items():
        for race in _on_saddle(evidence, name):
            axes.plot(abs(race.points[:, 1]), color=colour, lw=1.1, alpha=0.8)
    axes.set_yscale("log")
    axes.set_ylim(1e-12, 3)
    axes.axhline(0.1, color="black", lw=0.9, ls=DOTS, zorder=1.9)


def _index_panel(axes: Axes, found: dict[str, list[Point]], colours: dict[str, str]) -> None:
    """Share of negative eigenvalues over the loss; hollow where the gradient is not 0."""
    for name, points in found.items():
        for critical in (True, False):
            some = [point for point in points if point.critical == critical]
            x, y = [point.height for point in some], [100 * point.share for point in some]
            face = colours[name] if critical else "none"
            axes.plot(x, y, "o", ms=5, mec=colours[name], mfc=face, mew=1, alpha=0.8, ls="")


class SaddleStudy(Study):
    """Saddles: how many directions lead down from critical points, and who leaves a strict saddle."""

    caption = (
        "a: distance from the stable axis of the saddle of a surface, a line for each run; dotted: where it has left. "
        "b: where runs on a network end; hollow where the gradient is not yet 0."
    )
    profiles = False

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """On the surface against theory; on the net by rank."""
        yield from (_leaves(evidence, optimizer) for optimizer in ("gd", "momentum", "saddle_free_newton"))
        yield from (claim(evidence) for claim in (_faster, _noise, _drawn, _higher, _lower))

    def table(self, evidence: Evidence) -> tuple[Sequence[str], Sequence[Sequence[str]]] | None:
        """Methods by their starts, on the surface and on the net."""
        rows = rows_of(evidence, NAMES)
        return (HEADER, rows) if rows else None

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """Left the surface, right the net."""
        colours = colours_of(list(NAMES)) | {"newton": "black", "saddle_free_newton": "#CC79A7"}
        points = {name: found for name in NAMES if (found := points_of(evidence, name))}
        surfaces = {name: colour for name, colour in colours.items() if _on_saddle(evidence, name)}
        if not points and not surfaces:
            return None
        made, axes = sheet.figure(1, bool(points) + bool(surfaces), 4.6 * (bool(points) + bool(surfaces)), 3.9)
        letters = iter("ab")
        if surfaces:
            _escape_panel(axes[0], evidence, surfaces)
            panel(axes[0], next(letters), "distance from the stable axis, |y|", "step")
        if points:
            _index_panel(axes[-1], points, colours)
            panel(axes[-1], next(letters), "negative eigenvalues (%)", "training loss of the network")
        own_legend(
            sheet, made, axes, [entry(NAMES[name], colours[name]) for name in NAMES if name in {*points, *surfaces}]
        )
        return made
