"""Optimizers that torch.optim does not have, from their definitions: entry by entry in plain Python, or by an SVD.

Moving averages are sums over the whole past here, not recursions.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Entrywise(torch.optim.Optimizer):
    """Keeps all gradients of each entry and moves one entry at a time."""

    def __init__(self, params: Any, **numbers: Any) -> None:
        super().__init__(params, numbers)

    @abstractmethod
    def moved(self, n: dict[str, Any], theta: float, past: list[float]) -> float:
        """The entry after the step, from its gradients so far (the last one is today's)."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    past = self.state[param].setdefault("past", [])
                    past.append(param.grad.flatten().tolist())
                    entries = zip(param.flatten().tolist(), zip(*past, strict=True), strict=True)
                    values = [self.moved(group, theta, list(gradients)) for theta, gradients in entries]
                    param.copy_(torch.tensor(values, dtype=param.dtype).view(param.shape))


def average(past: list[float], beta: float) -> float:
    """(1 - beta) sum over s of beta^(t - s) g_s."""
    return sum((1 - beta) * beta**age * gradient for age, gradient in enumerate(reversed(past)))


class EmaMomentumByHand(Entrywise):
    """Keys lr, beta."""

    def moved(self, n: dict[str, Any], theta: float, past: list[float]) -> float:
        """theta - a u."""
        return theta - n["lr"] * average(past, n["beta"])


class UnbiasedMomentumByHand(Entrywise):
    """Keys lr, beta."""

    def moved(self, n: dict[str, Any], theta: float, past: list[float]) -> float:
        """theta minus a times the weighted mean of the gradients, whose weights are powers of beta."""
        weights = [n["beta"] ** age for age in range(len(past))]
        products = [weight * gradient for weight, gradient in zip(weights, reversed(past), strict=True)]
        return theta - n["lr"] * sum(products) / sum(weights)


class LionByHand(Entrywise):
    """Keys lr, beta1, beta2, weight_decay."""

    def moved(self, n: dict[str, Any], theta: float, past: list[float]) -> float:
        """theta - a (sign(beta1 m + (1 - beta1) g) + lambda theta), m the average before today."""
        blend = n["beta1"] * average(past[:-1], n["beta2"]) + (1 - n["beta1"]) * past[-1]
        sign = 1 if blend > 0 else -1 if blend < 0 else 0
        return theta - n["lr"] * (sign + n["weight_decay"] * theta)


class PlainNAdamByHand(Entrywise):
    """Keys lr, beta1, beta2, eps, momentum_decay; without bias correction."""

    def moved(self, n: dict[str, Any], theta: float, past: list[float]) -> float:
        """theta - a [(1 - mu_t) g + mu_(t+1) m] / (sqrt(v) + eps)."""
        now, then = (n["beta1"] * (1 - 0.96 ** (t * n["momentum_decay"]) / 2) for t in (len(past), len(past) + 1))
        root = average([gradient**2 for gradient in past], n["beta2"]) ** 0.5
        ahead = (1 - now) * past[-1] + then * average(past, n["beta1"])
        return theta - n["lr"] * ahead / (root + n["eps"])


class DoubleNAdam(torch.optim.NAdam):
    """torch.optim.NAdam, which keeps the product of its momenta in torch's default type, in float64."""

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One step with another default type."""
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            return super().step(closure)
        finally:
            torch.set_default_dtype(default)


class MuonBySvd(torch.optim.Optimizer):
    """Keys lr, momentum, nesterov, weight_decay, vector_factor: the polynomial on singular values, torch's Adam."""

    def __init__(
        self, params: Any, lr: float, momentum: float, nesterov: bool, weight_decay: float, vector_factor: float
    ) -> None:
        numbers = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        super().__init__(params, {"lr": lr, "vector_factor": vector_factor, **numbers})
        small = [[param for param in group["params"] if param.ndim < 2] for group in self.param_groups]
        self.adam = torch.optim.Adam([{"params": params} for params in small])

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group, vectors in zip(self.param_groups, self.adam.param_groups, strict=True):
            vectors["lr"] = group["lr"] * group["vector_factor"]
            for param in group["params"]:
                if param.ndim >= 2 and param.grad is not None:
                    self._step_matrix(param, group)
        self.adam.step()

    def _step_matrix(self, param: Tensor, n: dict[str, Any]) -> None:
        past = self.state[param].setdefault("past", [])
        past.append(param.grad.flatten(1).clone())  # type: ignore[union-attr]
        mu = n["momentum"]
        u = sum(((1 - mu) * mu**age * gradient for age, gradient in enumerate(reversed(past))), torch.zeros(()))
        n_t = mu * u + (1 - mu) * past[-1] if n["nesterov"] else u
        rows, columns = n_t.shape
        step = by_svd(n_t) * max(1, rows / columns) ** 0.5
        param.copy_(param - n["lr"] * n["weight_decay"] * param - n["lr"] * step.view(param.shape))


def by_svd(matrix: Tensor) -> Tensor:
    """U f(f(f(f(f(S/||S||))))) V^T with f(s) = 3.4445 s - 4.775 s^3 + 2.0315 s^5."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    values = values / max(float((values**2).sum() ** 0.5), 1e-7)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left @ torch.diag(values) @ right
