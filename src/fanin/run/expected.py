"""What a fresh draw of a run's recipe is expected to show at init: by its law, by redraws of it, or by both."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from fanin.parts.data import Dataset
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
        wanted = self.made.probe.band
        law = self._law() if wanted in ("auto", "law", "both") else RecipeLaw({}, "", "", "")
        bands = {key: band for key, band in law.bands.items() if not self._is_frozen(key)}
        lacking = any(key not in bands for key in keys if self._is_needed(key))
        drawn = Redraws()
        if wanted in ("redraw", "both") or (wanted == "auto" and lacking):
            drawn = redrawn(self.made, self.data, asked=wanted != "auto", steps=self.steps)
            if drawn.why:
                log.log(logging.WARNING if drawn.failed else logging.INFO, "no redraws of the recipe: %s", drawn.why)
        beside: Mapping[Key, Band] = drawn.bands if wanted == "both" else {}
        return Expected({**drawn.bands, **bands}, beside, law.no_law, law.stopped_at, drawn.why, law.cosines)

    def _is_needed(self, key: Key) -> bool:
        axis, _, quantity = key
        return axis == "weight" and quantity in NEEDED and not self._is_frozen(key)

    def _is_frozen(self, key: Key) -> bool:
        return key[2] == "gradient_norm" and key[1] in self.frozen

    def _reference_batch(self) -> tuple[Tensor, Tensor]:
        """The probe batch of the first redraw, whatever this run's seed."""
        inputs, targets = probe_batch(self.data.train_x, self.data.train_y, len(self.batch[0]), [redraw_seed(0)])
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
