"""A relu layer times a number and the next divided by it: the same function, and other curvatures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fanin.errors import UserError
from fanin.landscape.matching import chain_of


def rescale(model: nn.Module, factor: float, inputs: Tensor) -> None:
    """Multiply the first hidden layer by a and divide the next by it, in place: $W_1, b_1, W_2 <- a W_1, a b_1, W_2/a$.

    Where phi(a z) = a phi(z), as of relu, the network is the same function, and its loss the same. The Hessian becomes
    D H D with the diagonal D = 1/a, a, 1 on W_1 and b_1, on W_2 and on the rest, so that the largest eigenvalue
    is at least that of the first layer's block over a^2, and at most a^2 or 1/a^2 times what it was: of the same
    function it can be as large as one likes.

    Args:
        model: a chain of fully connected layers.
        factor: a > 0.
        inputs: some, [n, ...], at which the outputs are to stay.

    Raises:
        UserError: it is no chain, or the outputs change.

    Source: Dinh, Pascanu, Bengio & Bengio 2017, theorem 4.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> x = torch.tensor([[1.0, -2.0]])
    >>> before, weight = net(x), net[0].weight.detach().clone()
    >>> rescale(net, 4.0, x)
    >>> bool(torch.isclose(net(x), before)), bool((net[0].weight == 4 * weight).all())
    (True, True)
    """
    layers = chain_of(model, "--rescale")
    with torch.no_grad():
        before = model(inputs)
        for one in layers[0].parameters():
            one.mul_(factor)
        layers[1].weight.div_(factor)
        after = model(inputs)
    if not torch.allclose(before, after, rtol=1e-4, atol=1e-5):
        raise UserError(
            f"--rescale {factor:g}: the network's outputs change with it; leave it out, or take a run whose "
            "activation has phi(a z) = a phi(z), such as relu"
        )
