"""Hidden units of two networks matched: equivalent minima by permutation, and the line between them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fanin.errors import UserError
from fanin.parts.models.layers import weight_layers

Order = list[NDArray[np.intp]]
"""For each hidden layer, which of B's units stands in the place of each of A's."""

SWEEPS = 100
"""Of weight matching, at most; some ten do."""


def chain_of(model: nn.Module, option: str) -> list[nn.Linear]:
    """The layers of a chain of fully connected ones; `option` is named where the network is none.

    Raises:
        UserError: it is none.
    """
    layers = [layer for _, layer in weight_layers(model)]
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    fits = all(one.out_features == two.in_features for one, two in pairwise(linear))
    own = {id(one) for layer in linear for one in layer.parameters()}
    others = [name for name, one in model.named_parameters() if id(one) not in own]
    if len(linear) < len(layers) or not fits or others or len(linear) < 2:
        raise UserError(
            f"{option}: needs chains of fully connected layers without normalization (model=mlp); leave it out, or "
            "take runs of one"
        )
    return linear


def matchable(model: nn.Module, inputs: Tensor) -> list[nn.Linear]:
    """The layers of a chain whose hidden units can change places.

    Raises:
        UserError: the network is none, or its hidden units are told apart by more than their weights.
    """
    linear = chain_of(model, "--match")
    drawn = torch.Generator().manual_seed(0)
    order = [torch.randperm(layer.out_features, generator=drawn).numpy() for layer in linear[:-1]]
    kept = {name: one.detach().clone() for name, one in model.state_dict().items()}
    with torch.no_grad():
        before = model(inputs)
        permute(linear, order)
        after = model(inputs)
        model.load_state_dict(kept)
    if not torch.allclose(before, after, rtol=1e-4, atol=1e-5):
        raise UserError("--match: the network's outputs change where its hidden units change places; leave it out")
    return linear


def permute(layers: list[nn.Linear], order: Order) -> None:
    """Put hidden units into another order, in place: rows of a layer, and columns of the next."""
    with torch.no_grad():
        for layer, following, places in zip(layers, layers[1:], order, strict=False):
            at = torch.from_numpy(np.asarray(places))
            layer.weight.copy_(layer.weight[at])
            if layer.bias is not None:
                layer.bias.copy_(layer.bias[at])
            following.weight.copy_(following.weight[:, at])


def weight_matching(a: list[nn.Linear], b: list[nn.Linear], generator: np.random.Generator) -> Order:
    """The order of B's hidden units in which its weights have the largest inner product with A's.

    One layer after the other, in a drawn order, is matched exactly with those beside it held, until none changes: a
    linear assignment of $W_l^A P_(l-1) (W_l^B)^T + (W_(l+1)^A)^T P_(l+1) W_(l+1)^B + b_l^A (b_l^B)^T$. Each makes the
    inner product larger, so it ends; where, depends on the order.
    Source: Ainsworth, Hayase & Srinivasa 2023, algorithm 1.
    """
    from scipy.optimize import linear_sum_assignment

    weights = [[_array(layer.weight) for layer in layers] for layers in (a, b)]
    offsets = [[_array(layer.bias) if layer.bias is not None else None for layer in layers] for layers in (a, b)]
    hidden = range(len(a) - 1)
    order: Order = [np.arange(a[index].out_features) for index in hidden]
    for _ in range(SWEEPS):
        changed = False
        for index in generator.permutation(len(hidden)):
            before = weights[1][index] if index == 0 else weights[1][index][:, order[index - 1]]
            gain = weights[0][index] @ before.T
            after = weights[1][index + 1]
            after = after if index + 1 == len(hidden) else after[order[index + 1]]
            gain += weights[0][index + 1].T @ after
            left, right = offsets[0][index], offsets[1][index]
            if left is not None and right is not None:
                gain += np.outer(left, right)
            units = np.arange(len(gain))
            _, best = linear_sum_assignment(gain, maximize=True)
            if gain[units, best].sum() > gain[units, order[index]].sum() + 1e-9 * np.abs(gain).sum() / len(gain):
                order[index], changed = best, True
        if not changed:
            break
    return order


def _array(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().double().numpy()
