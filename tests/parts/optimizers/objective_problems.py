"""Small training problems, and a step on them taken the way a learner takes it."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from fanin.parts.optimizers.objective import Objective, ObjectiveOptimizer, replaying
from fanin.parts.regularizers import DropoutModule

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def half_squares(outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
    """1/(2B) sum of squares."""
    return 0.5 * (outputs - targets).square().sum(-1).mean()


def cross_entropy(outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
    """Softmax cross-entropy, written out."""
    return (outputs.logsumexp(-1) - outputs.gather(-1, targets.unsqueeze(-1)).squeeze(-1)).mean()


class Problem:
    """A model, data and a penalty strength/2 * sum of squares over the weights with two axes.

    Args:
        model: initialized.
        loss: (outputs, targets, inputs) -> mean.
        inputs, targets: the training set.
        strength: of the penalty; 0: none.
    """

    def __init__(self, model: nn.Module, loss: Loss, inputs: Tensor, targets: Tensor, strength: float = 0.0) -> None:
        self.model, self.loss, self.inputs, self.targets, self.strength = model, loss, inputs, targets, strength
        self.random = torch.Generator().manual_seed(11)
        for module in model.modules():
            if isinstance(module, DropoutModule):
                module.generator = self.random

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    @property
    def theta(self) -> Tensor:
        return torch.cat([p.detach().flatten() for p in self.parameters])

    def penalty(self) -> Tensor:
        weights = [p for p in self.model.parameters() if p.ndim >= 2]
        return 0.5 * self.strength * torch.stack([w.square().sum() for w in weights]).sum()

    def run_pass(self, rows: Tensor | None = None) -> Objective:
        """Forward and backward pass of training on some rows, all if none are named; what a step is then handed."""
        rows = torch.arange(len(self.inputs)) if rows is None else rows
        x, y = self.inputs[rows], self.targets[rows]
        replay = replaying([self.random])
        loss = self.loss(self.model(x), y, x)
        for p in self.parameters:
            p.grad = None
        (loss + self.penalty() if self.strength else loss).backward()  # type: ignore[no-untyped-call]
        return Objective(
            model=self.model,
            loss=self.loss,
            inputs=x,
            targets=y,
            train_inputs=self.inputs,
            train_targets=self.targets,
            penalty=self.penalty if self.strength else None,
            rows=rows,
            replay=replay,
        )

    def step(self, optimizer: torch.optim.Optimizer, rows: Tensor | None = None) -> None:
        objective = self.run_pass(rows)
        if isinstance(optimizer, ObjectiveOptimizer):
            optimizer.step(objective)
        else:
            optimizer.step()

    def epochs(self, optimizer: torch.optim.Optimizer, count: int, batch_size: int, seed: int = 0) -> None:
        random = torch.Generator().manual_seed(seed)
        for _ in range(count):
            order = torch.randperm(len(self.inputs), generator=random)
            for rows in order.view(-1, batch_size):
                self.step(optimizer, rows)

    def value(self) -> float:
        """The objective on the whole training set."""
        with torch.no_grad():
            loss = self.loss(self.model(self.inputs), self.targets, self.inputs)
            return (loss + self.penalty() if self.strength else loss).item()


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filled(model: nn.Module, seed: int, std: float = 1.0) -> nn.Module:
    """The model in float64 with normal parameters."""
    model.double()
    with torch.no_grad():
        for index, p in enumerate(model.parameters()):
            p.copy_(std * normal(1000 * seed + index + 500, *p.shape))
    return model


def ridge(seed: int, examples: int = 100, features: int = 5, strength: float = 0.1) -> Problem:
    """Least squares with noise, for a layer without bias; see `ridge_minimum`."""
    x = normal(seed, examples, features)
    y = x @ normal(seed + 1, features, 1) + normal(seed + 2, examples, 1)
    model = filled(nn.Linear(features, 1, bias=False), seed)
    return Problem(model, half_squares, x, y, strength)


def ridge_minimum(problem: Problem) -> Tensor:
    """(X^T X/N + strength I)^-1 X^T y/N."""
    x, n = problem.inputs, len(problem.inputs)
    gram = x.T @ x / n + problem.strength * torch.eye(x.shape[1], dtype=torch.float64)
    return cast(Tensor, torch.linalg.inv(gram) @ (x.T @ problem.targets) / n).flatten()


def softmax_regression(
    seed: int, examples: int = 40, features: int = 4, classes: int = 3, strength: float = 0.05
) -> Problem:
    """Three classes around normal centers; the layer has no bias."""
    y = torch.arange(examples) % classes
    x = normal(seed, examples, features) + normal(seed + 1, classes, features)[y]
    return Problem(filled(nn.Linear(features, classes, bias=False), seed), cross_entropy, x, y, strength)


def tanh_network(seed: int, strength: float = 0.01, examples: int = 24, dropout: float = 0.0) -> Problem:
    """4 -> 5 -> 3 with biases: 43 parameters."""
    layers: list[nn.Module] = [nn.Linear(4, 5), nn.Tanh(), DropoutModule(dropout), nn.Linear(5, 3)]
    data = softmax_regression(seed, examples)
    return Problem(filled(nn.Sequential(*layers), seed, 0.5), cross_entropy, data.inputs, data.targets, strength)


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint gives back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return cast(dict[str, Any], torch.load(file, weights_only=True))
