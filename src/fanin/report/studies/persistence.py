"""init_persistence: what the initializer set is still there after training.

50 ReLU layers at c/n for several c, trained with Adam until a twentieth of the answers is wrong. Training moves the
weights a little way: each run ends nearer to its own start than to where another seed started or ended. Distances are
Euclidean, of all weights as one vector. Two independent starts lie sqrt(2) times as far apart as either from 0; Adam's
steps are about as long as its learning rate in each coordinate, and some hundred of them do not make up for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fanin.record.landscape_files import Asked
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Evidence, Study
from fanin.report.studies.lines import apart, lines_of, nearer_to_own_start

POINTS = 3


class PersistenceStudy(Study):
    """What the initializer set persists: weights end near their starts."""

    caption = "Norms over depth before training, and the training loss. Thin: one seed, thick: their mean."

    def landscapes(self, runs: Sequence[Run]) -> Iterable[Asked]:
        """The line between the ends of every two seeds, for the distances."""
        return [asked for _, _, asked in lines_of(runs, POINTS)]

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """Where weights end."""
        yield nearer_to_own_start(apart(evidence, POINTS))
