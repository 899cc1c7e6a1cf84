"""A network in training: all that is its own, whether it is trained alone or stacked with others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fanin import ranks
from fanin.devices import home
from fanin.parts.gradient_noise import NoiseStream
from fanin.parts.models.layers import biases, fans, weight_layers
from fanin.parts.models.passes import copied_buffers, forward
from fanin.parts.noise import noise_modules
from fanin.probes import jacobians
from fanin.probes.capture import Capture
from fanin.probes.probe import Label, Measured
from fanin.streams import drawing_from
from fanin.train.batches import Batches
from fanin.train.flops import Passes
from fanin.train.learner import Culprit
from fanin.train.step import Average, Method


@dataclass
class TrainedModel:
    """One network, its optimizer and its streams; what a checkpoint of it holds, and where it broke.

    Args:
        model: initialized, on the device.
        optimizer: over the model's parameters.
        method: what a step consists of beside these two.
        seed: of the run, for the noise on its gradients.
        dropout: the generator of training's dropout masks, and of other noise in the model.
        probe_dropout: makes a fresh generator for an observation's masks: the same ones at every look.
        autocast: the lower precision of the forward pass, or None.
        stop_when_diverged: refuse updates once the loss is not finite, so that the step that broke can be studied.
        masks: of pruned weights, by the layers' names.
        accumulate: parts that a step's batch is taken in.
        compile: whether training passes are compiled.
        batches: where training batches come from; for optimizers and averages that ask for more than the batch.

    Attributes:
        parameters: those that are trained.
        weights: of its weight layers, by the layers' names; `trained_weights` are those that are trained, each once.
        biases: of the weight layers that have some, by the layers' names.
        initial: the weights at step 0, [1, ...] each.
        fan_ins: how many inputs one output of each weight layer sums over.
        capture: records what passes through the network.
        average: of the iterates, or None; it is what is evaluated.
        passes: what its steps have cost beside their first passes.
        noise: on the gradients, or None.
        culprit: where the first pass whose loss was not finite left the finite numbers; None if there was none.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    method: Method = field(default_factory=Method)
    dropout: torch.Generator | None = None
    probe_dropout: Callable[[], torch.Generator] | None = None
    autocast: torch.dtype | None = None
    stop_when_diverged: bool = True
    batches: Batches | None = None
    seed: int = 0
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    accumulate: int = 1
    compile: bool = False
    culprit: Culprit | None = field(default=None, init=False)
    _compiled: Callable[[Tensor], Tensor] | None = field(default=None, init=False)
    passes: Passes = field(default_factory=Passes, init=False)

    def __post_init__(self) -> None:
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.weights = {name: layer.get_parameter("weight") for name, layer in weight_layers(self.model)}
        self.biases = biases(self.model)
        self.fan_ins = {name: fans(layer)[0] for name, layer in weight_layers(self.model)}
        # A weight that two layers share is one weight: a penalty pulls it once.
        once = {id(weight): name for name, weight in reversed(self.weights.items()) if weight.requires_grad}
        self.trained_weights = {name: self.weights[name] for name in self.weights if name in once.values()}
        self.parameter_count = sum(parameter.numel() for parameter in self.model.parameters())
        self.initial = {name: weight.detach().clone().unsqueeze(0) for name, weight in self.weights.items()}
        self.capture = Capture(self.model)
        averaging = self.method.averaging
        self.average = None if averaging.neutral else Average(averaging, self.tensors)
        self.noise = None if self.method.noise.neutral else NoiseStream(self.method.noise, self.seed)
        for module in noise_modules(self.model):
            module.generator = self.dropout

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers by name."""
        return dict(self.model.named_parameters()) | dict(self.model.named_buffers())

    @property
    def decay_factors(self) -> list[float]:
        """By what the decay of each weight that is trained is multiplied."""
        groups = self.optimizer.param_groups
        factors = {id(one): group.get("decay_factor", 1.0) for group in groups for one in group["params"]}
        return [factors[id(weight)] for weight in self.trained_weights.values()]

    @property
    def weight_masks(self) -> list[Tensor | None]:
        """Of each weight that is trained; None where it is not pruned."""
        masks = [self.masks.get(name) for name in self.trained_weights]
        return [None if mask is None else mask.to(self.parameters[0].device) for mask in masks]

    def train(self) -> None:
        """Switch to training mode, only if needed: switching visits all modules, too slow to do at every step."""
        if not self.model.training:
            self.model.train()

    def parts(self, inputs: Tensor, targets: Tensor, axis: int = 0) -> Iterator[tuple[Tensor, Tensor, float]]:
        """The parts that a step's batch is taken in: inputs, targets and the share of its examples.

        Of several processes each takes the parts of its own share of the batch.
        """
        whole = targets.shape[axis]
        if axis == 0:
            inputs, targets = ranks.share(inputs), ranks.share(targets)
        count = min(self.accumulate, targets.shape[axis])
        for x, y in zip(inputs.tensor_split(count, axis), targets.tensor_split(count, axis), strict=True):
            yield x, y, y.shape[axis] / whole

    def trained_outputs(self, inputs: Tensor) -> Tensor:
        """A training pass over inputs [B, ...], compiled where that was asked for; nothing in it is looked at."""
        if not self.compile:
            return self.outputs(inputs)
        if self._compiled is None:
            self._compiled = torch.compile(self.outputs)
        found: Tensor = self._compiled(inputs)
        return found

    def outputs(self, inputs: Tensor, tensors: dict[str, Tensor] | None = None) -> Tensor:
        """A pass over inputs [B, ...], with `tensors` in place of its own if given: outputs [B, K]."""
        return forward(self.model, inputs, self.autocast, tensors)

    @contextmanager
    def looked_at(self, inputs: Tensor) -> Iterator[Tensor]:
        """Outputs of a training pass without a trace: running statistics and streams stay, masks are the probe's."""
        self.train()
        masks = self.probe_dropout().get_state() if self.probe_dropout is not None else None
        with drawing_from(masks, self.dropout):
            yield self.outputs(inputs, copied_buffers(self.model))

    def jacobians(self, inputs: Tensor, *, norms: bool, spectra: bool) -> dict[Label, float]:
        """What a profile says of the Jacobians of a training pass over inputs [B, ...]; see `jacobians.measured`."""
        if not inputs.is_floating_point():
            return {}
        given = inputs.detach().clone().requires_grad_()
        with torch.enable_grad(), jacobians.calls_of(self.model) as calls, self.looked_at(given) as outputs:
            return jacobians.measured(self.model, calls, given, outputs, norms=norms, spectra=spectra)

    def locate(self, inputs: Tensor) -> None:
        """Keep where a pass first leaves the finite numbers: a weight, a module's output, or the loss itself."""
        with torch.no_grad(), self.capture.everything(inputs) as seen, self.looked_at(inputs):
            pass
        weights = [(name, "weight", self.weights[name]) for name in seen.weight_names]
        outputs = [(name, "activation", out) for name, out in zip(seen.modules, seen.activations, strict=True)]
        broken = ((name, what) for name, what, x in weights + outputs if not torch.isfinite(x).all())
        self.culprit = Culprit(*next(broken, ("loss", "loss")))

    def point(self) -> Tensor:
        """All trained parameters as one vector."""
        return torch.cat([parameter.detach().flatten() for parameter in self.parameters])

    def state(self) -> dict[str, Any]:
        """Model, optimizer, average, streams, and where the loss was first not finite if training goes on."""
        state: dict[str, Any] = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        state["culprit"] = list(self.culprit) if self.culprit else None
        state["passes"] = self.passes.state_dict()
        if self.average is not None:
            state["average"] = self.average.state_dict()
        if self.noise is not None:
            state["noise"] = self.noise.step
        if self.batches is not None and self.batches.schedule.adaptive:
            state["batch"] = self.batches.schedule.state_dict()
        return state | ({"dropout": self.dropout.get_state()} if self.dropout is not None else {})

    def load_state(self, state: dict[str, Any]) -> None:
        """Load what `state` returned."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.culprit = Culprit(*state["culprit"]) if state["culprit"] else None
        self.passes.load_state_dict(state.get("passes") or [0, 0, 0])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self.noise is not None:
            self.noise.step = state["noise"]
        if self.batches is not None and "batch" in state:
            self.batches.schedule.load_state_dict(state["batch"])
        if self.dropout is not None:
            self.dropout.set_state(state["dropout"].cpu())

    @property
    def optimizer_bytes(self) -> int:
        """Of the tensors that the optimizer remembers."""
        return bytes_of(self.optimizer)

    def best_weights(self) -> dict[str, Tensor]:
        """A copy of the model's state, with the average where there is one."""
        averaged = self.average.tensors if self.average is not None else {}
        state = self.model.state_dict()
        return {name: copied(averaged.get(name, value)) for name, value in state.items()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Replace the model's state, and its average."""
        self.model.load_state_dict(weights)
        if self.average is not None:
            self.average.replace({name: weights[name] for name in self.average.tensors if name in weights})

    def put_back(self, state: dict[str, Any]) -> None:
        """Take back the tensors of a state, whatever a step of the stack has made of them."""
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.replace(state["average"]["tensors"])

    def leave_stack(self) -> None:
        """Have tensors of its own again, where they were views of stacked ones."""
        for tensor in (*self.model.parameters(), *self.model.buffers()):
            tensor.data = copied(tensor)
        self.initial = copied(self.initial)
        if self.average is not None:
            self.average.tensors = copied(self.average.tensors)


def jacobians_of(networks: Sequence[TrainedModel], inputs: Tensor, *, norms: bool, spectra: bool) -> Measured:
    """The Jacobians of networks of one structure, one after the other, for inputs [R, B, ...]."""
    pairs = zip(networks, inputs, strict=True)
    each = [network.jacobians(given, norms=norms, spectra=spectra) for network, given in pairs]
    values = torch.tensor([list(one.values()) for one in each], dtype=torch.float64, device=home(inputs.device))
    return list(each[0]), values.view(len(each), -1)


def bytes_of(optimizer: torch.optim.Optimizer) -> int:
    """Of the tensors that an optimizer remembers."""
    kept = [*optimizer.state.values(), getattr(optimizer, "memory", {})]
    return sum(one.nbytes for state in kept for one in state.values() if isinstance(one, Tensor))


def noises_of(networks: Sequence[TrainedModel]) -> list[NoiseStream]:
    """The noise on the gradients of networks that all have some, or none has."""
    return [network.noise for network in networks if network.noise is not None]


def copied(value: Any) -> Any:
    """A state with copies of its tensors: a view would drag the whole stack along."""
    if isinstance(value, Tensor):
        return value.detach().clone(memory_format=torch.contiguous_format)
    if isinstance(value, dict):
        return {key: copied(one) for key, one in value.items()}
    return [copied(one) for one in value] if isinstance(value, list) else value
