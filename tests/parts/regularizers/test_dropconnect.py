"""DropConnect: its law by moments and by hand, where it acts, and what a command says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from command_line import fanin
from fanin.errors import OptionError, UserError
from fanin.parts.activations import relu
from fanin.parts.models import Cnn, LinearModel, Mlp
from fanin.parts.normalization import NoNorm, Normalization, SpectralNorm, WeightNorm
from fanin.parts.regularizers import DropConnect
from fanin.parts.regularizers.dropconnect import Dropping
from networks import drawn

P = 0.3


def chain(normalization: Normalization | None = None, **keys: object) -> nn.Module:
    model = Mlp(
        in_features=6, out_features=3, depth=3, width=5, bias=True, activation=relu,
        normalization=normalization or NoNorm(),
    )  # fmt: skip
    return drawn(DropConnect(p=P, **keys).wrap(model.double()))  # type: ignore[arg-type]


def drawn_mask(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    keep = torch.full(shape, 1 - P, dtype=torch.float64)
    return torch.bernoulli(keep, generator=torch.Generator().manual_seed(seed))


def seeded(layer: nn.Module, seed: int) -> nn.Module:
    assert isinstance(layer, Dropping)
    layer.generator = torch.Generator().manual_seed(seed)
    return layer.train()


def test_hidden_layers_drop_and_the_last_does_not() -> None:
    model = chain()
    kinds = {name: isinstance(layer, Dropping) for name, layer in model.named_children() if "linear" in name}
    assert kinds == {"linear_1": True, "linear_2": True, "linear_3": False}
    plain = Mlp(
        in_features=6, out_features=3, depth=3, width=5, bias=True, activation=relu, normalization=NoNorm()
    ).double()
    plain.load_state_dict(model.state_dict())
    x = torch.randn(4, 6, dtype=torch.float64)
    assert torch.equal(model.eval()(x), plain(x))
    assert not torch.equal(model.train()(x), plain(x))


@pytest.mark.parametrize("per_example", [False, True])
def test_mean_and_variance_are_those_of_the_paper(per_example: bool) -> None:
    """E z = W x + b, Var z_i = p/(1-p) sum_j W_ij^2 x_j^2, over 4,000 masks; Wan et al. 2013, section 3.1."""
    layer = seeded(chain(per_example=per_example).get_submodule("linear_1"), 0)
    weight, bias = layer.get_parameter("weight").detach(), layer.get_parameter("bias").detach() + 0.5
    layer.get_parameter("bias").data.copy_(bias)
    x, count = torch.randn(6, dtype=torch.float64), 4000
    with torch.no_grad():
        z = layer(x.expand(count, -1)) if per_example else torch.cat([layer(x[None]) for _ in range(count)])
    mean, variance = weight @ x + bias, P / (1 - P) * (weight**2 @ x**2)
    assert ((z.mean(0) - mean).abs() < 5 * (variance / count).sqrt()).all()
    # Of a sum of bounded independent terms the kurtosis is at most that of one term, 1/(p(1-p)) - 3 + 3.
    assert ((z.var(0) / variance - 1).abs() < 5 * ((1 / (P * (1 - P))) / count) ** 0.5).all()


def test_one_mask_is_one_product_with_a_masked_matrix() -> None:
    layer, x = seeded(chain().get_submodule("linear_2"), 3), torch.randn(7, 5, dtype=torch.float64)
    weight = layer.get_parameter("weight")
    mask = torch.bernoulli(torch.full_like(weight, 1 - P), generator=torch.Generator().manual_seed(3))
    outputs = layer(x)
    torch.testing.assert_close(outputs, x @ (mask * weight).T / (1 - P) + layer.get_parameter("bias"))
    outputs.sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, mask / (1 - P) * x.sum(0))  # a dropped connection has no gradient


@pytest.mark.parametrize("per_example", [False, True])
def test_convolutions_drop_entries_of_kernels(per_example: bool) -> None:
    model = Cnn(input_shape=(2, 6, 6), out_features=3, channels=(4, 3), activation=relu, normalization=NoNorm())
    made = drawn(DropConnect(p=P, per_example=per_example).wrap(model.double()))
    layer, maps = seeded(made.get_submodule("conv_2"), 5), torch.randn(3, 4, 3, 3, dtype=torch.float64)
    weight = layer.get_parameter("weight").detach()
    shape = (3, *weight.shape) if per_example else weight.shape
    mask = drawn_mask(shape, 5)
    each = mask if per_example else mask.expand(3, *weight.shape)
    pairs = zip(maps, each, strict=True)
    bias = layer.get_parameter("bias")
    expected = [nn.functional.conv2d(one[None], weight * m / (1 - P), bias, padding=1) for one, m in pairs]
    torch.testing.assert_close(layer(maps), torch.cat(expected))


@pytest.mark.parametrize("normalization", [WeightNorm(), SpectralNorm()])
def test_weights_that_are_normalized_are_dropped_after_it(normalization: Normalization) -> None:
    layer = seeded(chain(normalization).get_submodule("linear_1"), 1)
    x = torch.randn(3, 6, dtype=torch.float64)
    whole = layer.eval()(torch.eye(6, dtype=torch.float64)) - layer.get_parameter("bias")  # W^T
    mask = drawn_mask((5, 6), 1)
    dropped = layer.train()(x) - layer.get_parameter("bias")
    if isinstance(normalization, WeightNorm):  # spectral normalization moves its estimate on in training
        torch.testing.assert_close(dropped, x @ (whole * mask.T) / (1 - P))
    else:
        torch.testing.assert_close(dropped, x @ (whole * mask.T) / (1 - P), rtol=0.05, atol=0.05)


def test_what_has_no_hidden_layer_and_what_is_no_probability_is_told() -> None:
    with pytest.raises(UserError, match=r"^regularizer=dropconnect: LinearModel has no linear layer or convolution"):
        DropConnect().wrap(LinearModel(in_features=3, out_features=2))
    with pytest.raises(OptionError, match=r"^p=1: must be a finite number >= 0 and < 1$"):
        DropConnect(p=1)


@pytest.mark.slow
def test_a_run_of_a_command_goes_on_as_if_it_had_not_paused(tmp_path: Path) -> None:
    words = (
        "data=digits", "model.depth=3", "model.width=8", "regularizer=[dropconnect,dropout]", "trainer.steps=6",
        "regularizer.dropconnect.p=0.2", "probe.every=2",
    )  # fmt: skip
    losses = []
    for pause in ((), ("pause_at=3",), ()):
        said = fanin(tmp_path, *words, *pause, "hydra.run.dir=whole" if not losses else "hydra.run.dir=paused")
        assert said.code == 0, said.err
        results = sorted(tmp_path.rglob("result.json"))
        losses.append([json.loads(path.read_text())["metrics"]["train_loss"] for path in results])
    assert [len(one) for one in losses] == [1, 1, 2]
    assert losses[2][0] == losses[2][1]
    refused = fanin(tmp_path, *words, "regularizer.dropout.recurrent_p=0.5")
    assert refused.err == [
        "fanin: regularizer.dropout.recurrent_p=0.5: must be null for Mlp, which has no recurrent connections to drop; "
        "or take model=lstm"
    ]
