"""The learner of many runs of one structure: their tensors stacked, their steps one program."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Generator, Tensor

from fanin.parts.optimizers.base import GroupOptimizer
from fanin.parts.regularizers import DropoutModule
from fanin.probes.capture import Observation
from fanin.probes.measures import norms
from fanin.probes.probe import ACTIVATION, ACTIVATION_GRADIENT, WEIGHT, measure_curves
from fanin.train.cuda_graph import Repeated
from fanin.train.learner import Batch, Culprit, Learner, StepResult
from fanin.train.single_learner import SingleLearner
from fanin.train.stacked_model import Look, Program, Tensors, Trace
from fanin.train.stacked_tensors import put, set_rates, stacked, take
from fanin.train.step import Average, Update

CHUNK = 250
"""Examples that all runs are evaluated on at once."""


class FusedLearner:
    """R runs of one structure trained as one program, each as it would be alone.

    Parameters, buffers and the optimizer's state lie stacked on a leading axis R. The gradient of the losses' sum is,
    slice by slice, that of each run's own loss, so one run's NaN touches no other. The learners of the single runs
    go on as views of the slices: they know what is a run's own (dropout stream, checkpoint, where it broke).

    Args:
        members: learners of one run each, of one structure and one class of `GroupOptimizer`; they belong to this
            learner from now on.

    Raises:
        ValueError: they do not train the same parameters.
    """

    def __init__(self, members: Sequence[SingleLearner]) -> None:
        first, models = members[0], [member.model for member in members]
        self.members = list(members)
        self.runs = len(members)
        self.parameter_count = first.parameter_count
        self.program = Program(first.model, first.autocast)
        self.parameters = _stack([dict(model.named_parameters()) for model in models], self.program.stacked_weights)
        self.buffers = _stack([dict(model.named_buffers()) for model in models])
        names = {id(parameter): name for name, parameter in first.model.named_parameters()}
        self.weights = {name: self.parameters[names[id(weight)]] for name, weight in first.weights.items()}
        self.initial = {name: torch.cat([member.looks.initial[name] for member in members]) for name in self.weights}
        for run, member in enumerate(members):
            member.looks.initial = {name: weights[run : run + 1] for name, weights in self.initial.items()}
        self._norms: Tensor | None = None
        self._trained = [parameter for parameter in self.parameters.values() if parameter.requires_grad]
        self.optimizer = stacked([cast(GroupOptimizer, member.optimizer) for member in members], self._trained)
        self._trained_weights = [self.weights[name] for name in first.trained_weights]
        self._loss, self._smoothed = first.method.loss, first.method.smoothed
        self._update = Update([member.method for member in members], self._trained[0].device)
        self._average = self._stacked_average()
        modules = {name: [model.get_submodule(name) for model in models] for name in self.program.dropouts}
        self._dropout = {name: [cast(DropoutModule, one).p for one in ones] for name, ones in modules.items()}
        on_gpu = self._trained[0].device.type == "cuda"
        self._repeated = Repeated(self._pass, list(self.buffers.values())) if on_gpu else None
        self._halted: dict[int, dict[str, Any]] = {}  # the states of broken runs that take no further step
        for run in range(self.runs):
            self._take_in(run)

    def step(self, batch: Batch, rates: Sequence[float], curves: Sequence[str] = ()) -> StepResult:
        """One update of every run; see Learner."""
        inputs, targets = batch
        refused = list(self._halted)
        if len(refused) == self.runs:
            lost = torch.full((self.runs,), torch.nan, device=inputs.device)
            return StepResult(lost, lost)
        trace = self.program.trace(inputs) if curves or self.program.dropouts else None
        flows, sees = (not group.keys().isdisjoint(curves) for group in (ACTIVATION_GRADIENT, ACTIVATION))
        look = Look(trace, trace.seen.block_ends if trace and (flows or sees) else [], inputs, gradients=flows)
        streams = {run: member.dropout for run, member in enumerate(self.members) if run not in self._halted}
        masks = self._masks(look.trace, inputs.device, streams)
        self.program.train(True)
        if self._repeated is not None and not curves:
            losses, errors, *gradients = self._repeated(inputs, targets, *masks)
        else:
            losses, errors, *gradients = self._pass(inputs, targets, *masks, look=look)
        result = StepResult(cast(Tensor, losses).clone(), cast(Tensor, errors).clone())
        for parameter, gradient in zip(self._trained, gradients, strict=True):
            parameter.grad = gradient
        self._find_broken(batch, result, refused)
        if len(self._halted) == self.runs:
            return result
        if curves:  # the update changes weights in place, and penalties and clipping their gradients
            copy = not set(WEIGHT).isdisjoint(curves)
            slopes = {name: weight.grad for name, weight in self.weights.items()}
            if self._update.penalties or self._update.clipping:
                slopes = {name: None if held is None else held.clone() for name, held in slopes.items()}
            seen = self._observation(look, inputs, slopes, copy=copy)
        self._step(rates)
        for run, state in self._halted.items():
            member = self.members[run]
            member.model.load_state_dict(state["model"])
            if member.average is not None:
                member.average.replace(state["average"]["tensors"])
        if curves:
            seen.updated = [self.weights[name].detach() for name in seen.weight_names]
            result = result._replace(curves=measure_curves(seen, curves))
        return result

    def observe(self, batch: Batch) -> Observation:
        """A look without a trace; see Learner. Gradients are of the data loss alone."""
        inputs, targets = batch
        trace = self.program.trace(inputs)
        look = Look(trace, range(len(trace.seen.modules)), inputs, gradients=True)
        buffers = {name: buffer.clone() for name, buffer in self.buffers.items()}
        streams = {
            run: member.probe_dropout() if member.probe_dropout else member.dropout
            for run, member in enumerate(self.members)
        }
        masks = self._masks(trace, inputs.device, streams)
        self.program.train(True)
        losses = self._loss(self.program(self.parameters | buffers, inputs, masks=masks, look=look), targets, inputs)
        names = list(self.members[0].trained_weights)
        gradients = dict(zip(names, look.gradients(losses, [self.weights[name] for name in names]), strict=True))
        return self._observation(look, inputs, gradients, copy=False)

    @torch.no_grad()
    def evaluate(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mean losses and errors over a data set, some hundred examples at a time."""
        sums = torch.zeros(2, self.runs, dtype=torch.float64, device=inputs.device)
        for x, y in zip(torch.split(inputs, CHUNK), torch.split(targets, CHUNK), strict=True):
            outputs, y = self._evaluated(x), y.expand(self.runs, -1)
            x = x.expand(self.runs, *x.shape)
            sums += torch.stack([self._loss(outputs, y, x).double(), self._loss.error(outputs, y, x)]) * y.shape[1]
        means = sums / len(inputs)
        return means[0], means[1]

    @torch.no_grad()
    def predict(self, inputs: Tensor) -> Tensor:
        """Outputs for a data set, some hundred examples at a time."""
        return torch.cat([self._evaluated(x) for x in torch.split(inputs, CHUNK)], dim=1)

    def point(self, run: int) -> Tensor:
        """All trained parameters of a run as one vector."""
        return self.members[run].point(0)

    def culprit(self, run: int) -> Culprit | None:
        """Where the run broke; see Learner."""
        return self.members[run].culprit(0)

    def state(self, run: int) -> dict[str, Any]:
        """What the run's own learner would give: either kind of learner can go on from it."""
        if run in self._halted:
            return self._halted[run]
        member, optimizer = self._member(run)
        take(self.optimizer, run, optimizer)
        if member.average is not None and self._average is not None:
            member.average.updates = self._average.updates
        state: dict[str, Any] = _copied(member.state(0))
        optimizer.state.clear()
        return state

    def load_state(self, run: int, state: dict[str, Any]) -> None:
        """Go on from a state; the runs that are on their way have to have taken equally many steps."""
        self.members[run].load_state(0, state)
        self._halted.pop(run, None)
        self._take_in(run)

    def _take_in(self, run: int) -> None:
        """Go on from what the run's own learner holds beside the tensors, which it shares."""
        member, optimizer = self._member(run)
        if member.stop_when_diverged and member.culprit(0):
            self._halted[run] = _copied(member.state(0))
        else:
            put(self.optimizer, run, optimizer)
            if member.average is not None and self._average is not None:
                self._average.updates = member.average.updates
        optimizer.state.clear()

    def select(self, indices: Sequence[int]) -> Learner:
        """A learner of some of the runs, which move to it; of one run it is the run's own."""
        for run in indices:
            self.members[run].load_state(0, self.state(run))
        chosen = [self.members[run] for run in indices]
        if len(chosen) > 1:
            return FusedLearner(chosen)
        for member in chosen:
            for tensor in (*member.model.parameters(), *member.model.buffers()):
                tensor.data = _copied(tensor)
            member.looks.initial = _copied(member.looks.initial)
            if member.average is not None:
                member.average.tensors = _copied(member.average.tensors)
        return chosen[0] if chosen else self

    def best_weights(self, run: int) -> dict[str, Tensor]:
        """A copy of the run's model state."""
        weights: dict[str, Tensor] = _copied(self.members[run].best_weights(0))
        return weights

    def load_weights(self, run: int, weights: dict[str, Tensor]) -> None:
        """Replace the run's model state."""
        self.members[run].load_weights(0, weights)
        if run in self._halted:
            self._halted[run]["model"] = _copied(self.members[run].model.state_dict())

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

    def _masks(
        self, trace: Trace | None, device: torch.device, streams: Mapping[int, Generator | None]
    ) -> list[Tensor]:
        """Dropout masks of a training pass, from a stream for each run; a run without one keeps every unit."""
        masks = []
        for name, shape in trace.dropouts if trace else ():
            masks.append(torch.ones(self.runs, *shape.shape[1:], dtype=shape.dtype, device=device))
            for run, stream in streams.items():
                keep = 1 - self._dropout[name][run]
                if keep < 1:
                    masks[-1][run].bernoulli_(keep, generator=stream).div_(keep)
        return masks

    def _evaluated(self, inputs: Tensor) -> Tensor:
        """Outputs [R, B, K] in evaluation mode, of the averages where there are some."""
        self.program.train(False)
        tensors = self.parameters | self.buffers if self._average is None else self._average.tensors
        return self.program(tensors, inputs, shared=True)

    def _step(self, rates: Sequence[float]) -> None:
        """From the gradients of the losses to new weights."""
        weights, update = self._trained_weights, self._update
        if update.penalties:
            for weight in weights:
                weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        with torch.no_grad():
            if update.penalties:
                update.pull(weights, [cast(Tensor, weight.grad) for weight in weights])
            update.clip([one.grad for one in self._trained if one.grad is not None])
            update.decay(weights)
            set_rates(self.optimizer, rates)
            self.optimizer.step()
            update.project(weights)
            if self._average is not None:
                self._average.add(self.parameters | self.buffers)

    def _stacked_average(self) -> Average | None:
        """The members' averages as one; theirs become views of it."""
        first = self.members[0].average
        if first is None:
            return None
        averages = [cast(Average, member.average) for member in self.members]
        made = Average(first.averaging, {})
        made.tensors = {name: torch.stack([one.tensors[name] for one in averages]) for name in first.tensors}
        made.updates = first.updates
        for run, one in enumerate(averages):
            one.tensors = {name: tensor[run] for name, tensor in made.tensors.items()}
        return made

    def _find_broken(self, batch: Batch, result: StepResult, refused: Sequence[int]) -> None:
        """Find what broke the runs whose loss is not finite, and halt them; those that were halted report NaN."""
        result.loss[refused], result.error[refused] = torch.nan, torch.nan
        for run in (~torch.isfinite(result.loss)).nonzero().flatten().tolist():
            member = self.members[run]
            if member.culprit(0) is None:
                member.locate(batch[0][run], batch[1][run])
                if member.stop_when_diverged:
                    self._halted[run] = self.state(run)

    def _observation(
        self, look: Look, inputs: Tensor, gradients: Mapping[str, Tensor | None], *, copy: bool
    ) -> Observation:
        """What was seen, with the weights that the pass met; a copy of them where an update follows."""
        seen = look.observation(inputs)
        for name in seen.weight_names:
            weight, gradient = self.weights[name].detach(), gradients.get(name)
            seen.weights.append(weight.clone() if copy else weight)
            seen.gradients.append(torch.zeros_like(weight) if gradient is None else gradient)
            seen.initial.append(self.initial[name])
        seen.initial_norms = partial(self._initial_norms, seen.initial)
        return seen

    def _initial_norms(self, initial: Sequence[Tensor]) -> Tensor:
        if self._norms is None:
            self._norms = norms(initial)
        return self._norms

    def _member(self, run: int) -> tuple[SingleLearner, GroupOptimizer]:
        return self.members[run], cast(GroupOptimizer, self.members[run].optimizer)


def _stack(tensors: Sequence[Mapping[str, Tensor]], straight: Collection[str] = ()) -> Tensors:
    """R tensors of each name as one [R, ...]; the R become views of it."""
    stacks = {}
    for name, first in tensors[0].items():
        if any(one[name].requires_grad != first.requires_grad for one in tensors):
            raise ValueError(f"{name} is trained in some of the runs only: they are of different structures")
        own = [one[name].detach() for one in tensors]
        if first.ndim == 2 and name not in straight:
            # vmap gives the gradients of matrices transposed. Matrices that lie so too spare a copy of each.
            stack = torch.stack([one.mT for one in own]).mT
        else:
            stack = torch.stack(own)
        for run, one in enumerate(tensors):
            one[name].data = stack[run]
        stacks[name] = stack.requires_grad_(first.requires_grad)
    return stacks


def _copied(value: Any) -> Any:
    """A state with copies of its tensors: a view would drag the whole stack along."""
    if isinstance(value, Tensor):
        return value.detach().clone(memory_format=torch.contiguous_format)
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    return [_copied(one) for one in value] if isinstance(value, list) else value
