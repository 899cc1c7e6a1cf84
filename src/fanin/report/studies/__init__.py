"""Studies: experiments whose report checks what they claim, from the files of their runs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fanin.report.studies.base import Study

__all__ = ["STUDIES", "study_of"]

STUDIES: dict[str, str] = {
    "normalization_study": "normalization",
    "activation_study": "activation",
    "preprocessing_study": "preprocessing",
    "regularization_study": "regularization.claims",
    "schedule_study": "schedule.claims",
    "noise_reduction_study": "noise_reduction.claims",
    "optimizer_race": "optimizer_race.claims",
}
"""The module here that holds the STUDY of an experiment."""


def study_of(experiment: str) -> Study | None:
    """The study of an experiment of this name, None where it has none; its module is imported when first asked for."""
    module = STUDIES.get(experiment)
    if module is None:
        return None
    study: Study = import_module(f"{__name__}.{module}").STUDY
    return study
