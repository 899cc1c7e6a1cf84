"""Composing once per choice of groups gives what Hydra's own composing gives, for overrides of every kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from fanin.api.option_files import group_options
from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.sweep.composer import Composer, hydra_record

GROUPS = (
    "data",
    "model",
    "activation",
    "initializer",
    "normalization",
    "regularizer",
    "optimizer",
    "schedule",
    "probe",
)
VALUES = {
    "seed": ["0", "7"],
    "optimizer.lr": ["0.1", "1e-3", "1"],
    "model.depth": ["2", "50"],
    "model.bias": ["false", "true"],
    "trainer.steps": ["null", "0", "10"],
    "trainer.target_error": ["0.05"],
    "data.val_size": ["0", "100"],
    "data.limit": ["null", "200"],
    "schedule.warmup": ["cosine", "'linear'"],
    "+trainer.unknown": ["1"],
    "+extra": ["[1,2]", "{a:1}"],
    "~trainer.threads": [""],
    "trainer.precision": ["float64", '"float32"'],
    "data.root": ["/some/where", "'a b'", "${oc.env:HOME}"],
}


@pytest.fixture(scope="module")
def hydra() -> Iterator[Hydra]:
    """Hydra with fanin's configuration, as the command line has it."""
    GlobalHydra.instance().clear()
    register_resolvers()
    yield Hydra.create_main_hydra2("fanin", create_config_search_path(str(config_folder())))
    GlobalHydra.instance().clear()


@pytest.fixture(scope="module")
def master(hydra: Hydra) -> DictConfig:
    """The configuration of a multirun that moves its grid."""
    overrides = ["experiment=init_study", "hydra.sweep.dir=there"]
    return hydra.config_loader.load_configuration("config", overrides, run_mode=RunMode.MULTIRUN)


@st.composite
def jobs(draw: st.DrawFn) -> list[str]:
    """The overrides of one job: some groups, some values, in any order."""
    groups = draw(st.lists(st.sampled_from(GROUPS), unique=True, max_size=4))
    chosen = [f"{group}={draw(st.sampled_from(group_options(group)))}" for group in groups]
    if draw(st.booleans()):
        chosen = [one for one in chosen if not one.startswith("regularizer")] + ["regularizer=[l2,dropout]"]
    keys = draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True, max_size=5))
    set_ = [f"{key}={draw(st.sampled_from(VALUES[key]))}" if not key.startswith("~") else key for key in keys]
    start = draw(st.sampled_from([[], ["experiment=init_study"], ["experiment=init_persistence"], ["debug=fast"]]))
    return [*start, *draw(st.permutations([*chosen, *set_]))]


@settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # to shrink a failure takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_the_result_is_that_of_hydra(hydra: Hydra, master: DictConfig, data: st.DataObject) -> None:
    composer = Composer(hydra.config_loader, master)
    for overrides in data.draw(st.lists(jobs(), min_size=1, max_size=3)):
        try:
            expected = hydra.config_loader.load_sweep_config(master, overrides)
        except HydraException as error:  # a value that the chosen option has no key for, say
            with pytest.raises(type(error)):
                composer(overrides)
            continue
        composed = composer(overrides)
        plain = OmegaConf.to_container(expected, resolve=False, enum_to_str=True)
        assert isinstance(plain, dict)
        node = plain.pop("hydra")
        assert composed.plain == plain
        assert OmegaConf.to_container(composed.task, resolve=False) == plain
        record = hydra_record(composed, config_folder(), 3)["hydra"]
        told = {key: value for key, value in node.items() if key not in ("help", "hydra_help")}
        told["job"] |= {"num": 3, "id": "3"}
        told["runtime"] |= {"output_dir": str(config_folder())}
        assert record == told


def test_jobs_do_not_share_what_they_change(hydra: Hydra, master: DictConfig) -> None:
    composer = Composer(hydra.config_loader, master)
    first, second = composer(["seed=1", "optimizer.lr=5"]), composer(["seed=2"])
    assert (first.plain["seed"], second.plain["seed"]) == (1, 2)
    assert (first.task.optimizer.lr, second.task.optimizer.lr) == (5, 0.01)
