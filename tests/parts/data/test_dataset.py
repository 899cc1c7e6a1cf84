"""The common part of the data sets: the split, the limit, the checks, the YAML files."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from fanin.errors import OptionError
from fanin.parts.data import Dataset, Digits, FashionMnist, Gaussian, Mnist, Source

CONF = Path(__file__).parents[3] / "conf" / "data"
OPTIONS = {"digits": Digits, "mnist": Mnist, "fashion_mnist": FashionMnist, "gaussian": Gaussian}


class Numbers(Source):
    name = "numbers"


def test_validation_and_training_are_disjoint_and_complete() -> None:
    source = Numbers(val_size=30, limit=None)
    train, val = source.hold_out(source.split_order(100), torch.zeros(100))
    assert len(train) == 70
    assert len(val) == 30
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(100))


def test_limit_keeps_the_first_training_examples_whatever_val_size() -> None:
    whole, _ = Numbers(val_size=0, limit=None).hold_out(torch.arange(100), torch.zeros(100))
    for val_size in (0, 10, 90):
        train, val = Numbers(val_size=val_size, limit=10).hold_out(torch.arange(100), torch.zeros(100))
        assert torch.equal(train, whole[:10])
        assert len(val) == val_size
    train, _ = Numbers(val_size=95, limit=10).hold_out(torch.arange(100), torch.zeros(100))
    assert len(train) == 5  # fewer than the limit: all of them


def test_split_depends_on_the_name_alone() -> None:
    torch.manual_seed(1)
    first = Numbers(val_size=0, limit=None).split_order(1000)
    torch.manual_seed(2)
    assert torch.equal(Numbers(val_size=7, limit=3).split_order(1000), first)
    assert not torch.equal(Digits().split_order(1000), first)
    # Written down once: a split that changed between versions would mix training and test data of old runs.
    assert Digits().split_order(1797)[:6].tolist() == [763, 212, 1750, 996, 328, 131]


@pytest.mark.parametrize("val_size", [10, 11])
def test_val_size_must_leave_something_to_train_on(val_size: int) -> None:
    with pytest.raises(OptionError, match=f"val_size={val_size}: must be smaller than numbers's 10"):
        Numbers(val_size=val_size, limit=None).hold_out(torch.arange(10), torch.zeros(10))


@pytest.mark.parametrize("option", OPTIONS.values())
@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("val_size", -1, ">= 0"),
        ("val_size", 2.0, "an integer"),
        ("val_size", True, "an integer"),
        ("limit", 0, "null or an integer >= 1"),
        ("limit", "10", "null or an integer >= 1"),
        ("limit", True, "null or an integer >= 1"),
    ],
)
def test_common_keys_are_checked_by_the_constructor(
    option: type[Source], key: str, value: object, allowed: str
) -> None:
    with pytest.raises(OptionError) as caught:
        option(**{key: value})  # type: ignore[arg-type]
    shown = "true" if value is True else value
    assert str(caught.value).startswith(f"{key}={shown}: must be ")
    assert allowed in str(caught.value)


@pytest.mark.parametrize(("file", "option"), OPTIONS.items())
def test_yaml_states_every_key_with_the_constructors_default(
    file: str, option: type[Source], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FANIN_DATA", str(tmp_path))
    config = OmegaConf.to_container(OmegaConf.load(CONF / f"{file}.yaml"), resolve=True)
    assert isinstance(config, dict)
    assert get_class(config["_target_"]) is option
    source = instantiate(config)
    assert source.name == file
    assert vars(source) == vars(option())  # type: ignore[call-arg]
    assert {*config} - {"_target_"} == {*inspect.signature(option).parameters}


@pytest.mark.parametrize("file", OPTIONS)
def test_yaml_starts_with_its_description_and_comments_each_key(file: str) -> None:
    schema, first, target, *keys = (CONF / f"{file}.yaml").read_text().splitlines()
    assert schema.startswith("# yaml-language-server: ")
    assert first.startswith("# ")
    assert target.startswith("_target_: ")
    assert all("  # " in line for line in keys)


def test_to_moves_inputs_and_leaves_labels_integers() -> None:
    data = Gaussian(examples=20, features=3, classes=2, val_size=4, test_size=5).load()
    moved = data.to("meta", torch.float64)
    for part in ("train", "val", "test"):
        x, y = getattr(moved, f"{part}_x"), getattr(moved, f"{part}_y")
        assert (x.device.type, x.dtype, y.device.type, y.dtype) == (
            "meta",
            torch.float64,
            "meta",
            torch.int64,
        )
    assert data.train_x.device.type == "cpu"


def test_input_shape_and_in_features() -> None:
    images, labels = torch.zeros(5, 3, 4, 2), torch.zeros(5, dtype=torch.int64)
    data = Dataset("boxes", 1, images, labels, images[:0], labels[:0], images, labels)
    assert data.input_shape == (3, 4, 2)
    assert data.in_features == 24


def test_neither_torchvision_nor_sklearn_is_imported_before_it_is_needed() -> None:
    program = (
        "import sys; from fanin.parts.data import *; from fanin.parts.preprocess import *; "
        "Mnist(), FashionMnist(fold=0); "
        "Standardize(), PcaWhiten(); Gaussian().load(); Digits(classes=[0, 1]).load(); "
        "print(sorted({'torchvision', 'sklearn'} & set(sys.modules)))"
    )
    command, path = [sys.executable, "-c", program], os.pathsep.join(sys.path)
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
