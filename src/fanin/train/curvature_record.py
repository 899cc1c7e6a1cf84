"""When the curvature of the runs of a loop is looked at, and where what is seen goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from fanin.probes.probe import Probe
from fanin.train.batches import Batches
from fanin.train.curvature_look import CurvatureLook
from fanin.train.curvature_state import Found
from fanin.train.learner import Batch, Learner
from fanin.train.run_state import Run


@dataclass
class CurvatureRecord:
    """Looks at the curvature of R runs, and writes their rows; made anew where some of the runs leave.

    Args:
        learner, batches, probe_data, runs: those of the loop.
        probe: when to look, and at what.
        trains: whether a run, by its place, is on its way.
        tell: told of what could not be measured, the words that tell it from others first.
    """

    learner: Learner
    batches: Batches
    probe: Probe
    probe_data: Batch
    runs: Sequence[Run]
    trains: Callable[[int], bool]
    tell: Callable[[str, str], None]

    def due(self, step: int, *, end: bool = False) -> bool:
        """Whether to look at a step: with the profiles, at its own cadence, and at the end."""
        wanted = self.probe.curvature
        return bool(wanted.quantities) and (end or step == 0 or step in self.probe.steps or wanted.due(step))

    @cached_property
    def look(self) -> CurvatureLook:
        """Of these runs."""
        return CurvatureLook(self.learner.networks, self.probe.curvature, self.batches.seeds)

    def at(self, step: int) -> None:
        """Look, and write what is seen."""
        train = self.batches.inputs, self.batches.targets
        data = train if self.probe.curvature.data == "train" else self.probe_data
        self._write(step, self.look(step, data, [run.curvature for run in self.runs]))

    def before_update(self, step: int) -> Tensor | None:
        """The parameters before an update along which the loss is to be followed, [R, P]; None where none is."""
        wanted = self.probe.curvature.wants("critical_sharpness") and self.due(step)
        return self.look.losses.points() if wanted else None

    def after_update(self, step: int, before: Tensor, rates: Sequence[float], batch: Batch) -> None:
        """Follow the loss along the update that was made from `before`."""
        self._write(step, self.look.along_update(before, rates, batch, [run.curvature for run in self.runs]))

    def _write(self, step: int, found: Found) -> None:
        for index, (run, rows) in enumerate(zip(self.runs, found[0], strict=True)):
            if rows and (self.trains(index) or step == run.step):
                run.recorder.curvature(step, rows)
        for note in found[1]:
            self.tell(note.partition(" at step")[0], note)
