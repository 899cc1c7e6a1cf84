"""Loops of one's own for the tests, and what a watched folder says."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from fanin import Watch

ALL = ("activation_norm", "activation_gradient_norm", "gradient_norm", "weight_norm", "update_ratio")


def scalars(folder: Path, prefix: str = "") -> dict[str, list[tuple[int, float]]]:
    """(step, value) by tag."""
    seen = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        tag: [(one.step, one.value) for one in seen.Scalars(tag)]
        for tag in sorted(seen.Tags()["scalars"])
        if tag.startswith(prefix)
    }


def curve(folder: Path, quantity: str, layer: str) -> list[float]:
    """The values of one curve."""
    found = scalars(folder, f"layers/{quantity}/")
    (tag,) = [tag for tag in found if tag.rpartition("/")[2].partition("_")[2] == layer]
    return [value for _, value in found[tag]]


def layers(folder: Path, quantity: str) -> list[str]:
    """The layers that have a curve, in their order."""
    return [tag.rpartition("/")[2].partition("_")[2] for tag in scalars(folder, f"layers/{quantity}/")]


def rows(folder: Path, name: str = "profiles") -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with (folder / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def said(folder: Path, name: str = "result") -> dict[str, Any]:
    """The content of a JSON file."""
    content: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return content


def norm(tensor: Tensor) -> float:
    """Its Frobenius norm, rounded to float32, as TensorBoard has it."""
    return float(torch.linalg.vector_norm(tensor.detach().double()).float())


def approx(values: list[float], entries: int = 10_000) -> Any:
    """Equal but for the rounding of sums of so many squares in float32: four standard deviations of as many errors."""
    return pytest.approx(values, rel=2.0**-24 * (2 + 4 * entries**0.5), abs=1e-12)


def copied(gradient: Tensor | None) -> Tensor | None:
    """It, or a copy."""
    return None if gradient is None else gradient.clone()


def train(
    model: nn.Module,
    folder: Path,
    data: Any,
    *,
    steps: int = 3,
    minimized: Callable[[Any], Tensor] = lambda outputs: outputs.square().mean(),
    lr: float = 0.05,
    **settings: Any,
) -> list[dict[str, Tensor | None]]:
    """A plain loop on one batch, under a watch that looks at every step; returns the gradients of each step by name."""
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=lr)
    found: list[dict[str, Tensor | None]] = []
    with Watch(model, folder, **{"every": 1, "curves": ALL, "overwrite": True} | settings) as watch:
        for _ in range(steps):
            optimizer.zero_grad()
            value = minimized(model(**data) if isinstance(data, dict) else model(data))
            value.backward()
            found.append({name: copied(one.grad) for name, one in model.named_parameters()})
            optimizer.step()
            watch.step(optimizer, loss=value)
    return found
