"""The check of gradients: what agrees, what differs, and what has no derivative."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine import batch, network
from fanin.parts import activations
from fanin.parts.losses import Squared
from fanin.parts.regularizers import L1, L2
from fanin.train.gradient_check import AGREES, DIFFERS, DIRECTION, KINK, Checked, check_gradient, told_of_blocks
from fanin.train.step import Method
from fanin.train.trained_model import TrainedModel


class Twice(torch.autograd.Function):
    """The square, with a derivative that is twice too large."""

    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx, slope):  # type: ignore[no-untyped-def]
        return 4 * slope * ctx.saved_tensors[0]


class Wrong(nn.Module):
    """The layer before this one gets a wrong gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return Twice.apply(x)  # type: ignore[no-any-return, no-untyped-call]


class HalfL2(L2):
    """A penalty whose closed form forgets a factor of 2."""

    @staticmethod
    def pull(weights, number):  # type: ignore[no-untyped-def]
        return [number / 2 * weight for weight in weights]


def checked(model: nn.Module, data: tuple[Tensor, Tensor], **method: object) -> list[Checked]:
    own = TrainedModel(model, torch.optim.SGD(model.parameters()), Method(**method))  # type: ignore[arg-type]
    return check_gradient(own, data, 6, torch.Generator().manual_seed(3))


def first(data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return data[0][0], data[1][0]


def test_a_sound_network_agrees_and_a_wrong_penalty_is_named() -> None:
    data = first(batch(0, dtype=torch.float64))
    model = network(0, depth=3, bias=True, activation=activations.tanh, dtype=torch.float64)
    good = checked(model, data, penalties=[L2(strength=0.3), L1(strength=0.1)])
    assert {one.verdict for one in good} == {AGREES}
    assert {one.block for one in good} == {name for name, _ in model.named_parameters()}
    assert max(one.error for one in good) < 1e-6
    # Forward differences are off by h f''/2, central ones by h^2 f'''/6.
    assert max(abs(one.forward - one.gradient) for one in good) > 3 * max(
        abs(one.central - one.gradient) for one in good
    )
    wrong = checked(model, data, penalties=[HalfL2(strength=0.3)])
    differing = {one.block for one in wrong if one.verdict == DIFFERS}
    assert differing == {name for name, one in model.named_parameters() if one.ndim == 2}


def test_a_wrong_backward_is_named_with_its_derivatives() -> None:
    data = first(batch(1, dtype=torch.float64))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(data[0].shape[1], 4), Wrong(), nn.Linear(4, 10)).double()
    found = checked(model, data)
    assert {one.block for one in found if one.verdict == DIFFERS} == {"0.weight", "0.bias"}
    one = next(one for one in found if one.block == "0.bias" and one.entry != DIRECTION)
    assert abs(one.gradient / one.central - 2) < 1e-6
    wrong, lines = told_of_blocks(found)
    assert [line.partition(" ")[0] for line in wrong] == ["0.weight", "0.bias"]
    assert lines[0].startswith("14 of 26 derivatives in 4 blocks agree")


def test_a_kink_is_told_and_not_judged() -> None:
    """relu(w x + b) at w x + b = 0: 0 by backpropagation, half the slope by a central difference."""
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)).double()
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), (2.0, -2.0, 3.0, 0.5), strict=True):
            parameter.fill_(value)
    data = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    found = checked(model, data, loss=Squared())
    assert {one.verdict for one in found if one.block.startswith("0.")} == {KINK}
    assert {one.verdict for one in found if one.block.startswith("2.")} == {AGREES}
    bias = next(one for one in found if one.block == "0.bias" and one.entry == "0")
    # loss (0.5 + 3 relu(b + 2) - 1)^2 with one class: slope 2 (-0.5) 3 on the right, 0 on the left
    assert (bias.gradient, round(bias.central, 4)) == (0, -1.5)
    assert told_of_blocks(found)[1][1].startswith("4 not judged, with a kink")
