"""A configuration has one name and one hash, however it was typed; another configuration has others."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.run.identity import LONGEST_NAME, Identity, folder_name, identify, without_hydra

# Spellings of one value each; the first of a row is the plain one.
TYPED = (
    ("initializer=variance_scaling",),
    ("initializer.c=3", "initializer.c=3.0", "initializer.c=3e0"),
    ("regularizer=[l2,dropout]", "regularizer=[dropout,l2]"),
    ("regularizer.l2.strength=0.001", "regularizer.l2.strength=1e-3"),
    ("model.depth=7",),
    ("seed=4",),
    ("trainer.epochs=2", "trainer.epochs=2.0"),
)
DEFAULTS = (
    "optimizer=sgd", "optimizer.lr=0.01", "optimizer.lr=1e-2", "model.bias=true", "data=digits", "trainer.steps=null",
    "schedule.warmup_steps=0", "probe.every=null", "initializer.mode=fan_in", "normalization=none",
    "initializer.bias_variance=0.0",
)  # fmt: skip
NOT_WHAT_IS_RUN = ("force=true", "trainer.progress=false")


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    """Hydra, ready to compose fanin's configuration."""
    register_resolvers()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        yield


def identity(*overrides: str) -> Identity:
    """Of the configuration that is typed so."""
    cfg = compose("config", list(overrides), return_hydra_config=True)
    return identify(without_hydra(cfg), cfg.hydra)


@settings(max_examples=8, deadline=None, phases=[Phase.generate])
@given(st.data())
def test_neither_order_nor_spelling_nor_a_default_changes_a_run(data: st.DataObject) -> None:
    spelled = [data.draw(st.sampled_from(row)) for row in TYPED]
    more = data.draw(st.lists(st.sampled_from(DEFAULTS + NOT_WHAT_IS_RUN), unique_by=lambda text: text.split("=")[0]))
    typed = data.draw(st.permutations(spelled + more))
    plain, other = identity(*(row[0] for row in TYPED)), identity(*typed)
    assert (other.name, other.config_hash, other.overrides) == (plain.name, plain.config_hash, plain.overrides)
    assert plain.name == (
        "initializer=variance_scaling,initializer.c=3,model.depth=7,regularizer=dropout+l2,"
        "regularizer.l2.strength=0.001,seed=4,trainer.epochs=2"
    )


def test_a_key_that_is_deleted_shows_in_the_name() -> None:
    """Its class then takes a default of its own: another run than that of the YAML's default."""
    plain, deleted = identity("seed=3"), identity("seed=3", "~model.depth")
    assert (plain.name, deleted.name) == ("seed=3", "model.depth=deleted,seed=3")
    assert identity("seed=3", "~optimizer.lr").overrides == {"optimizer.lr": "deleted", "seed": 3}
    own = identity("seed=3", "probe.measures={rank: my.rank}")  # a mapping where a value was: nothing is deleted
    assert own.overrides == {"probe.measures.rank": "my.rank", "seed": 3}


@pytest.mark.slow
def test_any_other_value_is_another_run() -> None:
    changed = [
        identity(*(row[0] for row in TYPED), other)
        for other in (
            "seed=5", "seed=0", "initializer.c=3.0000001",
            "initializer.mode=fan_out", "optimizer=adam", "model.depth=8",
            "optimizer.lr=0.011", "trainer.steps=5", "normalization.placement=post_activation",
            "trainer.threads=2", "data.limit=300", "probe=off", "debug=fast", "probe.steps=[1]", "probe.steps=[1,2]",
        )
    ]  # fmt: skip
    changed.append(identity(*(row[0] for row in TYPED)))
    assert len({run.name for run in changed}) == len({run.config_hash for run in changed}) == len(changed)


@pytest.mark.slow
def test_a_study_names_its_axes_and_what_differs_from_its_own_settings() -> None:
    study = ("experiment=init_study", "seed=1")
    assert identity(*study).name == "initializer.c=2,seed=1"
    assert identity(*study).experiment == "init_study"
    assert identity(*study, "initializer.c=2.0", "model.depth=50", "optimizer=sgd").name == "initializer.c=2,seed=1"
    assert identity(*study, "model.depth=20", "initializer.c=1").name == "initializer.c=1,model.depth=20,seed=1"
    assert identity(*study, "data=mnist").name == "data=mnist,initializer.c=2,seed=1"
    assert identity(*study, "data=mnist", "data.val_size=0").config_hash == identity(*study, "data=mnist").config_hash
    assert identity("data=mnist", "data.root=/a").config_hash == identity("data=mnist", "data.root=/b").config_hash
    layernorm = identity("experiment=init_layernorm", "normalization.placement=pre_activation")
    assert layernorm.name == "initializer.c=2,normalization.placement=pre_activation,seed=0"
    assert identity().experiment == "runs"
    assert identity().name == "seed=0"


def test_a_run_of_before_a_key_keeps_its_hash() -> None:
    assert identity("~initializer.bias_variance") == identity()
    assert identity("initializer.bias_variance=0.1").config_hash != identity().config_hash


def test_a_list_of_widths_says_the_depth() -> None:
    listed = identity("model.width=[20,10]")
    assert listed.name == "model.depth=3,model.width=[20,10],seed=0"
    assert listed == identity("model.width=[20.0,10]", "model.depth=3")
    assert identity("model=residual_mlp", "model.width=[8,8,8]").overrides["model.depth"] == 4
    assert identity("model.depth=5", "model.width=100") == identity()
    assert identity("~model.width").overrides == {"model.width": "deleted", "seed": 0}  # for a model of one's own


def test_names_that_no_file_system_takes_are_shortened_with_a_hash() -> None:
    long = {f"model.key_{number}": 1.5 for number in range(40)}
    name, other = folder_name(long), folder_name(long | {"model.key_39": 2})
    assert len(name.encode()) == len(other.encode()) == LONGEST_NAME
    assert name != other
    assert name.startswith("model.key_0=1.5,model.key_1=1.5,")
    assert folder_name(dict(reversed(long.items()))) == name
    slashed, blank, dots = (folder_name({"model.file": value}) for value in ("a/b", "a b", "../.."))
    assert len({slashed, blank, dots, folder_name({"model.file": "a_b"})}) == 4
    for text in (slashed, blank, dots):
        assert len(Path(text).parts) == 1
    # Letters of two bytes are cut between letters, not within one.
    accents = folder_name({"model.file": "é" * 200})
    assert accents.encode().decode() == accents
    assert LONGEST_NAME - 1 <= len(accents.encode()) <= LONGEST_NAME
    assert folder_name({"initializer.c": 2.0, "seed": 0}) == "initializer.c=2,seed=0"
    # Real ones, from the command line to the name.
    steps = f"probe.steps={list(range(1, 90))}".replace(" ", "")
    assert len(identity(steps).name.encode()) == LONGEST_NAME
    assert identity(steps).name != identity(steps.replace("89", "90")).name


ELSEWHERE = """
import pickle, sys
from hydra.core.global_hydra import GlobalHydra
from fanin.run.identity import identify
from fanin.api.resolvers import register_resolvers

register_resolvers()
assert not GlobalHydra.instance().is_initialized()
sys.stdout.buffer.write(pickle.dumps([identify(*one) for one in pickle.load(sys.stdin.buffer)]))
"""


def test_a_process_that_hydra_does_not_run_in_names_a_run_alike() -> None:
    typed = [("optimizer=adam", "model.depth=7"), ("experiment=init_study", "regularizer=[l2,dropout]", "seed=2")]
    composed = [compose("config", list(overrides), return_hydra_config=True) for overrides in typed]
    # Without the classes of Hydra's plugins, which a second search for plugins in this process would have made anew.
    plain = [OmegaConf.create(OmegaConf.to_container(cfg.hydra)) for cfg in composed]
    sent = pickle.dumps([(without_hydra(cfg), hydra) for cfg, hydra in zip(composed, plain, strict=True)])
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], input=sent, capture_output=True, check=True)
    assert pickle.loads(done.stdout) == [identity(*overrides) for overrides in typed]
