"""Every option of every group, alone and with others: it trains, or says in one line why not."""

from __future__ import annotations

import json
import re
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from tiny_cifar import write_cifar
from tiny_mnist import Tiny

from fanin.api.resolvers import register_resolvers
from fanin.catalogue import PARTS as GROUPS
from fanin.catalogue import config_folder
from fanin.cli.help import defaults
from fanin.record.run_folder import RunFolder
from fanin.run.build import check
from fanin.run.identity import Identity
from fanin.run.request import Request
from fanin.sweep.job import execute_together

CHOSEN = [group for group in GROUPS if group not in ("evaluation", "trainer")]
LISTS = ("augment", "regularizer")
OPTIONS = {group: sorted(path.stem for path in (config_folder() / group).glob("*.yaml")) for group in CHOSEN}
DEFAULTS = defaults(config_folder())
SMALL = {
    "trainer": {"steps": 3, "batch_size": 20, "log_every": 1, "progress": False, "device": "cpu"},
    "probe": {"batch_size": 20, "every": 2, "redraws": 8},
    "data": {"limit": 40, "val_size": 20, "image_size": 12, "examples": 70, "features": 30, "test_size": 30},
    "model": {"width": 16, "depth": 4, "channels": [4, 8], "hidden": 16, "latent": 3, "blocks": 1},
    "normalization": {"groups": 4},
    "optimizer": {"max_parameters": 400},
}
"""Keys of options, where they have them, that make a run a matter of milliseconds."""

DEPTHS = {"cnn": 1, "vae": 2, "autoencoder": 2}


@pytest.fixture(scope="module")
def base() -> DictConfig:
    """The default configuration, composed by Hydra."""
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return compose("config")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of a tiny MNIST and a tiny Fashion-MNIST."""
    made = tmp_path_factory.mktemp("data")
    rows = [f"{place},{place % 7},{'abc'[place % 3]}" for place in range(90)]
    (made / "table.csv").write_text("\n".join(["x,z,kind", *rows]))
    write_cifar(made)
    for place in range(90):
        image = Image.fromarray(np.full((9, 12), 2 * place, dtype=np.uint8))
        (made / "images" / "abc"[place % 3]).mkdir(parents=True, exist_ok=True)
        image.save(made / "images" / "abc"[place % 3] / f"{place}.png")
    for name in ("MNIST", "FashionMNIST"):
        folder = made / name / "raw"
        folder.mkdir(parents=True)
        for file, content in Tiny().files.items():
            (folder / file).write_bytes(content)
    return made


def configuration(base: DictConfig, root: Path, choices: dict[str, Any]) -> DictConfig:
    """The default configuration with other options, made small."""
    cfg = base.copy()
    for group, choice in choices.items():
        names = choice if isinstance(choice, (list, tuple)) else [choice]
        nodes = [OmegaConf.load(config_folder() / group / f"{name}.yaml") for name in names]
        cfg[group] = OmegaConf.merge(*nodes) if nodes else {}
    for group, changes in SMALL.items():
        cfg[group].update({key: value for key, value in changes.items() if key in cfg[group]})
    if choices.get("model") in DEPTHS:
        cfg.model.depth = DEPTHS[choices["model"]]
    cfg.data.root = str(root)
    if choices.get("data") in PATHS:
        cfg.data.path = PATHS[choices["data"]]
    if choices.get("data") == "point":
        cfg.trainer.batch_size, cfg.probe.batch_size = "all", None  # there is one example
    if "classes" in cfg.data and choices.get("data") == "gaussian":
        cfg.data.classes = 5
    return cfg


def ending(cfg: DictConfig, folder: Path) -> str:
    """How the configuration ends: done, diverged, or the line that refuses it."""
    mistakes = [str(error) for error in check(cfg)]
    if mistakes:
        assert all("\n" not in line and len(line) < 400 for line in mistakes), mistakes
        return mistakes[0]
    identity = Identity("catalogue", folder.name, {}, str(hash(folder)), {})
    folder.mkdir()
    (outcome,) = execute_together([Request(cfg, identity, RunFolder(folder))], lambda: False)
    assert outcome["state"] in ("done", "diverged"), (outcome["error"], (folder / "run.log").read_text())
    result = json.loads((folder / "result.json").read_text())
    assert result["state"] == outcome["state"]
    assert result["steps"] == (3 if outcome["state"] == "done" else result["diverged"]["step"])
    return str(outcome["state"])


PATHS = {"csv": "table.csv", "folder": "images"}
"""Of files below the root, of options that ask for one."""

NEEDS: dict[tuple[str, str], dict[str, Any]] = {
    ("model", "vae"): {"loss": "elbo"},
    ("model", "autoencoder"): {"loss": "reconstruction"},
    ("loss", "reconstruction"): {"model": "autoencoder"},
    ("model", "surface"): {"loss": "value", "probe": "trajectory"},
    ("loss", "value"): {"model": "surface", "probe": "trajectory"},
    ("probe", "trajectory"): {"model": "surface", "loss": "value"},
    ("data", "point"): {"model": "surface", "loss": "value", "probe": "trajectory"},
    ("loss", "elbo"): {"model": "vae"},
    ("initializer", "fixup"): {"model": "residual_mlp"},
    ("initializer", "weight_norm_scaled"): {"normalization": "weight"},
    ("normalization", "instance"): {"model": "cnn"},
    ("optimizer", "newton"): {"model": "linear"},
    ("optimizer", "gauss_newton"): {"model": "linear"},
    ("optimizer", "gradient_norm"): {"model": "linear", "data": "gaussian"},
    ("optimizer", "saddle_free_newton"): {"model": "linear", "data": "gaussian"},
    ("optimizer", "bfgs"): {"model": "linear"},
    ("preprocess", "pca_whiten"): {},
}
"""What an option cannot do without."""


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in CHOSEN for name in OPTIONS[group]])
def test_every_option_trains(base: DictConfig, root: Path, tmp_path: Path, group: str, name: str) -> None:
    choices = {group: [name] if group in LISTS else name, **NEEDS.get((group, name), {})}
    cfg = configuration(base, root, choices)
    if name in ("newton", "gauss_newton", "bfgs"):
        cfg.optimizer.max_parameters = 2000
    if name == "pretrained":
        assert ending(configuration(base, root, {}), tmp_path / "first") == "done"
        cfg.initializer.path = str(tmp_path / "first")
    if name == "mask":
        torch.save({"linear_2": torch.rand(16, 16) < 0.5}, tmp_path / "masks.pt")
        cfg.regularizer.mask.path = str(tmp_path / "masks.pt")
    if name == "distillation":
        assert ending(configuration(base, root, {}), tmp_path / "teacher") == "done"
        cfg.loss.teacher = str(tmp_path / "teacher")
    assert ending(cfg, tmp_path / "run") == "done"


@pytest.mark.slow
def test_every_option_is_composed_by_hydra_as_its_file_says(base: DictConfig) -> None:
    """Whatever is chosen of the other groups: as many compositions as the largest group has options name all."""
    default = OmegaConf.to_container(base)
    assert isinstance(default, dict)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        for place in range(max(map(len, OPTIONS.values()))):
            chosen = {group: names[place % len(names)] for group, names in OPTIONS.items()}
            typed = [f"{group}=[{name}]" if group in LISTS else f"{group}={name}" for group, name in chosen.items()]
            composed = OmegaConf.to_container(compose("config", typed))
            assert isinstance(composed, dict)
            for group, name in chosen.items():
                file = config_folder() / group / f"{name}.yaml"
                assert composed[group] == OmegaConf.to_container(OmegaConf.load(file)), (group, name)
            assert {key: composed[key] for key in default.keys() - chosen} == {
                key: default[key] for key in default.keys() - chosen
            }


ends: list[str] = []
number = count()


def choices() -> st.SearchStrategy[dict[str, Any]]:
    """One option of every group, or some of those that take a list; half of the time the default, so that most fit."""
    return st.fixed_dictionaries(
        {
            group: st.lists(st.sampled_from(names), max_size=2, unique=True)
            if group in LISTS
            else st.one_of(st.just(DEFAULTS[group]), st.sampled_from(names))
            for group, names in OPTIONS.items()
        }
    )


def random_recipes(examples: int, derandomize: bool = True) -> settings:
    return settings(
        max_examples=examples,
        derandomize=derandomize,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # to shrink an example takes minutes, and tells little more
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def ends_well(cfg: DictConfig, folder: Path) -> None:
    """A recipe trains, or the first word of its refusal is the group that does not fit."""
    end = ending(cfg, folder / str(next(number)))
    ends.append(end)
    if end not in ("done", "diverged"):
        assert re.match(rf"({'|'.join(GROUPS)})\b", end), f"names no group: {end}"


@random_recipes(25)
@given(chosen=choices())
def test_random_recipes_end_well(base: DictConfig, root: Path, tmp_path: Path, chosen: dict[str, Any]) -> None:
    ends_well(configuration(base, root, chosen), tmp_path)


@pytest.mark.slow
@random_recipes(200, derandomize=False)
@given(chosen=choices())
def test_two_hundred_others_end_well(base: DictConfig, root: Path, tmp_path: Path, chosen: dict[str, Any]) -> None:
    """Others at every run of the tests."""
    ends_well(configuration(base, root, chosen), tmp_path)


def test_and_many_of_them_train() -> None:
    """Rules that refuse most recipes would make the test above an empty one."""
    if not ends:
        pytest.skip("the random recipes were not run")
    assert sum(end in ("done", "diverged") for end in ends) > len(ends) / 4
    assert ends.count("done") > ends.count("diverged")
