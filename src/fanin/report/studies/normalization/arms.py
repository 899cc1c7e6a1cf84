"""The arms of the normalization study: a normalization, where it stands, and what theory says of its gradients."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from fanin.report.read.folders import Run
from fanin.report.studies.base import Evidence

C = "initializer.c"
KEPT, GROWS = 1.0, math.sqrt(math.pi / (math.pi - 1))


class Arm(NamedTuple):
    """A normalization and where it stands."""

    normalization: str
    placement: str

    @property
    def choices(self) -> dict[str, Any]:
        """What its runs have; without normalization no placement makes a difference."""
        where = {} if self.normalization == "none" else {"normalization.placement": self.placement}
        return {"normalization": self.normalization, **where}

    @property
    def name(self) -> str:
        """In a few words."""
        if self.normalization == "none":
            return "no normalization"
        return f"{self.normalization}, {'before' if self.placement == 'pre_activation' else 'behind'} ReLU"


NONE = Arm("none", "")
BATCH, BATCH_BEHIND = Arm("batch", "pre_activation"), Arm("batch", "post_activation")
LAYER, LAYER_BEHIND = Arm("layer", "pre_activation"), Arm("layer", "post_activation")
GROWTH = {LAYER: KEPT, BATCH: GROWS, LAYER_BEHIND: GROWS, BATCH_BEHIND: GROWS}
"""Factor of the gradient's norm a layer, towards the input."""


def plain_runs(evidence: Evidence, c: float) -> list[Run]:
    """The runs without normalization, one of each seed: the grid has one for every placement of nothing."""
    return list({str(run.seed): run for run in evidence.runs_with({**NONE.choices, C: c})}.values())
