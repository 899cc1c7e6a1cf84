"""The stacked product: values and gradients of torch's own linear layer, run by run."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from fanin.train.stacked_linear import StackedLinear, install

RUNS = 3


@pytest.mark.parametrize("shape", [(8,), (5, 6), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("outputs", [4, 30])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shared", [False, True], ids=["own inputs", "shared inputs"])
def test_each_run_has_the_values_and_gradients_of_its_own_layer(
    shape: tuple[int, ...], outputs: int, bias: bool, shared: bool
) -> None:
    torch.manual_seed(outputs + bias)
    layer = StackedLinear(7, outputs, bias=bias).double()
    x = torch.randn(*(() if shared else (RUNS,)), *shape, 7, dtype=torch.float64, requires_grad=True)
    own = {"weight": torch.randn(RUNS, outputs, 7, dtype=torch.float64, requires_grad=True)}
    if bias:
        own["bias"] = torch.randn(RUNS, outputs, dtype=torch.float64, requires_grad=True)

    def forward(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        result: Tensor = functional_call(layer, parameters, (x,))
        return result

    y = vmap(forward, in_dims=(0, None if shared else 0))(own, x)
    expected = torch.stack(
        [F.linear(x if shared else x[run], *[one[run] for one in own.values()]) for run in range(RUNS)]
    )
    torch.testing.assert_close(y, expected, rtol=1e-13, atol=1e-13)
    pull = torch.randn_like(y)
    found, wanted = (torch.autograd.grad(out, [x, *own.values()], pull) for out in (y, expected))
    for mine, its in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-12, atol=1e-12)
    assert found[1].stride() == own["weight"].stride(), "the gradient lies in memory as the weights do"


def test_only_where_vmaps_own_rule_rounds_otherwise() -> None:
    class Own(nn.Linear):
        """A user's layer stays what it is."""

    model = nn.Sequential(
        nn.Linear(784, 100), nn.Linear(784, 100, bias=False), nn.Linear(64, 64), nn.Linear(64, 10), Own(4, 4)
    )
    assert install(model) == {"0.weight", "3.weight"}
    assert [type(layer) for layer in model] == [StackedLinear, nn.Linear, nn.Linear, StackedLinear, Own]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_lowers_it_as_it_does_torchs_own(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(9, 5), torch.randn(6, 9)
    results = []
    for one in (layer, StackedLinear(9, 5)):
        one.load_state_dict(layer.state_dict())
        with torch.autocast("cpu", dtype):
            y = one(x)
        y.float().square().sum().backward()
        results.append((y, one.weight.grad, one.bias.grad))
    assert results[1][0].dtype == dtype
    assert results[1][1].dtype == torch.float32  # type: ignore[union-attr]
    for mine, its in zip(*results, strict=True):
        # one rounding of the lower type
        torch.testing.assert_close(mine.float(), its.float(), rtol=0.01, atol=0.01)  # type: ignore[union-attr]
