"""Taking some of the runs: `--where optimizer=sgd,adam optimizer.lr=0.1`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fanin.errors import UserError, did_you_mean
from fanin.record.overrides import display, scalar, split_outside_brackets
from fanin.report.read.configurations import canonical, order
from fanin.report.read.folders import Run


def where_of(words: Sequence[str]) -> dict[str, list[Any]]:
    """The values that are wanted of each key; a key that comes twice has the values of both.

    Raises:
        UserError: a word without "=", or without a key or value.

    >>> where_of(["optimizer=sgd,adam", "optimizer.lr=0.1,seed=0"])
    {'optimizer': ['sgd', 'adam'], 'optimizer.lr': [0.1], 'seed': [0]}
    """
    wanted: dict[str, list[Any]] = {}
    for word in words:
        key = ""
        for part in split_outside_brackets(word):
            name, equals, text = part.partition("=")
            key, text = (name.strip(), text) if equals else (key, part)
            if not key or not text.strip():
                raise UserError(f"--where {word}: must be key=value or key=value,value; such as optimizer=sgd,adam")
            wanted.setdefault(key, []).append(scalar(text.strip()))
    return wanted


def chosen(runs: Sequence[Run], wanted: Mapping[str, Sequence[Any]]) -> list[Run]:
    """The runs that have one of the wanted values of every key.

    Raises:
        UserError: a key that no run has, a value that none has, or together they leave nothing.
    """
    left = list(runs)
    for key, values in wanted.items():
        names = {name for value in values for name in (canonical(value), canonical(str(value)))}
        had = {canonical(value): value for run in runs if (value := run.value(key)) is not None}
        if not had:
            known = sorted({key for run in runs for key in run.overrides} | set(runs[0].config.keys))
            varied = sorted({key for run in runs for key in run.overrides})
            fix = did_you_mean(key, known) or f"they set {', '.join(varied) or 'nothing'}"
            raise UserError(f"--where {key}: no run has this key; {fix}")
        typed = f"--where {key}={','.join(map(display, values))}"
        told = ", ".join(map(display, sorted(had.values(), key=order)[:12])) + (", ..." if len(had) > 12 else "")
        for value in values:
            if had.keys().isdisjoint((canonical(value), canonical(str(value)))):
                raise UserError(f"--where {key}={display(value)}: no run has this value; they have {told}")
        left = [run for run in left if canonical(run.value(key)) in names]
        if not left:
            raise UserError(f"{typed}: leaves no run of those that the keys before it left")
    return left
