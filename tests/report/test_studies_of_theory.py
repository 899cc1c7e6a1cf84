"""The claims of the studies of signal propagation, on run folders whose numbers are made up."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from fanin.report.claim import judge
from fanin.report.read.folders import find_runs, read_runs
from fanin.report.read.series import read_metrics, read_profiles
from fanin.report.studies.base import Claim

HEADER = "snapshot,axis,index,layer,quantity,value,theory,band_low,band_high"
SETTING = {"model": {"depth": 24, "width": 400}, "probe": {"batch_size": 100}}


class Grid:
    """A study's runs, to be written one by one and judged together."""

    def __init__(self, place: Path, experiment: str) -> None:
        self.place, self.experiment = place / experiment, experiment
        study = yaml.safe_load((Path(__file__).parents[2] / "conf" / "experiment" / f"{experiment}.yaml").read_text())
        self.study = study["study"]

    def run(
        self,
        overrides: Mapping[str, Any],
        profiles: Mapping[tuple[str, str], Sequence[float]] | None = None,
        *,
        init: Mapping[str, float | None] | None = None,
        outcome: str = "init only",
        config: Mapping[str, Mapping[str, Any]] | None = None,
        **metrics: float,
    ) -> None:
        """A finished run with these profiles at init, by axis and quantity, and these numbers."""
        folder = self.place / ",".join(f"{key}={value}" for key, value in overrides.items())
        (folder / ".hydra").mkdir(parents=True)
        (folder / "status.json").write_text(json.dumps({"state": "done", "step": 0, "steps": 0}))
        rows = [
            ["init", axis, index, f"layer_{index}", quantity, value, "", "", ""]
            for (axis, quantity), values in (profiles or {}).items()
            for index, value in enumerate(values, 1)
            if not math.isnan(value)
        ]
        with (folder / "profiles.csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([HEADER.split(","), *rows])
        settings = {key: {**SETTING.get(key, {}), **(config or {}).get(key, {})} for key in {*SETTING, *(config or {})}}
        result = {
            "run": folder.name, "experiment": self.experiment, "state": "done", "outcome": outcome,
            "overrides": dict(overrides), "init": dict(init or {}), "metrics": metrics,
            "choices": {key: value for key, value in overrides.items() if "." not in key and key != "seed"},
            "config": {"study": self.study, "seed": overrides["seed"], **settings},
        }  # fmt: skip
        (folder / "result.json").write_text(json.dumps(result))

    def claims(self) -> list[Claim]:
        """As the report judges them."""
        runs = read_runs(find_runs([self.place]), self.place)
        (study,), notes = judge(runs, read_profiles(runs), read_metrics(runs))
        assert (notes, study.notes) == ([], [])
        return study.claims

    def claim(self, words: str) -> Claim:
        """The one claim whose text has these words."""
        (found,) = [one for one in self.claims() if words in one.text]
        return found


def errors(factor: float, layers: int = 24) -> dict[tuple[str, str], list[float]]:
    """Profiles of a chain with two modules behind each layer, whose squared errors grow by a factor a layer."""
    norms = [factor ** ((layers - layer) / 2) for layer in range(1, layers + 1)]
    flow = [math.nan, *(norm for norm in norms[:-1] for _ in range(3)), norms[-1]]
    return {("module", "activation_gradient_norm"): flow, ("weight", "gradient_norm"): [1.0] * layers}


LIMIT = math.pi / (math.pi - 1)
SLACK = {"identity": 4 * math.sqrt(2 / 400 / 15), "relu": 4 * math.sqrt(5 / 400 / 15)}  # 24 layers, 4 off either end


@pytest.mark.parametrize(
    ("normalization", "placement", "activation", "batch", "law"),
    [
        ("batch", "pre_activation", "identity", 8, 6 / 5), ("batch", "pre_activation", "identity", 32, 30 / 29),
        ("batch", "post_activation", "relu", 128, LIMIT), ("layer", "pre_activation", "relu", 8, 1.0),
        ("layer", "post_activation", "relu", 8, LIMIT), ("rms", "post_activation", "relu", 128, 1.0),
    ],
)  # fmt: skip
def test_factors_of_normalized_layers(
    tmp_path: Path, normalization: str, placement: str, activation: str, batch: int, law: float
) -> None:
    where = {"identity": "linear"}.get(activation, "before" if placement == "pre_activation" else "behind")
    for place, (stray, holds) in enumerate(((0.95, True), (-0.95, True), (1.05, False), (-1.05, False))):
        grid = Grid(tmp_path / str(place), "normalization_gradients_study")
        choices = {"activation": activation, "normalization": normalization, "normalization.placement": placement}
        factor = law * math.exp(stray * SLACK[activation])
        grid.run({**choices, "probe.batch_size": batch, "seed": 0}, errors(factor))
        claim = grid.claim(f"{normalization} normalization, {where}")
        assert claim.holds is holds
        assert claim.evidence.startswith(f"B={batch}: {factor:.3g}, {law:.4g} expected")


def test_small_batches_with_relu_have_no_law_and_grow_faster(tmp_path: Path) -> None:
    """Judged seed by seed: the second seed's factors are both larger than the first's."""
    grid = Grid(tmp_path, "normalization_gradients_study")
    choices = {"activation": "relu", "normalization": "batch", "normalization.placement": "pre_activation"}
    for seed, small, large in ((0, 1.5, 1.4), (1, 1.8, 1.6)):
        grid.run({**choices, "probe.batch_size": 8, "seed": seed}, errors(small))
        grid.run({**choices, "probe.batch_size": 32, "seed": seed}, errors(large))
    assert grid.claim("before ReLU: the gradient's square grows by pi/(pi - 1)").holds is None
    assert grid.claim("the smaller the batch").holds is True
    grid.run({**choices, "probe.batch_size": 8, "seed": 2}, errors(1.5))
    grid.run({**choices, "probe.batch_size": 32, "seed": 2}, errors(1.51))
    claim = grid.claim("the smaller the batch")
    assert (claim.holds, claim.evidence) == (False, "1.5 to 1.8 a layer at B=8, 1.4 to 1.6 at B=32")
