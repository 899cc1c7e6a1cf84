"""What search.json says, and whether a command goes on with the search that it finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fanin.errors import UserError
from fanin.record.search_files import read_search
from fanin.search.settings import Settings
from fanin.search.space import Space

FREE = ("trials",)
"""What may be another number in a search that goes on, where no budget is shared out among the trials."""


def content_of(settings: Settings, space: Space, seeds: list[int], steps: int) -> dict[str, Any]:
    """The content of search.json."""
    return {
        "method": settings.method,
        "metrics": list(settings.metrics),
        "directions": list(settings.directions),
        "seeds": seeds,
        "budget": settings.budget,
        "eta": settings.eta,
        "min_steps": settings.min_steps,
        "level": settings.level,
        "test": settings.test,
        "batch": settings.batch,
        "trials": settings.trials,
        "seed": settings.seed,
        "steps": steps,
        "fixed": [word for word in space.fixed if not word.startswith(("force=", "hydra", "trainer.progress="))],
        "axes": [axis.content() for axis in space.all_axes],
    }


def check_same(grid: Path, content: Mapping[str, Any]) -> None:
    """Refuse to go on in the folder of another search, with what differs.

    Raises:
        UserError: the differences in one line.
    """
    before = read_search(grid)
    if before is None:
        return
    differences = list(_differences(before, content))
    if differences:
        told = "; ".join(differences)
        raise UserError(
            f"{grid / 'search'} is of another search: {told}. Nothing was changed; hydra.sweep.dir=DIR starts another"
        )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key in now:
        if key in ("axes", "fixed") or (key in FREE and now["budget"] == "none"):
            continue
        if before.get(key, now[key]) != now[key]:
            yield f"{key} was {_told(before.get(key))}, is {_told(now[key])}"
    was, fixed = set(before.get("fixed", [])), set(now["fixed"])
    yield from (f"{word} is new" for word in sorted(fixed - was))
    yield from (f"{word} is gone" for word in sorted(was - fixed))
    axes = {_name(axis): axis for axis in before.get("axes", [])}
    new = {_name(axis): axis for axis in now["axes"]}
    yield from (f"the axis {name} is new" for name in new if name not in axes)
    yield from (f"the axis {name} is gone" for name in axes if name not in new)
    for name in new:
        if name in axes and axes[name] != new[name]:
            yield f"{name} was {_axis(axes[name])}, is {_axis(new[name])}"


def _name(axis: Mapping[str, Any]) -> str:
    return f"{axis['key']} if {axis['condition']}" if axis.get("condition") else str(axis["key"])


def _axis(axis: Mapping[str, Any]) -> str:
    """An axis in Hydra's grammar."""
    if axis["kind"] == "choice":
        return ",".join(axis["choices"])
    if axis["step"]:
        return f"{axis['low']:g} to {axis['high']:g} in steps of {axis['step']:g}"
    tags = [tag for tag, there in (("log", axis["log"]), ("int", axis["kind"] == "int")) if there]
    interval = f"interval({axis['low']:g},{axis['high']:g})"
    return f"tag({','.join(tags)},{interval})" if tags else interval


def _told(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "null" if value is None else str(value)
