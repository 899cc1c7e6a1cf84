"""The Jacobian initializer: the Jacobians that it leaves behind, dense by automatic differentiation."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from fanin.errors import UserError
from fanin.parts import activations
from fanin.parts.initializers import Jacobian, LecunNormal
from fanin.parts.models import Mlp, Resnet, Rnn
from fanin.parts.normalization import LayerNorm, NoNorm, WeightNorm
from fanin.parts.regularizers import Dropout, DropoutModule
from fanin.streams import generator


def mlp(**settings) -> Mlp:  # type: ignore[no-untyped-def]
    return Mlp(
        **{"in_features": 6, "out_features": 5, "depth": 4, "width": [8, 5, 9], "normalization": NoNorm()} | settings
    ).double()


def calibrated(model: nn.Module, made: Jacobian, inputs: torch.Tensor, seed: int = 0) -> nn.Module:
    made.check(model)
    made(model, lambda name: generator(seed, "init", name))
    made.calibrate(model, inputs)
    return model


def dense_norms(model: nn.Module, inputs: torch.Tensor) -> list[float]:
    """||d input of the next weight layer / d input of this one||_F^2 over its entries, layer by layer."""
    starts: list[torch.Tensor] = []
    hidden = inputs.clone().requires_grad_()
    for name, module in model.named_children():
        if name.startswith("linear"):
            starts.append(hidden)
        hidden = module(hidden)
    norms = []
    for start, end in zip(starts, [*starts[1:], hidden], strict=True):
        rows = [torch.autograd.grad(one, start, retain_graph=True)[0] for one in end.flatten()]
        norms.append(torch.stack(rows).square().sum().item() / end.numel())
    return norms


@pytest.mark.parametrize(
    ("activation", "norm", "seed"),
    [
        (activations.tanh, NoNorm(), 0),
        (activations.relu, NoNorm(), 1),
        (activations.softplus, NoNorm(), 2),
        (activations.silu, WeightNorm(), 3),
    ],
)
def test_every_dense_jacobian_norm_is_1_within_the_tolerance(activation, norm, seed: int) -> None:  # type: ignore[no-untyped-def]
    model = mlp(activation=activation, normalization=norm)
    inputs = torch.randn(20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) / 4
    calibrated(model, Jacobian(tolerance=0.01, vectors=150), inputs, seed)
    # Beside the tolerance there is the estimate's error: some sqrt(2 / (150 * 100 entries)) = 0.012, here four times.
    assert dense_norms(model, inputs) == pytest.approx([1.0] * 4, abs=0.01 + 0.05)
    plain = mlp(activation=activation, normalization=norm)
    LecunNormal()(plain, lambda name: generator(seed, "init", name))
    ratios = model.linear_3.weight / plain.linear_3.weight
    torch.testing.assert_close(ratios, ratios.mean().expand_as(ratios))  # the draw times one factor


def test_a_layer_that_cannot_get_there_is_left_where_it_is_best(caplog: pytest.LogCaptureFixture) -> None:
    """Of few units that larger weights saturate the Jacobian has a maximum below 1."""
    model = mlp(activation=activations.tanh)
    inputs = 20 * torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    calibrated(model, Jacobian(vectors=100), inputs)
    assert any("that of linear_1 stays at 0." in record.getMessage() for record in caplog.records)
    plain = mlp(activation=activations.tanh)
    LecunNormal()(plain, lambda name: generator(0, "init", name))
    assert 0 < dense_norms(plain, inputs)[0] <= 1.1 * dense_norms(model, inputs)[0]


def test_what_a_normalization_undoes_is_told(caplog: pytest.LogCaptureFixture) -> None:
    model = mlp(activation=activations.tanh, normalization=LayerNorm())
    with caplog.at_level(logging.WARNING):
        calibrated(
            model, Jacobian(), torch.randn(10, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        )
    said = [record.getMessage() for record in caplog.records]
    drawn = mlp(activation=activations.tanh, normalization=LayerNorm())
    LecunNormal()(drawn, lambda name: generator(0, "init", name))
    assert torch.equal(model.linear_1.weight, drawn.linear_1.weight)
    assert said[0].startswith("jacobian: that of linear_1 stays at ")
    assert not any("linear_4" in line for line in said), "behind the last layer there is none"


def test_dropout_keeps_its_stream_and_recurrent_layers_their_draws(caplog: pytest.LogCaptureFixture) -> None:
    model = mlp(activation=activations.relu, dropout=Dropout(p=0.5))
    modules = [module for module in model.modules() if isinstance(module, DropoutModule)]
    for module in modules:
        module.generator = torch.Generator().manual_seed(5)
    calibrated(model, Jacobian(), torch.randn(20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    for module in modules:
        assert torch.equal(module.generator.get_state(), torch.Generator().manual_seed(5).get_state())
    settings = {"width": 6, "activation": activations.tanh, "normalization": NoNorm()}
    rnn, drawn = (Rnn(input_shape=(1, 3, 4), out_features=3, **settings) for _ in range(2))  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        calibrated(rnn, Jacobian(tolerance=1e-3), torch.randn(5, 1, 3, 4, generator=torch.Generator().manual_seed(0)))
    LecunNormal()(drawn, lambda name: generator(0, "init", name))
    changed = {name for name, value in rnn.state_dict().items() if not torch.equal(value, drawn.state_dict()[name])}
    assert changed == {"classifier.weight"}
    assert any("runs more than once in a pass" in record.getMessage() for record in caplog.records)


def test_a_model_with_shortcuts_is_refused() -> None:
    model = Resnet(input_shape=(1, 8, 8), out_features=3, activation=activations.relu, normalization=NoNorm())
    with pytest.raises(UserError, match="initializer=jacobian: Resnet has shortcuts"):
        Jacobian().check(model)
