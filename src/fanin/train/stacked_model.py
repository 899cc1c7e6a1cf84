"""R models of one structure as one function of their stacked tensors."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, repeat
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap

from fanin.parts.models.passes import forward
from fanin.parts.regularizers import DropoutModule
from fanin.probes.capture import Capture, Observation
from fanin.probes.modules import first_tensor
from fanin.train.stacked_linear import install

Tensors = dict[str, Tensor]
Streams = Mapping[int, torch.Generator | None]
"""Generators of dropout masks, by the runs that draw."""


@dataclass
class Trace:
    """What a pass of one model shows of the structure.

    Args:
        seen: the names of what ran, and where blocks end; its tensors are on the meta device: shapes, no numbers.
        dropouts: module name and output, on the meta device too, of every call of a dropout layer.
    """

    seen: Observation
    dropouts: list[tuple[str, Tensor]]


class Look:
    """What is to be seen of a pass of R models, and then what was.

    vmap hides the models' tensors from hooks. So outputs leave the program as its results, and the gradient with
    respect to an output is had as that with respect to zeros added to it.

    Args:
        trace: of the structure; None if there is nothing to see.
        places: what to look at: 0 is the input, 1 the first module call, and so on in the order of execution.
        gradients: whether to look at the gradients with respect to the outputs too.
        like: the inputs [R, B, ...]; says R and the device.

    Attributes:
        zeros: by place, [R, B, ...]: where a gradient is asked for and flows.
        outputs: by place, [R, B, ...], once the program has run.
    """

    def __init__(self, trace: Trace | None, places: Sequence[int], like: Tensor, *, gradients: bool) -> None:
        self.trace, self.places = trace, places
        self.zeros: dict[int, Tensor] = {}
        self.outputs: dict[int, Tensor] = {}
        self._flowed: dict[int, Tensor | None] = {}
        changed = trace is not None and 0 in places and "input" in trace.seen.changed
        self._inputs = like.clone() if changed else like
        if trace is not None and gradients:
            for place in (place for place in places if trace.seen.activation_gradients[place] is not None):
                one = trace.seen.activations[place]
                zero = torch.zeros((), dtype=one.dtype, device=like.device, requires_grad=True)
                self.zeros[place] = zero.expand(len(like), *one.shape[1:])

    def gradients(self, losses: Tensor, parameters: Sequence[Tensor]) -> Sequence[Tensor | None]:
        """Gradients of each run's loss, in its slices, with respect to stacked parameters; None if there is none."""
        found = torch.autograd.grad(losses.sum(), [*parameters, *self.zeros.values()], allow_unused=True)
        self._flowed = dict(zip(self.zeros, found[len(parameters) :], strict=True))
        return found[: len(parameters)]

    def observation(self) -> Observation:
        """Modules and activations that were seen; weights are for the learner to add."""
        assert self.trace is not None
        names, outputs = self.trace.seen, {0: self._inputs} | self.outputs
        at = {place: index for index, place in enumerate(self.places)}
        return Observation(
            modules=[names.modules[place] for place in self.places],
            activations=[outputs[place].detach() for place in self.places],
            activation_gradients=[self._flowed.get(place) for place in self.places],
            weight_names=names.weight_names,
            block_ends=[at[end] for end in names.block_ends if end in at],
        )


class Program:
    """R models of one structure as one function: torch.func's vmap over their stacked tensors.

    Args:
        model: one of them; a copy of it lends its structure, and the tensors of the copy mean nothing.
        autocast: the lower precision of the forward pass, or None.
        install_products: whether linear layers round as those of one model do; those cannot be differentiated forwards.
    """

    def __init__(self, model: nn.Module, autocast: torch.dtype | None, *, install_products: bool = True) -> None:
        self.template = copy.deepcopy(model)
        self.autocast = autocast
        self.capture = Capture(self.template)
        self.dropouts = {name: module for name, module in self.capture.modules if isinstance(module, DropoutModule)}
        self.stacked_weights = install(self.template) if install_products else set()
        for module in self.dropouts.values():
            module.p = 0.5  # not 0, for which it would ask for no mask; the masks bring their own
        self._traces: dict[torch.Size, Trace] = {}

    def __call__(
        self,
        tensors: Tensors,
        inputs: Tensor,
        *,
        masks: Sequence[Tensor] = (),
        look: Look | None = None,
        shared: bool = False,
    ) -> Tensor:
        """The models' outputs, [R, B, K].

        Args:
            tensors: parameters and buffers [R, ...] by name; buffers are updated in place.
            inputs: [R, B, ...], or [B, ...] where `shared`: the same for all runs.
            masks: of the dropout layers' calls in training, [R, B, ...] each, in the order of execution.
            look: what is to be seen of the pass; its outputs are filled in.
        """
        zeros = look.zeros if look else {}

        def one(
            tensors: Tensors, inputs: Tensor, masks: Sequence[Tensor], zeros: dict[int, Tensor]
        ) -> tuple[Tensor, dict[int, Tensor]]:
            with self._hooked(look, zeros) as outputs, self._masked(masks):
                return forward(self.template, inputs, self.autocast, tensors), outputs

        every = vmap(one, in_dims=(0, None if shared else 0, 0, 0))
        logits: Tensor
        logits, outputs = every(tensors, inputs, list(masks), zeros)
        if look:
            look.outputs = outputs
        return logits

    def train(self, mode: bool) -> None:
        """Switch to training or evaluation mode; costs nothing where it is on."""
        if self.template.training != mode:
            self.template.train(mode)

    def trace(self, inputs: Tensor) -> Trace:
        """What a training pass of one model shows; made once for each shape of a batch [R, B, ...]."""
        found = self._traces.get(inputs.shape)
        if found is None:
            self.train(True)
            ones = repeat(torch.ones((), device=inputs.device))
            one = inputs[0].clone()  # a model may work on its inputs in place
            with self._masked(ones), self.capture.everything(one, gradients=True) as seen:
                logits = forward(self.template, one, self.autocast)
                parameters = [parameter for parameter in self.template.parameters() if parameter.requires_grad]
                torch.autograd.grad(logits.sum(), parameters, allow_unused=True)
            seen.activations = [output.to("meta") for output in seen.activations]
            seen.activation_gradients = [None if g is None else g.to("meta") for g in seen.activation_gradients]
            # From its second call on a module's label bears a number.
            names = [name if name in self.dropouts else name.rpartition(".")[0] for name in seen.modules]
            calls = zip(names, seen.activations, strict=True)
            found = Trace(seen, [(name, output) for name, output in calls if name in self.dropouts])
            self._traces[inputs.shape] = found
        return found

    @contextmanager
    def _hooked(self, look: Look | None, zeros: dict[int, Tensor]) -> Iterator[dict[int, Tensor]]:
        """Keep the outputs at some places, and add zeros to them, by hooks that live only in here."""
        outputs: dict[int, Tensor] = {}
        place = count(1)
        places = frozenset(look.places) if look else frozenset()
        seen = look.trace.seen if look and look.trace else Observation()

        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            tensor = first_tensor(output)
            if tensor is None:
                return output
            here = next(place)
            if here in zeros and tensor is output:
                output = tensor = tensor + zeros[here]
            if here in places:
                outputs[here] = tensor.clone() if seen.modules[here] in seen.changed else tensor
            return output

        handles = [module.register_forward_hook(hook) for _, module in (dict.fromkeys(seen.ran) if places else ())]
        try:
            yield outputs
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def _masked(self, masks: Iterable[Tensor]) -> Iterator[None]:
        """Hand the dropout layers their masks."""
        ready = iter(masks)
        for module in self.dropouts.values():
            module.masks = ready
        try:
            yield
        finally:
            for module in self.dropouts.values():
                module.masks = None


def drawn_masks(
    trace: Trace | None, rates: Mapping[str, Sequence[float]], streams: Streams, runs: int, device: torch.device
) -> list[Tensor]:
    """Dropout masks of a training pass, [R, ...] each, in the order of its dropout layers' calls.

    Args:
        trace: of the pass; None where nothing is dropped.
        rates: of each dropout layer, one per run.
        streams: of the runs that draw; the others keep every unit.
        runs: R.
        device: of the masks and the streams.
    """
    masks = []
    for name, shape in trace.dropouts if trace else ():
        masks.append(torch.ones(runs, *shape.shape[1:], dtype=shape.dtype, device=device))
        for run, stream in streams.items():
            keep = 1 - rates[name][run]
            if keep < 1:
                masks[-1][run].bernoulli_(keep, generator=stream).div_(keep)
    return masks
