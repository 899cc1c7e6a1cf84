"""Where runs end: sharpness and gap, and what the sharpness of the same function is with two layers rescaled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from fanin.record.landscape_files import Asked, Landscape
from fanin.report.compare.sides import value_of
from fanin.report.read.folders import Run
from fanin.report.studies.base import Evidence, number

BATCH, RATE = "trainer.batch_size", "optimizer.lr"
FACTORS = (0.1, 0.3, 1.0, 3.0)
"""By which the first layer is multiplied and the next divided; no powers of 2, with which nothing is rounded."""

POINTS, SPAN = 21, 0.05
FIRST = "linear_1"


class Rescaled(NamedTuple):
    """A network with its first layer times a and the next divided by it.

    Attributes:
        run: the network's.
        factor: a.
        line: the loss along the eigenvector of the largest eigenvalue.
        sharpness: that eigenvalue.
        low, high: what it lies between in theory.
    """

    run: Run
    factor: float
    line: Landscape
    sharpness: float
    low: float
    high: float


def size_of(batch: Any) -> float:
    """Examples of a batch; infinite for all.

    >>> size_of(8), size_of("all")
    (8.0, inf)
    """
    return float(batch) if isinstance(batch, (int, float)) else math.inf


def batches(evidence: Evidence) -> list[Any]:
    """The sizes of batches that there are, the smallest first."""
    return sorted(evidence.values(BATCH), key=size_of)


def noise_of(run: Run) -> float:
    """The rate over the batch, 0 for all: in units of what sgd's noise is taken for, $g = a (N/B - 1)$, but for N.

    Source: Smith & Le 2018, equation 9.
    """
    return (number(run, RATE) or 0.0) / size_of(value_of(run, BATCH))


def log_sharpness(evidence: Evidence) -> Callable[[Run], float | None]:
    """A function that reads the logarithm of the sharpness at a run's end."""

    def read(run: Run) -> float | None:
        _, values = evidence.look(run, "sharpness")
        return math.log(values[-1]) if len(values) and values[-1] > 0 else None

    return read


def gap(run: Run) -> float | None:
    """The test loss less the training loss."""
    test, train = run.numbers.get("test_loss"), run.numbers.get("train_loss")
    return None if test is None or train is None else test - train


def log_gap(run: Run) -> float | None:
    """Its logarithm."""
    found = gap(run)
    return math.log(found) if found is not None and found > 0 else None


def flat_and_sharp(runs: Iterable[Run]) -> list[tuple[Run, Run]]:
    """Of each seed the networks of the smallest and of the largest batch, at the largest rate and without sam."""
    plain = [run for run in runs if value_of(run, "regularizer") in ("none", None, []) and number(run, RATE)]
    plain = [run for run in plain if value_of(run, "activation") == "relu"]
    fastest = max((number(run, RATE) or 0.0 for run in plain), default=0.0)
    by_seed: dict[str, list[Run]] = {}
    for run in plain:
        if number(run, RATE) == fastest:
            by_seed.setdefault(str(run.seed), []).append(run)
    ordered = [sorted(some, key=lambda run: size_of(value_of(run, BATCH))) for some in by_seed.values()]
    return [(some[0], some[-1]) for some in ordered if len(some) > 1]


def asked_of(run: Run, factor: float) -> Asked:
    """The line along the top eigenvector of a rescaled network; where it is steep, a shorter one."""
    span = SPAN * min(factor, 1.0)
    return Asked(
        runs=(str(run.folder),), line=True, directions="eigenvectors", points=POINTS, span=span, rescale=factor
    )


def rescaled(evidence: Evidence, pairs: Sequence[tuple[Run, Run]]) -> Iterator[Rescaled]:
    """What there is of both networks of each pair.

    The Hessian is D H D with D = 1/a on the first layer, a on the second's weights and else 1: its largest eigenvalue
    is at least that of the first layer's block over a^2 (a principal submatrix), and at most max(a, 1/a)^2 times that
    of H (Ostrowski 1959).
    """
    for run in (run for pair in pairs for run in pair):
        for factor in FACTORS:
            found = evidence.landscape(asked_of(run, factor))
            (_, whole), (_, block) = evidence.look(run, "sharpness"), evidence.look(run, "sharpness", FIRST)
            if found is not None and found.about.get("eigenvalues") and len(whole) and len(block):
                told = float(found.about["eigenvalues"][0])
                low, high = float(block[-1]) / factor**2, float(whole[-1]) * max(factor, 1 / factor) ** 2
                yield Rescaled(run, factor, found, told, low, high)
