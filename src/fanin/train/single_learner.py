"""The learner of one run: any nn.Module with any torch.optim.Optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from fanin.parts.models.layers import weight_layers
from fanin.parts.optimizers.objective import Objective, ObjectiveOptimizer, replaying
from fanin.parts.regularizers import SAM
from fanin.probes.capture import Observation, capturing
from fanin.probes.probe import GRADIENT, WEIGHT, measure_curves
from fanin.train.batches import Batches
from fanin.train.learner import Batch, Culprit, StepResult
from fanin.train.observer import Looks
from fanin.train.step import Average, Method, Update

CHUNK = 1000
"""Examples that are evaluated at once."""

Replay = Callable[[], AbstractContextManager[None]]


@dataclass
class SingleLearner:
    """One run: any nn.Module with any torch.optim.Optimizer.

    Args:
        model: initialized, on the device.
        optimizer: over the model's parameters.
        method: what a step consists of beside these two.
        dropout: the generator of training's dropout masks, and of other noise in the model.
        probe_dropout: makes a fresh generator for an observation's masks: the same ones at every look.
        autocast: the lower precision of the forward pass, or None.
        stop_when_diverged: refuse updates once the loss is not finite, so that the step that broke can be studied.
        batches: where training batches come from; for optimizers that ask for more than the batch.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    method: Method = field(default_factory=Method)
    dropout: torch.Generator | None = None
    probe_dropout: Callable[[], torch.Generator] | None = None
    autocast: torch.dtype | None = None
    stop_when_diverged: bool = True
    batches: Batches | None = None
    runs: int = 1

    def __post_init__(self) -> None:
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.weights = {name: layer.get_parameter("weight") for name, layer in weight_layers(self.model)}
        self.trained_weights = {name: weight for name, weight in self.weights.items() if weight.requires_grad}
        self.parameter_count = sum(parameter.numel() for parameter in self.model.parameters())
        self.looks = Looks(self.model, self.weights)
        self._culprit: Culprit | None = None
        self._update = Update([self.method], next(self.model.parameters()).device)
        averaging = self.method.averaging
        self.average = None if averaging.neutral else Average(averaging, self.tensors)
        self._passes_again = self.method.sam is not None or isinstance(self.optimizer, ObjectiveOptimizer)
        for module in self.model.modules():
            if hasattr(module, "generator"):
                cast(Any, module).generator = self.dropout

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers by name."""
        return dict(self.model.named_parameters()) | dict(self.model.named_buffers())

    def step(self, batch: Batch, rates: Sequence[float], curves: Sequence[str] = ()) -> StepResult:
        """One update; see Learner. The curves' gradients are those of the loss, without penalties and clipping."""
        inputs, targets = batch[0][0], batch[1][0]
        if self._culprit and self.stop_when_diverged:
            lost = torch.full((1,), torch.nan, device=inputs.device)
            return StepResult(lost, lost)
        self._training()
        again = replaying([self.dropout] if self.dropout is not None else []) if self._passes_again else nullcontext
        with self.looks.during(inputs, curves) if curves else nullcontext() as seen:
            outputs = self._forward(inputs)
            loss = self.method.loss(outputs, targets, inputs)
            wrong = self.method.loss.error(outputs.detach(), targets, inputs)
            result = StepResult(loss.detach().unsqueeze(0), wrong.unsqueeze(0))
            broken = self._culprit is None and not torch.isfinite(loss)
            if not (broken and self.stop_when_diverged):
                for parameter in self.parameters:
                    parameter.grad = None
                smoothed = self.method.smoothed
                minimized = loss if smoothed is None else smoothed(outputs, targets, inputs)
                minimized.backward()  # type: ignore[no-untyped-call]
        if broken:  # a pass of its own, which the look above must not see
            self.locate(inputs, targets)
            if self.stop_when_diverged:
                return result
        if seen is not None:
            # The update changes weights in place: what looks at both needs a copy, the rest is measured before it.
            after_update = "update_ratio" in curves
            if not GRADIENT.keys().isdisjoint(curves):
                gradients = {name: weight.grad for name, weight in self.weights.items()}
                self.looks.add_gradients(seen, gradients, copy=after_update)
            if not set(WEIGHT).isdisjoint(curves):
                self.looks.add_weights(seen, copy=after_update)
            if not after_update:
                result = result._replace(curves=measure_curves(seen, curves))
        self._step(inputs, targets, rates[0], again)
        if seen is not None and after_update:
            seen.updated = [self.weights[name].detach().unsqueeze(0) for name in seen.weight_names]
            result = result._replace(curves=measure_curves(seen, curves))
        return result

    def observe(self, batch: Batch) -> Observation:
        """A look without a trace; see Learner. Gradients are of the data loss alone."""
        inputs, targets = batch[0][0], batch[1][0]
        self._training()
        with self._untouched(), capturing(self.looks.leaves, inputs, gradients=True) as seen:
            loss = self.method.loss(self._forward(inputs), targets, inputs)
            # Of all that is trained: all weights may be frozen and biases not.
            gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        found = dict(zip(map(id, self.parameters), gradients, strict=True))
        self.looks.add_gradients(seen, {name: found.get(id(one)) for name, one in self.weights.items()}, copy=False)
        self.looks.add_weights(seen, copy=False)
        return seen

    @torch.no_grad()
    def evaluate(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss and error over a data set, 1000 examples at a time."""
        loss = self.method.loss
        sums = torch.zeros(2, dtype=torch.float64, device=inputs.device)
        with self._averaged():
            for x, y in zip(torch.split(inputs, CHUNK), torch.split(targets, CHUNK), strict=True):
                outputs = self._forward(x)
                sums += torch.stack([loss(outputs, y, x).double(), loss.error(outputs, y, x)]) * len(x)
        means = sums / len(inputs)
        return means[:1], means[1:]

    @torch.no_grad()
    def predict(self, inputs: Tensor) -> Tensor:
        """Outputs for a data set, 1000 examples at a time."""
        with self._averaged():
            return torch.cat([self._forward(x) for x in torch.split(inputs, CHUNK)]).unsqueeze(0)

    def point(self, run: int) -> Tensor:
        """All trained parameters as one vector."""
        return torch.cat([parameter.detach().flatten() for parameter in self.parameters])

    def culprit(self, run: int) -> Culprit | None:
        """Where the run broke; see Learner."""
        return self._culprit

    def locate(self, inputs: Tensor, targets: Tensor) -> None:
        """Keep where a pass first leaves the finite numbers: a weight, a module's output, or the loss itself."""
        self._training()
        with torch.no_grad(), self._untouched(), capturing(self.looks.leaves, inputs) as seen:
            self._forward(inputs)
        weights = [(name, "weight", self.weights[name]) for name in seen.weight_names]
        outputs = [(name, "activation", out) for name, out in zip(seen.modules, seen.activations, strict=True)]
        broken = ((name, what) for name, what, x in weights + outputs if not torch.isfinite(x).all())
        self._culprit = Culprit(*next(broken, ("loss", "loss")))

    def state(self, run: int) -> dict[str, Any]:
        """Model, optimizer, average, dropout stream, and where the run broke if it goes on all the same."""
        state: dict[str, Any] = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        state["culprit"] = list(self._culprit) if self._culprit else None
        if self.average is not None:
            state["average"] = {"updates": self.average.updates, "tensors": self.average.tensors}
        return state | ({"dropout": self.dropout.get_state()} if self.dropout is not None else {})

    def load_state(self, run: int, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._culprit = Culprit(*state["culprit"]) if state["culprit"] else None
        if self.average is not None:
            self.average.updates = state["average"]["updates"]
            self.average.replace(state["average"]["tensors"])
        if self.dropout is not None:
            self.dropout.set_state(state["dropout"].cpu())

    def select(self, indices: Sequence[int]) -> SingleLearner:
        """Itself: there is no part of one run."""
        return self

    def best_weights(self, run: int) -> dict[str, Tensor]:
        """A copy of the model's state, with the average where there is one."""
        averaged = self.average.tensors if self.average is not None else {}
        state = self.model.state_dict()
        return {name: averaged.get(name, value).detach().clone() for name, value in state.items()}

    def load_weights(self, run: int, weights: dict[str, Tensor]) -> None:
        """Replace the model's state, and its average."""
        self.model.load_state_dict(weights)
        if self.average is not None:
            self.average.replace({name: weights[name] for name in self.average.tensors if name in weights})

    def _training(self) -> None:
        # Switching walks over all modules, which at every step would cost a twentieth of it.
        if not self.model.training:
            self.model.train()

    def _forward(self, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, self.autocast) if self.autocast else nullcontext():
            outputs: Tensor = self.model(inputs)
        return outputs.float() if self.autocast else outputs

    def _step(self, inputs: Tensor, targets: Tensor, rate: float, again: Replay) -> None:
        """From the gradients of the loss to new weights; within `again` a pass draws the masks of the first one."""
        if self.method.sam is not None:
            self._climb(self.method.sam, inputs, targets, again)
        weights, update = list(self.trained_weights.values()), self._update
        if update.penalties:
            for weight in weights:
                weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            update.pull(_one_run(weights), _one_run([cast(Tensor, weight.grad) for weight in weights]))
        if update.clipping is not None:
            update.clip(_one_run([one.grad for one in self.parameters if one.grad is not None]))
        if update.decays:
            update.decay(_one_run(weights))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if isinstance(self.optimizer, ObjectiveOptimizer):
            self.optimizer.step(self._objective(inputs, targets, again))
        else:
            self.optimizer.step()
        if update.bounds:
            update.project(_one_run(weights))
        if self.average is not None:
            self.average.add(self.tensors)

    def _climb(self, sam: SAM, inputs: Tensor, targets: Tensor, again: Replay) -> None:
        """Replace the gradients by those a step uphill; the same masks, and running statistics as they are."""
        trained: list[Tensor] = [one for one in self.parameters if one.grad is not None]
        kept = [one.detach().clone() for one in trained]
        ups = sam.displacement(_one_run([cast(Tensor, one.grad) for one in trained]), sam.rho)
        with torch.no_grad():
            torch._foreach_add_(trained, [up.squeeze(0) for up in ups])
        with self._kept_buffers(), again():
            loss = self.method.minimized(self._forward(inputs), targets, inputs)
            gradients = torch.autograd.grad(loss, trained)
        with torch.no_grad():
            torch._foreach_copy_(trained, kept)
        for one, gradient in zip(trained, gradients, strict=True):
            one.grad = gradient

    def _objective(self, inputs: Tensor, targets: Tensor, again: Replay) -> Objective:
        """What an optimizer may ask that needs more than the gradient."""
        assert self.batches is not None, "an optimizer that asks for the training set needs to know it"
        weights, penalties = list(self.trained_weights.values()), self.method.penalties
        return Objective(
            model=self.model,
            loss=self.method.minimized,
            penalty=(lambda: torch.stack([one.penalty(weights) for one in penalties]).sum())
            if penalties and weights
            else None,
            inputs=inputs,
            targets=targets,
            rows=self.batches.rows[0],
            train_inputs=self.batches.inputs,
            train_targets=self.batches.targets,
            replay=again,
            autocast=self.autocast,
        )

    @contextmanager
    def _untouched(self) -> Iterator[None]:
        """Keep running statistics and training's dropout stream as they are; masks are the probe's."""
        kept = None
        if self.dropout is not None and self.probe_dropout is not None:
            kept = self.dropout.get_state()
            self.dropout.set_state(self.probe_dropout().get_state())
        try:
            with self._kept_buffers():
                yield
        finally:
            if self.dropout is not None and kept is not None:
                self.dropout.set_state(kept)

    @contextmanager
    def _kept_buffers(self) -> Iterator[None]:
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, kept in buffers:
                    buffer.copy_(kept)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Evaluation mode, with the average in the model where there is one."""
        self.model.eval()
        if self.average is None:
            yield
            return
        own = self.tensors
        kept = {name: tensor.data for name, tensor in own.items()}
        try:
            for name, tensor in own.items():
                tensor.data = self.average.tensors[name]
            yield
        finally:
            for name, tensor in own.items():
                tensor.data = kept[name]


def _one_run(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Views with a leading axis of one run."""
    return [tensor.detach().unsqueeze(0) for tensor in tensors]
