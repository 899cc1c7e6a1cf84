"""The learner of many runs of one structure: their tensors stacked, their steps one program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from fanin.parts.optimizers.base import GroupOptimizer
from fanin.parts.regularizers import DropoutModule
from fanin.probes.capture import Observation
from fanin.probes.probe import Measured, measure_curves
from fanin.probes.quantities import Quantity, needs
from fanin.train.cuda_graph import Repeated
from fanin.train.further_passes import settle, statistics_layers
from fanin.train.learner import Batch, Culprit, Learner, StepResult
from fanin.train.observer import Observer
from fanin.train.parameter_checks import without_gradient
from fanin.train.single_learner import SingleLearner
from fanin.train.stacked_model import Look, Program, Streams, Trace, drawn_masks
from fanin.train.stacked_tensors import put, set_rates, stack_tensors, stacked, take
from fanin.train.step import Update, stacked_average
from fanin.train.trained_model import TrainedModel, bytes_of, copied, jacobians_of, noises_of


class FusedLearner(Learner):
    """R runs of one structure trained as one program, each as it would be alone.

    Parameters, buffers and the optimizer's state lie stacked on a leading axis R. The gradient of the losses' sum is,
    slice by slice, that of each run's own loss, so one run's NaN touches no other. The runs' own networks go on as
    views of the slices: they know what is a run's own (dropout stream, checkpoint, where it broke).

    Args:
        members: networks in training of one structure and one class of `GroupOptimizer`; they belong to this learner
            from now on.

    Raises:
        ValueError: they do not train the same parameters.
    """

    chunk = 250

    def __init__(self, members: Sequence[TrainedModel]) -> None:
        first, models = members[0], [member.model for member in members]
        self.members = list(members)
        self.runs = len(members)
        self.parameter_count = first.parameter_count
        self.program = Program(first.model, first.autocast)
        straight = self.program.stacked_weights
        self.parameters = stack_tensors([dict(model.named_parameters()) for model in models], straight)
        self.buffers = stack_tensors([dict(model.named_buffers()) for model in models])
        names = {id(parameter): name for name, parameter in first.model.named_parameters()}
        self.weights = {name: self.parameters[names[id(weight)]] for name, weight in first.weights.items()}
        initial = {name: torch.cat([member.initial[name] for member in members]) for name in self.weights}
        for run, member in enumerate(members):
            member.initial = {name: weights[run : run + 1] for name, weights in initial.items()}
        biases = {name: self.parameters[names[id(bias)]] for name, bias in first.biases.items()}
        self.observer = Observer(self.weights, initial, self.runs, first.fan_ins, biases)
        self._trained = [parameter for parameter in self.parameters.values() if parameter.requires_grad]
        optimizers = [cast(GroupOptimizer, member.optimizer) for member in members]
        self.optimizer = stacked(optimizers, first.parameters, self._trained)
        self._trained_weights = [self.weights[name] for name in first.trained_weights]
        self._loss, self._smoothed = first.method.loss, first.method.smoothed
        methods, device = [member.method for member in members], self._trained[0].device
        masks = [stacked_masks(one) for one in zip(*(member.weight_masks for member in members), strict=True)]
        self._update = Update(methods, device, noises_of(members), first.decay_factors, masks)
        self._average = stacked_average([member.average for member in members])
        modules = {name: [model.get_submodule(name) for model in models] for name in self.program.dropouts}
        self._dropout = {name: [cast(DropoutModule, one).p for one in ones] for name, ones in modules.items()}
        on_gpu = self._trained[0].device.type == "cuda"
        self._repeated = Repeated(self._pass, list(self.buffers.values())) if on_gpu else None
        self._statistics = statistics_layers(self.program.template)
        self._stepped = False
        self._halted: dict[int, dict[str, Any]] = {}  # the states of broken runs that take no further step
        for run in range(self.runs):
            self._take_in(run)

    @property
    def model(self) -> nn.Module:
        """The network of the first run."""
        return self.members[0].model

    @property
    def networks(self) -> list[TrainedModel]:
        """Of all runs, views of the stacked tensors."""
        return self.members

    @property
    def optimizer_bytes(self) -> int:
        """Of one run's share of the optimizer's tensors; see Learner."""
        return bytes_of(self.optimizer) // self.runs

    def step(self, batch: Batch, rates: Sequence[float], curves: Sequence[str | Quantity] = ()) -> StepResult:
        """One update of every run; see Learner."""
        inputs, targets = batch
        refused = list(self._halted)
        if len(refused) == self.runs:
            lost = torch.full((self.runs,), torch.nan, device=inputs.device)
            return StepResult(lost, lost)
        (seen_inputs, seen_targets, share), *others = self.members[0].parts(inputs, targets, 1)
        trace = self.program.trace(seen_inputs) if curves or self.program.dropouts else None
        of = needs(curves)
        flows, sees = "activation_gradient" in of, "activation" in of
        look = Look(trace, trace.seen.block_ends if trace and (flows or sees) else [], seen_inputs, gradients=flows)
        streams = {run: member.dropout for run, member in enumerate(self.members) if run not in self._halted}
        masks = self._masks(look.trace, inputs.device, streams)
        self.program.train(True)
        if self._repeated is not None and not curves:
            found = list(self._repeated(seen_inputs, seen_targets, *masks))
        else:
            found = list(self._pass(seen_inputs, seen_targets, *masks, look=look))
        if others:
            found = [one if one is None else one * share for one in found]
        for x, y, share in others:
            trace = self.program.trace(x) if self.program.dropouts else None
            more = self._pass(x, y, *self._masks(trace, inputs.device, streams))
            found = [
                one if two is None else two * share if one is None else one + two * share
                for one, two in zip(found, more, strict=True)
            ]
        losses, errors, *gradients = found
        result = StepResult(cast(Tensor, losses).clone(), cast(Tensor, errors).clone())
        for parameter, gradient in zip(self._trained, gradients, strict=True):
            parameter.grad = gradient
        if not self._stepped:
            self._stepped = True
            names = [name for name, one in self.parameters.items() if one.requires_grad]
            self.note = without_gradient(names, gradients)
        self._find_broken(batch, result, refused)
        if len(self._halted) == self.runs:
            return result
        if curves:  # the update changes weights in place, and penalties and clipping their gradients
            copy = not of.isdisjoint(("weight", "initial", "updated"))
            slopes = {id(one): one.grad for one in self._trained}
            if self._update.changes_gradients:
                slopes = {key: None if held is None else held.clone() for key, held in slopes.items()}
            seen = self._observation(look, slopes, copy=copy)
        set_rates(self.optimizer, rates)
        self._update(self._trained, self._trained_weights, self.optimizer.step, self.optimizer)
        if self._average is not None:
            self._average.add(self.parameters | self.buffers)
        for run, state in self._halted.items():
            self.members[run].put_back(state)
        if curves:
            self.observer.add_updated(seen)
            result = result._replace(curves=measure_curves(seen, curves))
        return result

    def observe(self, batch: Batch) -> Observation:
        """A look without a trace; see Learner. Gradients are of the data loss alone."""
        inputs, targets = batch
        trace = self.program.trace(inputs)
        look = Look(trace, range(len(trace.seen.modules)), inputs, gradients=True)
        buffers = {name: buffer.clone() for name, buffer in self.buffers.items()}
        makers = [(member.probe_dropout, member.dropout) for member in self.members]
        streams = {run: make() if make else dropout for run, (make, dropout) in enumerate(makers)}
        masks = self._masks(trace, inputs.device, streams)
        self.program.train(True)
        losses = self._loss(self.program(self.parameters | buffers, inputs, masks=masks, look=look), targets, inputs)
        biases = [bias for bias in self.observer.biases.values() if bias.requires_grad]
        of = list({id(one): one for one in (*self._trained_weights, *biases)}.values())
        slopes = dict(zip(map(id, of), look.gradients(losses, of), strict=True))
        return self._observation(look, slopes, copy=False)

    def jacobians(self, inputs: Tensor, *, norms: bool, spectra: bool) -> Measured:
        """What a profile says of Jacobians; see Learner. The members' own tensors are slices of the stacked ones."""
        return jacobians_of(self.members, inputs, norms=norms, spectra=spectra)

    def answers(self, inputs: Tensor) -> Tensor:
        """Outputs [R, B, K] in evaluation mode, of the averages where there are some."""
        self.program.train(False)
        tensors = self.parameters | self.buffers if self._average is None else self._average.tensors
        return self.program(tensors, inputs, shared=True)

    def measured(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean losses and errors, [R] each; see Learner."""
        targets, inputs = targets.expand(self.runs, -1), inputs.expand(self.runs, *inputs.shape)
        return self._loss(outputs, targets, inputs), self._loss.error(outputs, targets, inputs)

    def settle(self) -> None:
        """Estimate the averages' running statistics; see Learner."""
        if self._average is not None:
            self.program.train(False)
            settle(self._average, self._statistics, self.answers, self.members[0].batches)

    def point(self, run: int) -> Tensor:
        """All trained parameters of a run as one vector."""
        return self.members[run].point()

    def culprit(self, run: int) -> Culprit | None:
        """Where the run broke; see Learner."""
        return self.members[run].culprit

    def state(self, run: int) -> dict[str, Any]:
        """The state that the run's own learner would return: either kind of learner can resume from it."""
        if run in self._halted:
            return self._halted[run]
        member, optimizer = self._member(run)
        take(self.optimizer, run, optimizer)
        if member.average is not None and self._average is not None:
            member.average.count_as(self._average)
        state: dict[str, Any] = copied(member.state())
        optimizer.state.clear()
        return state

    def load_state(self, run: int, state: dict[str, Any]) -> None:
        """Load what `state` returned; the runs that are still training must have made equally many steps."""
        self.members[run].load_state(state)
        self._halted.pop(run, None)
        self._take_in(run)

    def _take_in(self, run: int) -> None:
        """Load what the run's own learner holds beside the tensors, which are shared."""
        member, optimizer = self._member(run)
        if member.stop_when_diverged and member.culprit:
            self._halted[run] = copied(member.state())
        else:
            put(self.optimizer, run, optimizer)
            if member.average is not None and self._average is not None:
                self._average.count_as(member.average)
        optimizer.state.clear()

    def select(self, indices: Sequence[int]) -> Learner:
        """A learner of some of the runs, which move to it; of one run it is the run's own."""
        for run in indices:
            self.members[run].load_state(self.state(run))
        chosen = [self.members[run] for run in indices]
        if len(chosen) > 1:
            return FusedLearner(chosen)
        for member in chosen:
            member.leave_stack()
        return SingleLearner(chosen[0]) if chosen else self

    def best_weights(self, run: int) -> dict[str, Tensor]:
        """A copy of the run's model state."""
        self.settle()
        return self.members[run].best_weights()

    def load_weights(self, run: int, weights: dict[str, Tensor]) -> None:
        """Replace the run's model state."""
        self.members[run].load_weights(weights)
        if run in self._halted:
            self._halted[run]["model"] = copied(self.members[run].model.state_dict())

    def _pass(
        self, inputs: Tensor, targets: Tensor, *masks: Tensor, look: Look | None = None
    ) -> Sequence[Tensor | None]:
        """Losses and errors, [R] each, and the gradients of all trained parameters; changes running statistics."""
        look = look or Look(None, [], inputs, gradients=False)
        outputs = self.program(self.parameters | self.buffers, inputs, masks=masks, look=look)
        losses = self._loss(outputs, targets, inputs)
        errors = self._loss.error(outputs.detach(), targets, inputs)
        minimized = losses if self._smoothed is None else self._smoothed(outputs, targets, inputs)
        return losses.detach(), errors, *look.gradients(minimized, self._trained)

    def _masks(self, trace: Trace | None, device: torch.device, streams: Streams) -> list[Tensor]:
        """Dropout masks of a training pass, from a stream for each run; a run without one keeps every unit."""
        return drawn_masks(trace, self._dropout, streams, self.runs, device)

    def _find_broken(self, batch: Batch, result: StepResult, refused: Sequence[int]) -> None:
        """Find what broke the runs whose loss is not finite, and halt them; those that were halted report NaN."""
        result.loss[refused], result.error[refused] = torch.nan, torch.nan
        for run in (~torch.isfinite(result.loss)).nonzero().flatten().tolist():
            member = self.members[run]
            if member.culprit is None:
                member.locate(batch[0][run])
                if member.stop_when_diverged:
                    self._halted[run] = self.state(run)

    def _observation(self, look: Look, gradients: Mapping[int, Tensor | None], *, copy: bool) -> Observation:
        """What was seen, with the weights that the pass met; a copy of them where an update follows.

        Args:
            gradients: by the identity of the parameters.
        """
        seen, observer = look.observation(), self.observer
        observer.add_weights(seen, copy=copy)
        observer.add_gradients(seen, {name: gradients.get(id(one)) for name, one in self.weights.items()}, copy=False)
        slopes = {name: gradients.get(id(one)) for name, one in observer.biases.items()}
        observer.add_bias_gradients(seen, slopes, copy=False)
        return seen

    def _member(self, run: int) -> tuple[TrainedModel, GroupOptimizer]:
        return self.members[run], cast(GroupOptimizer, self.members[run].optimizer)


def stacked_masks(masks: Sequence[Tensor | None]) -> Tensor | None:
    """The masks of a weight of R runs, [R, ...], of all ones where a run has none; None where none has one."""
    like = next((mask for mask in masks if mask is not None), None)
    if like is None:
        return None
    return torch.stack([torch.ones_like(like) if mask is None else mask for mask in masks])
