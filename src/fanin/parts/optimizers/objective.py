"""What training minimizes, for optimizers that ask for more than the batch's gradient.

All P trainable parameters are one vector here, one tensor after another in the model's order.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from inspect import unwrap
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.optim.optimizer import ParamsT

from fanin.errors import OptionError, UserError
from fanin.parts.models.passes import copied_buffers, forward
from fanin.parts.optimizers.derivatives import Product, derivative
from fanin.streams import drawing_from

MIXING = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""Torch's layers in which an example's output depends on the others of its batch."""


@dataclass(kw_only=True)
class Objective:
    """f(theta) = mean loss + penalty, on a batch and on the training set, at the model's current parameters theta.

    Nothing here leaves a trace but `place`: gradients are returned, not put into `.grad`; running statistics are
    updated in copies; `replay` sees to the random draws. The model is taken in the mode it is in: training mode.

    Args:
        model: its parameters with requires_grad are theta.
        loss: (outputs, targets, inputs) -> mean loss over the examples, a scalar.
        penalty: the penalty at the model's current parameters, differentiable; None: there is none.
        inputs, targets: the batch, [B, ...] each.
        rows: [B], int64: where in the training set the batch's examples are, each at most once.
        train_inputs, train_targets: the training set, [N, ...] each, on the device.
        replay: makes a context in which forward passes draw what the training pass drew; see `replaying`.
        thresholds: [P], the strength of an absolute-value penalty on each entry of theta, which `value` and the
            gradients leave out; None: there is none.
        autocast: the lower precision of the forward pass, or None.
        chunk: examples in one pass over the training set.
        passes: (what tells passes of different cost apart, examples whose gradient is taken) -> a context in which
            such a pass is made; counts what an optimizer has asked for.
    """

    model: nn.Module
    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    inputs: Tensor
    targets: Tensor
    train_inputs: Tensor
    train_targets: Tensor
    penalty: Callable[[], Tensor] | None = None
    rows: Tensor | None = None
    thresholds: Tensor | None = None
    replay: Callable[[], AbstractContextManager[None]] = nullcontext
    autocast: torch.dtype | None = None
    chunk: int = 1000
    passes: Callable[[Hashable, int], AbstractContextManager[None]] = lambda kind, gradients: nullcontext()

    def __post_init__(self) -> None:
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def vector(self) -> Tensor:
        """A copy of theta, [P]."""
        return torch.cat([parameter.detach().flatten() for parameter in self.parameters])

    @torch.no_grad()
    def place(self, vector: Tensor) -> None:
        """Set theta, [P], in place."""
        parts = torch.split(vector, [parameter.numel() for parameter in self.parameters])
        for parameter, part in zip(self.parameters, parts, strict=True):
            parameter.copy_(part.view_as(parameter))

    def pass_gradient(self) -> Tensor:
        """What the training pass left in `.grad`, [P]: the gradient of f on the batch, 0 where there is none."""
        held = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        return torch.cat([gradient.flatten() for gradient in held])

    def outputs(self) -> Tensor:
        """The model's outputs on the batch, [B, ...], differentiable."""
        with self.replay(), self.passes(("forward", self.inputs.shape), 0):
            return self._forward(self.inputs)

    def value(self) -> Tensor:
        """f on the batch, a scalar, differentiable."""
        loss = self.loss(self.outputs(), self.targets, self.inputs)
        return loss if self.penalty is None else loss + self.penalty()

    def gradient(self) -> Tensor:
        """The gradient of f on the batch, [P]."""
        return self.value_and_gradient()[1]

    def value_and_gradient(self) -> tuple[float, Tensor]:
        """f on the batch, and its gradient [P], by one pass."""
        value = self.value()
        return value.item(), self._slope(value)

    def penalty_gradient(self, *, create_graph: bool = False) -> Tensor:
        """The gradient of the penalty alone, [P]; 0 where there is none."""
        penalty = self.parameters[0].new_zeros(()) if self.penalty is None else self.penalty()
        return derivative(penalty, self.parameters, create_graph=create_graph)

    def full_gradient(self) -> Tensor:
        """The gradient of f on the whole training set, [P].

        Batch normalization takes its statistics from each chunk of it.
        """
        total = torch.zeros_like(self.vector())
        with self.replay():
            for first in range(0, len(self.train_inputs), self.chunk):
                x, y = self.train_inputs[first : first + self.chunk], self.train_targets[first : first + self.chunk]
                share = len(x) / len(self.train_inputs)
                with self.passes(("whole", x.shape), len(x)):
                    total += share * derivative(self.loss(self._forward(x), y, x), self.parameters)
        return total + self.penalty_gradient()

    def example_gradients(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The gradient of each example's loss alone, without the penalty: [B, P] for inputs [B, ...].

        Raises:
            UserError: the model has batch normalization, with which an example alone has no gradient.
        """
        if any(isinstance(module, MIXING) for module in self.model.modules()):
            raise UserError("normalization=batch: one example's gradient depends on the others; take another")
        trained = {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad}

        def one(theta: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            x, y = x.unsqueeze(0), y.unsqueeze(0)
            return self.loss(self._forward(x, theta), y, x)

        each = vmap(grad(one), (None, 0, 0), randomness="different", chunk_size=256)
        with self.replay(), self.passes(("each", inputs.shape), len(inputs)):
            gradients = each(trained, inputs, targets)
        return torch.cat([gradients[name].flatten(1) for name in trained], 1)

    def hessian_product(self) -> Product:
        """v -> H v with the Hessian H of f on the batch at theta: the gradient's derivative (Pearlmutter 1994)."""
        gradient = self._slope(self.value(), create_graph=True)
        return self._counted("hessian", lambda v: derivative(gradient, self.parameters, v))

    def gauss_newton_product(self) -> Product:
        """v -> (J^T H_L J + H_p) v on the batch at theta.

        J: Jacobian of the outputs by theta. H_L: Hessian of the loss by the outputs. H_p: Hessian of the penalty.
        J v is the derivative of J^T u by u, so that three backward passes make a product. Source: Schraudolph 2002.
        """
        outputs = self.outputs()
        free = outputs.detach().requires_grad_()
        slope = derivative(self.loss(free, self.targets, self.inputs), [free], create_graph=True)
        u = torch.zeros_like(outputs, requires_grad=True)
        with self.passes(("backward", self.inputs.shape), len(self.inputs)):
            pulled = derivative(outputs, self.parameters, u, create_graph=True)
        of_penalty = self.penalty_gradient(create_graph=True)

        def product(v: Tensor) -> Tensor:
            pushed = derivative(pulled, [u], v)  # J v, flat
            bent = derivative(slope, [free], pushed)
            bent = bent.view(*v.shape[:-1], *outputs.shape)
            return derivative(outputs, self.parameters, bent) + derivative(of_penalty, self.parameters, v)

        return self._counted("gauss_newton", product)

    def slope_and_block(self, block: slice) -> tuple[float, Tensor]:
        """f on the batch, and the rows and columns [b, b] of its Hessian that belong to b parameters in a row."""
        value = self.value()
        slope = self._slope(value, create_graph=True)[block]
        units = torch.eye(len(slope), dtype=slope.dtype, device=slope.device)
        rows = self._counted("block", lambda v: derivative(slope, self.parameters, v))(units)
        return value.item(), rows[:, block]

    def _slope(self, value: Tensor, *, create_graph: bool = False) -> Tensor:
        """The gradient of a value on the batch, [P]."""
        with self.passes(("backward", self.inputs.shape), len(self.inputs)):
            return derivative(value, self.parameters, create_graph=create_graph)

    def _counted(self, name: str, product: Product) -> Product:
        """A product that is counted: each of k vectors as a gradient."""

        def counted(v: Tensor) -> Tensor:
            examples = len(self.inputs) * (len(v) if v.ndim > 1 else 1)
            with self.passes((name, self.inputs.shape, v.shape), examples):
                return product(v)

        return counted

    def _forward(self, inputs: Tensor, theta: dict[str, Tensor] | None = None) -> Tensor:
        """Outputs of the model, with other parameters if given; its buffers stay as they are."""
        return forward(self.model, inputs, self.autocast, copied_buffers(self.model) | (theta or {}))


def replaying(generators: Sequence[torch.Generator]) -> Callable[[], AbstractContextManager[None]]:
    """Made before the training pass: contexts in which the generators draw again what that pass will have drawn."""
    before = [(generator, generator.get_state()) for generator in generators]

    @contextmanager
    def again() -> Iterator[None]:
        with ExitStack() as stack:
            for generator, state in before:
                stack.enter_context(drawing_from(state, generator))
            yield

    return again


class ObjectiveOptimizer(torch.optim.Optimizer):
    """An optimizer whose step is handed the objective; it has one group of parameters.

    Before `step`, every parameter's `.grad` holds the gradient of the batch's objective, and group["lr"] the step's
    learning rate. What it remembers between steps is in `memory`: tensors and plain values by name, in float
    tensors on the parameters' device and generator states (uint8).
    """

    separates_examples: ClassVar[bool] = False
    """Whether it asks for the gradient of each example alone, and of one at most once a step."""
    thresholds_itself: ClassVar[bool] = False
    """Whether it minimizes with the objective's thresholds in it, and not with such a penalty in the gradient."""
    remembers_examples: ClassVar[bool] = False
    """Whether it remembers gradients at training examples as they are."""

    # torch wraps these to keep torch.compile out of them, and imports it for that: a second at every start.
    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError(f"{type(self).__name__} takes one group of parameters")
        self.memory: dict[str, Any] = {}

    def check(self, parameters: int, examples: int, batch_size: int) -> None:
        """Refuse, before training, a model or a training set that is too large for it.

        Args:
            parameters: P, trainable ones.
            examples: N, in the training set.
            batch_size: B.

        Raises:
            UserError: it makes no sense there.
        """

    @abstractmethod
    def update(self, group: dict[str, Any], objective: Objective) -> None:
        """Change the model's parameters in place; group["lr"] is this step's learning rate."""

    def step(self, objective: Objective) -> None:  # type: ignore[override]
        """One update."""
        with torch.enable_grad():
            self.update(self.param_groups[0], objective)

    def state_dict(self) -> dict[str, Any]:
        """torch's, and the memory."""
        return {**unwrap(torch.optim.Optimizer.state_dict)(self), "memory": dict(self.memory)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state_dict, of which nothing is shared."""
        unwrap(torch.optim.Optimizer.load_state_dict)(self, state_dict)
        device = self.param_groups[0]["params"][0].device
        for name, value in state_dict["memory"].items():
            if isinstance(value, Tensor):
                # A generator's state lives on the CPU.
                value = value.detach().clone().to("cpu" if value.dtype == torch.uint8 else device)
            self.memory[name] = value

    def _limit(self, parameters: int, what: str) -> None:
        """Refuse more parameters than the key max_parameters allows for a dense matrix."""
        most = self.param_groups[0]["max_parameters"]
        if parameters > most:
            allowed = f"at least the model's {parameters} parameters, for a dense {what} of {parameters**2:.1e} entries"
            raise OptionError("max_parameters", most, allowed, "or take a smaller model")
