"""The space of a search: its axes in Hydra's own grammar, some of them only beside certain choices."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Sweep

from fanin.errors import UserError, shortened

DIGITS = 6
"""Of a number that is drawn from an interval: its run's name is read by people."""

Value = float | int | str
"""Of an axis: a number, or one of its choices as it is typed."""


@dataclass(frozen=True)
class Axis:
    """What is searched over one key.

    Args:
        key: as it is typed.
        kind: float, int, or choice.
        low, high: the ends of the interval, which belong to it.
        log: whether it is searched in the logarithm.
        step: between two values of a range.
        choices: the values of a choice, as they are typed.
        condition: the choices beside which the axis is there; () for always.
    """

    key: str
    kind: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: tuple[str, ...] = ()
    condition: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the axis: its key, and the condition under which it is there."""
        return f"{self.key} if {' '.join(self.condition)}" if self.condition else self.key

    @property
    def count(self) -> float:
        """How many values it has."""
        if self.kind == "choice":
            return len(self.choices)
        if self.kind == "float" and self.step is None:
            return math.inf
        assert self.low is not None
        assert self.high is not None
        return round((self.high - self.low) / (self.step or 1)) + 1

    def rounded(self, value: Value) -> Value:
        """A value with as many digits as are typed; it stays within the axis.

        >>> Axis("optimizer.lr", "float", 1e-4, 1.0).rounded(0.0123456789)
        0.0123457
        """
        if self.kind != "float" or self.low is None or self.high is None:
            return value
        return min(max(float(f"{value:.{DIGITS if self.step is None else 12}g}"), self.low), self.high)

    def at(self, share: float) -> Value:
        """The value that a share of the axis lies below, in its logarithm where it has one.

        >>> Axis("optimizer.lr", "float", 0.01, 1.0, log=True).at(0.5), Axis("model.depth", "int", 2, 5).at(0.99)
        (0.1, 5)
        """
        if self.kind == "choice":
            return self.choices[min(int(share * len(self.choices)), len(self.choices) - 1)]
        assert self.low is not None
        assert self.high is not None
        if self.step is not None or (self.kind == "int" and not self.log):
            value = self.low + (self.step or 1) * min(int(share * self.count), self.count - 1)
        elif self.log:
            half = 0.5 if self.kind == "int" else 0.0  # so that both ends have a full share
            low, high = math.log(self.low - half), math.log(self.high + half)
            value = math.exp(low + share * (high - low))
        else:
            value = self.low + share * (self.high - self.low)
        return int(min(max(round(value), self.low), self.high)) if self.kind == "int" else self.rounded(value)

    def content(self) -> dict[str, Any]:
        """As it stands in search.json."""
        told = asdict(self)
        return told | {"choices": list(self.choices), "condition": " ".join(self.condition) or None}


Draw = Callable[[Axis], Value]
Entry = Axis | str
"""An axis, or a setting KEY=VALUE."""


@dataclass
class Space:
    """All axes of a search and what is the same in all its trials.

    Args:
        axes: those that are always there.
        fixed: overrides that all trials share.
        tied: what goes with certain choices, in order: later entries outdo earlier ones.
        seeds: values that were typed for the key `seed`, which is no axis.
    """

    axes: list[Axis]
    fixed: list[str]
    tied: list[tuple[tuple[str, ...], list[Entry]]]
    seeds: list[int]

    def job(self, draw: Draw) -> list[str]:
        """The overrides of a trial, without its seed; `draw` is asked for the value of each axis that is there."""
        job = [*self.fixed, *(f"{axis.key}={draw(axis)}" for axis in self.axes)]
        own, entries = set(map(_key, job)), dict[str, Entry]()
        for choices, settings in self.tied:
            if {*choices} <= {*job}:
                entries |= {entry.key if isinstance(entry, Axis) else _key(entry): entry for entry in settings}
        more = [entry for key, entry in entries.items() if key not in own]
        return [f"{one.key}={draw(one)}" if isinstance(one, Axis) else one for one in more] + job

    @property
    def all_axes(self) -> list[Axis]:
        """Those that are always there and those that are sometimes."""
        return [*self.axes, *(entry for _, entries in self.tied for entry in entries if isinstance(entry, Axis))]

    @property
    def size(self) -> float:
        """At most so many configurations there are."""
        return math.prod(axis.count for axis in self.all_axes)


def _key(override: str) -> str:
    return override.partition("=")[0]


def space_of(overrides: Iterable[Override], tied: Mapping[tuple[str, ...], Sequence[str]]) -> Space:
    """The space of what was typed.

    Args:
        overrides: as parsed; of two for one key the later counts.
        tied: what goes with certain choices, KEY=VALUE, where the value may be an axis.

    Raises:
        UserError: an axis that cannot be searched, a line each; or there is none.
    """
    mistakes: list[str] = []
    axes, fixed, seeds = [], [], list[int]()
    for override in {one.get_key_element(): one for one in overrides}.values():
        try:
            if override.key_or_group == "pause_at":
                raise UserError(f"{override.input_line}: a search pauses its runs itself; leave it out")
            if override.key_or_group == "seed":
                seeds = _seeds(override)
            elif isinstance(entry := _entry(override, ()), Axis):
                axes.append(entry)
            else:
                fixed.append(entry)
        except UserError as error:
            mistakes.append(str(error))
    entries = []
    for choices, texts in tied.items():
        try:
            parsed = OverridesParser.create().parse_overrides(list(texts))
            entries.append((choices, [_entry(one, choices) for one in parsed]))
        except UserError as error:
            mistakes.append(f"{' '.join(choices)}: {error}")
    space = Space(axes, fixed, entries, seeds)
    if not mistakes and not space.all_axes:
        mistakes.append(
            "a search needs an axis: several values, an interval or a range, "
            "such as 'optimizer.lr=tag(log,interval(1e-4,1))'"
        )
    if mistakes:
        raise UserError("\n".join(mistakes))
    return space


def _entry(override: Override, condition: tuple[str, ...]) -> Entry:
    """An override as an axis or, where it has one value, as it is typed.

    Raises:
        UserError: it cannot be searched.
    """
    key, typed, value = override.get_key_element(), shortened(str(override.input_line)), override.value()
    if not override.is_sweep_override():
        return f"{key}={_text(override, condition)}"
    if override.is_hydra_override():
        raise UserError(f"{typed}: Hydra's own keys are the same for all runs; a list is typed KEY=[a,b]")
    if override.key_or_group == "experiment":
        raise UserError(f"{typed}: each study has a grid of its own; type one command for each")
    if isinstance(value, IntervalSweep):
        return _interval(key, typed, value, condition)
    if isinstance(value, RangeSweep):
        return _range(key, typed, value, condition)
    if not isinstance(value, ChoiceSweep):
        raise UserError(f"{typed}: a search takes values, a,b,c, an interval or a range; type the options out")
    if value.tags:
        raise UserError(f"{typed}: a tag goes with an interval, tag(log,interval(LOW,HIGH))")
    if any(isinstance(one, Sweep) for one in value.list):
        raise UserError(f"{typed}: an interval or a range stands alone, not among values")
    value.shuffle = False  # the order says nothing, and is to be the same when the command is typed again
    values = list(dict.fromkeys(override.sweep_string_iterator()))
    if not values:
        raise UserError(f"{typed}: holds no value")
    return Axis(key, "choice", choices=tuple(map(str, values)), condition=condition)


def _text(override: Override, condition: tuple[str, ...]) -> str:
    """The value of an override as it is typed; an interpolation with others inside needs quotes."""
    text = override.get_value_element_as_str()
    return f"'{text}'" if condition and "${" in text and not text.startswith(("'", '"')) else text


def _interval(key: str, typed: str, value: IntervalSweep, condition: tuple[str, ...]) -> Axis:
    if unknown := set(value.tags or ()) - {"log", "int", "float"}:
        raise UserError(f"{typed}: the tag {sorted(unknown)[0]} is not known; there are log and int")
    tags = set(value.tags or ())
    low, high = float(value.start or 0), float(value.end or 0)
    if not (math.isfinite(low) and math.isfinite(high)) or not low < high:
        raise UserError(f"{typed}: must be interval(LOW,HIGH) of finite numbers, the first below the second")
    if "log" in tags and low <= 0:
        raise UserError(f"{typed}: a logarithm needs LOW > 0; without the tag log, or from 1e-6 say")
    if "int" in tags or isinstance(value.start, int):
        if low != int(low) or high != int(high):
            raise UserError(f"{typed}: an interval of integers needs integers for its ends")
        return Axis(key, "int", int(low), int(high), log="log" in tags, condition=condition)
    return Axis(key, "float", low, high, log="log" in tags, condition=condition)


def _range(key: str, typed: str, value: RangeSweep, condition: tuple[str, ...]) -> Axis:
    start, stop, step = (float(number) for number in (value.start or 0, value.stop or 0, value.step))
    if value.tags:
        raise UserError(f"{typed}: a tag goes with an interval, tag(log,interval(LOW,HIGH))")
    if not all(map(math.isfinite, (start, stop, step))) or step == 0:
        raise UserError(f"{typed}: must be range(start,stop,step) of finite numbers, with a step that is not 0")
    if (count := math.ceil((stop - start) / step - 1e-9)) < 1:  # 0.1 is a little more than a tenth
        raise UserError(f"{typed}: holds no value")
    ends = sorted((start, start + (count - 1) * step))
    if all(number == int(number) for number in (start, step)):
        whole = None if abs(step) == 1 else abs(int(step))
        return Axis(key, "int", int(ends[0]), int(ends[1]), step=whole, condition=condition)
    low, high = (float(f"{end:.12g}") for end in ends)
    return Axis(key, "float", low, high, step=abs(step), condition=condition)


def _seeds(override: Override) -> list[int]:
    """The seeds that were typed as `seed=...`.

    Raises:
        UserError: they are no integers, or an interval.
    """
    typed, value = shortened(str(override.input_line)), override.value()
    values: list[Any]
    if isinstance(value, RangeSweep):
        values = list(value.range())
    elif isinstance(value, ChoiceSweep):
        values = list(value.list)
    else:
        values = [value]
    if any(not isinstance(one, int) or isinstance(one, bool) or one < 0 for one in values) or not values:
        raise UserError(f"{typed}: seeds are integers >= 0; hydra.sweeper.seeds=5 runs each configuration at five")
    return list(dict.fromkeys(values))


def words_of(text: str) -> list[str]:
    """The words of a text, with spaces between; those within brackets belong to their word.

    >>> words_of("optimizer.lr=tag(log, interval(1e-4, 1)) optimizer.beta1=0.9")
    ['optimizer.lr=tag(log, interval(1e-4, 1))', 'optimizer.beta1=0.9']
    """
    words, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter.isspace() and depth <= 0:
            words.append("")
        else:
            words[-1] += letter
    return [word for word in words if word]
