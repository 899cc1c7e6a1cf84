"""Capturing what passes through a network in one forward and backward pass, by hooks that live only then.

What is recorded of a module is what it gave, whatever comes after it: the output that a later module works on in place
(ReLU(inplace=True) after a normalization) is copied before. Which outputs those are shows only as they change, so the
first look at a model copies all of them, and later ones those that changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fanin.probes.modules import Named, first_tensor, inner, watched


@dataclass
class Observation:
    """One look at R runs of one structure; every tensor has the leading axis R.

    Args:
        modules: names of the modules that were looked at, in the order of execution.
        activations: their outputs, [R, B, ...] each; that of "input" is the input itself.
        activation_gradients: dL/d output of each; None if nothing flows back, or nobody asked.
        weight_names: the modules that own a weight, in the order of execution.
        block_ends: for each of them the position, in `modules`, of its block's last module: what the next weight
            layer receives; for the last one the network's output.
        weights: the weights the pass was made with, [R, fan_out, fan_in, ...] each, in the order of `weight_names`.
        fan_ins: how many inputs one output of each sums over.
        gradients: dL/dW of each.
        bias_gradients: dL/db of each, [R, fan_out]; None where there is no b.
        initial: the weights at step 0.
        initial_norms: their norms, [n, R]; asked for only where they are needed, and kept by the learner.
        updated: the weights after the step's update; None if there was none, or nobody asked.
        numbers: positions over depth, from 1, by weight layer, where they are not those of `weight_names`: of a network
            that does not run the same layers at every step.
        chosen: whether a module is to be measured, by its name.
        changed: those of `modules` whose outputs a later module worked on in place.
        ran: the modules that ran and gave a tensor, once for every call.
    """

    modules: list[str] = field(default_factory=list)
    activations: list[Tensor] = field(default_factory=list)
    activation_gradients: list[Tensor | None] = field(default_factory=list)
    weight_names: list[str] = field(default_factory=list)
    block_ends: list[int] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    fan_ins: list[int] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)
    bias_gradients: list[Tensor | None] = field(default_factory=list)
    initial: list[Tensor] = field(default_factory=list)
    initial_norms: Callable[[], Tensor] = lambda: torch.empty(0)
    updated: list[Tensor] | None = None
    numbers: Mapping[str, int] = field(default_factory=dict)
    chosen: Callable[[str], bool] = lambda name: True
    changed: set[str] = field(default_factory=set)
    ran: list[Named] = field(default_factory=list)


class Recording:
    """What modules give in one pass, as their hooks tell of it.

    Gradients come from hooks on the output tensors: full backward hooks would wrap every module's inputs in an
    autograd node of their own.

    Args:
        modules: the modules to look at.
        gradients: whether to record the gradients with respect to the outputs.
        steady: names of the outputs that no later module works on in place; all others are copied.
    """

    def __init__(
        self, modules: Sequence[Named], *, gradients: bool = False, steady: Collection[str] = frozenset()
    ) -> None:
        self.modules, self.gradients, self.steady = modules, gradients, steady
        self.seen = Observation()
        self._given: list[tuple[Tensor, int, Tensor | None]] = []  # an output, how often it had been changed, a copy
        self._flowed: dict[int, Tensor] = {}
        self._handles: list[Any] = []
        self._calls: dict[str, int] = {}

    def hook(self, named: Named) -> Callable[[nn.Module, Any, Any], None]:
        """What is to be called with (module, inputs, output) after each pass of a module."""
        look, inside = self.look, inner(named, self.modules)
        return lambda module, inputs, output: look(named, inside, output)

    def look(self, named: Named, inside: Collection[str], output: Any) -> None:
        """Take in what a module gave; `inside` are the modules in it, see `inner`."""
        calls, tensor = self._calls, first_tensor(output)
        if tensor is None or (inside and any(one in calls for one in inside)):
            return
        name = label = named[0]
        calls[name] = call = calls.get(name, 0) + 1
        if call > 1:  # a module used several times (recurrence, shared weights) gets a number per call
            label = f"{name}.{call}"
        if self.gradients and tensor.requires_grad:
            place = len(self._given)
            self._handles.append(tensor.register_hook(partial(self._flowed.__setitem__, place)))  # type: ignore[no-untyped-call]
        self.seen.ran.append(named)
        self.seen.modules.append(label)
        self._given.append((tensor, tensor._version, None if label in self.steady else tensor.detach().clone()))

    def end(self, *, blocks: bool = False) -> Observation:
        """Take the hooks off the tensors, and fill the observation in.

        Args:
            blocks: whether it has the outputs of the ends of blocks only, where blocks end, and what owns a weight.
        """
        seen = self.seen
        for handle in self._handles:
            handle.remove()
        given, flowed = zip(seen.modules, self._given, strict=True), self._flowed
        seen.changed = {label for label, (tensor, before, _) in given if tensor._version != before}
        places: Collection[int] = range(len(self._given))
        if blocks:
            find_blocks(seen)
            places, seen.block_ends = seen.block_ends, list(range(len(seen.block_ends)))
        wanted = [self._given[place] for place in places]
        seen.activations = [(tensor.detach() if copy is None else copy).unsqueeze(0) for tensor, _, copy in wanted]
        seen.activation_gradients = [flowed[place].unsqueeze(0) if place in flowed else None for place in places]
        return seen


@contextmanager
def capturing(
    modules: Sequence[Named],
    x: Tensor | None = None,
    *,
    gradients: bool = False,
    steady: Collection[str] = frozenset(),
) -> Iterator[Observation]:
    """Record the outputs of modules while the block runs; the observation is filled in as the block ends.

    Nothing is left on the modules afterwards.

    Args:
        modules: the modules to look at.
        x: the network's input [B, ...], to be recorded as the module "input", where `modules` are all that run; the
            observation then also says which of them own a weight and where blocks end. None if that is known.
        gradients: whether to record the gradients with respect to the outputs.
        steady: see `Recording`.
    """
    recording = Recording(modules, gradients=gradients, steady=steady)
    start = None if x is None else (x.detach() if "input" in steady else x.detach().clone(), x._version)
    handles = [named[1].register_forward_hook(recording.hook(named)) for named in modules]
    try:
        yield recording.seen
    finally:
        for handle in handles:
            handle.remove()
        seen = recording.end()
    if x is not None and start is not None:
        first, before = start
        seen.changed |= {"input"} if x._version != before else set()
        seen.modules.insert(0, "input")
        # The numbers of tokens are no quantities, but every network has its input at the first place.
        seen.activations.insert(0, (first if first.is_floating_point() else first.float()).unsqueeze(0))
        seen.activation_gradients.insert(0, None)
        find_blocks(seen, first=1)


class Capture:
    """Captures passes of one model; it remembers which outputs later modules work on in place.

    Args:
        model: whose passes these are.

    Attributes:
        modules: those that are looked at; see `watched`.
        steady: names of the outputs that were seen, and never worked on in place.
    """

    def __init__(self, model: nn.Module) -> None:
        self.modules = watched(model)
        self.steady: set[str] = set()
        self._changed: set[str] = set()

    def learn(self, seen: Observation) -> None:
        """Learn which outputs were seen, and which of them changed."""
        self._changed |= seen.changed
        self.steady |= set(seen.modules)
        self.steady -= self._changed

    @contextmanager
    def everything(self, x: Tensor, *, gradients: bool = False) -> Iterator[Observation]:
        """Record all that runs on inputs [B, ...] while the block runs; see `capturing`."""
        with capturing(self.modules, x, gradients=gradients, steady=self.steady) as seen:
            yield seen
        self.learn(seen)

    @contextmanager
    def only(self, modules: Sequence[Named], *, gradients: bool = False) -> Iterator[Observation]:
        """Record some of the modules."""
        with capturing(modules, gradients=gradients, steady=self.steady) as seen:
            yield seen


def find_blocks(seen: Observation, first: int = 0) -> None:
    """Find the weights of what ran, and the ends of their blocks; `first` is the place of what ran first."""
    found: dict[str, int] = {}
    for place, (name, module) in enumerate(seen.ran, start=first):
        weight = module._parameters.get("weight")
        if weight is not None and weight.ndim >= 2 and name not in found:
            found[name] = place
    seen.weight_names, weights_at = list(found), list(found.values())
    ends = [position - 1 for position in weights_at[1:]] + [len(seen.modules) - 1]
    seen.block_ends = ends if weights_at or first else []
