"""A function of two variables as a model: its parameters are where one stands on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from fanin.errors import OptionError, number
from fanin.parts.per_run import stackable
from fanin.theory.surfaces import surface


@stackable
class Surface(nn.Module):
    """A point (x, y) on a surface; the outputs are its height f(x, y) and how much of the descent is left.

    $share = (f(x, y) - f*) / (f(start) - f*)$, at most 1, f* the surface's least height; the inputs do not matter.

    Its one parameter is `point` [2]. It is no weight layer: no initializer moves it off its start, no seed matters, and
    probes and regularizers see nothing. What is minimized is the height itself, by loss=value; data=point gives it
    one example. trainer.precision=float64 lets an optimizer come nearer to a minimum than 1e-4. The surfaces are
    those of `fanin.theory.surfaces.surface`.

    Args:
        kind: quadratic, saddle, rosenbrock, valley or peaks.
        condition: kappa of the quadratic, the ratio of its largest to its smallest curvature, >= 1.
        rotation: of the quadratic's long axis against the x axis, in degrees.
        start: [x, y], where the point is at first; None for the surface's own start.

    Raises:
        OptionError: a value that is not allowed.
    """

    needs_loss: ClassVar[str] = "value"

    def __init__(
        self,
        *,
        kind: str = "quadratic",
        condition: float = 50.0,
        rotation: float = 30.0,
        start: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.surface = surface(kind, condition=condition, rotation=rotation)
        place = list(self.surface.start) if start is None else _place(start)
        self.point = nn.Parameter(torch.tensor(place, dtype=torch.float64))  # a run casts it to its precision
        self.descent = float(self.surface.value(*place)) - self.surface.lowest or 1.0

    def forward(self, inputs: Tensor) -> Tensor:
        """Height and share at the point, [B, 2], the same for each of the inputs [B, ...]."""
        height: Tensor = self.surface.value(self.point[0], self.point[1])
        share = ((height.detach() - self.surface.lowest) / self.descent).clamp(0, 1)
        return torch.stack([height, share]).expand(inputs.shape[0], 2)


def _place(start: Sequence[float]) -> list[float]:
    """[x, y], checked."""
    if isinstance(start, str) or not isinstance(start, Sequence) or len(start) != 2:
        raise OptionError("start", start, "null or [x, y]", "such as start=[-1.2,1]")
    return [number("start", one) for one in start]
