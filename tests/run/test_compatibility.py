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
from fanin.run.build import check, recipe

SMALL = ("data=gaussian", "data.examples=70", "data.features=6", "data.val_size=10", "data.test_size=10",
         "trainer.batch_size=20", "probe.batch_size=20", "model.depth=2", "model.width=5")  # fmt: skip


def composed(*words: str) -> DictConfig:
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return compose("config", [*SMALL, *words])


def test_a_batch_size_typed_beside_an_optimizer_of_the_whole_set_is_refused() -> None:
    """One that an experiment or the default sets is not; the optimizer takes the whole set all the same."""
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
