"""The pass that trains, seen without a hook on any module.

Torch calls global hooks for the modules of every model. They are there only from the step before a point is due to
that point, and the model itself is never touched: it can be copied, pickled and left by an exception at any moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from fanin.probes.capture import Capture, Observation, Recording
from fanin.probes.modules import inner
from fanin.torch_internals import foreach_copy_, in_backward

Copies = Callable[[], dict[str, Tensor]]


class TrainingPass:
    """Records a model's last pass with gradients since it was armed.

    That is a call of the model itself; where there is none, because a loop calls its parts one by one (a generator
    and a discriminator, model.encode), all their calls together. A call without gradients (an evaluation) is none, nor
    is what torch.utils.checkpoint computes again in the backward pass.

    Args:
        root: the model.
        capture: of its passes.

    Attributes:
        before: copies of the weights as the pass met them, where some were asked for.
        compiled: whether torch.compile has met its hooks.
        scale: what the loss was multiplied with, by the word of the function that `arm` was given.
    """

    def __init__(self, root: nn.Module, capture: Capture) -> None:
        self._root, self._capture = root, capture
        self._known = {id(named[1]): (named, inner(named, capture.modules)) for named in capture.modules}
        self._entering: Any = None  # the hook that waits for the model to be called; there between its calls only
        self._leaving: Any = None
        self.compiled = False
        self._reset()

    def _reset(self) -> None:
        self._recording: Recording | None = None
        self._called = self._inside = self._open = False
        self.before: dict[str, Tensor] | None = None
        self.scale = 1.0

    @property
    def armed(self) -> bool:
        """Whether it records."""
        return self._leaving is not None

    def arm(self, *, gradients: bool, copies: Copies | None = None, scale: Callable[[], float] = lambda: 1.0) -> None:
        """Record the next pass.

        Args:
            gradients: whether those of the outputs are wanted.
            copies: gives copies of the weights; called as the pass begins.
            scale: gives what the loss will be multiplied with; called as the pass begins.
        """
        self.disarm()
        self._reset()
        self._gradients, self._copies, self._scale = gradients, copies, scale
        self._entering = register_module_forward_pre_hook(self._enter)
        # Called after an exception, too, or a pass that failed would never end.
        self._leaving = register_module_forward_hook(self._leave, always_call=True)

    def disarm(self) -> None:
        """Take the hooks away."""
        for handle in (self._entering, self._leaving):
            if handle is not None:
                handle.remove()
        self._entering = self._leaving = None

    def read(self) -> Observation | None:
        """What was seen; None if there was no pass. Nothing is left behind."""
        self.disarm()
        recording, self._recording = self._recording, None
        if recording is None:
            return None
        seen = recording.end(blocks=True)
        self._capture.learn(seen)
        return seen

    def _begin(self) -> None:
        """Start afresh: what an earlier pass has left is dropped."""
        if self._recording is not None:
            self._recording.end()
        self._recording = Recording(self._capture.modules, gradients=self._gradients, steady=self._capture.steady)
        self.before = self._copies() if self._copies is not None else None
        self.scale = self._scale()

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        if module is not self._root:
            return
        if torch.compiler.is_compiling():
            self.compiled = True
            return
        self._entering.remove()
        self._inside, self._open = True, _trains()
        if self._open:
            self._called = True
            self._begin()

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if torch.compiler.is_compiling():
            self.compiled = True
            return
        if self._open if self._inside else not self._called and _trains():
            known = self._known.get(id(module))
            if known is not None:
                if self._recording is None:
                    self._begin()
                self._recording.look(*known, output)  # type: ignore[union-attr]
        if module is self._root:
            if self._open and output is None and self._recording is not None:  # an exception
                self._recording.end()
                self._recording = None
            self._inside = self._open = False
            self._entering.remove()
            self._entering = register_module_forward_pre_hook(self._enter)


def _trains() -> bool:
    """Whether what is computed now is the forward pass of a training step."""
    return torch.is_grad_enabled() and not in_backward()


def copies_of(weights: Mapping[str, Tensor]) -> Copies:
    """A function that copies these weights, each time to the same place: new memory is the slower part of a copy."""
    held: dict[str, Tensor] = {}

    def copies() -> dict[str, Tensor]:
        now = {name: weight.detach() for name, weight in weights.items()}
        if not held:
            held.update({name: weight.clone() for name, weight in now.items()})
        else:
            foreach_copy_([held[name] for name in now], list(now.values()))
        return held

    return copies
