"""A training step of one run or of R stacked ones: its parts, and what is done around the optimizer's step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fanin.parts.averaging import Averaging, NoAveraging
from fanin.parts.clipping import Clipping, NoClipping
from fanin.parts.gradient_noise import GradientNoise, NoiseStream, NoNoise
from fanin.parts.losses import CrossEntropy, Loss
from fanin.parts.optimizers.base import GroupOptimizer
from fanin.parts.per_run import Number, spread
from fanin.parts.regularizers import Regularizer
from fanin.torch_internals import foreach_add_, foreach_lerp_
from fanin.train.stacked_tensors import common

Tensors = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Method:
    """From a batch to new weights, in this order.

    Args:
        loss: of the data; it is what is reported.
        smoothed: the loss whose gradient is taken: `loss` itself, or the same against smoothed targets.
        penalties: on the weights; their gradients are added to that of the loss.
        proximals: penalties that are applied after the optimizer's step.
        sam: the gradient is taken a step uphill.
        clipping: of the gradient.
        noise: added to the gradient.
        decays: shrink the weights before the optimizer's step.
        bounds: project the weights after it.
        averaging: of the iterates; evaluation is on the average.
    """

    loss: Loss = field(default_factory=CrossEntropy)
    smoothed: Loss | None = None
    penalties: Sequence[Regularizer] = ()
    proximals: Sequence[Regularizer] = ()
    sam: Regularizer | None = None
    clipping: Clipping = field(default_factory=NoClipping)
    noise: GradientNoise = field(default_factory=NoNoise)
    decays: Sequence[Regularizer] = ()
    bounds: Sequence[Regularizer] = ()
    averaging: Averaging = field(default_factory=NoAveraging)

    @classmethod
    def of(
        cls,
        loss: Loss,
        regularizers: Sequence[Regularizer],
        clipping: Clipping,
        averaging: Averaging,
        noise: GradientNoise,
    ) -> Method:
        """The method of a recipe: each regularizer at the moments at which it acts.

        Raises:
            OptionError: the loss cannot be changed as a regularizer asks.
        """

        def acting(moment: str) -> list[Regularizer]:
            return [one for one in regularizers if one.acts(moment)]

        minimized = loss
        for one in regularizers:
            minimized = one.minimized(minimized)
        return cls(
            loss=loss,
            smoothed=None if minimized is loss else minimized,
            penalties=[one for one in acting("pull") if not one.proximal],
            proximals=[one for one in acting("soften") if one.proximal],
            sam=next(iter(acting("displacement")), None),
            clipping=clipping,
            noise=noise,
            decays=acting("before_step"),
            bounds=acting("after_step"),
            averaging=averaging,
        )

    @property
    def minimized(self) -> Loss:
        """The loss of the data whose gradient is taken."""
        return self.smoothed or self.loss


class Update:
    """The methods of R runs, which differ in numbers only, applied to stacked tensors.

    Args:
        methods: one per run.
        device: of the runs' tensors.
        noises: one per run, or none.
        decay_factors: of each weight that is trained; none where all are 1.
        masks: of each weight that is trained, [R, ...] or, of one run, without that axis; None where it is not pruned.
    """

    def __init__(
        self,
        methods: Sequence[Method],
        device: torch.device | str,
        noises: Sequence[NoiseStream] = (),
        decay_factors: Sequence[float] = (),
        masks: Sequence[Tensor | None] = (),
    ) -> None:
        first, self.runs = methods[0], len(methods)

        def each(kind: str) -> list[tuple[Regularizer, Number]]:
            """The regularizers of a kind, with the number of each run."""
            columns = zip(*(getattr(method, kind) for method in methods), strict=True)
            return [(column[0], common([one.number for one in column], device)) for column in columns]

        self.penalties, self.decays, self.bounds = map(each, ("penalties", "decays", "bounds"))
        self.proximals = each("proximals")
        self.clipping = None if first.clipping.neutral else first.clipping
        self.noises = noises
        self.masks = masks if any(mask is not None for mask in masks) else ()
        factors = list(decay_factors)
        self._alike = {one: [at for at, same in enumerate(factors) if same == one] for one in dict.fromkeys(factors)}

    @property
    def changes_gradients(self) -> bool:
        """Whether the optimizer gets others than those of the loss."""
        return bool(self.penalties or self.clipping or self.noises or self.masks)

    def __call__(
        self,
        parameters: Sequence[Tensor],
        weights: Sequence[Tensor],
        step: Callable[[], object],
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        """From the gradients of the losses to new weights.

        Args:
            parameters: all that are trained, gradients in `.grad`: [R, ...] each or, of one run, without that axis.
            weights: those of them that are weight matrices or kernels.
            step: the optimizer's.
            optimizer: whose step it is, for penalties that are applied after it.
        """
        if self.penalties:
            for weight in weights:
                weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            self.pull(self._stacked(weights), self._stacked([weight.grad for weight in weights]))
        if self.masks:
            self.prune([weight.grad for weight in weights])
        if self.clipping is not None or self.noises:
            given = [one for one in parameters if one.grad is not None]
            gradients = self._stacked([one.grad for one in given])
            if self.clipping is not None:
                self.clipping(gradients, self._stacked(given))
            self.disturb(gradients)
        if self.decays:
            self.decay(self._stacked(weights))
        step()
        if self.proximals and isinstance(optimizer, GroupOptimizer):
            self.soften(optimizer, weights)
        if self.bounds:
            self.project(self._stacked(weights))
        if self.masks:
            self.prune(weights)

    def _stacked(self, tensors: Sequence[Tensor | None]) -> list[Tensor]:
        """Views [R, ...], which change in place what they are views of."""
        views = [tensor.detach() for tensor in tensors if tensor is not None]
        return views if self.runs > 1 else [view.unsqueeze(0) for view in views]

    def pull(self, weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Add the gradients of the penalties, by their closed forms, which are faster than autograd.

        Args:
            weights: [R, ...] each.
            gradients: of each of them; changed in place.
        """
        for penalty, strength in self.penalties if weights else ():  # none where every one is frozen
            foreach_add_(list(gradients), penalty.pull(weights, strength))

    @torch.no_grad()
    def prune(self, tensors: Sequence[Tensor | None]) -> None:
        """Set the entries to 0 that the masks leave out: of the weights, or of their gradients."""
        for tensor, mask in zip(tensors, self.masks, strict=True):
            if tensor is not None and mask is not None:
                tensor.mul_(mask)

    def disturb(self, gradients: Sequence[Tensor]) -> None:
        """Add each run's noise to its gradients, in the order of the parameters; see `GradientNoise`."""
        if self.noises and gradients:
            sizes = [gradient[0].numel() for gradient in gradients]
            drawn = torch.stack([noise(sum(sizes), gradients[0].device) for noise in self.noises])
            pairs = zip(torch.split(drawn, sizes, 1), gradients, strict=True)
            foreach_add_(list(gradients), [part.view(like.shape).to(like.dtype) for part, like in pairs])

    def decay(self, weights: Sequence[Tensor]) -> None:
        """Shrink the weights before the optimizer's step."""
        for decay, rate in self.decays if weights else ():
            if (len(self._alike) < 2 and 1.0 in self._alike) or not self._alike:
                decay.before_step(weights, rate)
                continue
            for factor, places in self._alike.items():
                decay.before_step([weights[place] for place in places], factor * rate)

    @torch.no_grad()
    def soften(self, optimizer: GroupOptimizer, weights: Sequence[Tensor]) -> None:
        """The proximal steps of penalties, as long as the optimizer's own, on weights that had a gradient."""
        wanted = {id(weight) for weight in weights}
        for group in optimizer.param_groups:
            some = [one for one in group["params"] if id(one) in wanted and one.grad is not None]
            for weight, length in zip(some, optimizer.lengths(group, some) if some else (), strict=True):
                for penalty, strength in self.proximals:
                    strong, long = (_like(one, weight) for one in (strength, length))
                    penalty.soften(weight, strong * long)

    def project(self, weights: Sequence[Tensor]) -> None:
        """Bring the weights back into their bounds."""
        for bound, value in self.bounds:
            bound.after_step(weights, value)


def _like(number: Number, weight: Tensor) -> Any:
    """A number, one per run [R] or one per entry in the form that a weight [R, ...] is multiplied by."""
    if isinstance(number, Tensor) and number.shape != weight.shape:
        return spread(number, [weight])[0]
    return number


class Average:
    """The average of the iterates that evaluation is made on: of parameters, and of buffers of floating point.

    Args:
        averaging: gives the weight of each iterate.
        tensors: by name, what is averaged; it starts as they are.
    """

    def __init__(self, averaging: Averaging, tensors: Tensors) -> None:
        self.averaging = averaging
        self.updates, self.started = 0, False
        self.settled = True  # whether running statistics are those of the averaged weights
        self.tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}

    def add(self, tensors: Tensors) -> None:
        """Add the tensors after an update: average <- average + weight * (tensor - average)."""
        weight = self.averaging.weight(self.updates)
        self.updates += 1
        if weight is None and self.started:
            return
        # Before the first weight it is the iterate itself, with the iterate's own running statistics.
        self.started = weight is not None
        self.settled = not self.started
        weight = 1.0 if weight is None else weight
        floating = [name for name, tensor in self.tensors.items() if tensor.is_floating_point()]
        foreach_lerp_([self.tensors[name] for name in floating], [tensors[name].detach() for name in floating], weight)
        for name in self.tensors.keys() - set(floating):  # counts
            self.tensors[name].copy_(tensors[name])

    def state_dict(self) -> dict[str, Any]:
        """What is needed to resume; its tensors are the average's own."""
        return {"updates": self.updates, "started": self.started, "tensors": self.tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        self.updates, self.started = state["updates"], state.get("started", True)
        self.replace(state["tensors"])

    def count_as(self, other: Average) -> None:
        """Have taken the updates that another average has."""
        self.updates, self.started = other.updates, other.started

    def replace(self, tensors: Tensors) -> None:
        """Replace the averaged tensors."""
        self.settled = not self.started
        for name, tensor in tensors.items():
            self.tensors[name].copy_(tensor)


def stacked_average(averages: Sequence[Average | None]) -> Average | None:
    """The averages of R runs as one, of which theirs become views; None where there are none."""
    own = [one for one in averages if one is not None]
    if not own:
        return None
    made = Average(own[0].averaging, {})
    made.tensors = {name: torch.stack([one.tensors[name] for one in own]) for name in own[0].tensors}
    made.count_as(own[0])
    made.settled = False
    for run, one in enumerate(own):
        one.tensors = {name: tensor[run] for name, tensor in made.tensors.items()}
    return made
