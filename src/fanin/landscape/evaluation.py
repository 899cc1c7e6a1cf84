"""The loss at many points of weight space, some of them stacked and evaluated as one program."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

import torch
from torch import Tensor

from fanin.landscape.directions import names_of, parts_of
from fanin.run.trained import Trained
from fanin.train.further_passes import estimate_statistics, statistics_layers
from fanin.train.stacked_model import Program

TOGETHER = 8
"""Points in one pass."""

EXAMPLES = 500
"""Examples in one pass: what a layer puts out stays within the caches."""


class Losses:
    """The loss of the data (without penalties) and the error, in evaluation mode, as functions of the weights.

    Batch normalization's running statistics are those of the weights: they are estimated anew at every point, from
    the training part, by `estimate_statistics`.

    Args:
        trained: lends its structure, its loss and its data.
        inputs, targets: what is evaluated, [N, ...] and [N].
    """

    def __init__(self, trained: Trained, inputs: Tensor, targets: Tensor) -> None:
        self.trained, self.inputs, self.targets = trained, inputs, targets
        model = trained.model
        self.shapes = names_of(model)
        frozen = {name: one.detach() for name, one in model.named_parameters() if not one.requires_grad}
        self._others = frozen | dict(model.named_buffers())
        self._program = Program(model, None)
        self._layers = statistics_layers(self._program.template)
        self.recomputes = bool(self._layers)

    @torch.no_grad()
    def __call__(
        self, points: Iterable[Tensor], done: Callable[[int], object] = lambda count: None
    ) -> tuple[Tensor, Tensor]:
        """Losses and errors, [n] each in float64, at n points [P]; `done` is told of how many more are known."""
        losses, errors, left = [], [], iter(points)
        while some := list(islice(left, TOGETHER)):
            loss, error = self._together(torch.stack(some))
            losses.append(loss)
            errors.append(error)
            done(len(some))
        return torch.cat(losses), torch.cat(errors)

    def _together(self, points: Tensor) -> tuple[Tensor, Tensor]:
        runs = len(points)
        tensors = parts_of(points, self.shapes)
        tensors |= {name: one.expand(runs, *one.shape).clone() for name, one in self._others.items()}
        self._program.train(False)
        if self._layers:
            estimate_statistics(
                self._layers, tensors, lambda x: self._program(tensors, x, shared=True), self.trained.data.train_x
            )
        loss = self.trained.recipe.method.loss
        total = torch.zeros(2, runs, dtype=torch.float64)
        for x, y in zip(torch.split(self.inputs, EXAMPLES), torch.split(self.targets, EXAMPLES), strict=True):
            outputs = self._program(tensors, x, shared=True)
            given, wanted = x.expand(runs, *x.shape), y.expand(runs, *y.shape)
            share = len(x) / len(self.inputs)
            total[0] += share * loss(outputs, wanted, given).double()
            total[1] += share * loss.error(outputs, wanted, given)
        return total[0], total[1]
