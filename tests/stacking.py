"""Models stacked as one program, by torch's own vmap, against the same models one by one."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

Tensors = dict[str, Tensor]


def assert_stacked_equals_single(models: Sequence[nn.Module], inputs: Tensor) -> None:
    """Outputs, gradients and buffers of R float64 models on inputs [R, B, ...], in their mode.

    The sums are those of at most some hundred products each, in another order: 1e-13, which a normalization of few
    values may enlarge by 1/sqrt(eps), some hundred times.
    """
    inputs = inputs.double()
    alone = [copy.deepcopy(model) for model in models]
    outputs = torch.stack([model(x) for model, x in zip(alone, inputs, strict=True)])
    weights = torch.linspace(-1, 1, outputs.numel(), dtype=torch.float64).reshape(outputs.shape)  # of a loss
    (outputs * weights).sum().backward()

    parameters = {name: stack(models, name).requires_grad_() for name, _ in models[0].named_parameters()}
    buffers = {name: stack(models, name) for name, _ in models[0].named_buffers()}
    template = copy.deepcopy(models[0])
    together = vmap(lambda tensors, x: functional_call(template, tensors, (x,)))(parameters | buffers, inputs)
    gradients = torch.autograd.grad((together * weights).sum(), list(parameters.values()))

    torch.testing.assert_close(together, outputs, rtol=1e-10, atol=1e-10)
    for name, gradient in zip(parameters, gradients, strict=True):
        expected = torch.stack([model.get_parameter(name).grad for model in alone])  # type: ignore[misc]
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-10, msg=lambda text, n=name: f"{n}: {text}")
    for name, buffer in buffers.items():
        torch.testing.assert_close(buffer, stack(alone, name), rtol=1e-10, atol=1e-10)


def stack(models: Sequence[nn.Module], name: str) -> Tensor:
    """A parameter or buffer of all models, [R, ...], a copy."""
    return torch.stack([model.state_dict()[name].detach().clone() for model in models])
