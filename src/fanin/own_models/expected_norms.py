"""What a fresh draw of a model of one's own is expected to show: by its law, by redraws of it, or by both."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fanin.errors import UserError, choice, integer
from fanin.own_models.drawn_laws import DrawnBy, drawn_laws
from fanin.own_models.fresh_draws import Redraw, fresh_draws
from fanin.own_models.probe_pass import Loss, arguments
from fanin.own_models.rules import Rules
from fanin.parts.models.layers import weight_layers
from fanin.run.expected import expected, expected_layout
from fanin.run.layout import Layout, model_layout
from fanin.run.recipe_law import RecipeLaw, model_law
from fanin.run.redraws import Redraws
from fanin.run.theory_overlay import Expected
from fanin.streams import undisturbed
from fanin.theory.answers import Residuals
from fanin.theory.bands import Key
from fanin.theory.gaussian_maps import FloatArray


def frozen_of(model: nn.Module) -> list[str]:
    """The weight layers that are not trained."""
    return [name for name, layer in weight_layers(model) if not layer.get_parameter("weight").requires_grad]


@dataclass(frozen=True)
class ExpectedNorms:
    """Works out what is expected of a model's norms, when they have been measured.

    Args:
        model: the network itself, fresh; left as it is.
        inputs, targets, loss, autocast: see `ProbePass`.
        redraws: how many fresh draws make a band; 0 for none.
        redraw: draws the model that it is given, or gives a new one; None for reset_parameters.
        rules: what its weights are drawn from, as `fanin.audit` takes it; None for what is found.
        band: auto, law, redraw, both or off, as `probe.band`.

    Raises:
        UserError: a band or a number of redraws that is not allowed.
    """

    model: nn.Module
    inputs: Any
    targets: Any = None
    loss: Loss | None = None
    autocast: torch.dtype | None = None
    redraws: int = 64
    redraw: Redraw | None = None
    rules: Rules | None = None
    band: str = "auto"

    def __post_init__(self) -> None:
        choice("band", self.band, ("auto", "law", "redraw", "both", "off"))
        if integer("redraws", self.redraws, 0) and self.redraws < 8:
            raise UserError(f"redraws={self.redraws}: must be 8 or more, or 0 for no band of fresh draws")

    def __call__(self, keys: Collection[Key]) -> Expected:
        """What is expected of the norms that have been measured."""
        batch = batch_of(self.inputs)
        layout = Layout()
        if batch is not None and not self.drawn.why:
            layout = expected_layout(batch.device, lambda: model_layout(self.drawn.weights, self.model, batch))
        return expected(keys, self.band, frozen_of(self.model), layout, law=self.law, draw=self._draw)

    @cached_property
    def drawn(self) -> DrawnBy:
        """What the weight layers are drawn from."""
        return drawn_laws(self.model, self.rules)

    def _draw(self, asked: bool) -> Redraws:
        if self.redraws == 0:
            return Redraws(why="redraws=0 asks for none")
        return fresh_draws(
            self.model, self.inputs, self.targets, self.loss,
            count=self.redraws, redraw=self.redraw, autocast=self.autocast,
        )  # fmt: skip

    def law(self) -> RecipeLaw:
        """What theory says of the model; one that cannot be worked out is a reason in the result."""
        batch = batch_of(self.inputs)
        if batch is None:
            return RecipeLaw({}, "theory speaks of models that take one tensor of numbers", "", "")
        if self.drawn.why:
            return RecipeLaw({}, self.drawn.why, "", "")
        loss = Answering(batch, self.targets, self.loss)
        try:
            with undisturbed(batch.device):
                law = self._law(batch, loss)
        except Exception as error:  # of the user's code
            said = f"the law could not be worked out: {type(error).__name__}: {' '.join(str(error).split())}"
            return RecipeLaw({}, said, "", "")
        return law if law.no_law or not loss.why else replace(law, no_law=f"the law ends at the loss: {loss.why}")

    def _law(self, batch: Tensor, loss: Answering) -> RecipeLaw:
        of = self.model, self.drawn.weights, batch, loss.labels
        try:
            return model_law(*of, loss, alone=True)[0]
        except NoMean:
            loss.why = "it is no mean over the examples"
            return model_law(*of, lambda rows: None, alone=True)[0]


def batch_of(inputs: Any) -> Tensor | None:
    """The tensor of numbers that a model takes; None if it takes something else, or more."""
    args, kwargs = arguments(inputs)
    alone = args[0] if len(args) == 1 and not kwargs else None
    return alone if isinstance(alone, Tensor) and alone.is_floating_point() and alone.ndim > 1 else None


class NoMean(Exception):
    """A loss that theory has no gradients of."""


@dataclass
class Answering:
    """How a user's loss answers to the outputs of some examples, for a law of gradients to begin with.

    Args:
        inputs: [B, ...].
        targets: a tensor [B, ...], or None.
        loss: the mean over examples of something.

    Attributes:
        why: why it is not known; empty where it is.
    """

    inputs: Tensor
    targets: Any
    loss: Loss | None
    why: str = field(default="", init=False)

    @property
    def labels(self) -> NDArray[Any] | None:
        """The class of each example, where targets are classes."""
        if not isinstance(self.targets, Tensor) or self.targets.is_floating_point() or self.targets.ndim != 1:
            return None
        found = self.targets.cpu().numpy()
        return found if len(found) == len(self.inputs) and found.min(initial=0) >= 0 else None

    def __call__(self, rows: NDArray[np.intp]) -> Residuals | None:
        """The residuals of these examples; None where the loss is no mean over examples of two or more axes."""
        loss = self.loss
        if loss is None:  # and no gradients
            return None
        if self.targets is not None and not (
            isinstance(self.targets, Tensor) and self.targets.ndim > 0 and len(self.targets) == len(self.inputs)
        ):
            self.why = "there is not one target for each example"
            return None
        wanted = () if self.targets is None else (self.targets[rows],)

        def of(outputs: Tensor, *targets: Tensor) -> Tensor:
            value: Tensor = loss(outputs, *targets)
            return value

        def answers(outputs: FloatArray) -> FloatArray:
            found = torch.tensor(outputs, dtype=torch.float32, device=self.inputs.device, requires_grad=True)
            one, twice = of(found[0], *wanted), of(found[0].repeat(2, 1), *(torch.cat([each, each]) for each in wanted))
            if not torch.isclose(one, twice, rtol=1e-4):
                raise NoMean
            total = torch.stack([of(one, *wanted).reshape(()) for one in found]).sum()
            (gradient,) = torch.autograd.grad(total, found)
            return np.asarray(gradient.cpu().double().numpy())

        return answers
