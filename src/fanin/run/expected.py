"""What a fresh draw of a run's recipe is expected to show at init: by its law, by redraws of it, or by both."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fanin.parts.data import Dataset
from fanin.run.layout import Layout, layout_of
from fanin.run.recipe import Recipe
from fanin.run.recipe_law import RecipeLaw, recipe_law
from fanin.run.redraws import Redraws, redraw_seed, redrawn
from fanin.run.theory_overlay import Expected
from fanin.streams import undisturbed
from fanin.theory.bands import Band, Key
from fanin.train.batches import probe_batch

log = logging.getLogger(__name__)

NEEDED = ("activation_norm", "gradient_norm")
"""What has a band at every weight layer, whatever the recipe."""

LIKELY = 100
"""Examples of which a law's are chosen: a batch of 20 differs much from others, in its classes and correlations."""


def expected(
    keys: Collection[Key],
    wanted: str,
    frozen: Collection[str],
    layout: Layout,
    *,
    law: Callable[[], RecipeLaw],
    draw: Callable[[bool], Redraws],
) -> Expected:
    """What is expected of norms: the bands of the law, and those of redraws where it lacks some.

    Args:
        keys: the norms that have been measured.
        wanted: auto, law, redraw, both or off; see `fanin.Probe`.
        frozen: names of the weight layers that are not trained, whose gradients have no band.
        layout: what the network is to theory.
        law: gives the law.
        draw: gives the redraws; told whether they were asked for by name.
    """

    def is_frozen(key: Key) -> bool:
        return key[2] == "gradient_norm" and key[1] in frozen

    by_law = wanted in ("auto", "law", "both")
    found = law() if by_law else RecipeLaw({}, "", "", "")
    bands = {key: band for key, band in found.bands.items() if not is_frozen(key)}
    needed = (key for key in keys if key[0] == "weight" and key[2] in NEEDED and not is_frozen(key))
    drawn = Redraws()
    if wanted in ("redraw", "both") or (wanted == "auto" and any(key not in bands for key in needed)):
        drawn = draw(wanted != "auto")
    beside: Mapping[Key, Band] = drawn.bands if wanted == "both" else {}
    told = (found.no_law, found.stopped_at, drawn.why)
    return Expected({**drawn.bands, **bands}, beside, *told, found.cosines, layout, layout.variances if by_law else {})


def expected_layout(device: torch.device, find: Callable[[], Layout]) -> Layout:
    """What a network is to theory; nothing where its parts cannot be walked, which a law tells that is wanted."""
    try:
        with undisturbed(device):
            return find()
    except (Exception, SystemExit):  # of a user's part
        return Layout()


@dataclass(frozen=True)
class Expecting:
    """Works out what is expected of a run, when its first profile is there.

    Args:
        made: its recipe.
        model: its network, initialized.
        batch: its probe batch, inputs [B, ...] and targets [B].
        data: what it is trained on.
        steps: that it is to take.
        frozen: names of the weight layers that are not trained.
    """

    made: Recipe
    model: nn.Module
    batch: tuple[Tensor, Tensor]
    data: Dataset
    steps: int
    frozen: Collection[str] = ()

    def __call__(self, keys: Collection[Key]) -> Expected:
        """What is expected of the norms that have been measured."""
        layout = expected_layout(self.made.device, lambda: layout_of(self.made, self.model, self.batch[0]))
        return expected(keys, self.made.probe.band, self.frozen, layout, law=self._law, draw=self._draw)

    def _draw(self, asked: bool) -> Redraws:
        drawn = redrawn(self.made, self.data, asked=asked, steps=self.steps)
        if drawn.why:
            log.log(logging.WARNING if drawn.failed else logging.INFO, "no redraws of the recipe: %s", drawn.why)
        return drawn

    def _reference_batch(self) -> tuple[Tensor, Tensor]:
        """The probe batch of the first redraw, whatever this run's seed; of a small one, more examples beside it."""
        size = len(self.batch[0])
        size = size if size == 1 else min(max(size, LIKELY), len(self.data.train_x))
        inputs, targets = probe_batch(self.data.train_x, self.data.train_y, size, [redraw_seed(0)])
        return inputs[0], targets[0]

    def _law(self) -> RecipeLaw:
        """The recipe's law; one that cannot be worked out takes no run with it."""
        try:
            with undisturbed(self.made.device):
                return recipe_law(
                    self.made, self.model, *self.batch, same=self.made.drawn_of, reference=self._reference_batch
                )
        except (Exception, SystemExit) as error:  # of a user's part
            said = f"the law could not be worked out: {type(error).__name__}: {' '.join(str(error).split())}"
            log.warning("%s", said)
            return RecipeLaw({}, said, "", "")
