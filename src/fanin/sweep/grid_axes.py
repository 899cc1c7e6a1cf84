"""The jobs of a grid: the product of its axes, counted before it is written out; axes of one zip go together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep

from fanin.errors import OptionError, UserError, integer, shortened

LARGEST_GRID = 100_000
"""Runs of a grid. Each is checked before the first one starts, which takes about a millisecond."""


def jobs_of(overrides: Sequence[Override]) -> list[list[str]]:
    """The overrides of every job, the last axis running fastest.

    Args:
        overrides: as parsed; of two for one key the later counts.

    Axes with the same tag that begins with zip go together, value by value: `a=tag(zip,choice(1,2))
    b=tag(zip,choice(x,y))` are the jobs a=1 b=x and a=2 b=y.

    Raises:
        UserError: an axis holds no value, or no list of values; axes of one zip differ in length; or there are more
            jobs than `LARGEST_GRID`.
    """
    axes = {override.get_key_element(): override for override in overrides}
    if (study := axes.get("experiment")) is not None and study.is_sweep_override():
        raise UserError(f"{study.input_line}: each study has a grid of its own; type one command for each")
    if (
        of_hydra := next((one for one in overrides if one.is_hydra_override() and one.is_sweep_override()), None)
    ) is not None:
        raise UserError(f"{of_hydra.input_line}: Hydra's own keys are the same for all runs of a grid")
    columns = _columns(axes)
    counts = {" with ".join(keys): _count(axes[keys[0]]) for keys in columns}
    if (total := math.prod(counts.values())) > LARGEST_GRID:
        told = " x ".join(f"{count:,.0f} of {key}" for key, count in counts.items() if count > 1)
        raise UserError(f"a grid of {total:,.0f} runs ({told}): must be at most {LARGEST_GRID:,}")
    rows = (zip(*(_values(key, axes[key]) for key in keys), strict=True) for keys in columns)
    return [[word for part in job for word in part] for job in product(*rows)]


def _columns(axes: Mapping[str, Override]) -> list[list[str]]:
    """The keys of the axes, those of one zip together at the place of the first.

    Raises:
        UserError: the axes of a zip differ in length, or one is alone in it.
    """
    columns: dict[str, list[str]] = {}
    for key, override in axes.items():
        _count(override)
        tags = getattr(override.value(), "tags", None) or ()
        tag = next((one for one in sorted(tags) if one.startswith("zip")), "")
        columns.setdefault(f"({tag})" if tag else key, []).append(key)
    for name, keys in columns.items():
        counts = {key: _count(axes[key]) for key in keys}
        if name.startswith("(") and len(keys) == 1:
            line = shortened(str(axes[keys[0]].input_line))
            raise UserError(f"{line}: no other axis goes with it; give the tag {name.strip('()')} to one")
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{count:.0f} of {key}" for key, count in counts.items())
            raise UserError(f"zip: {told}; axes that go together have as many values each")
    return list(columns.values())


def with_settings(job: list[str], tied: Mapping[tuple[str, ...], Sequence[str]]) -> list[str]:
    """A job's overrides with the settings that go with its choices in front; what the job has typed itself counts more.

    Args:
        job: its overrides.
        tied: the settings, key=value, by the choices that they go with.
    """
    settings = dict(one.split("=", 1) for choices, texts in tied.items() if {*choices} <= {*job} for one in texts)
    if not settings:
        return job
    typed = {one.key_or_group for one in OverridesParser.create().parse_overrides(job)}
    return [f"{key}={_quoted(value)}" for key, value in settings.items() if key not in typed] + job


def _quoted(value: str) -> str:
    """A value as the command line takes it: an interpolation with others inside needs quotes there."""
    return f"'{value}'" if "${" in value else value


def batches_of(jobs: Sequence[list[str]], size: object) -> list[list[list[str]]]:
    """The jobs in the batches that a launcher gets, `size` at a time or, for None, all at once."""
    try:
        most = len(jobs) if size is None else integer("hydra.sweeper.max_batch_size", size, 1)
    except OptionError as error:
        raise OptionError(error.name, size, f"null or {error.allowed}") from None
    return [list(jobs[start : start + most]) for start in range(0, len(jobs), most)]


def _count(override: Override) -> float:
    """How many values an axis has, without writing them out."""
    typed, value = str(override.input_line), override.value()
    if override.is_sweep_override() and override.is_interval_sweep():
        raise UserError(
            f"{typed}: a grid takes values, a,b,c or range(start,stop,step); "
            "an interval is for a search, hydra/sweeper=search"
        )
    if isinstance(value, RangeSweep):
        start, stop, step = (float(number) for number in (value.start or 0, value.stop or 0, value.step))
        if not all(map(math.isfinite, (start, stop, step))) or step == 0:
            raise UserError(f"{typed}: must be range(start,stop,step) of finite numbers, with a step that is not 0")
        count: float = max(0, math.ceil((stop - start) / step))
    elif isinstance(value, ChoiceSweep):
        count = len(value.list)
    else:
        count = len(list(override.sweep_string_iterator())) if override.is_sweep_override() else 1
    if count == 0:
        raise UserError(f"{shortened(typed)}: holds no value")
    return count


def _values(key: str, override: Override) -> list[str]:
    """The values of an axis as overrides."""
    if not override.is_sweep_override():
        return [f"{key}={override.get_value_element_as_str()}"]
    return [f"{key}={value}" for value in override.sweep_string_iterator()]
