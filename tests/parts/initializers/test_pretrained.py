"""Pretrained: what is loaded, what is drawn, what is frozen, and every way in which a checkpoint does not fit."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fanin import streams
from fanin.errors import OptionError
from fanin.parts import activations
from fanin.parts.initializers import KaimingNormal, Pretrained
from fanin.parts.models import Mlp
from fanin.parts.normalization import BatchNorm, NoNorm


def mlp(*, width: int = 5, depth: int = 3, bias: bool = True, norm: BatchNorm | None = None) -> Mlp:
    return Mlp(
        in_features=8,
        out_features=3,
        depth=depth,
        width=width,
        bias=bias,
        activation=activations.relu,
        normalization=norm or NoNorm(),
    )


def states(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def trained(folder: Path, model: nn.Module, *, state: str | None = "done", name: str = "last", **more: Any) -> str:
    """The folder of a run that left a model with random numbers everywhere, running statistics included."""
    numbers = torch.Generator().manual_seed(9)
    for value in model.state_dict().values():
        value.copy_(torch.randn(value.shape, generator=numbers).mul(100))
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    torch.save({"model": model.state_dict(), **more}, folder / "checkpoints" / f"{name}.pt")
    if state:
        (folder / "status.json").write_text(json.dumps({"state": state}))
    return str(folder)


def initialized(initializer: Pretrained | KaimingNormal, model: nn.Module) -> dict[str, Tensor]:
    initializer(model, lambda name: streams.generator(5, "init", name))
    return states(model)


def refusal(initializer: Pretrained, model: nn.Module) -> str:
    """The one line of `check` on a model without memory; filling the model is refused in the same words."""
    with pytest.raises(OptionError) as caught:
        initializer.check(model.to("meta"))
    return str(caught.value)


def test_everything_is_loaded_running_statistics_too(tmp_path: Path) -> None:
    source = mlp(norm=BatchNorm())
    path = trained(tmp_path, source, step=7, optimizer={"lr": 0.1})
    loaded = initialized(Pretrained(path=path), mlp(norm=BatchNorm()))
    assert len(loaded) == 3 * 2 + 2 * 5
    assert all(torch.equal(loaded[name], value) for name, value in source.state_dict().items())


def test_a_model_of_another_dtype_gets_the_same_numbers(tmp_path: Path) -> None:
    source = mlp()
    loaded = initialized(Pretrained(path=trained(tmp_path, source)), mlp().double())
    assert all(torch.equal(loaded[name], value.double()) for name, value in source.state_dict().items())


def test_the_best_checkpoint(tmp_path: Path) -> None:
    best, last = mlp(), mlp(bias=False)
    path = trained(tmp_path, best, name="best")
    trained(tmp_path, last)
    loaded = initialized(Pretrained(path=path, checkpoint="best"), mlp())
    assert torch.equal(loaded["linear_2.bias"], best.state_dict()["linear_2.bias"])


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["linear_1*"], [], {"linear_1.weight", "linear_1.bias"}),
        (["linear_[12].weight"], [], {"linear_1.weight", "linear_2.weight"}),
        (["*.weight"], ["linear_3*"], {"linear_1.weight", "linear_2.weight"}),
        (["linear_1.weight", "linear_?.bias"], ["linear_2*"], {"linear_1.weight", "linear_1.bias", "linear_3.bias"}),
    ],
)
def test_patterns_select_and_the_rest_is_drawn_as_by_kaiming_normal(
    tmp_path: Path, include: list[str], exclude: list[str], expected: set[str]
) -> None:
    source = mlp()
    path = trained(tmp_path, source)
    loaded = initialized(Pretrained(path=path, include=include, exclude=exclude), mlp())
    drawn = initialized(KaimingNormal(), mlp())
    for name, value in loaded.items():
        assert torch.equal(value, source.state_dict()[name] if name in expected else drawn[name]), name


def test_buffers_come_with_their_module(tmp_path: Path) -> None:
    source = mlp(norm=BatchNorm())
    path = trained(tmp_path, source)
    fresh = states(mlp(norm=BatchNorm()))
    loaded = initialized(Pretrained(path=path, include=["batchnorm_1.weight", "linear_1*"]), mlp(norm=BatchNorm()))
    for part in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(loaded[f"batchnorm_1.{part}"], source.state_dict()[f"batchnorm_1.{part}"])
        assert torch.equal(loaded[f"batchnorm_2.{part}"], fresh[f"batchnorm_2.{part}"])


def test_buffers_of_a_module_without_parameters_are_selected_by_name(tmp_path: Path) -> None:
    source = mlp(norm=BatchNorm(affine=False))
    path = trained(tmp_path, source)
    fresh = states(mlp(norm=BatchNorm()))
    model = mlp(norm=BatchNorm(affine=False))
    loaded = initialized(Pretrained(path=path, include=["*_1*"]), model)
    assert torch.equal(loaded["batchnorm_1.running_var"], source.state_dict()["batchnorm_1.running_var"])
    assert torch.equal(loaded["batchnorm_2.running_var"], fresh["batchnorm_2.running_var"])


def test_frozen_parameters_stay_while_the_others_train(tmp_path: Path) -> None:
    path = trained(tmp_path, mlp())
    model = mlp()
    before = initialized(Pretrained(path=path, exclude=["linear_3*"], freeze=["*"]), model)
    wanted = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert wanted == {name: name.startswith("linear_3") for name in wanted}
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.1)
    draws = torch.Generator().manual_seed(0)
    model(torch.randn(9, 8, generator=draws)).square().mean().backward()
    optimizer.step()
    assert {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])} == {
        "linear_3.weight",
        "linear_3.bias",
    }


def test_freeze_takes_patterns(tmp_path: Path) -> None:
    model = mlp()
    initialized(Pretrained(path=trained(tmp_path, mlp()), freeze=["linear_1*", "*_2.bias"]), model)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"linear_1.weight", "linear_1.bias", "linear_2.bias"}


class Normed(nn.Module):
    """A layer whose g follows from its weight, unless it was trained too."""

    def __init__(self, learned: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 3))
        if learned:
            self.g = nn.Parameter(torch.zeros(4))
        else:
            self.register_buffer("g", torch.zeros(4), persistent=False)

    def after_init(self) -> None:
        self.g.copy_(self.weight.norm(dim=1))


@pytest.mark.parametrize("learned", [True, False])
def test_what_follows_from_loaded_weights(tmp_path: Path, learned: bool) -> None:
    source = nn.Sequential(Normed(learned), nn.Linear(4, 2))
    model = nn.Sequential(Normed(learned), nn.Linear(4, 2))
    initialized(Pretrained(path=trained(tmp_path, source)), model)
    weight = source[0].get_parameter("weight")
    expected = source[0].get_parameter("g") if learned else weight.norm(dim=1)
    torch.testing.assert_close(model[0].g, expected, rtol=1e-6, atol=0)


def test_wrong_shapes_are_named_layer_by_layer(tmp_path: Path) -> None:
    path = trained(tmp_path, mlp(width=6))
    said = refusal(Pretrained(path=path), mlp())
    assert said == (
        f"path={path}: must be a run whose parameters fit the model; "
        "linear_1.weight: checkpoint (6, 8), model (5, 8); linear_1.bias: checkpoint (6,), model (5,); "
        "linear_2.weight: checkpoint (6, 6), model (5, 5); linear_2.bias: checkpoint (6,), model (5,); "
        "linear_3.weight: checkpoint (3, 6), model (3, 5); choose by include and exclude, or strict=false"
    )
    with pytest.raises(OptionError) as caught:
        initialized(Pretrained(path=path), mlp())
    assert str(caught.value) == said
    # names may differ with strict=false, shapes may not
    assert "linear_1.weight: checkpoint (6, 8), model (5, 8)" in refusal(Pretrained(path=path, strict=False), mlp())
    with torch.device("meta"):
        deep = mlp(depth=50)
    many = refusal(Pretrained(path=trained(tmp_path, mlp(width=6, depth=50))), deep)
    # weights and biases of 49 layers and the last weight, of which 6 are listed
    assert "; and 93 more; " in many


def test_names_that_only_one_side_has(tmp_path: Path) -> None:
    path = trained(tmp_path, mlp(depth=2))
    said = refusal(Pretrained(path=path, include=["*.weight"]), mlp(depth=2, norm=BatchNorm()))
    assert "; batchnorm_1.weight: only in the model; " in said
    assert "; batchnorm_1.running_mean: only in the model; " in said
    said = refusal(Pretrained(path=path), mlp(depth=2, bias=False))
    assert "; linear_1.bias: only in the checkpoint; linear_2.bias: only in the checkpoint; choose" in said
    path = trained(tmp_path, complete := mlp(depth=2))
    source = complete.state_dict()
    for initializer in (Pretrained(path=path, strict=False), Pretrained(path=path, exclude=["*.bias"])):
        loaded = initialized(initializer, mlp(depth=2, bias=False))
        assert all(torch.equal(value, source[name]) for name, value in loaded.items())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"include": ["linear_1*", "conv*"]},
            "include=conv*: must be a pattern that matches a parameter; there are linear_1.weight, linear_1.bias, "
            "linear_2.weight, linear_2.bias",
        ),
        (
            {"exclude": ["lin_1*"]},
            "exclude=lin_1*: must be a pattern that matches a parameter; there are linear_1.weight, linear_1.bias, "
            "linear_2.weight, linear_2.bias",
        ),
        (
            {"include": ["linear_1*"], "freeze": ["linear_2*"]},
            "freeze=linear_2*: must be a pattern that matches a parameter; there are linear_1.weight, linear_1.bias",
        ),
        ({"freeze": ["*"]}, "freeze=['*']: must be patterns that leave a parameter to train"),
        (
            {"exclude": ["*"]},
            "include=['*']: must be patterns that leave something to load; exclude=['*'] leaves nothing",
        ),
        ({"checkpoint": "best"}, "checkpoint=best: must be one that FOLDER has: last"),
    ],
)
def test_keys_that_do_not_fit_the_run(tmp_path: Path, keys: dict[str, Any], message: str) -> None:
    path = trained(tmp_path, mlp(depth=2))
    assert refusal(Pretrained(path=path, **keys), mlp(depth=2)) == message.replace("FOLDER", path)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (None, "it has no status.json"),
        ("running", "its state is running"),
        ("interrupted", "its state is interrupted"),
        ("failed", "its state is failed"),
    ],
)
def test_a_run_that_is_not_finished(tmp_path: Path, state: str | None, said: str) -> None:
    path = trained(tmp_path, mlp(), state=state)
    assert refusal(Pretrained(path=path), mlp()) == f"path={path}: must be the folder of a finished run; {said}"


@pytest.mark.parametrize("state", ["done", "diverged", "pruned"])
def test_a_run_that_has_come_to_an_end_is_taken(tmp_path: Path, state: str) -> None:
    source = mlp()
    loaded = initialized(Pretrained(path=trained(tmp_path, source, state=state)), mlp())
    assert torch.equal(loaded["linear_1.weight"], source.linear_1.get_parameter("weight"))


def test_no_folder_and_no_path(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    assert refusal(Pretrained(path=gone), mlp()) == (
        f"path={gone}: must be the folder of a finished run; there is no such folder"
    )
    assert refusal(Pretrained(), mlp()) == "path=null: must be the folder of a finished run"


@pytest.mark.parametrize("content", [b"not a checkpoint", b"", None])
def test_a_checkpoint_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = trained(tmp_path, mlp())
    file = tmp_path / "checkpoints" / "last.pt"
    if content is None:  # of something else
        torch.save({"weights": {}}, file)
    else:
        file.write_bytes(content)
    said = refusal(Pretrained(path=path), mlp())
    assert said.startswith(f"path={path}: must be a run with a readable checkpoint; last.pt cannot be read (")


def test_a_flipped_bit_is_not_loaded(tmp_path: Path) -> None:
    """In the middle of a weight: torch itself would take the other number. A file that is mended is read again."""
    model = mlp()
    path, file = trained(tmp_path, model), tmp_path / "checkpoints" / "last.pt"
    whole, weight = file.read_bytes(), model.state_dict()["linear_2.weight"].numpy().tobytes()
    place = whole.index(weight) + 2
    file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert "last.pt cannot be read (" in (said := refusal(Pretrained(path=path), mlp()))
    assert "CRC-32" in said
    file.write_bytes(whole)
    os.utime(file, ns=(0, 0))
    loaded = initialized(Pretrained(path=path), mlp())
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())


def test_nothing_but_tensors_is_unpickled(tmp_path: Path) -> None:
    path = trained(tmp_path, mlp(), more=Path("some object"))
    assert "last.pt cannot be read (UnpicklingError)" in refusal(Pretrained(path=path), mlp())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"path": 3}, "path=3: must be the folder of a finished run"),
        ({"checkpoint": "latest"}, "checkpoint=latest: must be one of last, best; did you mean last?"),
        (
            {"include": "linear_1*"},
            'include=linear_1*: must be a list of patterns, as ["linear_1*"]; write include=[linear_1*]',
        ),
        ({"freeze": None}, 'freeze=null: must be a list of patterns, as ["linear_1*"]'),
        ({"exclude": [1]}, 'exclude=[1]: must be a list of patterns, as ["linear_1*"]'),
        ({"strict": "yes"}, "strict=yes: must be true or false"),
    ],
)
def test_bad_values_give_one_line(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Pretrained(**keys)
    assert str(caught.value) == message
