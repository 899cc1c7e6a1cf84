"""Which axis of a sweep makes the panels of a figure, which its colours and which its dashes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan, prod
from typing import NamedTuple

from fanin.errors import UserError, did_you_mean
from fanin.report.answers.scores import metric_of
from fanin.report.read.axes import Axis, importance
from fanin.report.read.configurations import Configuration
from fanin.report.read.folders import Run, check_metric

MOST_FACETS = 6
MOST_ASKED = 12  # panels, where an axis was asked for by name
CUT_INTO = 4  # panels of a number with more values than MOST_FACETS
MOST_DASHES = 4
FEW = 4  # configurations that one panel tells apart better than several


@dataclass(frozen=True)
class Asked:
    """What a user wants figures to go by; nothing asked, the figure follows the sweep.

    Attributes:
        by: keys, the most important first: of one the colours, of two panels and colours, the third has the dashes.
        colour, facet: the key of the colours, of the panels; "none" for no panels.
        metric: what decides which axes are important.
        x: what curves go over, a column of metrics.csv.
    """

    by: tuple[str, ...] = ()
    colour: str | None = None
    facet: str | None = None
    metric: str | None = None
    x: str = "step"

    @property
    def axes(self) -> bool:
        """Whether any axis was named."""
        return bool(self.by or self.colour or self.facet)


def values_of(runs: Sequence[Run], configurations: Sequence[Configuration], metric: str | None = None) -> list[float]:
    """The mean of a metric over each configuration's finite values, the smaller the better; nan where there is none.

    Of one of which more is better, such as accuracy, it is the negative mean.

    Args:
        runs, configurations: of the report.
        metric: a number of result.json; by default what their answer goes by, see metric_of.

    Raises:
        UserError: a metric that no run has.
    """
    check_metric(runs, metric)
    by, found = metric_of(runs, metric), []
    for one in configurations:
        own = [runs[i].numbers.get(by.name, nan) for i in one.members] if by else []
        finite = [value for value in own if isfinite(value)]
        found.append(by.sign * sum(finite) / len(finite) if by and finite else nan)
    return found


class Roles(NamedTuple):
    """The axes by what they do in a figure; `left` do nothing."""

    facet: Axis | None
    colour: Axis | None
    dash: Axis | None
    left: list[Axis]


def roles_of(axes: Sequence[Axis], values: Sequence[float], asked: Asked) -> Roles | None:
    """The roles of the axes where a figure has several panels or was asked for; None where one panel shows all.

    One axis has the colours. Of two, the panels go by the choice, with the fewest options first, the colours by the
    number. Of three and more, the panels go by what explains most of the metric (`axes.explained`) and has at most
    MOST_FACETS values, the colours by what explains most among the rest, numbers first, and dashes by the next.
    A number with more values has CUT_INTO panels, and makes them only where nothing else can.

    Args:
        axes: of the configurations.
        values: the metric of each configuration, nan where there is none.
        asked: what the user wants.

    Raises:
        UserError: a key that no configuration varies, or more panels than MOST_ASKED.
    """
    by_key = {axis.key: axis for axis in axes}
    named = {flag: _named(flag, key, by_key) for flag, key in (("--facet", asked.facet), ("--colour", asked.colour))}
    order = [axis for key in asked.by if (axis := _named("--by", key, by_key)) is not None]
    if not asked.axes and (len(axes) < 2 or not _crossed(axes)):
        return None
    shares = importance(axes, values or [nan] * len(axes[0].ranks)) if axes else {}
    ranked = [by_key[key] for key in shares]
    facet, colour = named["--facet"], named["--colour"]
    free = [axis for axis in ranked if axis not in (facet, colour)]
    dash = order[2] if len(order) > 2 else None
    if order:
        facet = facet or (order[0] if len(order) > 1 and asked.facet is None else None)
        colour = colour or order[min(len(order) - 1, 1)]
    else:
        if facet is None and asked.facet is None:
            facet = _facet([axis for axis in free if colour is not None or len(free) > 1])
        rest = [axis for axis in free if axis is not facet]
        colour = colour or next((axis for axis in rest if axis.kind == "number"), rest[0] if rest else facet)
    if dash is None and (colour is None or colour.kind != "choice" or len(colour.values) <= 7):
        unused = [axis for axis in ranked if axis not in (facet, colour)]
        dash = next((axis for axis in unused if len(axis.values) <= MOST_DASHES), None)
    if facet is not None and facet.kind != "number" and len(facet.values) > MOST_ASKED:
        raise UserError(
            f"--facet {facet.key}: {len(facet.values)} values, and at most {MOST_ASKED} panels; "
            f"--where {facet.key}=A,B takes some of them"
        )
    return Roles(facet, colour, dash, [axis for axis in ranked if axis not in (facet, colour, dash)])


def _named(flag: str, key: str | None, axes: dict[str, Axis]) -> Axis | None:
    """The axis of a key, or of its last part; None for "none" and where nothing was asked."""
    if key is None or (key == "none" and flag == "--facet"):
        return None
    if (axis := axes.get(key)) is not None:
        return axis
    short = [axis for axis in axes.values() if axis.name == key]
    if len(short) == 1:
        return short[0]
    fix = did_you_mean(key, [*axes]) or (f"they differ in {', '.join(axes)}" if axes else "they differ in nothing")
    raise UserError(f"{flag} {key}: the configurations do not differ in it; {fix}")


def _crossed(axes: Sequence[Axis]) -> bool:
    """Whether configurations are a grid or a cloud, not a few recipes that differ in several keys at once."""
    count = len(axes[0].ranks)
    return count > 2 * FEW or (count > FEW and count == prod(len(axis.values) for axis in axes))


def _facet(axes: Sequence[Axis]) -> Axis | None:
    """The axis of the panels among those in the order of what they explain."""
    small = [axis for axis in axes if len(axis.values) <= MOST_FACETS]
    if len(axes) > 2 and small:
        return small[0]
    numbers = [axis for axis in axes if axis.kind == "number" and axis not in small]
    # Of two, what explains more has the colours, which show every value: hence the other order.
    rising = axes[::-1]
    two = sorted((axis for axis in rising if axis in small), key=lambda one: (one.kind == "number", len(one.values)))
    return next(iter([*two, *(axis for axis in rising if axis in numbers)]), None)
