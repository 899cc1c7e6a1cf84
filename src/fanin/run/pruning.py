"""Which weights are pruned: those of the smallest magnitude, of the whole network or of each layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fanin.errors import OptionError, choice, integer, number
from fanin.parts.models.layers import weight_layers
from fanin.streams import generator

SCOPES = ("global", "layer")
CRITERIA = ("magnitude", "random")
REWINDS = ("init", "none", "redraw")

MASKS = "masks"
"""The folder of the masks of all rounds, beside the rounds' own."""


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """How a network is pruned and trained again.

    Args:
        share: of its weights that are 0 in the end, in (0, 1).
        rounds: n; each of them leaves the share $(1 - share)^(1/n)$ of what there was, and 1 is one shot.
        scope: "global" compares the magnitudes of all layers, "layer" takes the same share of each.
        criterion: "magnitude", or "random" for a control: any weights, whatever they are.
        rewind: where a round's training starts: "init", the weights at step 0; "step_N", those that
            `trainer.snapshots` kept after N steps; "none", those that were trained; "redraw", another draw of the
            initial weights in the same masks, the control of Frankle & Carbin.
        steps: of a round's training; None for as many as the run was to have, 0 for none.

    Raises:
        OptionError: a value is out of range, or two do not go together.

    Source: Han et al. 2015; Frankle & Carbin 2019; rewinding to an early step: Frankle et al. 2020.
    """

    share: float
    rounds: int = 1
    scope: str = "global"
    criterion: str = "magnitude"
    rewind: str = "init"
    steps: int | None = None

    def __post_init__(self) -> None:
        number("share", self.share, 0, 1, open_low=True, open_high=True)
        integer("rounds", self.rounds, 1)
        choice("scope", self.scope, SCOPES)
        choice("criterion", self.criterion, CRITERIA)
        if not (self.rewind.startswith("step_") and self.rewind.removeprefix("step_").isdigit()):
            choice("rewind", self.rewind, (*REWINDS, "step_N"))
        if self.steps is not None:
            integer("steps", self.steps, 0)
            if self.steps == 0 and self.rewind != "none":
                raise OptionError("steps", 0, f"at least 1 with rewind={self.rewind}", "or take rewind none")

    def kept(self, done: int) -> float:
        """The share of weights that is left after some rounds.

        >>> [round(Pruning(share=0.75, rounds=2).kept(done), 6) for done in (0, 1, 2)]
        [1.0, 0.5, 0.25]
        """
        return float((1 - self.share) ** (done / self.rounds))


def pruned_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights that can be pruned: the matrices and kernels of a network, by their layers' names, each once."""
    found: dict[int, tuple[str, Tensor]] = {}
    for name, layer in weight_layers(model):
        weight = layer.get_parameter("weight")
        found.setdefault(id(weight), (name, weight.detach()))
    return dict(found.values())


def masks_of(
    weights: Mapping[str, Tensor],
    kept: float,
    *,
    scope: str = "global",
    before: Mapping[str, Tensor] | None = None,
    random: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Masks that keep a share of all weights, those of the largest magnitude; of equal ones the earlier go first.

    What was pruned before stays pruned. Of N entries, of the network or of each layer, $round(kept N)$ are kept.

    Args:
        weights: by the layers' names.
        kept: share of the entries, pruned ones among them, in [0, 1].
        scope: "global" or "layer".
        before: the masks of the round before.
        random: draws which are kept in place of the largest; None goes by magnitude.

    >>> masks_of({"a": torch.tensor([[3.0, -1.0], [0.5, 2.0]])}, 0.5)["a"]
    tensor([[ True, False],
            [False,  True]])
    """
    ranks = {}
    for name, weight in weights.items():
        size = torch.rand(weight.shape, generator=random) if random is not None else weight.abs().double().cpu()
        ranks[name] = size if before is None or name not in before else torch.where(before[name], size, -1.0)
    groups = [list(ranks)] if scope == "global" else [[name] for name in ranks]
    masks: dict[str, Tensor] = {}
    for group in groups:
        flat = torch.cat([ranks[name].flatten() for name in group])
        mask = torch.zeros(len(flat), dtype=torch.bool)
        mask[flat.argsort(stable=True)[len(flat) - round(kept * len(flat)) :]] = True
        parts = torch.split(mask, [ranks[name].numel() for name in group])
        masks |= {name: part.view(ranks[name].shape).clone() for name, part in zip(group, parts, strict=True)}
    return masks


def stream_of(asked: Pruning, seed: int, done: int) -> torch.Generator | None:
    """What draws a round's masks where they are random, None where they go by magnitude."""
    return generator(seed, "prune", done) if asked.criterion == "random" else None
