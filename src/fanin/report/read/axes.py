"""The axes of a sweep: what configurations differ in, as numbers, ordered values or choices, and what each explains."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fanin.record.overrides import display
from fanin.report.rank_statistics import ranked
from fanin.report.read.configurations import Configuration, canonical, order, short_keys, varying_keys

EXPERIMENT = "experiment"
UNITS = {
    "width": "units", "depth": "layers", "batch_size": "examples", "steps": "steps", "epochs": "epochs",
    "warmup": "steps", "limit": "examples", "channels": "channels", "heads": "heads",
}  # fmt: skip
"""Of keys whose last part has one."""
MOST_GROUPS = 5  # that a number with more values is cut into where its share is measured
TWO_ARE_LOG = 5.0  # ratio of two numbers that is told on a logarithmic scale

Kind = Literal["number", "ordered", "choice"]
Scale = Literal["log", "linear", ""]


@dataclass(frozen=True)
class Axis:
    """One key that varies between configurations.

    Attributes:
        key: dotted, such as "optimizer.lr"; "experiment" where there are several.
        name: short, "lr"; the whole key where two would read the same.
        kind: "number"; "ordered" (false and true, a number or none, names that end in numbers); or "choice".
        scale: of numbers "log" or "linear", by their spacing; "" of what is no number.
        values: the different ones, in order; None where a configuration has none.
        ranks: for each configuration the position of its value in `values`.
    """

    key: str
    name: str
    kind: Kind
    scale: Scale
    values: tuple[Any, ...]
    ranks: tuple[int, ...]

    @property
    def unit(self) -> str:
        """What its numbers count, "" where that goes without saying or is not known."""
        return UNITS.get(self.key.rsplit(".", 1)[-1], "") if self.kind == "number" else ""

    @property
    def title(self) -> str:
        """The name with its unit, "width (units)"."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def words(self, rank: int) -> str:
        """One value in words, "–" where there is none."""
        return "–" if self.values[rank] is None else display(self.values[rank])

    def label(self, rank: int) -> str:
        """One value with the name, "lr=0.1"; "lr=–" where there is none."""
        return f"{self.name}={self.words(rank)}"


def axes_of(configurations: Sequence[Configuration]) -> list[Axis]:
    """What varies, in order of first appearance; the experiment too where there are several.

    >>> rates = [Configuration("", {"optimizer.lr": lr}) for lr in (0.1, 0.001, 0.01)]
    >>> (lr,) = axes_of(rates)
    >>> lr.name, lr.kind, lr.scale, lr.values, lr.ranks
    ('lr', 'number', 'log', (0.001, 0.01, 0.1), (2, 0, 1))
    """
    columns: dict[str, list[Any]] = {}
    for key in varying_keys(configurations):
        columns[key] = [one.values.get(key) for one in configurations]
    experiments = [one.experiment for one in configurations]
    columns |= {EXPERIMENT: experiments} if len(set(experiments)) > 1 else {}
    short = short_keys(list(columns))
    return [_axis(key, short[key], values) for key, values in columns.items()]


def explained(axis: Axis, values: Sequence[float]) -> float:
    """The share of the variance of a metric's ranks over the configurations that an axis explains.

    epsilon^2 = 1 - (1 - eta^2) (n - 1) / (n - g),  eta^2 = sum_g n_g (r_g - r)^2 / sum_i (r_i - r)^2

    for n configurations in g groups of mean rank r_g: below 0 where it explains less than chance does. Ranks, so that
    one run far away does not decide; what is not finite ranks last. A number with more than MOST_GROUPS values is cut
    into so many groups of equal size, for where every value is another each would explain all.

    Args:
        axis: of the configurations.
        values: the metric of each configuration [n]; nan where it diverged.

    Source: Kelley, An unbiased correlation ratio measure (1935); of ranks it is the effect size of Kruskal & Wallis.

    >>> lr = Axis("lr", "lr", "number", "log", (0.1, 1.0), (0, 0, 1, 1))
    >>> round(explained(lr, [1.0, 2.0, 3.0, 4.0]), 3), round(explained(lr, [1.0, 4.0, 2.0, 3.0]), 3)
    (0.7, -0.5)
    """
    groups = np.array(grouped(axis, MOST_GROUPS)[0])
    n, g = len(groups), len(set(groups.tolist()))
    ranks = ranked(np.where(np.isfinite(np.asarray(values, float)), values, math.inf)[None])[0]
    total = float(((ranks - ranks.mean()) ** 2).sum())
    if n <= g or total == 0:
        return 0.0
    between = sum(
        int((groups == one).sum()) * float(ranks[groups == one].mean() - ranks.mean()) ** 2 for one in set(groups)
    )
    return 1 - (1 - between / total) * (n - 1) / (n - g)


def grouped(axis: Axis, most: int) -> tuple[list[int], list[str]]:
    """For each configuration the group of its value, and the groups' labels: of a number with many values, ranges.

    Args:
        axis: of the configurations.
        most: groups; an axis with no more values has a group for each, and so has one that is not of numbers.

    >>> grouped(Axis("lr", "lr", "number", "linear", (1, 2, 3, 4), (0, 1, 2, 3)), 2)
    ([0, 0, 1, 1], ['lr 1 to 2', 'lr 3 to 4'])
    """
    count = len(axis.values)
    if axis.kind != "number" or count <= most:
        return list(axis.ranks), [axis.label(rank) for rank in range(count)]
    group = [rank * most // count for rank in range(count)]
    ends = [[rank for rank in range(count) if group[rank] == one] for one in range(most)]
    labels = [f"{axis.name} {_short(axis.values[ranks[0]])} to {_short(axis.values[ranks[-1]])}" for ranks in ends]
    return [group[rank] for rank in axis.ranks], labels


def importance(axes: Sequence[Axis], values: Sequence[float]) -> Mapping[str, float]:
    """The share that each axis explains, by its key, the largest first."""
    shares = {axis.key: explained(axis, values) for axis in axes}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def scale_of(values: Sequence[float]) -> Scale:
    """Whether numbers in rising order are evenly spaced on a logarithmic scale rather than on a linear one.

    Gaps are the more even the smaller their standard deviation over their mean. Of two numbers the ratio decides.

    >>> scale_of([0.1, 0.3, 1.0]), scale_of([1.0, 2.0, 3.0]), scale_of([16, 32, 64, 128]), scale_of([0.0, 1.0])
    ('log', 'linear', 'log', 'linear')
    """
    numbers = np.asarray(values, float)
    if not np.isfinite(numbers).all() or (numbers <= 0).any():
        return "linear"
    if len(numbers) < 3:
        return "log" if numbers[-1] / numbers[0] >= TWO_ARE_LOG else "linear"
    uneven = [float(gaps.std() / gaps.mean()) for gaps in (np.diff(numbers), np.diff(np.log(numbers)))]
    return "log" if uneven[1] < uneven[0] * (1 - 1e-9) else "linear"


def _axis(key: str, name: str, column: Sequence[Any]) -> Axis:
    values = list({canonical(value): value for value in column}.values())
    kind, scale = _kind(values)
    values.sort(key=order if kind == "choice" else _place)
    place = {canonical(value): rank for rank, value in enumerate(values)}
    return Axis(key, name, kind, scale, tuple(values), tuple(place[canonical(value)] for value in column))


def _kind(values: Sequence[Any]) -> tuple[Kind, Scale]:
    numbers = sorted(float(value) for value in values if _is_number(value))
    rest = [value for value in values if not _is_number(value)]
    if not rest:
        spaced = scale_of(numbers)
        # 0 beside 0.001, 0.01, 0.1 has no place on their scale: such numbers are a row of values.
        positive = [number for number in numbers if number > 0]
        off = spaced == "linear" and numbers[0] == 0 and len(positive) > 1 and scale_of(positive) == "log"
        return ("ordered", "") if off else ("number", spaced)
    if numbers and len(rest) == 1:
        return "ordered", ""
    if all(value is None or isinstance(value, bool) for value in rest) and not numbers:
        return "ordered", ""
    stems = {re.sub(r"\d+$", "", value) if isinstance(value, str) else value for value in map(_word, rest)}
    numbered = all(isinstance(value, str) and value[-1:].isdigit() for value in rest)
    return ("ordered", "") if numbered and len(stems) == 1 and len(rest) > 1 else ("choice", "")


def _word(value: Any) -> str:
    return value if isinstance(value, str) else display(value)


def _place(value: Any) -> tuple[Any, ...]:
    """What is no number first, then numbers by size; of numbered names by their number."""
    if isinstance(value, str) and (found := re.search(r"\d+$", value)):
        return (1, float(found[0]), "")
    return (0, float(value), "") if isinstance(value, bool) else order(value) if _is_number(value) else (0, -1.0, "")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: float) -> str:
    return f"{value:.3g}"
