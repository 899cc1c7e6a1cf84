"""What a step makes of weights and gradients, as formulas on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fanin.parts.clipping import ClipNorm
from fanin.parts.optimizers import Adam
from fanin.parts.regularizers import L1, L2, MaxNorm, WeightDecay
from fanin.train.learner import StepResult
from fanin.train.step import Method
from oracles import by_hand

Array = npt.NDArray[np.float64]
EXACT = {"rtol": 1e-10, "atol": 1e-12}
"""Some hundreds of float64 roundings of values about 1, in sums whose terms may cancel to a hundredth."""


def values(model: nn.Module) -> dict[str, Array]:
    """Parameters and buffers as float64 copies."""
    return {name: by_hand.array(tensor) for name, tensor in model.state_dict().items()}


def parameters(model: nn.Module) -> dict[str, Array]:
    """The parameters among them."""
    return {name: by_hand.array(parameter) for name, parameter in model.named_parameters()}


def length(vectors: Sequence[Array]) -> float:
    """Of all of them as one."""
    return by_hand.norm(np.concatenate([vector.ravel() for vector in vectors]))


def curve_values(result: StepResult) -> dict[tuple[str, str], float]:
    """What a step measured, by quantity and layer."""
    assert result.curves is not None
    labels, numbers = result.curves
    return {
        (quantity, layer): value for (_, _, layer, quantity), value in zip(labels, numbers[0].tolist(), strict=True)
    }


def gradients_by_hand(model: nn.Module, data: Any, masks: dict[str, Array] | None = None) -> dict[str, Array]:
    """Of the cross-entropy by every parameter of a chain with biases: backpropagation written out in numpy."""
    seen = by_hand.run(model, data[0][0].numpy(), data[1][0].numpy(), masks)
    found = {f"{name}.weight": gradient for name, gradient in seen.weight_gradients.items()}
    return found | {f"{name}.bias": gradient for name, gradient in seen.bias_gradients.items()}


class ByHand:
    """The update as formulas on arrays: penalties, clipping, decay, SGD or Adam, max-norm, in this order."""

    def __init__(self, parts: dict[str, float | None], optimizer: type[torch.optim.Optimizer]) -> None:
        self.parts, self.adam, self.past = parts, optimizer is Adam, list[dict[str, Array]]()

    def step(self, theta: dict[str, Array], gradients: dict[str, Array], rate: float) -> dict[str, Array]:
        g, weights = dict(gradients), [name for name in theta if name.endswith("weight")]
        for name in weights:
            g[name] = g[name] + (self.parts["l1"] or 0) * np.sign(theta[name]) + (self.parts["l2"] or 0) * theta[name]
        if self.parts["clip"] is not None:
            shrink = min(1.0, self.parts["clip"] / length(list(g.values())))
            g = {name: shrink * gradient for name, gradient in g.items()}
        self.past.append(g)
        new = dict(theta)
        for name in weights:
            new[name] = (1 - (self.parts["decay"] or 0)) * new[name]
        for name in new:
            new[name] = new[name] - rate * (self.direction(name) if self.adam else g[name])
        if self.parts["bound"] is not None:
            for name in weights:
                lengths = np.array([[by_hand.norm(row)] for row in new[name]])
                new[name] = new[name] * np.minimum(1, self.parts["bound"] / lengths)
        return new

    def direction(self, name: str) -> Array:
        """Adam's: bias-corrected averages as weighted means of all gradients so far, beta = 0.9 and 0.999."""

        def mean(values: list[Array], beta: float) -> Array:
            weights = [beta**age for age in range(len(values))][::-1]
            return sum(w * value for w, value in zip(weights, values, strict=True)) / sum(weights)  # type: ignore[return-value]

        own = [g[name] for g in self.past]
        return mean(own, 0.9) / (np.sqrt(mean([g**2 for g in own], 0.999)) + 1e-8)


def method_of(parts: dict[str, float | None], **more: Any) -> Method:
    """The same parts as fanin's."""

    def made(key: str, kind: Any, name: str) -> list[Any]:
        return [] if parts[key] is None else [kind(**{name: parts[key]})]

    return Method(
        penalties=made("l1", L1, "strength") + made("l2", L2, "strength"),
        decays=made("decay", WeightDecay, "rate"),
        bounds=made("bound", MaxNorm, "bound"),
        **({"clipping": ClipNorm(bound=parts["clip"])} if parts["clip"] is not None else {}),
        **more,
    )
