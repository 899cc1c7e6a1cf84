"""The runs of a grid that start from others of it, as its study asks for them: planned when those are finished."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from fanin.errors import UserError
from fanin.report.read.folders import read_runs
from fanin.report.studies import load_study
from fanin.report.studies.base import Study
from fanin.sweep.plan import Plan


def jobs_of_followers(master: DictConfig, plan: Plan) -> list[list[str]]:
    """The overrides of each; none where the study of the grid asks for none.

    Args:
        master: the configuration of the grid.
        plan: of the runs that have been launched.
    """
    node = OmegaConf.to_container(master.study, resolve=True) if master.get("study") is not None else None
    try:
        study = load_study(node)  # type: ignore[arg-type]
    except UserError:  # told by the report
        return []
    if study is None or type(study).followers is Study.followers:
        return []
    by_folder = {run.folder: run.composed.overrides for run in plan.runs.values()}
    done = [run for run in read_runs(list(by_folder), plan.grid) if run.state == "done"]
    return [_job(by_folder[asked.like], asked.settings) for asked in study.followers(done) if asked.like in by_folder]


def _job(overrides: Sequence[str], settings: Sequence[str]) -> list[str]:
    """Overrides with other settings in place of those of the same keys.

    >>> _job(["seed=0", "loss=squared"], ["loss=cross_entropy"])
    ['seed=0', 'loss=cross_entropy']
    """
    parse = OverridesParser.create().parse_overrides
    new = {one.key_or_group for one in parse(list(settings))}
    kept = [text for text, one in zip(overrides, parse(list(overrides)), strict=True) if one.key_or_group not in new]
    return [*kept, *settings]
