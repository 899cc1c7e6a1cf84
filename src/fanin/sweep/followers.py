"""The runs of a grid that start from others of it, as its study asks for them: planned when those are finished."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser

from fanin.report.studies.asked import asked_of
from fanin.sweep.plan import Plan


def jobs_of_followers(plan: Plan) -> list[list[str]]:
    """The overrides of each; none where the study of the grid asks for none.

    Args:
        plan: of the runs that have been launched.
    """
    by_folder = {run.folder.resolve(): run.composed.overrides for run in plan.runs.values() if run.folder.is_dir()}
    asked = asked_of(list(by_folder), "followers")
    return [_job(by_folder[one.like], one.settings) for one in asked if one.like in by_folder]


def _job(overrides: Sequence[str], settings: Sequence[str]) -> list[str]:
    """Overrides with other settings in place of those of the same keys.

    >>> _job(["seed=0", "loss=squared"], ["loss=cross_entropy"])
    ['seed=0', 'loss=cross_entropy']
    """
    parse = OverridesParser.create().parse_overrides
    new = {one.key_or_group for one in parse(list(settings))}
    kept = [text for text, one in zip(overrides, parse(list(overrides)), strict=True) if one.key_or_group not in new]
    return [*kept, *settings]
