"""Fresh draws of a recipe: what the profile at init of a run with another seed would have been, R times.

Redraw r is the run of `redraw_seed(r)`: its weights, its probe batch and its dropout masks are those that
`fanin seed=<that number>` would have. So the band does not depend on the seed of the run that it is drawn behind, and
one band serves all seeds of a grid.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from fanin.errors import UserError
from fanin.parts.data import Dataset
from fanin.parts.optimizers import SGD
from fanin.probes.measures import stacked_norms
from fanin.probes.probe import Label, measure_profile
from fanin.probes.quantities import TABLE
from fanin.run.networks import initialized, trained_model
from fanin.run.recipe import Recipe
from fanin.run.shared_cache import SharedCache
from fanin.streams import stream_seed, undisturbed
from fanin.theory.bands import Band, Bands, redraw_source
from fanin.train.batches import Batches, probe_batch
from fanin.train.flops import flops_of_step
from fanin.train.fused_learner import FusedLearner
from fanin.train.single_learner import SingleLearner
from fanin.train.step import Method

BANDED = ("activation_norm", "activation_gradient_norm", "gradient_norm")
"""The quantities that have a band."""

MOST, FEWEST = 64, 16
"""Redraws where nobody asks for a number: these, or so few of what takes long."""

SHORT = 64
"""A run of fewer steps is not kept waiting for more than the fewest."""

WORK, WORK_ON_GPU = 1.5e11, 1.5e13
"""Floating point operations of all redraws that nobody asks for, a second or two; four times that for the fewest."""

TOGETHER, TOGETHER_ON_GPU = (16, 2e8), (64, 8e9)
"""Redraws in one program, and bytes that they look at, at most: more are no faster."""


@dataclass(frozen=True)
class Redraws:
    """The bands that redraws of a recipe give.

    Attributes:
        bands: of every row of the profile that differs from draw to draw.
        why: why there are none, where there are none.
        failed: whether that is because a redraw failed.
    """

    bands: Bands = field(default_factory=dict)
    why: str = ""
    failed: bool = False


def redraw_seed(place: int) -> int:
    """The seed of redraw 0, 1, ...: 63 bits of a hash, which nobody types by chance."""
    return stream_seed(0, "redraw", place)


def redrawn(made: Recipe, data: Dataset, *, asked: bool, steps: int) -> Redraws:
    """The bands of a recipe, drawn once in a process for all seeds of it.

    A redraw that fails takes no run with it: the reason stands in the result.

    Args:
        made: the recipe; its seed does not matter.
        data: what it is trained on.
        asked: whether redraws are asked for by name, whatever they take.
        steps: of the run, which is not kept waiting for long where they are few.
    """
    few = 0 < steps < SHORT
    if made.drawn_of is None:
        return _redrawn(made, data, asked=asked, few=few)
    key = (made.drawn_of, made.device, made.trainer.precision, made.probe.batch_size, made.probe.redraws, asked, few)
    return _known.get(key, lambda: _redrawn(made, data, asked=asked, few=few))


_known: SharedCache[Redraws] = SharedCache("redraws", most=64)


def _redrawn(made: Recipe, data: Dataset, *, asked: bool, few: bool) -> Redraws:
    try:
        with undisturbed(made.device), _silent():
            return _bands(Drawing(made, data), made.probe.redraws, asked=asked, few=few)
    except (Exception, SystemExit) as error:  # of a user's part
        return Redraws(why=f"a redraw failed: {type(error).__name__}: {' '.join(str(error).split())}", failed=True)


def _bands(drawing: Drawing, wanted: int | None, *, asked: bool, few: bool) -> Redraws:
    """The bands of as many redraws as are wanted, or as are worth their time."""
    norms = [drawing.look(drawing.draw([0]))]
    count = wanted or (MOST if asked else affordable(drawing.work, drawing.device.type, few=few))
    if count == 0:
        return Redraws(
            why=f"a redraw takes {drawing.work / 1e9:.0f} GFLOP; probe.band=redraw has it drawn all the same"
        )
    start = 1
    while start < count:
        drawn = drawing.draw(range(start, min(start + drawing.together, count)))
        if start == 1 and drawing.constant:
            return Redraws(why="every draw of its weights is the same")
        norms.append(drawing.look(drawn))
        start += len(drawn.models)
    return Redraws(bands_of(drawing.labels, torch.cat(norms).numpy()))


def affordable(work: float, device: str, *, few: bool) -> int:
    """How many redraws of so many floating point operations are drawn unasked; 0 where none is worth its time.

    >>> [affordable(work, "cpu", few=False) for work in (1e8, 5e9, 2e10, 1e11)], affordable(1e8, "cpu", few=True)
    ([64, 30, 16, 0], 16)
    """
    most = FEWEST if few else MOST
    budget = WORK if device == "cpu" else WORK_ON_GPU
    count = max(FEWEST, min(most, int(budget / work)))
    return count if count * work <= 4 * budget else 0


def bands_of(labels: Sequence[Label], norms: NDArray[np.float64]) -> Bands:
    """The bands of rows whose norms in R draws are [R, n]; a row that is the same in all draws has none."""
    source = redraw_source(len(norms))
    bands = {
        (axis, layer, quantity): Band.of_draws(column.tolist(), source)
        for (axis, _, layer, quantity), column in zip(labels, norms.T, strict=True)
        if (axis, layer) != ("module", "input")  # the data's
    }
    return {key: band for key, band in bands.items() if band is not None}


@dataclass(frozen=True)
class Drawn:
    """Networks of some seeds, initialized, each with its probe batch.

    Attributes:
        recipes: one per network.
        models: the networks.
        batch: inputs [R, B, ...] and targets [R, B].
    """

    recipes: Sequence[Recipe]
    models: Sequence[nn.Module]
    batch: tuple[Tensor, Tensor]


class Drawing:
    """Draws networks of a recipe afresh and looks at them.

    Args:
        made: the recipe.
        data: what it is trained on.

    Attributes:
        labels: of the norms that a look gives; there after the first.
        work: floating point operations of a redraw.
        together: redraws that are best made as one program.
        constant: whether all networks so far had the same parameters.
    """

    def __init__(self, made: Recipe, data: Dataset) -> None:
        # Nothing is trained: the optimizer only has to be one that can be stacked.
        self.made = replace(
            made, method=Method(loss=made.method.loss), make_optimizer=lambda params: SGD(params, lr=1.0)
        )
        self.data, self.device = data, made.device
        self.labels: list[Label] = []
        self.work, self.together, self.constant = 0.0, 1, True
        self._first: list[Tensor] = []
        self._calls = 0

    def draw(self, places: Sequence[int]) -> Drawn:
        """Redraws as their runs would begin."""
        recipes = [replace(self.made, seed=redraw_seed(place)) for place in places]
        seeds, data = [one.seed for one in recipes], self.data
        batch = probe_batch(data.train_x, data.train_y, self.made.probe.batch_size, seeds)
        with _counted_calls() as calls:
            models = [initialized(one, data, inputs) for one, inputs in zip(recipes, batch[0], strict=True)]
        if not self._first:
            self._first = [parameter.detach().clone() for parameter in models[0].parameters()]
            self._calls = len(calls)
        else:
            self.constant &= all(
                torch.equal(*pair) for model in models for pair in zip(self._first, model.parameters(), strict=True)
            )
        return Drawn(recipes, models, batch)

    def look(self, drawn: Drawn) -> Tensor:
        """The norms that the look at init of a run of each would have found, [R, n] on the host."""
        inputs = drawn.batch[0]
        seeds = [one.seed for one in drawn.recipes]
        batches = Batches(self.data.train_x, self.data.train_y, inputs.shape[1], seeds)
        trained = [trained_model(*pair, batches) for pair in zip(drawn.recipes, drawn.models, strict=True)]
        learner = FusedLearner(trained) if len(trained) > 1 else SingleLearner(trained[0])
        with _counted_calls() as calls:
            seen = learner.observe(drawn.batch)
        labels, values = measure_profile(seen, quantities=[TABLE[name] for name in BANDED], norms=stacked_norms)
        if not self.labels:
            self.labels = labels
            looked = [*seen.activations, *seen.activation_gradients, *seen.weights, *seen.gradients]
            self._plan(learner.model, inputs[0], len(calls), sum(one.nbytes for one in looked if one is not None))
        elif labels != self.labels:
            raise UserError("another draw of the model has other layers")
        return values.cpu()

    def _plan(self, model: nn.Module, inputs: Tensor, calls: int, size: int) -> None:
        """Learn from the first redraw what one takes; passes that calibrate weights have no way back."""
        flops = flops_of_step(model, inputs, structure=repr(model))
        self.work = flops * (1 + self._calls / max(1, calls) / 3)
        most, memory = TOGETHER if self.device.type == "cpu" else TOGETHER_ON_GPU
        self.together = max(1, min(most, int(memory / size))) if self.made.stackable else 1


@contextmanager
def _counted_calls() -> Iterator[list[None]]:
    """Counts the calls of modules in here."""
    calls: list[None] = []
    handle = register_module_forward_hook(lambda *_: calls.append(None))
    try:
        yield calls
    finally:
        handle.remove()


@contextmanager
def _silent() -> Iterator[None]:
    """Nothing is logged in here: what there is to say of a draw, the run has said of its own."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)
