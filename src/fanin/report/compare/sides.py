"""The sides of a comparison: which runs belong to each, and which run of one belongs to which of the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from fanin.errors import UserError, did_you_mean
from fanin.record.overrides import INCIDENTAL, display, scalar, split_outside_brackets
from fanin.report.read.configurations import FOLD, REPEAT, canonical, order
from fanin.report.read.folders import Run

EXAMPLE = "--compare optimizer=sgd optimizer=adam"


@dataclass
class Side:
    """One side: what was typed, what it asks of a run, and the runs that have it."""

    text: str
    values: dict[str, Any]
    runs: list[Run]

    def has(self, key: str) -> dict[str, Any]:
        """The different values of a key among its runs, by their canonical texts."""
        return {canonical(value_of(run, key)): value_of(run, key) for run in self.runs}

    def words(self, key: str) -> str:
        """These values in words, e.g. "0.001 or 0.1"."""
        return " or ".join(dict.fromkeys(display(value) for value in sorted(self.has(key).values(), key=order)))


class Match(NamedTuple):
    """Two runs that differ in nothing but what the sides say; `pair` says what tells them from other pairs."""

    pair: str
    first: Run
    side: Run


class Matched(NamedTuple):
    """The pairs of two sides, the keys that both runs of a pair agree in, those of them in which pairs differ.

    And for each side the reasons why runs of it are in no pair, with their numbers.
    """

    pairs: list[Match]
    keys: list[str]
    varying: list[str]
    left_out: tuple[dict[str, int], dict[str, int]]


def read_sides(texts: Sequence[str], runs: Sequence[Run]) -> list[Side]:
    """The sides typed as key=value[,key=value...], each with its runs; of a group's key the value is its option.

    Raises:
        UserError: fewer than two sides, one that is not of this form, a key that no run has, a value that no run has,
            a run on two sides.
    """
    sides = [Side(text, _parse(text), []) for text in texts]
    if len(sides) < 2:
        raise UserError(f"--compare {' '.join(texts)}: needs two sides or more, e.g. {EXAMPLE}")
    differ = {key for run in runs for key in run.overrides}
    known = differ.union(["experiment"], *([*run.config.choices, *run.config.keys] for run in runs))
    owner: dict[int, Side] = {}
    for side in sides:
        for key in (key for key in side.values if key not in known):
            fix = did_you_mean(key, sorted(known)) or f"the runs differ in {', '.join(sorted(differ)) or 'nothing'}"
            raise UserError(f"--compare {side.text}: no run has a key {key}; {fix}")
        side.runs = [run for run in runs if all(same_value(value_of(run, k), v) for k, v in side.values.items())]
        if not side.runs:
            raise UserError(f"--compare {side.text}: no run matches; {_there_is(side, runs)}")
        for run in side.runs:
            other = owner.setdefault(id(run), side)
            if other is not side:
                raise UserError(f"--compare {other.text} {side.text}: {run.name} is on both sides; say more of each")
    return sides


def match(first: Side, second: Side) -> Matched:
    """Pair the runs of two sides that agree in everything that neither side speaks of.

    Compared are all overrides of the runs and, for runs of several experiments, every key of their configurations that
    varies; left out are the keys of the sides and what does not matter to a result (data.root). What a side's option
    brings along ("optimizer.lr" where a side says "optimizer") is matched where both sides have the same values of it,
    such as those of a grid; else each side means its option as it comes, and its runs at other values are left out.

    Raises:
        UserError: two runs of one side for one pair.
    """
    spoken, sides = {*first.values, *second.values}, [first, second]
    left_out: tuple[dict[str, int], dict[str, int]] = ({}, {})
    keys = _varying([*first.runs, *second.runs], spoken)
    for key in [key for key in keys if _brought_along(key, spoken)]:
        if sides[0].has(key).keys() == sides[1].has(key).keys():
            continue
        for i, side in enumerate(sides):
            usual = replace(side, runs=[run for run in side.runs if key not in run.overrides])
            typed = replace(side, runs=[run for run in side.runs if key in run.overrides])
            if usual.runs and typed.runs:
                reason = f"{key}={typed.words(key)}, not its own {display(value_of(usual.runs[0], key))}"
                left_out[i][f"{reason}: name {key} in every side to compare them"] = len(typed.runs)
                sides[i] = usual
        if all(len(side.has(key)) == 1 for side in sides):
            keys.remove(key)
    keys = [key for key in keys if _varies(key, [*sides[0].runs, *sides[1].runs])]
    keys.sort(
        key=lambda key: (key == "seed", key == FOLD, key == REPEAT, key)
    )  # what a user swept first, the seed last
    one, other = (_by_identity(side, keys) for side in sides)
    common = sorted(
        (identity for identity in one if identity in other),
        key=lambda identity: [order(value_of(one[identity], key)) for key in keys],
    )
    for i, found in enumerate((one, other)):
        alone = [run for identity, run in found.items() if identity not in {*common}]
        left_out[i].update(_reasons(replace(sides[i], runs=alone), sides[1 - i], keys))
    varying = [key for key in keys if _varies(key, [one[identity] for identity in common])]
    pairs = [Match(_told(one[identity], varying or keys), one[identity], other[identity]) for identity in common]
    return Matched(pairs, keys, varying, left_out)


def value_of(run: Run, key: str) -> Any:
    """The run's value of a key, also of the experiment that it belongs to."""
    return run.experiment if key == "experiment" else run.value(key)


def same_value(value: Any, typed: Any) -> bool:
    """Whether a run's value is what was typed; of a group's list of options the order does not matter."""
    if isinstance(typed, list) and isinstance(value, str):
        return value == ("+".join(sorted(map(str, typed))) or "none")
    if isinstance(typed, list) and isinstance(value, list):
        return [canonical(item) for item in value] == [canonical(item) for item in typed]
    return canonical(value) == canonical(typed)


def _parse(text: str) -> dict[str, Any]:
    """{"optimizer": "adam", "optimizer.lr": 0.01} of "optimizer=adam,optimizer.lr=0.01"."""
    values: dict[str, Any] = {}
    for part in split_outside_brackets(text):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not (key and equals and value) or key in values:
            raise UserError(f"--compare {text}: a side is key=value[,key=value...], each key once, e.g. {EXAMPLE}")
        items = [scalar(item.strip()) for item in value.strip("[]").split(",") if item.strip()]
        values[key] = items if value.startswith("[") else scalar(value)
    return values


def _there_is(side: Side, runs: Sequence[Run]) -> str:
    """Why no run matches: the values that there are of the key that none has."""
    for key, typed in side.values.items():
        values = replace(side, runs=list(runs)).has(key).values()
        if not any(same_value(value, typed) for value in values):
            words = sorted(map(display, values))
            return f"{key} is {', '.join(words[:12])}{', ...' if len(words) > 12 else ''} in these runs"
    return "each of its values occurs, but not in one run"


def _brought_along(key: str, spoken: Iterable[str]) -> bool:
    return any(key.startswith(f"{group}.") for group in spoken)


def _varying(runs: Sequence[Run], spoken: Iterable[str]) -> list[str]:
    """The keys that tell runs apart, beside those that the sides speak of."""
    overrides = {key for run in runs for key in run.overrides}
    # One experiment's overrides say everything; what those of two leave unsaid may differ between them.
    several = len({run.experiment for run in runs}) > 1 and all(run.config.config for run in runs)
    unsaid = {key for run in runs for key in run.config.keys if not _brought_along(key, spoken)} if several else set()
    keys = sorted((overrides | unsaid) - {*spoken, "trainer.progress"})
    return [key for key in keys if not INCIDENTAL.fullmatch(key) and _varies(key, runs)]


def _told(run: Run, keys: Sequence[str]) -> str:
    return ", ".join(f"{key}={display(value_of(run, key))}" for key in keys)


def _varies(key: str, runs: Sequence[Run]) -> bool:
    return len({canonical(value_of(run, key)) for run in runs}) > 1


def _by_identity(side: Side, keys: Sequence[str]) -> dict[tuple[str, ...], Run]:
    """The side's runs by their values of the keys."""
    found: dict[tuple[str, ...], Run] = {}
    for run in side.runs:
        other = found.setdefault(tuple(canonical(value_of(run, key)) for key in keys), run)
        if other is not run:
            differ = ", ".join(_varying([run, other], ()))
            fix = f"they differ in {differ}: name it in every side" if differ else "they are the same run twice"
            pair = f"({_told(run, keys) or 'all runs'}), {other.name} and {run.name}"
            raise UserError(f"--compare {side.text}: two runs for one pair {pair}; {fix}")
    return found


def _reasons(side: Side, other: Side, keys: Sequence[str]) -> dict[str, int]:
    """Why runs of a side have no partner on the other: values that none of its runs has; the commonest first."""
    reasons: dict[str, int] = {}
    there, left = {key: other.has(key) for key in keys}, side.runs
    while left:
        lacking = {key: [run for run in left if canonical(value_of(run, key)) not in there[key]] for key in keys}
        key = max(lacking, key=lambda name: len(lacking[name]), default="")
        without = replace(side, runs=lacking.get(key) or left)
        reason = f"no run of {other.text} agrees in all of {', '.join(keys) or 'its settings'}"
        if lacking.get(key):
            reason = f"{key}={without.words(key)}, where {other.text} has {other.words(key)}"
        reasons[reason] = len(without.runs)
        left = [run for run in left if run not in without.runs]
    return reasons
