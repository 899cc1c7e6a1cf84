"""What the loop asks of R runs trained together, and the learner of one run.

The loop never sees a model: it hands batches and learning rates over and gets numbers with a leading axis R back,
on the device. So the same loop trains one run and, with another learner, many runs stacked as one program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from fanin.losses import cross_entropy, error
from fanin.models.layers import weight_layers
from fanin.probes.capture import Named, Observation, capturing, leaves
from fanin.probes.measures import norms
from fanin.probes.probe import ACTIVATION, ACTIVATION_GRADIENT, GRADIENT, WEIGHT, Measured, measure_curves
from fanin.regularizers import L2, DropoutModule

Batch = tuple[Tensor, Tensor]  # inputs [R, B, ...], targets [R, B]


class StepResult(NamedTuple):
    """The batch loss and error before the update, [R] each, and the curves where some were asked for."""

    loss: Tensor
    error: Tensor
    curves: Measured | None = None


class Culprit(NamedTuple):
    """Where a run first stopped being finite: the layer, and whether "weight", "activation" or "loss"."""

    layer: str
    what: str


class Learner(Protocol):
    """R runs of one structure, trained in step."""

    runs: int
    parameter_count: int  # of one run

    def step(self, batch: Batch, rates: Sequence[float], curves: Sequence[str] = ()) -> StepResult:
        """One update of every run; a run whose loss is not finite takes none (unless told to go on).

        The quantities in `curves` are measured in the very pass that trains, at the weights before the update.
        """

    def observe(self, batch: Batch) -> Observation:
        """One forward and backward pass that leaves no trace: no update, no statistics, no random draw of training."""

    def evaluate(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss and error, [R] each, over a data set [N, ...] in evaluation mode."""

    def culprit(self, run: int) -> Culprit | None:
        """Where the first pass whose loss was not finite left the finite numbers; None as long as there was none."""

    def state(self, run: int) -> dict[str, Any]:
        """Everything needed to go on with the run: tensors and plain values, readable with weights_only."""

    def load_state(self, run: int, state: dict[str, Any]) -> None:
        """Go on from a state."""

    def select(self, indices: Sequence[int]) -> Learner:
        """A learner of some of the runs, where they are; the others stay as they are."""

    def best_weights(self, run: int) -> dict[str, Tensor]:
        """A copy of the run's model state."""

    def load_weights(self, run: int, weights: dict[str, Tensor]) -> None:
        """Replace the run's model state."""


@dataclass
class SingleLearner:
    """One run: any nn.Module with any torch.optim.Optimizer.

    Args:
        model: initialized, on the device.
        optimizer: over the model's parameters.
        penalties: terms added to the loss that is minimized (not to the loss that is reported).
        dropout: the generator of training's dropout masks.
        probe_dropout: makes a fresh generator for an observation's masks: the same ones at every look.
        autocast: the lower precision of the forward pass, or None.
        stop_when_diverged: refuse updates once the loss is not finite, so that the step that broke can be studied.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    penalties: Sequence[L2] = ()
    dropout: torch.Generator | None = None
    probe_dropout: Callable[[], torch.Generator] | None = None
    autocast: torch.dtype | None = None
    stop_when_diverged: bool = True
    runs: int = 1

    def __post_init__(self) -> None:
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.weights = {name: cast(Tensor, layer.weight) for name, layer in weight_layers(self.model)}
        self.parameter_count = sum(parameter.numel() for parameter in self.model.parameters())
        self.initial = {name: weight.detach().clone().unsqueeze(0) for name, weight in self.weights.items()}
        self._culprit: Culprit | None = None
        self._norms: Tensor | None = None
        self._leaves = leaves(self.model)
        self._blocks: tuple[list[str], list[Named]] | None = None  # weight layers, and the last module of each block
        self._draw_masks_from(self.dropout)

    def step(self, batch: Batch, rates: Sequence[float], curves: Sequence[str] = ()) -> StepResult:
        """One update; see Learner."""
        inputs, targets = batch[0][0], batch[1][0]
        if self._culprit and self.stop_when_diverged:
            lost = torch.full((1,), torch.nan, device=inputs.device)
            return StepResult(lost, lost)
        self._training()
        with self._looking(inputs, curves) if curves else nullcontext() as seen:
            loss, wrong = self._forward(inputs, targets)
            result = StepResult(loss.detach().unsqueeze(0), wrong.unsqueeze(0))
            broken = self._culprit is None and not torch.isfinite(loss)
            if not (broken and self.stop_when_diverged):
                for parameter in self.parameters:
                    parameter.grad = None
                self._objective(loss).backward()  # type: ignore[no-untyped-call]
        if broken:  # a pass of its own, which the look above must not see
            self.locate(inputs, targets)
            if self.stop_when_diverged:
                return result
        if seen is not None:
            # The update changes weights in place: what looks at both needs a copy, the rest is measured before it.
            after_update = "update_ratio" in curves
            if not GRADIENT.keys().isdisjoint(curves):
                self._add_gradients(seen, {name: weight.grad for name, weight in self.weights.items()})
            if not set(WEIGHT).isdisjoint(curves):
                self._add_weights(seen, copy=after_update)
            if not after_update:
                result = result._replace(curves=measure_curves(seen, curves))
        for group in self.optimizer.param_groups:
            group["lr"] = rates[0]
        self.optimizer.step()
        if seen is not None and after_update:
            seen.updated = [self.weights[name].detach().unsqueeze(0) for name in seen.weight_names]
            result = result._replace(curves=measure_curves(seen, curves))
        return result

    def observe(self, batch: Batch) -> Observation:
        """A look without a trace; see Learner. Gradients are of the data loss alone."""
        inputs, targets = batch[0][0], batch[1][0]
        self._training()
        with self._untouched(), capturing(self._leaves, inputs, gradients=True) as seen:
            loss, _ = self._forward(inputs, targets)
            gradients = torch.autograd.grad(loss, list(self.weights.values()), allow_unused=True)
        self._add_gradients(seen, dict(zip(self.weights, gradients, strict=True)))
        self._add_weights(seen, copy=False)
        return seen

    @torch.no_grad()
    def evaluate(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss and error over a data set, 1000 examples at a time."""
        self.model.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=inputs.device)
        for start in range(0, len(inputs), 1000):
            x, y = inputs[start : start + 1000], targets[start : start + 1000]
            loss, wrong = self._forward(x, y)
            sums += torch.stack([loss.double(), wrong]) * len(x)
        means = sums / len(inputs)
        return means[:1], means[1:]

    def culprit(self, run: int) -> Culprit | None:
        """Where the run broke; see Learner."""
        return self._culprit

    def locate(self, inputs: Tensor, targets: Tensor) -> None:
        """Keep where a pass first leaves the finite numbers: a weight, a module's output, or the loss itself."""
        self._training()
        with torch.no_grad(), self._untouched(), capturing(self._leaves, inputs) as seen:
            self._forward(inputs, targets)
        weights = [(name, "weight", self.weights[name]) for name in seen.weight_names]
        outputs = [(name, "activation", out) for name, out in zip(seen.modules, seen.activations, strict=True)]
        broken = ((name, what) for name, what, x in weights + outputs if not torch.isfinite(x).all())
        self._culprit = Culprit(*next(broken, ("loss", "loss")))

    def state(self, run: int) -> dict[str, Any]:
        """Model, optimizer, dropout stream, and where the run broke if it goes on all the same."""
        state: dict[str, Any] = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        state["culprit"] = list(self._culprit) if self._culprit else None
        return state | ({"dropout": self.dropout.get_state()} if self.dropout is not None else {})

    def load_state(self, run: int, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._culprit = Culprit(*state["culprit"]) if state["culprit"] else None
        if self.dropout is not None:
            self.dropout.set_state(state["dropout"].cpu())

    def select(self, indices: Sequence[int]) -> SingleLearner:
        """Itself: there is no part of one run."""
        return self

    def best_weights(self, run: int) -> dict[str, Tensor]:
        """A copy of the model's state."""
        return {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def load_weights(self, run: int, weights: dict[str, Tensor]) -> None:
        """Replace the model's state."""
        self.model.load_state_dict(weights)

    def _training(self) -> None:
        # Switching walks over all modules, which at every step would cost a twentieth of it.
        if not self.model.training:
            self.model.train()

    def _forward(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(inputs.device.type, self.autocast) if self.autocast else nullcontext():
            logits = self.model(inputs)
        logits = logits.float() if self.autocast else logits
        return cross_entropy(logits, targets), error(logits.detach(), targets)

    @contextmanager
    def _looking(self, inputs: Tensor, curves: Sequence[str]) -> Iterator[Observation]:
        """Capture what the curves need: after a first full look only the ends of the blocks, if those at all."""
        gradients = not ACTIVATION_GRADIENT.keys().isdisjoint(curves)
        if self._blocks is None:
            with capturing(self._leaves, inputs, gradients=gradients) as seen:
                yield seen
            # A module that is called twice bears a name of its own then: such a network gets the full look every time.
            if set(seen.modules[1:]) <= {name for name, _ in self._leaves}:
                ends = {seen.modules[end] for end in seen.block_ends}
                self._blocks = (seen.weight_names, [named for named in self._leaves if named[0] in ends])
            return
        names, ends_of_blocks = self._blocks
        needed = ends_of_blocks if gradients or not ACTIVATION.keys().isdisjoint(curves) else []
        with capturing(needed, gradients=gradients) as seen:
            yield seen
        seen.weight_names, seen.block_ends = names, list(range(len(needed)))

    def _objective(self, loss: Tensor) -> Tensor:
        for penalty in self.penalties:
            loss = loss + penalty.penalty(list(self.weights.values()))
        return loss

    def _add_gradients(self, seen: Observation, gradients: Mapping[str, Tensor | None]) -> None:
        """Add the gradients of the weights that the pass met; 0 where the loss does not depend on a weight."""
        for name in seen.weight_names:
            gradient = gradients[name]
            held = torch.zeros_like(self.weights[name]) if gradient is None else gradient
            seen.gradients.append(held.detach().unsqueeze(0))

    def _add_weights(self, seen: Observation, *, copy: bool) -> None:
        """Add the weights that the pass met, in the order it met them; a copy where an update follows."""
        weights = [self.weights[name].detach().unsqueeze(0) for name in seen.weight_names]
        seen.weights = [weight.clone() for weight in weights] if copy else weights
        seen.initial = [self.initial[name] for name in seen.weight_names]
        seen.initial_norms = partial(self._initial_norms, seen.initial)

    def _initial_norms(self, initial: Sequence[Tensor]) -> Tensor:
        if self._norms is None:
            self._norms = norms(initial)
        return self._norms

    def _draw_masks_from(self, generator: torch.Generator | None) -> None:
        for module in self.model.modules():
            if isinstance(module, DropoutModule):
                module.generator = generator

    @contextmanager
    def _untouched(self) -> Iterator[None]:
        """Keep running statistics and training's dropout stream as they are."""
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        if self.probe_dropout is not None:
            self._draw_masks_from(self.probe_dropout())
        try:
            yield
        finally:
            self._draw_masks_from(self.dropout)
            with torch.no_grad():
                for buffer, kept in buffers:
                    buffer.copy_(kept)
