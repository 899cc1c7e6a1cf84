"""A network's forward and backward pass written out in numpy, and every quantity of the probes by its definition.

Shares nothing with fanin but the names of the modules: the backward formulas are the textbook's, the sums are loops.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch import nn

from fanin.parts.regularizers import DropoutModule

Array = npt.NDArray[np.float64]


@dataclass
class Pass:
    """One forward and backward pass; lists go over modules, the first being the input, dictionaries by name."""

    names: list[str] = field(default_factory=list)
    outputs: list[Array] = field(default_factory=list)
    output_gradients: list[Array] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)
    weight_gradients: dict[str, Array] = field(default_factory=dict)
    bias_gradients: dict[str, Array] = field(default_factory=dict)
    loss: float = math.nan
    error: float = math.nan

    @property
    def block_outputs(self) -> list[Array]:
        """What each next weight layer receives, and the logits."""
        inner = [self.names.index(name) for name in self.weights][1:]
        return [self.outputs[position - 1] for position in inner] + self.outputs[-1:]


def array(tensor: object) -> Array:
    """A tensor as a float64 copy."""
    return np.array(tensor.detach().numpy(), dtype=np.float64)  # type: ignore[attr-defined]


def run(model: nn.Module, x: Array, y: Array, masks: dict[str, Array] | None = None) -> Pass:
    """A chain of modules in training mode on inputs [B, ...] and labels [B].

    Args:
        model: children in the order of execution.
        x, y: the batch.
        masks: for each dropout module what its input is multiplied by; 1 where none is given.
    """
    seen = Pass(names=["input"], outputs=[x])
    h = x.reshape(len(x), -1)
    for name, module in model.named_children():
        h = _forward(module, name, h, masks or {})
        seen.names.append(name)
        seen.outputs.append(h)
    # Softmax cross-entropy, mean over the batch: dL/ds = (softmax(s) - onehot) / B.
    shifted = h - h.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(y))
    seen.loss = -sum(logs[rows, y]) / len(y)
    seen.error = sum(int(np.argmax(h[i]) != y[i]) for i in rows) / len(y)
    g = np.exp(logs)
    g[rows, y] -= 1
    g /= len(y)
    for place in range(len(seen.names) - 1, 0, -1):
        seen.output_gradients.insert(0, g)
        name = seen.names[place]
        before = seen.outputs[place - 1].reshape(len(x), -1)
        module = model.get_submodule(name)
        if isinstance(module, nn.Linear):
            seen.weights[name] = array(module.weight)
            seen.weight_gradients[name] = g.T @ before
            if module.bias is not None:
                seen.bias_gradients[name] = g.sum(axis=0)
        g = _backward(module, name, before, g, masks or {})
    for table in (seen.weights, seen.weight_gradients):  # they were met from the end
        in_order = list(table.items())[::-1]
        table.clear()
        table.update(in_order)
    return seen


def _forward(module: nn.Module, name: str, h: Array, masks: dict[str, Array]) -> Array:
    match module:
        case nn.Linear():
            return h @ array(module.weight).T + (0 if module.bias is None else array(module.bias))
        case nn.ReLU():
            return np.where(h <= 0, 0, h)
        case nn.Tanh():
            return np.tanh(h)
        case nn.BatchNorm1d() | nn.LayerNorm():
            scaled, _ = _standardized(module, h)
            return array(module.weight) * scaled + array(module.bias)
        case DropoutModule():
            return h * masks.get(name, np.ones(1))
    raise NotImplementedError(name)


def _backward(module: nn.Module, name: str, h: Array, g: Array, masks: dict[str, Array]) -> Array:
    """dL/d input from the input h and dL/d output g."""
    match module:
        case nn.Linear():
            return g @ array(module.weight)
        case nn.ReLU():
            return np.where(h <= 0, 0, g)
        case nn.Tanh():
            return g * (1 - np.tanh(h) ** 2)
        case nn.BatchNorm1d() | nn.LayerNorm():
            axis = 0 if isinstance(module, nn.BatchNorm1d) else 1
            scaled, deviation = _standardized(module, h)
            g = g * array(module.weight)
            mean, along = g.mean(axis, keepdims=True), (g * scaled).mean(axis, keepdims=True)
            return (g - mean - scaled * along) / deviation
        case DropoutModule():
            return g * masks.get(name, np.ones(1))
    raise NotImplementedError(name)


def _standardized(module: nn.BatchNorm1d | nn.LayerNorm, h: Array) -> tuple[Array, Array]:
    axis = 0 if isinstance(module, nn.BatchNorm1d) else 1
    deviation = np.sqrt(h.var(axis, keepdims=True) + module.eps)
    return (h - h.mean(axis, keepdims=True)) / deviation, deviation


def norm(a: Array) -> float:
    """sqrt(sum a^2), exactly summed."""
    return math.sqrt(math.fsum(value * value for value in a.ravel().tolist()))


def dead_units(a: Array) -> float:
    """Share of the columns that hold nothing but zeros."""
    a = a.reshape(len(a), -1)
    return sum(all(value == 0 for value in column) for column in a.T) / a.shape[1]


def cosine(a: Array) -> float:
    """Mean over all pairs of different rows, those of length 0 left out."""
    rows = [row for row in a.reshape(len(a), -1) if norm(row) > 0]
    pairs = [(i, j) for i in range(len(rows)) for j in range(i)]
    cosines = [float(rows[i] @ rows[j]) / (norm(rows[i]) * norm(rows[j])) for i, j in pairs]
    return sum(cosines) / len(cosines) if pairs else math.nan


def zeros(a: Array) -> float:
    """Share of the entries that are 0."""
    return sum(value == 0 for value in a.ravel().tolist()) / a.size


def nonfinite(a: Array) -> int:
    """How many entries are NaN or infinite."""
    return sum(not math.isfinite(value) for value in a.ravel().tolist())


def scaled_variance(w: Array) -> float:
    """fan_in times the unbiased sample variance."""
    entries = w.ravel().tolist()
    mean = math.fsum(entries) / len(entries)
    return w.shape[1] * math.fsum((entry - mean) ** 2 for entry in entries) / (len(entries) - 1)


def profile(seen: Pass, initial: dict[str, Array]) -> dict[tuple[str, int, str, str], float]:
    """Every value of a profile by (axis, index, layer, quantity); `initial` are the weights at step 0."""
    table: dict[tuple[str, int, str, str], float] = {}
    for index, (name, output) in enumerate(zip(seen.names, seen.outputs, strict=True), start=1):
        table["module", index, name, "activation_norm"] = norm(output)
        table["module", index, name, "dead_units"] = dead_units(output)
        table["module", index, name, "activation_cosine"] = cosine(output)
        table["module", index, name, "activation_nonfinite"] = nonfinite(output)
    for index, (name, gradient) in enumerate(zip(seen.names[1:], seen.output_gradients, strict=True), start=2):
        if name == "dropout_0":  # no gradient is computed for what depends on no parameter
            continue
        table["module", index, name, "activation_gradient_norm"] = norm(gradient)
    for index, (name, weight) in enumerate(seen.weights.items(), start=1):
        gradient = seen.weight_gradients[name]
        table["weight", index, name, "activation_norm"] = norm(seen.block_outputs[index - 1])
        table["weight", index, name, "gradient_norm"] = norm(gradient)
        if name in seen.bias_gradients:
            table["weight", index, name, "bias_gradient_norm"] = norm(seen.bias_gradients[name])
        table["weight", index, name, "gradient_nonfinite"] = nonfinite(gradient)
        table["weight", index, name, "weight_norm"] = norm(weight)
        table["weight", index, name, "weight_zeros"] = zeros(weight)
        table["weight", index, name, "weight_variance"] = scaled_variance(weight)
        table["weight", index, name, "weight_movement"] = norm(weight - initial[name]) / norm(initial[name])
    return table
