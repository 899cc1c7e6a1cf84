"""How many configurations are trained for how long: one round, successive halving, Hyperband, a race over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

TRIALS = 81
"""Of a search that was given no number; with Hyperband as many as its brackets hold."""


@dataclass(frozen=True)
class Rung:
    """One rung of a bracket.

    Args:
        keep: at most so many configurations come here.
        share: of the steps of a whole run that have been made at its end, 1 at the last.
        seeds: at how many seeds each is run.
    """

    keep: int
    share: Fraction
    seeds: int


@dataclass(frozen=True)
class Bracket:
    """Configurations that are proposed together, and the rungs that they climb."""

    number: int
    rungs: tuple[Rung, ...]

    @property
    def count(self) -> int:
        """Configurations on the first rung."""
        return self.rungs[0].keep


def rungs_of(count: int, last: int, eta: int, seeds: int) -> tuple[Rung, ...]:
    """Successive halving: rung i of 0 ... s keeps floor(n eta^-i) of n and ends at R eta^(i - s) steps.

    Args:
        count: n.
        last: s.
        eta: of a rung, one configuration in so many goes on.
        seeds: of each configuration.

    Source: Jamieson and Talwalkar, Non-stochastic best arm identification and hyperparameter optimization (2016).

    >>> [(rung.keep, 81 * rung.share) for rung in rungs_of(81, 4, 3, 1)]
    [(81, Fraction(1, 1)), (27, Fraction(3, 1)), (9, Fraction(9, 1)), (3, Fraction(27, 1)), (1, Fraction(81, 1))]
    """
    return tuple(Rung(max(1, count // eta**rung), Fraction(1, eta ** (last - rung)), seeds) for rung in range(last + 1))


def most_rungs(ratio: Fraction, eta: int) -> int:
    """floor(log_eta(R / r)), in integers: so often can r steps be multiplied before they are more than R."""
    count = 0
    while eta ** (count + 1) <= ratio:
        count += 1
    return count


def halving(trials: int, steps: int, least: int | None, eta: int, seeds: int) -> Iterator[Bracket]:
    """One bracket of successive halving.

    Args:
        trials: n.
        steps: R, those of a whole run.
        least: r, those of the first rung at least; None for as many rungs as leave one configuration.
        eta: of a rung, one configuration in so many goes on.
        seeds: of each configuration.
    """
    last = most_rungs(Fraction(steps, least or 1), eta)
    if least is None:
        last = min(last, most_rungs(Fraction(trials), eta))
    yield Bracket(0, rungs_of(trials, last, eta, seeds))


def hyperband(trials: int | None, steps: int, least: int | None, eta: int, seeds: int) -> Iterator[Bracket]:
    """Hyperband's brackets, s = s_max ... 0, of ceil((s_max + 1) eta^s / (s + 1)) configurations each.

    Args:
        trials: brackets follow one another, round after round, until so many are proposed; None for one round.
        steps: R, those of a whole run.
        least: r, those of the first rung of the first bracket at least.
        eta: of a rung, one configuration in so many goes on.
        seeds: of each configuration.

    Source: Li et al., Hyperband: a novel bandit-based approach to hyperparameter optimization (2018), algorithm 1.

    >>> [bracket.count for bracket in hyperband(None, 81, 1, 3, seeds=1)]
    [81, 34, 15, 8, 5]
    """
    largest = most_rungs(Fraction(steps, least or 1), eta)
    number, proposed = 0, 0
    while trials is None or proposed < trials:
        last = largest - number % (largest + 1)
        count = -(-(largest + 1) * eta**last // (last + 1))
        if trials is not None:
            count = min(count, trials - proposed)
        yield Bracket(number, rungs_of(count, last, eta, seeds))
        number, proposed = number + 1, proposed + count
        if trials is None and last == 0:
            return


def racing(trials: int, steps: int, least: int | None, eta: int, seeds: int, first: int) -> Iterator[Bracket]:
    """A race: rung i of 0 ... s ends at R eta^(i - s) steps, with seeds that grow evenly from `first` to all.

    Which configurations go on is for a test to say.

    Args:
        trials: configurations.
        steps: R, those of a whole run.
        least: r, those of the first rung at least; None for three rungs.
        eta: factor of the steps from rung to rung.
        seeds: of a configuration that goes all the way.
        first: of the first rung, the fewest with which the test can drop anything.

    >>> [(81 * rung.share, rung.seeds) for bracket in racing(9, 81, None, 3, 9, 5) for rung in bracket.rungs]
    [(Fraction(9, 1), 5), (Fraction(27, 1), 7), (Fraction(81, 1), 9)]
    """
    last = most_rungs(Fraction(steps, least or 1), eta)
    if least is None:
        last = min(last, 2)
    grown = [math.ceil(first + (seeds - first) * rung / last) if last else seeds for rung in range(last + 1)]
    yield Bracket(0, tuple(Rung(trials, Fraction(1, eta ** (last - rung)), grown[rung]) for rung in range(last + 1)))


def rounds(trials: int, size: int, seeds: int) -> Iterator[Bracket]:
    """Configurations that are all trained to the end, `size` at a time."""
    for start in range(0, trials, size):
        yield Bracket(0, (Rung(min(size, trials - start), Fraction(1), seeds),))
