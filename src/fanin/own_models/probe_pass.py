"""Passes of a fixed batch through a user's model that leave no trace in it, nor in any stream of random numbers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from fanin.errors import UserError
from fanin.parts.models.passes import copied_buffers
from fanin.parts.noise import noise_modules
from fanin.probes.capture import Capture, Observation
from fanin.streams import drawing_from, generator, torch_stream
from fanin.torch_internals import compiler_is_here

Loss = Callable[..., Any]


class ProbePass:
    """A fixed batch, and what it takes to send it through a model.

    Running statistics and other buffers, gradients, training modes and random streams stay as they are; the draws of a
    pass (dropout masks) are the same ones at every look, those of a fanin run of the same seed.

    Args:
        model: the network itself, unwrapped.
        capture: of its passes.
        inputs: a batch: a tensor, or a tuple of positional or a mapping of named arguments.
        targets: what `loss` gets beside the outputs.
        loss: (outputs, targets) -> a number; None takes the loss that the model gives itself, if it gives one.
        seed: of the draws.
        autocast: the lower precision of the pass, or None.

    Raises:
        UserError: inputs that are no tensors, or on another device than the model.
    """

    def __init__(
        self,
        model: nn.Module,
        capture: Capture,
        inputs: Any,
        targets: Any = None,
        loss: Loss | None = None,
        *,
        seed: int = 0,
        autocast: torch.dtype | None = None,
    ) -> None:
        self._model, self._capture, self._autocast = model, capture, autocast
        self._inputs, self._targets, self._loss = inputs, targets, loss
        self.device = next(model.parameters()).device
        tensors = list(tensors_in(inputs))
        if not tensors:
            raise UserError(
                f"inputs: a batch is a tensor, a tuple or a mapping of tensors, not {type(inputs).__name__}"
            )
        for what, one in [("inputs", one) for one in tensors] + [("targets", one) for one in tensors_in(targets)]:
            if one.device != self.device:
                raise UserError(
                    f"{what}: on {one.device}, and the model is on {self.device}; use {what}.to({str(self.device)!r})"
                )
        states = {self.device.type, "cpu"}
        self._masks = {kind: generator(seed, "probe", "dropout", device=_place(kind, self.device)) for kind in states}
        self.modes = modes_of(model)

    def observe(self, *, gradients: bool = True) -> tuple[Observation, dict[int, Tensor | None] | None]:
        """One look: what passed through, and the gradients of all trained parameters by id; None without a loss.

        Args:
            gradients: whether they are wanted.
        """
        args, kwargs = arguments(copied(self._inputs))
        first = next(tensors_in((args, kwargs)))
        trained = [one for one in self._model.parameters() if one.requires_grad]
        wanted = gradients and bool(trained)
        found = None
        looking = self._capture.everything(first, gradients=wanted)
        with self._without_trace(), torch.set_grad_enabled(wanted), looking as seen:
            with torch.autocast(self.device.type, self._autocast) if self._autocast else nullcontext():
                try:
                    outputs = functional_call(self._model, copied_buffers(self._model), args, kwargs)
                except Exception as error:  # whose traceback leads into the model
                    error.add_note(f"fanin: so it was when {type(self._model).__name__} was given inputs=")
                    raise
            if self._autocast and isinstance(outputs, Tensor):
                outputs = outputs.float()
            loss = self._loss_of(outputs) if wanted else None
            if loss is not None:
                found = dict(zip(map(id, trained), _gradients(loss, trained), strict=True))
        return seen, found

    def _loss_of(self, outputs: Any) -> Tensor | None:
        """The loss of outputs, or None where nobody says what it is."""
        if self._loss is None:
            loss = own_loss(outputs)
        else:
            loss = self._loss(outputs) if self._targets is None else self._loss(outputs, copied(self._targets))
            if not isinstance(loss, Tensor) or loss.numel() != 1:
                shape = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
                raise UserError(f"loss: must give one number, not {shape}")
        if loss is not None and not loss.requires_grad:
            raise UserError("loss: depends on no parameter of the model that is trained")
        return loss

    @contextmanager
    def _without_trace(self) -> Iterator[None]:
        kept = [(module, module.training) for module in self._model.modules()]
        python, numpy = random.getstate(), np.random.get_state()
        own = {id(one.generator): one.generator for one in noise_modules(self._model) if one.generator is not None}
        try:
            with ExitStack() as streams:
                streams.enter_context(_eager())
                for kind, masks in self._masks.items():
                    stream = torch_stream(_place(kind, self.device))
                    streams.enter_context(drawing_from(masks.get_state(), stream))
                for one in own.values():
                    streams.enter_context(drawing_from(self._masks[one.device.type].get_state(), one))
                for module, mode in self.modes:
                    module.training = mode
                yield
        finally:
            for module, mode in kept:
                module.training = mode
            random.setstate(python)
            np.random.set_state(numpy)


def modes_of(model: nn.Module) -> list[tuple[nn.Module, bool]]:
    """Every module, and whether it is in training mode."""
    return [(module, module.training) for module in model.modules()]


def own_loss(outputs: Any) -> Tensor | None:
    """The loss that a model gives itself: its output, the first of several, or what it calls "loss"; else None.

    >>> own_loss({"loss": torch.tensor(2.0), "logits": torch.zeros(3)}), own_loss(torch.zeros(3))
    (tensor(2.), None)
    """
    if isinstance(outputs, Mapping):
        outputs = outputs.get("loss")
    elif isinstance(outputs, Sequence):
        outputs = outputs[0] if outputs else None
    elif not isinstance(outputs, Tensor):
        outputs = getattr(outputs, "loss", None)
    return outputs if isinstance(outputs, Tensor) and outputs.ndim == 0 and outputs.is_floating_point() else None


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors of a batch, however it is nested."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from tensors_in(one)
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from tensors_in(one)


def copied(value: Any) -> Any:
    """A batch with copies of its tensors: a model may work on its input in place."""
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, Mapping):
        return {key: copied(one) for key, one in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(map(copied, value)) if isinstance(value, tuple) else list(map(copied, value))
    return value


def arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """How a model is called with a batch: positional arguments, and named ones."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (tuple(inputs), {}) if isinstance(inputs, tuple) else ((inputs,), {})


def _gradients(loss: Tensor, parameters: Sequence[Tensor]) -> Sequence[Tensor | None]:
    try:
        found: Sequence[Tensor | None] = torch.autograd.grad(loss, list(parameters), allow_unused=True)
    except RuntimeError as error:
        if "checkpoint" not in str(error).lower():
            raise
        raise UserError(
            "inputs: a profile needs torch.utils.checkpoint(..., use_reentrant=False); the old kind knows no "
            "torch.autograd.grad"
        ) from None
    return [None if one is None else one.to_dense() if one.is_sparse else one for one in found]


def _place(kind: str, device: torch.device) -> torch.device:
    return device if device.type == kind else torch.device(kind)


def _eager() -> Any:
    """Have what is compiled run as it was written; torch's compiler is not imported for that."""
    return torch.compiler.set_stance("force_eager") if compiler_is_here() else nullcontext()
