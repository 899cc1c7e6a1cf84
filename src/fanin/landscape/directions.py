"""Directions in the space of a network's weights, as vectors of all its trained parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def names_of(model: nn.Module) -> dict[str, torch.Size]:
    """The parameters that are trained, in order, with their shapes."""
    return {name: one.shape for name, one in model.named_parameters() if one.requires_grad}


def vector_of(model: nn.Module, tensors: dict[str, Tensor] | None = None) -> Tensor:
    """All trained parameters as one vector [P]: the model's, or those of the same names."""
    own = dict(model.named_parameters())
    return torch.cat([(tensors or own)[name].detach().flatten() for name in names_of(model)])


def parts_of(points: Tensor, shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """The parameters by name, [..., *shape], of vectors [..., P].

    >>> parts = parts_of(torch.arange(3.0), {"w": torch.Size([1, 2]), "b": torch.Size([1])})
    >>> parts["w"], parts["b"]
    (tensor([[0., 1.]]), tensor([2.]))
    """
    pieces = torch.split(points, [shape.numel() for shape in shapes.values()], dim=-1)
    named = zip(shapes.items(), pieces, strict=True)
    return {name: piece.reshape((*points.shape[:-1], *shape)) for (name, shape), piece in named}


def filter_normalized(weights: Tensor, shapes: dict[str, torch.Size], generator: torch.Generator) -> Tensor:
    """A random direction whose every filter is as long as that of the weights: $d_i <- d_i ||theta_i|| / ||d_i||$.

    A filter is what makes one output: a row of a matrix, a kernel with all its channels. Biases and the parameters of
    normalization have no filters, and stay as they are. So the scale of a network's layers, which relu and
    normalization make void, does not stretch the picture. Source: Li, Xu, Taylor, Studer & Goldstein 2018, section 4.

    Args:
        weights: theta, [P].
        shapes: of the parameters.
        generator: draws in float64.

    >>> shapes = {"w": torch.Size([2, 2]), "b": torch.Size([2])}
    >>> d = filter_normalized(torch.tensor([3.0, 4.0, 0.0, 2.0, 1.0, 1.0]), shapes, torch.Generator().manual_seed(0))
    >>> [round(float(one), 4) for one in (d[:2].norm(), d[2:4].norm(), d[4:].norm())]
    [5.0, 2.0, 0.0]
    """
    found = []
    for part in parts_of(weights, shapes).values():
        drawn = torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part)
        if part.ndim < 2:
            found.append(torch.zeros_like(part).flatten())
            continue
        rows, lengths = drawn.flatten(1), part.flatten(1).norm(dim=1, keepdim=True)
        found.append((rows / rows.norm(dim=1, keepdim=True) * lengths).flatten())
    return torch.cat(found)


def coordinates(points: Tensor, origin: Tensor, axes: Tensor) -> tuple[Tensor, Tensor]:
    """Where points lie in the plane origin + span(axes), and how far off it they are.

    Args:
        points: [n, P].
        origin: [P].
        axes: [k, P], independent.

    Returns:
        coordinates [n, k] of the nearest points of the plane (least squares), and distances [n].

    >>> axes = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    >>> coordinates(torch.tensor([[4.0, 3.0, 5.0]]), torch.zeros(3), axes)
    (tensor([[2., 3.]]), tensor([5.]))
    """
    away = points - origin
    found = torch.linalg.solve(axes @ axes.T, axes @ away.T).T
    return found, (away - found @ axes).norm(dim=1)
