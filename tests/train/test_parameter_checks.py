"""What a training would hide: parameters without values, without an optimizer, without a gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine import batch, learner, loop, recipe
from fanin.errors import UserError
from fanin.parts.initializers import KaimingNormal
from fanin.parts.models.layers import empty_conv, empty_linear
from fanin.train.parameter_checks import check_initialized, check_optimizer


class Forgetful(KaimingNormal):
    """Fills all weights but the first."""

    def fill(self, weight: Tensor, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        """Leave a weight of 12 inputs as it is."""
        if fan_in != 12:
            super().fill(weight, fan_in, fan_out, generator)


@pytest.mark.parametrize("layer", [empty_linear(3, 2, bias=True), empty_conv(2, 3, 3, bias=True)])
def test_a_layer_of_memory_alone_holds_nan_and_is_named(layer: nn.Module) -> None:
    assert all(parameter.isnan().all() for parameter in layer.parameters())
    with pytest.raises(UserError, match=r"first\.weight, first\.bias of the model hold NaN"):
        check_initialized(nn.Sequential(nn.ModuleDict({"first": layer})).get_submodule("0"))


def test_a_weight_that_its_initializer_forgot_is_found_before_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"linear_1\.weight of the model hold NaN"):
        loop(tmp_path, recipe(initializer=Forgetful()))


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (["0.weight"], "leaves out 0.bias, 2.weight, 2.bias;"),
        (["0.weight", "0.bias", "2.weight"], "leaves out 2.bias;"),
        (["0.weight", "0.bias", "2.weight", "2.bias", "other"], "1 parameters that are not the model's"),
    ],
)
def test_every_parameter_is_in_exactly_one_optimizer_or_frozen(chosen: list[str], said: str) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    own = dict(model.named_parameters()) | {"other": nn.Parameter(torch.zeros(1))}
    optimizer = torch.optim.SGD([own[name] for name in chosen], lr=0.1)
    with pytest.raises(UserError, match=said):
        check_optimizer(model, optimizer)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen)
    if "other" not in chosen:
        check_optimizer(model, optimizer)


class Experts(nn.Module):
    """Two of its three experts get the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(7, 4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Of the last two."""
        return self.experts[1](x) + self.experts[2](x)  # type: ignore[no-any-return]


def test_a_parameter_without_a_gradient_is_told_once_and_left_as_it_is() -> None:
    one = learner(Experts())
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    for step in range(2):
        one.step(batch(step), [0.1])
    assert one.note == "no gradient reaches experts.0.weight, experts.0.bias in the first step"
    changed = {name for name, value in one.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"experts.{index}.{kind}" for index in (1, 2) for kind in ("weight", "bias")}
    plain: Any = learner(nn.Linear(7, 4))
    plain.step(batch(0), [0.1])
    assert not plain.note


def test_a_loss_that_depends_on_nothing_is_one_line() -> None:
    class Detached(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    for ask in ("observe", "step"):
        one = learner(Detached(7, 4))
        with pytest.raises(UserError, match="depends on no parameter that is trained"):
            one.step(batch(0), [0.1]) if ask == "step" else one.observe(batch(0))
