"""Studies: experiments whose report checks what they claim, from the files of their runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.errors import OptionError, UserError
from fanin.record.overrides import read_yaml
from fanin.targets import load, refuse_nested

if TYPE_CHECKING:
    from fanin.report.read.folders import Run
    from fanin.report.studies.base import Study

__all__ = ["load_study", "study_of"]

BASE = "fanin.report.studies.base.Study"

BEFORE = {
    "normalization_study": "normalization.NormalizationStudy",
    "activation_study": "activation.ActivationStudy",
    "preprocessing_study": "preprocessing.PreprocessingStudy",
    "regularization_study": "regularization.RegularizationStudy",
    "schedule_study": "schedule.ScheduleStudy",
    "noise_reduction_study": "noise_reduction.NoiseReductionStudy",
    "optimizer_race": "optimizer_race.OptimizerRace",
}
"""The studies of runs that were recorded before experiments named theirs, by the experiment's name."""


def study_of(experiment: str, runs: Sequence[Run]) -> Study | None:
    """The study of an experiment, None if it has none.

    It is what the last command said that was typed for the folder of the runs, else what the first run recorded.

    Args:
        experiment: its name.
        runs: of that experiment.

    Raises:
        UserError: what is recorded names no study.
    """
    return load_study(_recorded(experiment, runs))


def load_study(node: Mapping[str, Any] | None) -> Study | None:
    """The study that a configuration names: its class, made with the other keys; None if it names none.

    Args:
        node: {"_target_": "my_module.MyStudy", ...}, the value of the key `study`.

    Raises:
        UserError: it names no class that derives from Study, or one that does not take these keys.
    """
    if node is None:
        return None
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise OptionError("study", node, "null, or a class that derives from fanin.Study in study._target_")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # where a user's own my_module.MyStudy lies
    keys = {str(key): value for key, value in node.items() if key != "_target_"}
    refuse_nested("study", keys)
    made = load(node["_target_"], BASE, key="study._target_")
    try:
        study: Study = made(**keys)
    except (Exception, SystemExit) as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"study: {node['_target_']} cannot be made with {keys or 'no keys'}: {said}") from error
    return study


def _recorded(experiment: str, runs: Sequence[Run]) -> Any:
    """The key `study` as the files have it."""
    said = read_yaml(runs[0].folder.parent / "multirun.yaml")
    if isinstance(said, dict) and "study" in said and _experiment(said) == experiment:
        return said["study"]
    config = next((run.config.config for run in runs if run.config.config), {})
    if "study" in config:
        return config["study"]
    return {"_target_": f"{__name__}.{BEFORE[experiment]}"} if experiment in BEFORE else None


def _experiment(multirun: dict[str, Any]) -> object:
    """The experiment that a recorded command chose."""
    node: Any = multirun
    for key in ("hydra", "runtime", "choices", "experiment"):
        node = node.get(key) if isinstance(node, dict) else None
    return node
