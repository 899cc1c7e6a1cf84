"""Which configurations are trained as one program, which go to the pool, and how many are put together."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.parts.models import Mlp
from fanin.parts.optimizers.base import GroupOptimizer
from fanin.parts.per_run import is_stackable, stackable
from fanin.run.identity import Identity
from fanin.sweep.composer import Composed, Plain, as_config
from fanin.sweep.fused_groups import fuse, number_of_groups
from fanin.sweep.plan import Planned
from fanin.sweep.structure import structure_key

# Words that a command may add to the base without the run ceasing to fit the others.
FREE = [
    "seed=3",
    "force=true",
    "initializer=orthogonal",
    "initializer=lsuv",
    "initializer=variance_scaling initializer.c=1.3",
    "initializer=pretrained initializer.path=there",  # nothing is frozen
    "optimizer.lr=0.5",
    "optimizer.lr=1",  # an integer is a number too
    "optimizer.momentum=0",
    "schedule=cosine schedule.warmup_steps=10",
    "lr_scaling=linear",
    "regularizer.l1.strength=0.1",
    "regularizer.l2.strength=0",
    "regularizer.weight_decay.rate=0.1",
    "regularizer.max_norm.bound=1",
    "regularizer.dropout.p=0.1",
    "regularizer.early_stopping.patience=2 regularizer.early_stopping.monitor=batch_loss",
    "regularizer=[l1,l2,weight_decay,max_norm,dropout,label_smoothing]",  # no early stopping
]
BOUND = [
    "data=gaussian",
    "data.val_size=7",
    "preprocess=standardize",
    "augment=rotate",
    "augment=[rotate,noise]",
    "augment=rotate augment.rotate.degrees=3",
    "model=residual_mlp",
    "model.depth=6",
    "model.width=50",
    "model.width=[100,50,50,50]",
    "model.bias=false",
    "activation=tanh",
    "normalization=batch",
    "normalization.placement=post_activation",
    "loss=squared",
    "optimizer=sgd",
    "optimizer=adam",
    "optimizer=adam optimizer.bias_correction=false",  # a flag is no number
    "clipping=norm",
    "clipping=norm clipping.bound=3",
    "averaging=ema",
    "averaging=ema averaging.decay=0.5",
    "batch=growing",
    "regularizer=[l1,weight_decay,max_norm,dropout,label_smoothing,early_stopping]",
    "regularizer=[l1,l2,weight_decay,max_norm,label_smoothing,early_stopping]",
    "regularizer.label_smoothing.eps=0.2",
    "regularizer.dropout.p=0",
    "regularizer.dropout.input_p=0.1",
    "initializer=pretrained initializer.freeze=[linear_1*]",
    "initializer=pretrained initializer.freeze=[linear_2*]",
    "initializer=pretrained initializer.freeze=[linear_1*] initializer.include=[linear_*]",
    "initializer=pretrained initializer.freeze=[linear_1*] initializer.strict=false initializer.path=here",
    "initializer=pretrained initializer.freeze=[linear_1*] initializer.strict=false initializer.path=there",
    "probe.every=7",
    "trainer.batch_size=50",
    "trainer.steps=10",
    "trainer.precision=float64",
]
ALONE = [
    "regularizer=sam",
    "regularizer=[l2,sam]",
    "model=vae loss=elbo",
    "batch=adaptive",
    "trainer.compile=true",
    "model._target_=own.Net",
    "activation._target_=own.relu",
    "normalization._target_=own.Norm",
    "loss._target_=own.Loss",
    "regularizer.l2._target_=own.L2",
    "optimizer._target_=own.Momentum",
    "optimizer._target_=torch.optim.SGD",
    "optimizer._target_=fanin.parts.optimizers.base.spread",
]
OPTIMIZERS = sorted(path.stem for path in (config_folder() / "optimizer").glob("*.yaml"))


@cache
def base() -> Plain:
    """The configuration to which words are added, composed once."""
    register_resolvers()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        words = [
            "optimizer=momentum",
            "regularizer=[l1,l2,weight_decay,max_norm,dropout,label_smoothing,early_stopping]",
        ]
        return OmegaConf.to_container(compose("config", words), resolve=True, enum_to_str=True)


def configuration(words: str = "") -> Plain:
    """The base with words of a command added: options from their files, and values."""
    values = copy.deepcopy(base())
    for word in words.split():
        key, _, typed = word.partition("=")
        value = yaml.safe_load(typed)
        if (config_folder() / key).is_dir():
            names = value if isinstance(value, list) else [value]
            files = [yaml.safe_load((config_folder() / key / f"{name}.yaml").read_text()) for name in names]
            values[key] = {option: content for file in files for option, content in file.items()}
        else:
            *path, last = key.split(".")
            node: dict[str, Any] = values
            for part in path:
                node = node[part]
            node[last] = value
    return values


@pytest.mark.parametrize("words", FREE)
def test_runs_that_differ_in_numbers_fit_together(words: str) -> None:
    assert structure_key(configuration(words)) == structure_key(configuration()) is not None


def test_every_other_difference_keeps_runs_apart() -> None:
    keys = {words: structure_key(configuration(words)) for words in ("", *BOUND)}
    assert None not in keys.values()
    assert len(set(keys.values())) == len(keys)


@pytest.mark.parametrize("words", ALONE)
def test_what_is_more_than_one_pass_or_a_users_own_is_trained_alone(words: str) -> None:
    assert structure_key(configuration(words)) is None


def test_a_mark_is_the_classs_own() -> None:
    """What derives from a part that can be stacked may hold anything."""

    class Counting(Mlp):
        passes = 0

    assert is_stackable(Mlp)
    assert not is_stackable(Counting)
    assert is_stackable(stackable(Counting))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_that_ask_for_the_gradient_alone_take_stacks_and_no_others(name: str) -> None:
    values = configuration(f"optimizer={name}")
    takes_stacks = issubclass(get_object(values["optimizer"]["_target_"]), GroupOptimizer)
    assert (structure_key(values) is not None) == takes_stacks


def test_both_kinds_of_optimizers_are_among_them() -> None:
    alone = {name for name in OPTIMIZERS if structure_key(configuration(f"optimizer={name}")) is None}
    assert alone >= {"newton", "gauss_newton", "hessian_free", "bfgs", "lbfgs", "coordinate_descent", "saga", "svrg"}
    assert {"sgd", "momentum", "nesterov", "ema_momentum", "adagrad", "rmsprop", "adam", "adamw"} <= {
        *OPTIMIZERS
    } - alone


@pytest.mark.parametrize(
    "words", ["initializer._target_=own.Sparse", "data._target_=own.Data", "preprocess._target_=own.Whiten"]
)
def test_what_is_done_before_training_begins_may_be_a_users_own(words: str) -> None:
    assert structure_key(configuration(words)) is not None


# ---- groups


def planned(number: int, words: str, *, finished: bool = False) -> Planned:
    """A run of a grid, its interpolations as they are in the configuration."""
    values = configuration(words)
    composed = Composed(values, partial(as_config, values), OmegaConf.create({}), {}, [], "")
    return Planned(composed, Identity("runs", str(number), {}, "", {}), Path(str(number)), finished, number)


def groups_of(
    *words: str, workers: int = 2, most: int = 3, finished: Collection[int] = ()
) -> tuple[list[list[int]], int]:
    """The groups that runs are put into, by their numbers, and how many of them cannot be fused."""
    runs = [planned(number, text, finished=number in finished) for number, text in enumerate(words)]
    groups, alone = fuse(runs, most, workers, gpu=False)
    return [[run.number for run in group] for group in groups], alone


def test_what_cannot_be_fused_is_counted_and_goes_to_the_pool_one_by_one() -> None:
    """The launcher says so in a line (tests/cli/test_fused.py)."""
    words = [f"seed={seed} optimizer.lr={1 + seed}" for seed in range(4)]
    words += ["regularizer=sam", "optimizer=newton", "regularizer=sam seed=1"]
    assert groups_of(*words) == ([[0, 2], [1, 3], [4], [5], [6]], 3)


def test_runs_that_are_not_trained_are_grouped_by_recipe() -> None:
    """What is expected of a recipe is worked out once a group, and takes longer than to draw and look at its nets."""
    words = [f"seed={seed} initializer.c={c} trainer.steps=0" for seed in range(4) for c in (1, 2, 3)]
    assert groups_of(*words, most=4) == ([[0, 3, 6], [9, 1, 4], [7, 10, 2], [5, 8, 11]], 0)
    assert groups_of(*words, most=4, finished=range(9)) == ([[9], [10], [11]], 0)
    trained = [text.replace("steps=0", "steps=1") for text in words]
    assert groups_of(*trained, most=4) == ([[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]], 0)


def test_an_interrupted_grid_is_grouped_as_it_was() -> None:
    """Who is beside a run in a program decides how its sums are rounded."""
    words = [f"seed={seed}" for seed in range(12)]
    whole = [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]
    assert groups_of(*words) == (whole, 0)
    assert groups_of(*words, finished=(0, 4, 8, 1, 5, 9)) == (whole[2:], 0)
    assert groups_of(*words, finished=(0, 5, 10)) == ([[4, 8], [1, 9], [2, 6], [3, 7, 11]], 0)


def test_an_interrupted_grid_is_grouped_anew_where_that_is_sooner_done() -> None:
    """Of two workers neither waits while the other has two groups, and what cannot be fused is as before."""
    words = [f"seed={seed}" for seed in range(12)]
    assert groups_of(*words, finished=(0, 4, 8)) == ([[1, 6, 11], [2, 7], [3, 9], [5, 10]], 0)
    words = [*(f"seed={seed}" for seed in range(6)), "optimizer=newton seed=6", "optimizer=newton seed=7"]
    assert groups_of(*words) == ([[0, 2, 4], [1, 3, 5], [6], [7]], 2)
    assert groups_of(*words, finished=(0, 2, 4, 6)) == ([[1, 5], [3], [7]], 1)


def test_a_program_has_no_more_files_open_than_a_process_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanin.sweep.fused_groups.open_files", lambda: 64 + 2 * 6 + 5)  # two runs' and not quite three
    words = [f"seed={seed}" for seed in range(6)]
    assert groups_of(*words, workers=1, most=500) == ([[0, 3], [1, 4], [2, 5]], 0)


def test_an_initializer_that_freezes_keeps_runs_apart() -> None:
    frozen = "initializer=pretrained initializer.freeze=[linear_1*]"
    assert groups_of("seed=0", frozen, "seed=1", frozen + " seed=1", workers=1) == ([[0, 2], [1, 3]], 0)


def test_data_that_follow_the_seed_keep_runs_apart() -> None:
    """Unresolved the two configurations are the same but for the seed."""
    words = "data=gaussian data.seed=${seed} seed="
    assert groups_of(words + "0", words + "1", workers=1) == ([[0], [1]], 0)


@settings(max_examples=25, deadline=None)
@given(runs=st.integers(1, 3000), largest=st.integers(1, 512), workers=st.integers(1, 16))
def test_every_worker_gets_as_many_groups_as_the_others(runs: int, largest: int, workers: int) -> None:
    groups = number_of_groups(runs, largest, workers)
    assert math.ceil(runs / groups) <= largest
    assert groups == runs or groups % workers == 0
    fewer = groups - workers
    assert groups == runs or fewer <= 0 or math.ceil(runs / fewer) > largest, "as few as that allows"
