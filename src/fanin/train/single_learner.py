"""The learner of one run: any nn.Module with any torch.optim.Optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fanin import ranks
from fanin.devices import widened
from fanin.parts.optimizers.objective import ObjectiveOptimizer, replaying
from fanin.probes.capture import Observation
from fanin.probes.probe import Measured, measure_curves
from fanin.probes.quantities import Quantity, needs
from fanin.train.further_passes import Again, climb, objective, settle, statistics_layers
from fanin.train.learner import Batch, Culprit, Learner, StepResult
from fanin.train.observer import CurveCapture, Observer
from fanin.train.parameter_checks import check_dependence, without_gradient
from fanin.train.step import Update
from fanin.train.trained_model import TrainedModel, jacobians_of, noises_of


class SingleLearner(Learner):
    """One run: any nn.Module with any torch.optim.Optimizer.

    Args:
        own: the network in training, which belongs to this learner from now on.
    """

    chunk = 1000
    runs = 1

    def __init__(self, own: TrainedModel) -> None:
        self.own = own
        self.parameter_count = own.parameter_count
        self.observer = Observer(own.weights, own.initial, self.runs, own.fan_ins, own.biases)
        self._statistics = statistics_layers(own.model)
        self._stepped = False
        self.curves = CurveCapture(own.capture)
        device = next(own.model.parameters()).device
        self._update = Update([own.method], device, noises_of([own]), own.decay_factors, own.weight_masks)
        self._passes_again = own.method.sam is not None or isinstance(own.optimizer, ObjectiveOptimizer)

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self.own.model

    @property
    def networks(self) -> list[TrainedModel]:
        """The only one."""
        return [self.own]

    @property
    def optimizer_bytes(self) -> int:
        """Of the optimizer's tensors; see Learner."""
        return self.own.optimizer_bytes

    def step(self, batch: Batch, rates: Sequence[float], curves: Sequence[str | Quantity] = ()) -> StepResult:
        """One update; see Learner."""
        own, inputs, targets = self.own, batch[0][0], batch[1][0]
        if own.culprit and own.stop_when_diverged:
            lost = torch.full((1,), torch.nan, device=inputs.device)
            return StepResult(lost, lost)
        own.train()
        streams = [own.dropout] if own.dropout is not None else []
        again = replaying(streams) if self._passes_again else nullcontext
        with ranks.own_draws(own.dropout), self.curves.during(inputs, curves) if curves else nullcontext() as seen:
            first, *others = own.parts(inputs, targets)
            result, broken = self._pass(*first, first=True, plain=not curves)
        with ranks.own_draws(own.dropout) if others else nullcontext():
            for part in others:
                if not (broken and own.stop_when_diverged):
                    more, broken = self._pass(*part, first=False, plain=True)
                    result = StepResult(result.loss + more.loss, result.error + more.error)
        if ranks.count() > 1:
            result, broken = self._summed(result, broken, share=len(ranks.share(targets)) / len(targets))
        if broken:  # a pass of its own, which the look above must not see
            own.locate(inputs)
            if own.stop_when_diverged:
                return result
        # The update changes weights in place: what looks at both needs a copy, the rest is measured before it.
        of = needs(curves)
        after_update = "updated" in of
        if seen is not None:
            if "gradient" in of:
                gradients = {name: weight.grad for name, weight in own.weights.items()}
                self.observer.add_gradients(seen, gradients, copy=after_update)
            if "bias_gradient" in of:
                gradients = {name: bias.grad for name, bias in own.biases.items()}
                self.observer.add_bias_gradients(seen, gradients, copy=after_update)
            if not of.isdisjoint(("weight", "initial", "updated")):
                self.observer.add_weights(seen, copy=after_update)
            if not after_update:
                result = result._replace(curves=measure_curves(seen, curves))
        if not self._stepped:
            self._stepped = True
            names = [name for name, one in own.model.named_parameters() if one.requires_grad]
            self.note = without_gradient(names, [one.grad for one in own.parameters])
        self._step(inputs, targets, rates[0], again)
        if seen is not None and after_update:
            self.observer.add_updated(seen)
            result = result._replace(curves=measure_curves(seen, curves))
        return result

    def _pass(
        self, inputs: Tensor, targets: Tensor, share: float, *, first: bool, plain: bool
    ) -> tuple[StepResult, bool]:
        """A pass over a part of a step's batch, whose gradients are added to those of the parts before.

        Args:
            share: of the step's examples.
            first: whether it is the first of them.
            plain: whether nothing in it is looked at.

        Returns:
            loss and error times the share, and whether the loss is the first that is not finite.
        """
        own = self.own
        outputs = own.trained_outputs(inputs) if plain else own.outputs(inputs)
        loss = own.method.loss(outputs, targets, inputs)
        wrong = own.method.loss.error(outputs.detach(), targets, inputs)
        result = StepResult(loss.detach().unsqueeze(0) * share, wrong.unsqueeze(0) * share)
        broken = own.culprit is None and not bool(torch.isfinite(loss))
        if broken and own.stop_when_diverged:
            return result, broken
        if first:
            for parameter in own.parameters:
                parameter.grad = None
        smoothed = own.method.smoothed
        minimized = loss if smoothed is None else smoothed(outputs, targets, inputs)
        check_dependence(minimized)
        if first:  # what is looked at in it is of its own mean
            minimized.backward()  # type: ignore[no-untyped-call]
        else:
            (share * minimized).backward()  # type: ignore[no-untyped-call]
        for parameter in own.parameters if first and share != 1 else ():
            if parameter.grad is not None:
                parameter.grad.mul_(share)
        return result, broken

    def _summed(self, result: StepResult, broken: bool, share: float) -> tuple[StepResult, bool]:
        """Loss, error and gradients over all processes, each of its share of the batch; and whether one has broken.

        Running statistics become the mean of the processes' own, by their shares.
        """
        own = self.own
        told = torch.cat([widened(result.loss), widened(result.error), result.loss.new_tensor([broken]).double()])
        loss, error, breaks = ranks.sums([told])[0]
        result = StepResult(loss.to(result.loss).view(1), error.to(result.error).view(1))
        if breaks and own.stop_when_diverged:
            return result, True
        given = [torch.zeros_like(one) if one.grad is None else one.grad for one in own.parameters]
        there = told.new_tensor([one.grad is not None for one in own.parameters])
        *found, there = ranks.sums([*given, there])
        for parameter, gradient, known in zip(own.parameters, found, there.tolist(), strict=True):
            parameter.grad = gradient if known else None
        statistics = [
            buffer
            for layer in self._statistics.values()
            for name, buffer in layer.named_buffers(recurse=False)
            if name in ("running_mean", "running_var")
        ]
        for buffer, mean in zip(statistics, ranks.sums([one * share for one in statistics]), strict=True):
            buffer.copy_(mean)
        return result, bool(breaks)

    def observe(self, batch: Batch) -> Observation:
        """A look without a trace; see Learner."""
        own, inputs, targets = self.own, batch[0][0], batch[1][0]
        with own.capture.everything(inputs, gradients=True) as seen, own.looked_at(inputs) as outputs:
            loss = own.method.loss(outputs, targets, inputs)
            check_dependence(loss)
            # Of all that is trained: all weights may be frozen and biases not.
            gradients = torch.autograd.grad(loss, own.parameters, allow_unused=True)
        found = dict(zip(map(id, own.parameters), gradients, strict=True))
        slopes = {name: found.get(id(one)) for name, one in own.weights.items()}
        self.observer.add_gradients(seen, slopes, copy=False)
        slopes = {name: found.get(id(one)) for name, one in own.biases.items()}
        self.observer.add_bias_gradients(seen, slopes, copy=False)
        self.observer.add_weights(seen, copy=False)
        return seen

    def jacobians(self, inputs: Tensor, *, norms: bool, spectra: bool) -> Measured:
        """What a profile says of Jacobians; see Learner."""
        return jacobians_of([self.own], inputs, norms=norms, spectra=spectra)

    def answers(self, inputs: Tensor) -> Tensor:
        """Outputs [1, B, K] in evaluation mode, of the average where there is one."""
        self.own.model.eval()
        average = self.own.average
        return self.own.outputs(inputs, average.tensors if average is not None else None).unsqueeze(0)

    def measured(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss and error, [1] each; see Learner."""
        loss = self.own.method.loss
        return loss(outputs[0], targets, inputs).unsqueeze(0), loss.error(outputs[0], targets, inputs).unsqueeze(0)

    def settle(self) -> None:
        """Estimate the average's running statistics; see Learner."""
        own, average = self.own, self.own.average
        if average is not None:
            own.model.eval()
            settle(average, self._statistics, lambda x: own.outputs(x, average.tensors), own.batches)

    def point(self, run: int) -> Tensor:
        """All trained parameters as one vector."""
        return self.own.point()

    def culprit(self, run: int) -> Culprit | None:
        """Where the run broke; see Learner."""
        return self.own.culprit

    def state(self, run: int) -> dict[str, Any]:
        """What a checkpoint holds; see TrainedModel."""
        return self.own.state()

    def load_state(self, run: int, state: dict[str, Any]) -> None:
        """Load what `state` returned."""
        self.own.load_state(state)

    def select(self, indices: Sequence[int]) -> SingleLearner:
        """Itself: there is no part of one run."""
        return self

    def best_weights(self, run: int) -> dict[str, Tensor]:
        """A copy of the model's state, with the average where there is one."""
        self.settle()
        return self.own.best_weights()

    def load_weights(self, run: int, weights: dict[str, Tensor]) -> None:
        """Replace the model's state, and its average."""
        self.own.load_weights(weights)

    def _step(self, inputs: Tensor, targets: Tensor, rate: float, again: Again) -> None:
        """From the gradients of the loss to new weights; within `again` a pass draws the masks of the first one."""
        own, optimizer = self.own, self.own.optimizer
        if own.method.sam is not None:
            climb(own, own.method.sam, inputs, targets, again)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        step: Callable[[], object] = optimizer.step
        if isinstance(optimizer, ObjectiveOptimizer):
            step = partial(optimizer.step, objective(own, inputs, targets, again))
        self._update(own.parameters, list(own.trained_weights.values()), step, optimizer)
        if own.average is not None:
            own.average.add(own.tensors)
