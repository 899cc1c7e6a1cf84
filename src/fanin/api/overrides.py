"""What is typed, read once before Hydra composes anything: what cannot be meant is told in one line, with a way out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString, Sweep

from fanin.api.option_files import group_options
from fanin.catalogue import GROUPS
from fanin.errors import OptionError, UserError, shortened
from fanin.run.hydra_private import value_of

LONGEST_NAME = 200
"""Characters; Hydra looks for files of these names, and file systems end at 255 bytes with the ending."""
FORMS = {
    "interval": "interval(LOW,HIGH) of two numbers",
    "range": "range(STOP), range(START,STOP) or range(START,STOP,STEP) of numbers",
    "tag": "tag(NAME,AXIS), where AXIS is a choice(...), range(...) or interval(...)",
    "glob": "glob(PATTERN), of the names of a group's options",
    "sort": "sort(VALUE,VALUE,...) or sort(VALUE,...,reverse=true)",
}
"""How the functions of Hydra's grammar are called whose arguments can be wrong."""


def overrides_of(words: Sequence[str], arguments: Sequence[str] = ()) -> list[str]:
    """The overrides as Hydra is given them.

    Typed `trainer.epochs` count more than a study's `trainer.steps`.

    Args:
        words: what was typed beside the options.
        arguments: all that was typed.

    Raises:
        UserError: what cannot be read, or cannot be meant; all of it, a line each.
    """
    parsed = []
    mistakes: dict[str, None] = {}
    words = [one for place, word in enumerate(words) for one in unzipped(word, place)]
    for word in words:
        try:
            parsed.append(_read(word))
            _refuse(parsed[-1], word, arguments)
        except UserError as error:
            mistakes[str(error)] = None
    if mistakes:
        raise UserError("\n".join(mistakes))
    return _one_length(words, parsed)


def unzipped(word: str, place: int) -> list[str]:
    """The axes of `zip(KEY=a,b; KEY=c,d)`, with a tag that says that they go together; another word as it is.

    >>> unzipped("zip(optimizer.lr=0.1,0.01; seed=range(0,2))", 0)
    ['optimizer.lr=tag(zip_0,choice(0.1,0.01))', 'seed=tag(zip_0,range(0,2))']
    """
    found = re.fullmatch(r"zip\((.*)\)", word, re.DOTALL)
    if found is None:
        return [word]
    pairs = [part.strip().partition("=") for part in found[1].split(";")]
    return [
        f"{key}=tag(zip_{place},{value if re.match(r'(choice|range|sort|shuffle)[(]', value) else f'choice({value})'})"
        if equals and value
        else f"zip({key})"
        for key, equals, value in pairs
    ]


def _read(word: str) -> Override:
    """One override; where it cannot be read, the quotes that make it one are told."""
    if (override := _parsed(word)) is not None and override.key_or_group:
        return override
    key, equals, value = word.partition("=")
    if key.startswith("zip("):
        raise UserError(f"{shortened(word)}: cannot be read; type 'zip(KEY=a,b; KEY=c,d)'")
    if not re.search(r"\w", key) or (not equals and not key.startswith("~")):
        raise UserError(f"{shortened(word)!r}: must be KEY=VALUE or GROUP=OPTION; fanin --help lists the groups")
    if re.fullmatch(r"[\w.,+-]{1000,}", value):
        raise UserError(f"{key}={shortened(value)}: cannot be read")
    if value.startswith("~/"):
        raise UserError(f"{word}: cannot be read; type {key}=$HOME{value[1:]}")
    if re.fullmatch(r"(choice|interval|range)\(\s*\)", value):
        raise UserError(f"{word}: holds no value")
    if (called := re.fullmatch(r"(\w+)\(.*\)", value)) and called[1] in FORMS:
        raise UserError(f"{word}: must be {FORMS[called[1]]}")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    quoted = f'{key}="{escaped}"'
    if _parsed(quoted) is None:
        raise UserError(f"{word}: {key} is no key: a key has letters, digits, _ and -, with dots between")
    raise UserError(f"{word}: cannot be read; close its brackets, or quote the value: {shlex.quote(quoted)}")


def _parsed(word: str) -> Override | None:
    """An override as Hydra reads it, None if it cannot."""
    try:
        return OverridesParser.create().parse_override(word)
    except Exception:  # beside its own errors: of integers of 5,000 digits, of a function's arguments
        return None


def _refuse(override: Override, word: str, arguments: Sequence[str]) -> None:
    """Refuse what Hydra would not understand as it is meant, or takes in silence."""
    key = override.key_or_group
    chosen = value_of(override)
    if isinstance(chosen, ChoiceSweep) and any(isinstance(one, Sweep) for one in chosen.list):
        raise UserError(f"{shortened(word)}: an interval or a range stands alone, not among values")
    if max(map(len, re.split(r"[./]", key))) > 255 or (
        key in GROUPS and any(len(one) > 255 for one in _words(override))
    ):
        raise UserError(f"{shortened(word)}: a name has at most {LONGEST_NAME} characters")
    if key in ("hydra", "hydra.launcher", "hydra.sweeper"):
        allowed = "set key by key (hydra.sweep.dir=DIR)" if key == "hydra" else f"chosen, {key.replace('.', '/')}=NAME"
        raise OptionError(key, word.partition("=")[2], allowed)
    if override.package is not None and not override.is_hydra_override():
        raise UserError(f"{word}: a group has one place in a run; type {key}=OPTION, without @")
    if key not in GROUPS and not key.startswith("hydra/"):
        return
    options = group_options(key, arguments)
    if override.is_delete() and key in GROUPS and GROUPS[key].bases:
        raise UserError(f"{word}: a run has one; type {key}=OPTION for another")
    if override.is_delete():
        if not isinstance(value_of(override), str | None):
            raise UserError(f"{word}: type ~{key}, or ~{key}=OPTION")
    elif not all(isinstance(one, str | QuotedString) for one in _options(override)):
        raise OptionError(
            key, word.partition("=")[2], f"one of {', '.join(options)}" if options else "an option's name"
        )


def _options(override: Override) -> Iterable[Any]:
    """What is chosen of a group, one after the other; of a list its entries. A range holds numbers."""
    value = value_of(override)
    chosen = value.list if isinstance(value, ChoiceSweep) else [value]
    if override.is_sweep_override() and override.is_range_sweep():
        return [0]
    if override.is_sweep_override() and not override.is_choice_sweep():
        return [0.0]
    if type(value).__name__ == "Glob":
        return []
    return [one for choice in chosen for one in (choice if isinstance(choice, list) else [choice])]


def _words(override: Override) -> list[str]:
    """The names among what is chosen."""
    return [one.text if isinstance(one, QuotedString) else str(one) for one in _options(override)]


def _one_length(words: Sequence[str], parsed: Sequence[Override]) -> list[str]:
    """The words with one length of training, in whatever order they were typed.

    Typed steps count more than typed epochs, as in the trainer; typed epochs more than a study's steps, least or not.
    """
    epochs = [place for place, one in enumerate(parsed) if one.key_or_group == "trainer.epochs" and not one.is_delete()]
    keys = {one.key_or_group for one in parsed}
    least = ["++trainer.least_steps=1"] if "experiment" in keys and "trainer.least_steps" not in keys else []
    steps = [place for place, one in enumerate(parsed) if one.key_or_group == "trainer.steps"]
    if not epochs or any(value_of(parsed[place]) is None for place in steps):
        return [*least, *words] if epochs else list(words)
    if not steps:
        return ["trainer.steps=null", *least, *words]
    if any(parsed[place].is_sweep_override() for place in (*epochs, *steps)):
        told = " ".join(words[place] for place in sorted((*epochs, *steps)))
        raise UserError(f"{told}: both say how long to train; type one of them")
    return [word for place, word in enumerate(words) if place not in epochs]
