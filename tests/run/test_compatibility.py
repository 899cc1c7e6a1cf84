"""What no option can see alone: what was typed beside an optimizer, what is frozen, what a model's data ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.run.build import check, load_data, recipe
from fanin.run.networks import initialized, trained_model
from fanin.train.batches import Batches

SMALL = ("data=gaussian", "data.examples=70", "data.features=6", "data.val_size=10", "data.test_size=10",
         "trainer.batch_size=20", "probe.batch_size=20", "model.depth=2", "model.width=5")  # fmt: skip


def composed(*words: str) -> DictConfig:
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return compose("config", [*SMALL, *words])


def test_a_batch_size_typed_beside_an_optimizer_of_the_whole_set_is_refused() -> None:
    """One that an experiment sets is not, and told of; the optimizer takes the whole set all the same."""
    gd, sgd = composed("optimizer=gd"), composed("optimizer=sgd")
    (mistake,) = map(str, check(gd, ["optimizer=gd", "trainer.batch_size=20"]))
    assert mistake == (
        "trainer.batch_size=20: must be all with this optimizer, which takes the whole training set in each step; "
        "leave it out, or take optimizer=sgd"
    )
    assert check(gd, ["optimizer=gd"]) == check(sgd, ["trainer.batch_size=20"]) == []
    assert (recipe(gd).trainer.batch_size, recipe(sgd).trainer.batch_size) == ("all", 20)
    everything = composed("optimizer=gd", "trainer.batch_size=all")
    assert check(everything, ["trainer.batch_size=all"]) == []
    told: list[dict[str, None]] = [{}, {}, {}, {}]
    default = composed("optimizer=gd", "trainer.batch_size=100", "data.examples=200")
    for cfg, notes in zip((gd, sgd, everything, default), told, strict=True):
        assert check(cfg, [], notes) == []
    said = "trainer.batch_size=20 does not count: fanin.parts.optimizers.GD takes the whole training set in each step"
    assert told == [{said: None}, {}, {}, {}]


@pytest.mark.parametrize(("activation", "own"), [("activations.relu", True), ("torch.nn.RReLU", False)])
def test_a_part_that_may_hold_anything_draws_from_torchs_stream(activation: str, own: bool) -> None:
    cfg = composed(f"activation._target_={activation.replace('activations', 'fanin.parts.activations')}")
    made, data = recipe(cfg), load_data(cfg, torch.device("cpu"), torch.float32)
    assert made.stackable is own
    model = initialized(made, data, data.train_x[:20])
    network = trained_model(made, model, Batches(data.train_x, data.train_y, 20, [0]))
    assert network.dropout is (None if own else torch.default_generator)


@pytest.mark.parametrize("freeze", [[], ["linear_1*"]])
def test_a_dense_matrix_is_of_what_is_trained(tmp_path: Path, freeze: list[str]) -> None:
    """6 x 5 + 5 parameters of the first layer, 5 x 10 + 10 of the second."""
    sizes = {"linear_1.weight": (5, 6), "linear_1.bias": (5,), "linear_2.weight": (10, 5), "linear_2.bias": (10,)}
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "result.json").write_text('{"state": "done"}')
    (tmp_path / "status.json").write_text('{"state": "done"}')
    state = {name: torch.zeros(size) for name, size in sizes.items()}
    torch.save({"model": state}, tmp_path / "checkpoints" / "last.pt")
    cfg = composed("optimizer=newton", "optimizer.max_parameters=60", "initializer=pretrained")
    cfg.initializer.path, cfg.initializer.freeze = str(tmp_path), freeze
    mistakes = [str(error) for error in check(cfg)]
    if freeze:
        assert mistakes == []
    else:
        assert mistakes[0].startswith("optimizer.max_parameters=60: must be at least the model's 95 parameters")


def test_factors_make_groups_of_the_parameters_that_patterns_name() -> None:
    words = ("optimizer.factors={linear_1*:0.5}", "optimizer.decay_factors={*bias:0}", "optimizer=adamw")
    cfg = composed(*words)
    made, data = recipe(cfg), load_data(cfg, torch.device("cpu"), torch.float32)
    model = initialized(made, data, data.train_x[:20])
    groups = trained_model(made, model, Batches(data.train_x, data.train_y, 20, [0])).optimizer.param_groups
    names = {id(one): name for name, one in model.named_parameters()}
    decay = cfg.optimizer.weight_decay
    assert [
        ([names[id(one)] for one in group["params"]], group["factor"], group["weight_decay"]) for group in groups
    ] == [
        (["linear_1.weight"], 0.5, decay),
        (["linear_1.bias"], 0.5, 0.0),
        (["linear_2.weight"], 1.0, decay),
        (["linear_2.bias"], 1.0, 0.0),
    ]
    (mistake,) = map(str, check(composed("optimizer.factors={lin_1*:0.5}")))
    assert mistake.startswith(
        "optimizer.factors=lin_1*: must be a pattern that matches a parameter that is trained; there"
    )
    (mistake,) = map(
        str, check(composed("+optimizer.factors={linear_1*:0.5}", "optimizer=lbfgs", "trainer.batch_size=all"))
    )
    assert mistake == "optimizer.factors: LBFGS makes one step of all parameters; take optimizer=sgd or adam"
