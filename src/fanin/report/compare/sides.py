"""The sides of a comparison: which runs belong to each, and which run of one belongs to which of the other."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from fanin.errors import UserError, did_you_mean
from fanin.record.overrides import INCIDENTAL, display, scalar, split_outside_brackets
from fanin.report.read.configurations import FOLD, canonical
from fanin.report.read.folders import Run

EXAMPLE = "--compare optimizer=sgd optimizer=adam"


@dataclass
class Side:
    """One side: what was typed, what it asks of a run, and the runs that have it."""

    text: str
    values: dict[str, Any]
    runs: list[Run]


@dataclass(frozen=True)
class Match:
    """Two runs that differ in nothing but what the sides say; `values` are those of the keys that pairs differ in."""

    values: dict[str, Any]
    first: Run
    second: Run

    @property
    def label(self) -> str:
        """For example "seed=0, data.fold=3"."""
        return ", ".join(f"{key}={display(value)}" for key, value in self.values.items())


@dataclass(frozen=True)
class Matched:
    """The pairs of two sides, and what became of the other runs.

    Attributes:
        pairs: two runs each.
        keys: those that the runs are matched on, beside what the sides say; the pairs agree in them.
        varying: those of the keys in which the pairs differ from each other.
        left_out: for each side the reasons why runs of it are in no pair, with their numbers.
    """

    pairs: list[Match]
    keys: list[str]
    varying: list[str]
    left_out: tuple[dict[str, int], dict[str, int]]


def read_sides(texts: Sequence[str], runs: Sequence[Run]) -> list[Side]:
    """The sides typed as key=value[,key=value...], each with its runs.

    A key is that of a value ("optimizer.lr") or of a group ("optimizer"), whose value is the chosen option.

    Raises:
        UserError: fewer than two sides, one that is not of this form, a key that no run has, a value that no run has,
            a run on two sides.
    """
    sides = [Side(text, _parse(text), []) for text in texts]
    if len(sides) < 2:
        raise UserError(f"--compare {' '.join(texts)}: needs two sides or more, e.g. {EXAMPLE}")
    known: set[str] = set()
    for run in runs:
        known.update(run.files.overrides, run.config.choices, run.config.keys, ("experiment",))
    owner: dict[int, Side] = {}
    for side in sides:
        for key in side.values:
            if key not in known:
                differ = ", ".join(sorted({name for run in runs for name in run.files.overrides}))
                fix = did_you_mean(key, sorted(known)) or f"the runs differ in {differ or 'nothing'}"
                raise UserError(f"--compare {side.text}: no run has a key {key}; {fix}")
        side.runs = [run for run in runs if _has(run, side)]
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
    spoken, chosen = {*first.values, *second.values}, [first, second]
    left_out: tuple[dict[str, int], dict[str, int]] = ({}, {})
    keys = [key for key in _keys([*first.runs, *second.runs], spoken) if _varies(key, [*first.runs, *second.runs])]
    for key in [key for key in keys if any(key.startswith(f"{group}.") for group in spoken)]:
        if len({frozenset(_values(key, side)) for side in chosen}) == 1:
            continue
        for i, side in enumerate(chosen):
            usual = [run for run in side.runs if key not in run.files.overrides]
            if usual and len(usual) < len(side.runs):
                others = Side(side.text, side.values, [run for run in side.runs if key in run.files.overrides])
                reason = f"{key}={_words(key, others)}, not its own {display(value_of(usual[0], key))}"
                left_out[i][f"{reason}: name {key} in every side to compare them"] = len(others.runs)
                chosen[i] = Side(side.text, side.values, usual)
        if all(len(_values(key, side)) == 1 for side in chosen):
            keys.remove(key)
    keys = [key for key in keys if _varies(key, [*chosen[0].runs, *chosen[1].runs])]
    keys.sort(key=lambda key: (key == "seed", key == FOLD, key))  # what a user swept first, the seed last
    by_key = [_by_identity(side, keys) for side in chosen]
    common = [identity for identity in by_key[0] if identity in by_key[1]]
    common.sort(key=lambda identity: [_order(by_key[0][identity], key) for key in keys])
    varying = [key for i, key in enumerate(keys) if len({identity[i] for identity in common}) > 1]
    for i, found in enumerate(by_key):
        alone = [run for identity, run in found.items() if identity not in set(common)]
        left_out[i].update(_reasons(chosen[i], chosen[1 - i], keys, alone))
    pairs = []
    for identity in common:
        run = by_key[0][identity]
        pairs.append(Match({key: value_of(run, key) for key in varying or keys}, run, by_key[1][identity]))
    return Matched(pairs, keys, varying, left_out)


def value_of(run: Run, key: str) -> Any:
    """The run's value of a key, also of the experiment that it belongs to."""
    return run.experiment if key == "experiment" else run.value(key)


def _parse(text: str) -> dict[str, Any]:
    """{"optimizer": "adam", "optimizer.lr": 0.01} of "optimizer=adam,optimizer.lr=0.01"."""
    values: dict[str, Any] = {}
    for part in split_outside_brackets(text):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not (key and equals and value) or key in values:
            raise UserError(f"--compare {text}: a side is key=value[,key=value...], each key once, e.g. {EXAMPLE}")
        values[key] = [scalar(item) for item in _items(value)] if value.startswith("[") else scalar(value)
    return values


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.strip("[]").split(",") if item.strip()]


def _has(run: Run, side: Side) -> bool:
    return all(same_value(value_of(run, key), value) for key, value in side.values.items())


def same_value(value: Any, typed: Any) -> bool:
    """Whether a run's value is what was typed; of a group's list of options the order does not matter."""
    if isinstance(typed, list) and isinstance(value, str):
        return value == ("+".join(sorted(map(str, typed))) or "none")
    if isinstance(typed, list) and isinstance(value, list):
        return [canonical(item) for item in value] == [canonical(item) for item in typed]
    return canonical(value) == canonical(typed)


def _there_is(side: Side, runs: Sequence[Run]) -> str:
    """Why no run matches: the values that there are of the key that none has."""
    for key, typed in side.values.items():
        values = {canonical(value_of(run, key)): value_of(run, key) for run in runs}
        if not any(same_value(value, typed) for value in values.values()):
            words = sorted(display(value) for value in values.values())
            return f"{key} is {', '.join(words[:12])}{', ...' if len(words) > 12 else ''} in these runs"
    return "each of its values occurs, but not in one run"


def _keys(runs: Sequence[Run], spoken: Collection[str]) -> list[str]:
    """The keys that may tell runs apart, beside those that the sides speak of."""
    overrides = {key for run in runs for key in run.files.overrides}
    # One experiment's overrides say everything; what those of two leave unsaid may differ between them.
    several = len({run.experiment for run in runs}) > 1 and all(run.config.config for run in runs)
    keys = overrides | ({key for run in runs for key in run.config.keys} if several else set())

    def brought_along(key: str) -> bool:
        return key not in overrides and any(key.startswith(f"{group}.") for group in spoken)

    unspoken = [key for key in sorted(keys) if key not in spoken and not brought_along(key)]
    return [key for key in unspoken if not INCIDENTAL.fullmatch(key) and key != "trainer.progress"]


def _varies(key: str, runs: Sequence[Run]) -> bool:
    return len({canonical(value_of(run, key)) for run in runs}) > 1


def _by_identity(side: Side, keys: Sequence[str]) -> dict[tuple[str, ...], Run]:
    """The side's runs by their values of the keys."""
    found: dict[tuple[str, ...], Run] = {}
    for run in side.runs:
        identity = tuple(canonical(value_of(run, key)) for key in keys)
        other = found.setdefault(identity, run)
        if other is not run:
            differ = [key for key in _keys([run, other], ()) if _varies(key, [run, other])]
            fix = (
                f"they differ in {', '.join(differ)}: name it in every side"
                if differ
                else "they are the same run twice"
            )
            pair = ", ".join(f"{key}={display(value_of(run, key))}" for key in keys) or "all runs"
            raise UserError(
                f"--compare {side.text}: two runs for one pair ({pair}), {other.name} and {run.name}; {fix}"
            )
    return found


def _values(key: str, side: Side) -> dict[str, Any]:
    """The different values of a key among a side's runs."""
    return {canonical(value_of(run, key)): value_of(run, key) for run in side.runs}


def _words(key: str, side: Side) -> str:
    """These values in words, e.g. "0.001 or 0.1"."""
    runs = sorted(side.runs, key=lambda run: _order(run, key))
    return " or ".join(dict.fromkeys(display(value_of(run, key)) for run in runs))


def _reasons(side: Side, other: Side, keys: Sequence[str], runs: Sequence[Run]) -> dict[str, int]:
    """Why runs of a side have no partner on the other: values that none of its runs has; the commonest first."""
    there, reasons, left = {key: _values(key, other) for key in keys}, {}, list(runs)
    while left:
        lacking = {key: [run for run in left if canonical(value_of(run, key)) not in there[key]] for key in keys}
        key = max(lacking, key=lambda name: len(lacking[name]), default="")
        without = lacking.get(key) or left
        if lacking.get(key):
            own = _words(key, Side(side.text, side.values, without))
            reason = f"{key}={own}, where {other.text} has {_words(key, other)}"
        else:
            reason = f"no run of {other.text} agrees in all of {', '.join(keys) or 'its settings'}"
        reasons[reason] = len(without)
        left = [run for run in left if run not in without]
    return reasons


def _order(run: Run, key: str) -> tuple[bool, float, str]:
    """Numbers by size, then texts."""
    value = value_of(run, key)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return (not number, float(value) if number else 0.0, canonical(value))
