"""A training pass that the GPU is told once and then repeats: thousands of small kernels, one launch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

log = logging.getLogger(__name__)

Results = Sequence[Tensor | None]
Pass = Callable[..., Results]

WARM_UP = 3
"""Passes before the capture, in which libraries choose their kernels and autograd sets its memory aside."""


def capture(function: Pass, inputs: Sequence[Tensor]) -> tuple[Callable[[], None], Results]:
    """Capture function(*inputs) in a CUDA graph; returns what repeats it, and its results, which that overwrites."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            function(*inputs)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = function(*inputs)
    return graph.replay, results


class Repeated:
    """A pass over inputs of one shape; captured at its first call, replayed from then on.

    The pass must launch the same kernels whatever the inputs hold, and read everything else from tensors that stay
    where they are: parameters and buffers that are updated in place. One that cannot be captured is run as it is.

    Args:
        function: (*inputs) -> tensors.
        state: what the pass changes in place: as the first real pass should find it, whatever the warm-up does.
        capturing: how it is captured; see `capture`.
    """

    def __init__(
        self,
        function: Pass,
        state: Sequence[Tensor],
        capturing: Callable[[Pass, Sequence[Tensor]], tuple[Callable[[], None], Results]] = capture,
    ) -> None:
        self.function, self.state, self.capturing = function, state, capturing
        self._inputs: list[Tensor] = []
        self._replay: Callable[[], None] | None = None
        self._results: Results = ()
        self._refused = False

    def __call__(self, *inputs: Tensor) -> Results:
        """The results, valid until the next call."""
        if not self._refused and [one.shape for one in inputs] != [one.shape for one in self._inputs]:
            self._capture(inputs)
        if self._replay is None:
            return self.function(*inputs)
        for held, one in zip(self._inputs, inputs, strict=True):
            held.copy_(one)
        self._replay()
        return self._results

    def _capture(self, inputs: Sequence[Tensor]) -> None:
        self._inputs = [one.clone() for one in inputs]
        kept = [one.clone() for one in self.state]
        try:
            self._replay, self._results = self.capturing(self.function, self._inputs)
        except RuntimeError as error:
            log.warning("a step is launched kernel by kernel, for it cannot be captured in a CUDA graph: %s", error)
            self._replay, self._refused = None, True
        for one, before in zip(self.state, kept, strict=True):
            one.copy_(before)
