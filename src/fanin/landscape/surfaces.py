"""Lines and planes through trained weights: which points they have, and the loss there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fanin.errors import UserError, counted
from fanin.landscape.directions import coordinates, filter_normalized, vector_of
from fanin.landscape.evaluation import Losses
from fanin.landscape.matching import matchable, permute, weight_matching
from fanin.landscape.rescaling import rescale
from fanin.probes.curvature.deflation import completed
from fanin.probes.curvature.lanczos import lanczos
from fanin.record.csv_file import read_table
from fanin.record.landscape_files import Asked, Floats, Landscape
from fanin.run.trained import Trained, trained_run
from fanin.streams import generator
from fanin.train.minimized_loss import MinimizedLosses
from fanin.train.trained_model import TrainedModel

Told = Callable[[int], object]
"""Told of how many more points are known."""


def landscape_of(asked: Asked, done: Told = lambda count: None) -> Landscape:
    """The loss over the line or plane that is asked for.

    Raises:
        UserError: a run has no weights, or the runs are not of one structure.
    """
    runs = [trained_run(Path(folder), asked.precision or _precision_of(asked)) for folder in asked.runs]
    first = runs[0]
    _check(runs)
    inputs, targets = _data(first, asked)
    about: dict[str, object] = {
        "kind": "line" if asked.is_line else "plane",
        "runs": [run.folder.name for run in runs],
        "weights": [run.digest for run in runs],
        "seeds": [run.recipe.seed for run in runs],
        "part": asked.part,
        "examples": len(inputs),
        "precision": str(first.recipe.dtype).removeprefix("torch."),
        "match": asked.match,
    }
    losses = Losses(first, inputs, targets)
    ends = [vector_of(run.model) for run in runs]
    if asked.match:
        about |= _matched(asked, runs, ends, losses, inputs)
    if asked.rescale is not None:
        about |= _rescaled(asked.rescale, first, ends, losses, inputs)
    axes, told = _axes(asked, runs, ends, losses, (inputs, targets))
    _check_axes(first, axes, line=asked.is_line)
    about |= {**told, "lengths": [float(axis.norm()) for axis in axes]}
    if losses.recomputes:
        about["statistics"] = "of batch normalization, estimated anew at every point from the training part"
    x, y = _places(asked, ends, axes)
    loss, error = losses(_points(ends[0], axes, x, y), done)
    marks = coordinates(torch.stack(ends), ends[0], axes)[0].tolist() if len(ends) > 1 else [[0.0] * len(axes)]
    about["marks"] = [[run.folder.name, *mark, *[0.0] * (2 - len(mark))] for run, mark in zip(runs, marks, strict=True)]
    shape = len(y), len(x)
    moved = asked.match or asked.rescale is not None
    paths = {} if moved else {run.folder.name: _path(run, ends[0], axes) for run in runs}
    return Landscape(x, y, loss.numpy().reshape(shape), error.numpy().reshape(shape), about, paths)


def _precision_of(asked: Asked) -> str | None:
    """What is exact to many digits costs little on a line."""
    exact = asked.rescale is not None or (asked.is_line and len(asked.runs) > 1)
    return "float64" if exact else None


def _matched(
    asked: Asked, runs: Sequence[Trained], ends: list[Tensor], losses: Losses, inputs: Tensor
) -> dict[str, object]:
    """Put the second run's hidden units into the first one's order, in place, and tell what that changes."""
    layers = [matchable(run.model, inputs[:100]) for run in runs]
    found = weight_matching(layers[0], layers[1], np.random.default_rng(asked.seed))
    permute(layers[1], found)
    unpermuted, ends[1] = ends[1], vector_of(runs[1].model)
    before, after = losses(torch.stack([unpermuted, ends[1]]))[0].tolist()
    return {
        "permuted_loss": after,
        "unpermuted_loss": before,
        "moved": [float((one != np.arange(len(one))).mean()) for one in found],
        "distances": [float((ends[0] - one).norm()) for one in (unpermuted, ends[1])],
    }


def _rescaled(factor: float, run: Trained, ends: list[Tensor], losses: Losses, inputs: Tensor) -> dict[str, object]:
    """Rescale two layers of the run, in place, and tell its loss before and after."""
    before = losses(ends)[0].item()
    rescale(run.model, factor, inputs[:100])
    ends[0] = vector_of(run.model)
    return {"rescale": factor, "rescaled_loss": losses(ends)[0].item(), "unscaled_loss": before}


def _check(runs: Sequence[Trained]) -> None:
    """Raise UserError where runs have not the same parameters, or not the same data."""
    for one, other in pairwise(runs):
        shapes = [{name: tuple(p.shape) for name, p in run.model.named_parameters()} for run in (one, other)]
        if shapes[0] != shapes[1]:
            name = next(n for n in (*shapes[0], *shapes[1]) if shapes[0].get(n) != shapes[1].get(n))
            there = [shape.get(name, "missing") for shape in shapes]
            raise UserError(
                f"{one.folder.name} and {other.folder.name}: {name} is {there[0]} and {there[1]}; must be "
                "networks of one structure"
            )
        if one.data.train_x.shape[1:] != other.data.train_x.shape[1:]:
            raise UserError(f"{one.folder.name} and {other.folder.name}: their inputs differ in shape")


def _check_axes(run: Trained, axes: Tensor, *, line: bool) -> None:
    """Raise UserError where there is no line, or no plane."""
    name, axes = run.folder.name, axes.double()
    lengths = axes.norm(dim=1)
    if bool((lengths == 0).any()):
        raise UserError(f"{name}: its weight matrices are 0, or it has none, and so are directions of their size")
    if not line and (len(axes) < 2 or float((axes[0] @ axes[1]).abs() / lengths.prod()) > 1 - 1e-6):
        raise UserError(f"{name}: there are no two directions, and so is no plane; type --line")


def _data(run: Trained, asked: Asked) -> tuple[Tensor, Tensor]:
    """What is evaluated: a part of the data, or some examples of it, the same for the same seed."""
    data = run.data
    inputs, targets = (data.train_x, data.train_y) if asked.part == "train" else (data.test_x, data.test_y)
    if not len(inputs):
        raise UserError(f"--part {asked.part}: the run has no such examples")
    if asked.examples is not None and asked.examples > len(inputs):
        raise UserError(f"--examples {asked.examples}: must be at most the {counted(len(inputs), 'example')} there are")
    if asked.examples is None or asked.examples == len(inputs):
        return inputs, targets
    chosen = torch.randperm(len(inputs), generator=generator(asked.seed, "probe", "landscape"))[: asked.examples]
    return inputs[chosen], targets[chosen]


def _axes(
    asked: Asked, runs: Sequence[Trained], ends: Sequence[Tensor], losses: Losses, data: tuple[Tensor, Tensor]
) -> tuple[Tensor, dict[str, list[Any]]]:
    """The axes [1 or 2, P], and what they are."""
    if len(ends) == 2:
        return (ends[1] - ends[0]).unsqueeze(0), {"axes": ["from the first run to the second"]}
    if len(ends) == 3:
        one, two = ends[1] - ends[0], ends[2] - ends[0]
        two = two - (two @ one) / (one @ one) * one
        if not float(two.norm()) > 1e-6 * float(one.norm()) > 0:
            raise UserError("three runs: their weights lie on one line; take other runs")
        words = ["from the first run to the second", "to the third"]
        return torch.stack([one, two * (one.norm() / two.norm())]), {"axes": words}
    count = 1 if asked.is_line else 2
    if asked.directions == "eigenvectors":
        return _eigenvectors(runs[0], *data, count, asked.seed)
    drawn = [
        filter_normalized(ends[0], losses.shapes, generator(asked.seed, "probe", "direction", index))
        for index in range(count)
    ]
    return torch.stack(drawn), {"axes": ["random, normalized by filters"] * count}


def _eigenvectors(
    run: Trained, inputs: Tensor, targets: Tensor, count: int, seed: int
) -> tuple[Tensor, dict[str, list[Any]]]:
    """The top eigenvectors of the Hessian of what was minimized, each as long as a random direction would be.

    Along a unit eigenvector of the eigenvalue h the loss rises by h t^2/2; as long as the weights are, the axes are of
    the scale of random ones, and their places can be compared.
    """
    own = TrainedModel(run.model, torch.optim.SGD(run.model.parameters()), run.recipe.method)
    losses = MinimizedLosses([own])
    start = torch.randn(1, losses.size, generator=generator(seed, "probe", "lanczos"), dtype=torch.float64)
    hessian = losses.at(inputs, targets).hessian()
    found = lanczos(hessian, start.to(losses.points()), k=count, tolerance=1e-3)
    if count > 1:
        random = [generator(seed, "probe", "deflation")]
        found = completed(hessian, found, low=False, tolerance=1e-3, most=100, generators=random)
    scale = losses.points()[0].norm()
    values = found.largest[0].tolist()
    words = [f"eigenvector {place} of the Hessian, eigenvalue {value:.4g}" for place, value in enumerate(values, 1)]
    return found.vectors[0] * scale, {"axes": words, "eigenvalues": values}


def _places(asked: Asked, ends: Sequence[Tensor], axes: Tensor) -> tuple[Floats, Floats]:
    """The grid on each axis; a line between runs has both of them among its points."""
    if len(ends) == 1:
        own = np.linspace(-asked.span, asked.span, asked.points)
        return own, np.zeros(1) if asked.is_line else own
    if len(ends) == 2:
        within = np.linspace(0, 1, asked.points)
        step = within[1]
        more = step * np.arange(1, int(asked.span / step + 1e-9) + 1)
        return np.concatenate([-more[::-1], within, 1 + more]), np.zeros(1)
    at = coordinates(torch.stack(list(ends)), ends[0], axes)[0].numpy().astype(np.float64)
    reach = [(at[:, i].min(), at[:, i].max()) for i in (0, 1)]
    wide = max(high - low for low, high in reach) * asked.span
    x, y = (np.linspace(low - wide, high + wide, asked.points) for low, high in reach)
    return x, y


def _points(origin: Tensor, axes: Tensor, x: Floats, y: Floats) -> Iterator[Tensor]:
    """The points of the grid, row by row, [P] each; all of them at once would fill the memory with a large network."""
    for b in y.tolist():
        row = origin + b * axes[1] if len(axes) > 1 else origin
        for a in x.tolist():
            yield row + a * axes[0]


def _path(run: Trained, origin: Tensor, axes: Tensor) -> Floats:
    """The run's trajectory.csv, if it wrote one, else its start and its end, projected: [steps, 4]."""
    rows = read_table(run.folder / "trajectory.csv")
    start, end = vector_of(run.model, run.initial), vector_of(run.model)
    points, steps = torch.stack([start, end]), [0.0, float("nan")]
    if rows:
        cells = np.array([[float(cell) for cell in row.values()] for row in rows])
        if cells.shape[1] == len(origin) + 1:
            points, steps = torch.from_numpy(cells[:, 1:]).to(origin), cells[:, 0].tolist()
    if steps[-1] != steps[-1]:
        told = read_table(run.folder / "metrics.csv")
        steps[-1] = float(told[-1]["step"]) if told else 0.0
    at, off = coordinates(points, origin, axes)
    at = torch.nn.functional.pad(at, (0, 2 - at.shape[1]))
    return np.column_stack([np.array(steps), at.numpy(), off.numpy()]).astype(np.float64)
