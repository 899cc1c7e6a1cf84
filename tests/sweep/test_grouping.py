"""Which configurations are told to be trainable together."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from fanin.config_folder import config_folder
from fanin.resolvers import register_resolvers
from fanin.sweep.grouping import structure_key

# Words that a command may add to the base without the run ceasing to fit the others.
FREE = [
    ["seed=3"],
    ["force=true"],
    ["initializer=orthogonal"],
    ["initializer=variance_scaling", "initializer.c=1.3"],
    ["optimizer.lr=0.5"],
    ["optimizer.lr=1"],  # an integer is a number too
    ["optimizer.momentum=0"],
    ["schedule=cosine", "schedule.warmup_steps=10"],
    ["regularizer.l2.strength=0"],
    ["regularizer.dropout.p=0.1"],
    ["regularizer.early_stopping.patience=2", "regularizer.early_stopping.monitor=train_loss"],
    ["regularizer=[l2,dropout]"],  # no early stopping
]
BOUND = [
    ["data=gaussian"],
    ["data.val_size=7"],
    ["model.depth=6"],
    ["model.width=50"],
    ["model.bias=false"],
    ["activation=tanh"],
    ["normalization=batch"],
    ["normalization.placement=post_activation"],
    ["optimizer=sgd"],
    ["optimizer=adam"],
    ["regularizer=[dropout,early_stopping]"],
    ["regularizer=[l2,early_stopping]"],
    ["regularizer.dropout.p=0"],
    ["regularizer.dropout.input_p=0.1"],
    ["probe.every=7"],
    ["trainer.batch_size=50"],
    ["trainer.steps=10"],
    ["trainer.precision=float64"],
]
OWN = [
    ["model._target_=own.Net"],
    ["activation._target_=own.relu"],
    ["normalization._target_=own.Norm"],
    ["regularizer.l2._target_=own.L2"],
    ["optimizer._target_=own.Momentum"],
    ["optimizer._target_=torch.optim.SGD"],
    ["optimizer._target_=fanin.optimizers.base.spread"],
]


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    """Hydra, ready to compose fanin's configuration."""
    register_resolvers()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        yield


@lru_cache
def configuration(*overrides: str) -> DictConfig:
    base = ("optimizer=momentum", "regularizer=[l2,dropout,early_stopping]")
    return compose("config", [*base, *overrides])


@pytest.mark.parametrize("overrides", FREE, ids=" ".join)
def test_runs_that_differ_in_numbers_fit_together(overrides: list[str]) -> None:
    assert structure_key(configuration(*overrides)) == structure_key(configuration()) is not None


def test_every_other_difference_keeps_runs_apart() -> None:
    keys = [structure_key(configuration(*overrides)) for overrides in ([], *BOUND)]
    assert None not in keys
    assert len(set(keys)) == len(keys)


def test_a_flag_of_the_optimizer_is_no_number() -> None:
    keys = [
        structure_key(configuration("optimizer=adam", *words))
        for words in ([], ["optimizer.bias_correction=false"], ["optimizer.beta2=0.9"])
    ]
    assert keys[0] == keys[2] != keys[1]


@pytest.mark.parametrize("overrides", OWN, ids=" ".join)
def test_a_part_of_a_users_own_is_trained_alone(overrides: list[str]) -> None:
    assert structure_key(configuration(*overrides)) is None


def test_an_initializer_of_a_users_own_is_no_obstacle() -> None:
    """It is done before training begins."""
    assert structure_key(configuration("initializer._target_=own.Sparse")) == structure_key(configuration())
