"""What R networks in training minimize, as a function of all their trained parameters: [R, P] -> [R]."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import cast

import torch
from torch import Tensor

from fanin.parts.models.passes import copied_buffers, forward
from fanin.parts.regularizers import DropoutModule
from fanin.probes.curvature.stacked_loss import Function, Piece, StackedLoss
from fanin.streams import drawing_from
from fanin.train.stacked_model import Program, drawn_masks
from fanin.train.trained_model import TrainedModel

CHUNK = 2000
"""Examples of a piece of the data, for all runs together."""

MODES = ("evaluation", "training")


class MinimizedLosses:
    """Makes the losses of R networks of one structure: of the data, with label smoothing, and all penalties.

    They are taken in the weights' own precision. Decoupled weight decay, clipping, sam's step uphill and the bounds of
    weights are no part of a loss.

    Args:
        members: the networks, which stay as they are: their statistics, their streams and their gradients.
    """

    def __init__(self, members: Sequence[TrainedModel]) -> None:
        self.members, first = list(members), members[0]
        self.runs = len(self.members)
        self._shapes = {name: one.shape for name, one in first.model.named_parameters() if one.requires_grad}
        self._sizes = [shape.numel() for shape in self._shapes.values()]
        self.size = sum(self._sizes)
        names = {id(one): name for name, one in first.model.named_parameters()}
        self._weights = [names[id(weight)] for weight in first.trained_weights.values()]
        self.blocks = _blocks(list(self._shapes), self._sizes)
        self._program: Program | None = None

    def points(self) -> Tensor:
        """The parameters as they are, [R, P]."""
        return torch.stack([member.point() for member in self.members])

    def at(
        self,
        inputs: Tensor,
        targets: Tensor,
        *,
        mode: str = "evaluation",
        theta: Tensor | None = None,
        chunks: int | None = None,
    ) -> StackedLoss:
        """The losses on some data.

        Args:
            inputs: [R, B, ...], each run's own, or [N, ...] where `targets` are [N]: the same for all.
            targets: [R, B] or [N].
            mode: of the networks: "evaluation", or "training": batch normalization with each piece's own statistics,
                dropout and other noise with the draws of the probe, the same at every call.
            theta: [R, P]; None for where the networks are.
            chunks: pieces of the data; None for as few as CHUNK allows.
        """
        shared = targets.ndim == 1
        pieces, axis = [], 0 if shared else 1
        count = inputs.shape[axis]
        chunks = chunks or max(1, math.ceil(count * self.runs / CHUNK))
        for x, y in zip(inputs.tensor_split(chunks, axis), targets.tensor_split(chunks, axis), strict=True):
            if shared:
                x, y = x.expand(self.runs, *x.shape), y.expand(self.runs, -1)
            pieces.append(self._piece(x, y, training=mode == "training", share=y.shape[1] / count))
        point = self.points() if theta is None else theta

        def only(runs: Sequence[int]) -> StackedLoss:
            chosen = list(runs)
            x, y = (inputs, targets) if shared else (inputs[chosen], targets[chosen])
            return self._only(chosen).at(x, y, mode=mode, theta=point[chosen], chunks=chunks)

        return StackedLoss(point, pieces, self._penalty() if self._penalized else None, self.blocks, only)

    def tensors(self, theta: Tensor) -> dict[str, Tensor]:
        """Parameters by name, [R, ...] each, of theta [R, P]."""
        parts = torch.split(theta, self._sizes, -1)
        named = zip(self._shapes.items(), parts, strict=True)
        return {name: part.view((*part.shape[:-1], *shape)) for (name, shape), part in named}

    def _only(self, runs: Sequence[int]) -> MinimizedLosses:
        """Those of some of the networks, of the same program."""
        some = MinimizedLosses([self.members[run] for run in runs])
        some._program = self._program
        return some

    def _piece(self, inputs: Tensor, targets: Tensor, *, training: bool, share: float) -> Piece:
        loss = self.members[0].method.minimized
        outputs = self._alone(inputs, training) if self.runs == 1 else self._together(inputs, training)
        return Piece(
            outputs=outputs,
            loss=lambda out: loss(out, targets, inputs) if self.runs > 1 else loss(out[0], targets[0], inputs[0])[None],
            share=share,
        )

    def _alone(self, inputs: Tensor, training: bool) -> Function:
        """The outputs of one network, [1, B, K]."""
        (own,) = self.members

        def outputs(theta: Tensor) -> Tensor:
            parameters = self.tensors(theta.squeeze(0))
            with _mode(own, training), _no_cudnn(theta), _draws(own):
                return forward(own.model, inputs[0], None, copied_buffers(own.model) | parameters).unsqueeze(0)

        return outputs

    def _together(self, inputs: Tensor, training: bool) -> Function:
        """The outputs of R networks, [R, B, K]."""
        if self._program is None:
            self._program = Program(self.members[0].model, None, install_products=False)
        program, masks = self._program, []
        if training and program.dropouts:
            makers = [(member.probe_dropout, member.dropout) for member in self.members]
            streams = {run: make() if make else dropout for run, (make, dropout) in enumerate(makers)}
            modules = {name: [one.model.get_submodule(name) for one in self.members] for name in program.dropouts}
            rates = {name: [cast(DropoutModule, one).p for one in ones] for name, ones in modules.items()}
            with torch.enable_grad():
                masks = drawn_masks(program.trace(inputs), rates, streams, self.runs, inputs.device)
        fixed = [dict(one.model.named_buffers()) | _frozen(one) for one in self.members]
        others = {name: torch.stack([one[name].detach() for one in fixed]) for name in fixed[0]}

        def outputs(theta: Tensor) -> Tensor:
            program.train(training)
            copies = {name: one.clone() for name, one in others.items()}
            return program(self.tensors(theta) | copies, inputs, masks=masks)

        return outputs

    @property
    def _penalized(self) -> bool:
        return bool(self.members[0].method.penalties and self._weights)

    def _penalty(self) -> Function:
        """What the regularizers of each run add to its loss, [R]."""

        def penalty(theta: Tensor) -> Tensor:
            tensors = self.tensors(theta)
            return torch.stack(
                [
                    torch.stack(
                        [one.penalty([tensors[name][run] for name in self._weights]) for one in member.method.penalties]
                    ).sum()
                    for run, member in enumerate(self.members)
                ]
            )

        return penalty


def _frozen(own: TrainedModel) -> dict[str, Tensor]:
    return {name: one for name, one in own.model.named_parameters() if not one.requires_grad}


@contextmanager
def _draws(own: TrainedModel) -> Iterator[None]:
    """The probe's draws, the same in every pass."""
    masks = own.probe_dropout().get_state() if own.probe_dropout is not None else None
    with drawing_from(masks, own.dropout):
        yield


@contextmanager
def _mode(own: TrainedModel, training: bool) -> Iterator[None]:
    """The network in a mode; the learner's next step switches it back."""
    if own.model.training != training:
        own.model.train(training)
    yield


@contextmanager
def _no_cudnn(like: Tensor) -> Iterator[None]:
    """Without cuDNN, whose recurrent networks have no second derivatives."""
    with torch.backends.cudnn.flags(enabled=False) if like.device.type == "cuda" else nullcontext():
        yield


def _blocks(names: Sequence[str], sizes: Sequence[int]) -> dict[str, tuple[int, int]]:
    """The coordinates of each layer, by its name: of parameters that stand in no layer, by their own.

    >>> _blocks(["linear_1.weight", "linear_1.bias", "scale"], [6, 2, 1])
    {'linear_1': (0, 8), 'scale': (8, 9)}
    """
    found: dict[str, tuple[int, int]] = {}
    place = 0
    for name, size in zip(names, sizes, strict=True):
        layer = name.rpartition(".")[0] or name
        if layer in found and found[layer][1] < place:  # not in a row with the rest of its layer
            layer = name
        found[layer] = (found[layer][0] if layer in found else place, place + size)
        place += size
    return found
