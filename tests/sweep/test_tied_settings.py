"""Settings that go with choices: which jobs get them, and who outdoes whom."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from fanin.catalogue import config_folder
from fanin.train.batches import Batches
from fanin.train.settings import Trainer
from hydra_plugins.fanin.grid_sweeper import GridSweeper

PARAMS = {
    "optimizer": "gd,adam",
    "model.kind": "saddle,valley",
    "optimizer=gd": "optimizer.lr=0.1 trainer.steps=5",
    "optimizer=gd model.kind=valley": "optimizer.lr=0.2",
    "model.kind=valley": "seed=3",
    "optimizer=momentum": "optimizer.lr=9",
}


def jobs(params: dict[str, str], *typed: str) -> list[list[str]]:
    """The jobs of a grid, as the sweeper makes them from an experiment's parameters and the command line."""
    sweeper = GridSweeper(None, params)
    sweeper.config, sweeper.loader = OmegaConf.create({"hydra": {"sweeper": {"params": params}}, "k": 3}), None
    return sweeper.jobs(list(typed))


def test_settings_go_with_their_choices() -> None:
    assert jobs(PARAMS) == [
        ["optimizer.lr=0.1", "trainer.steps=5", "optimizer=gd", "model.kind=saddle"],
        ["optimizer.lr=0.2", "trainer.steps=5", "seed=3", "optimizer=gd", "model.kind=valley"],
        ["optimizer=adam", "model.kind=saddle"],
        ["seed=3", "optimizer=adam", "model.kind=valley"],
    ]


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        (("optimizer.lr=1",), ["trainer.steps=5", "optimizer=gd", "model.kind=saddle", "optimizer.lr=1"]),
        (("++optimizer.lr=1",), ["trainer.steps=5", "optimizer=gd", "model.kind=saddle", "++optimizer.lr=1"]),
        (("optimizer=momentum",), ["optimizer.lr=9", "optimizer=momentum", "model.kind=saddle"]),
        (("optimizer=sgd", "seed=0"), ["optimizer=sgd", "model.kind=saddle", "seed=0"]),
    ],
)
def test_what_is_typed_outdoes_them(typed: tuple[str, ...], first: list[str]) -> None:
    assert sorted(jobs(PARAMS, *typed)[0]) == sorted(first)


def test_formulas_are_left_to_the_job() -> None:
    made = jobs({"optimizer": "gd", "optimizer=gd": 'optimizer.lr=${f:"1/(2+${k})"}'})
    (setting, _) = made[0]
    value: Any = OverridesParser.create().parse_override(setting).value()
    assert value == '${f:"1/(2+${k})"}'


@pytest.mark.parametrize(("examples", "steps"), [(60_000, 4800), (1500, 1500), (50_000, 4000), (10, 1500)])
def test_the_initialization_study_is_as_long_as_its_data_asks_for(examples: int, steps: int) -> None:
    """8 epochs in batches of 100, and 1,500 steps where that is fewer, whatever the data set is called."""
    study = OmegaConf.load(config_folder() / "experiment" / "init_study.yaml")
    size = min(study.trainer.batch_size, examples)
    batches = Batches(torch.zeros(examples, 1), torch.zeros(examples, dtype=torch.int64), size, [0])
    assert Trainer(**study.trainer).length(batches.steps) == steps
