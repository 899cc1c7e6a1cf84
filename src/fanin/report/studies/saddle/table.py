"""The table of saddle_study: a row for each method and start, on the surface and on the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fanin.record.overrides import display
from fanin.report.studies.base import Evidence, spread
from fanin.report.studies.optimizer_race.races import Race, races
from fanin.report.studies.saddle.critical import Point, points_of
from fanin.report.studies.saddle.escape import left_after

HEADER = ("method", "start", "steps to leave", "loss", "critical", "negative (%)")
START = "initializer.c"


def rows_of(evidence: Evidence, names: Mapping[str, str]) -> list[list[str]]:
    """By method and start: on the surface the distance from the stable axis, on the network its c."""
    rows: list[list[str]] = []
    for optimizer, name in names.items():
        on_surface: dict[float, list[Race]] = {}
        for race in races(evidence.runs_with({"optimizer": optimizer, "model": "surface"})):
            on_surface.setdefault(abs(float(race.points[0, 1])), []).append(race)
        rows += [[name, f"|y|={y:.3g}", *_left(some), "", ""] for y, some in sorted(on_surface.items())]
        on_net: dict[object, list[Point]] = {}
        for point in points_of(evidence, optimizer):
            on_net.setdefault(point.run.value(START), []).append(point)
        rows += [[name, f"net, c={display(c)}", *_ended(points)] for c, points in on_net.items()]
    return rows


def _left(some: Sequence[Race]) -> list[str]:
    """Steps to leave, and the loss at the end."""
    counts = [left_after(race) for race in some]
    known = [float(count) for count in counts if count is not None]
    never = len(counts) - len(known)
    words = [spread(known)] if known else []
    words += [f"{never} never" if known else "never"] if never else []
    losses = [loss for race in some if (loss := race.run.numbers.get("train_loss")) is not None]
    return [" and ".join(words), spread(losses, 2)]


def _ended(points: Sequence[Point]) -> list[str]:
    """Losses, how many gradients are 0, and shares of negative eigenvalues."""
    critical = sum(point.critical for point in points)
    told = f"{critical} of {len(points)}"
    return ["", spread([point.height for point in points]), told, spread([100 * point.share for point in points], 2)]
