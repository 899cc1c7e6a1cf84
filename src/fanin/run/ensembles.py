"""Ensembles of trained networks: the mean of their probabilities, and what each further member is worth."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from fanin.streams import generator

NORMAL = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


@dataclass(frozen=True)
class OfMembers:
    """What ensembles of so many members reach on N examples, a row of ensemble.csv.

    Attributes:
        members: m, how many there are in one.
        ensembles: over how many choices of them the means are taken.
        error: the share of wrong answers, a mean over the ensembles.
        low, high: its 95 % interval over examples, error +- 1.96 s / sqrt(N) with s the standard deviation, over the
            examples, of the share of ensembles that are wrong; within 0 and 1.
        least, most: the errors of the best and of the worst of these ensembles.
        loss: minus the logarithm of the mean probability of the true class, a mean over examples and ensembles.
    """

    members: int
    ensembles: int
    error: float
    low: float
    high: float
    least: float
    most: float
    loss: float


def of_members(members: Tensor, targets: Tensor, most: int = 200, seed: int = 0) -> list[OfMembers]:
    """The error of ensembles of 1, 2, ..., M members, which answer with the class of the largest mean probability.

    Args:
        members: probabilities of each, [M, N, K].
        targets: classes [N].
        most: ensembles of one size; all there are if they are no more, else so many that are drawn.
        seed: of those.

    Source: Hansen & Salamon 1990; Lakshminarayanan, Pritzel & Blundell 2017.

    >>> right, wrong = torch.tensor([[0.9, 0.1]]), torch.tensor([[0.4, 0.6]])
    >>> [one.error for one in of_members(torch.stack([right, wrong]), torch.tensor([0]))]
    [0.5, 0.0]
    """
    count, examples = len(members), len(targets)
    found = []
    for size in range(1, count + 1):
        wrong, losses = [], []
        for chosen in _choices(count, size, most, seed):
            mean = members[list(chosen)].mean(dim=0)
            wrong.append((mean.argmax(dim=1) != targets).double())
            losses.append(-mean.gather(1, targets.unsqueeze(1)).log().mean())
        each = torch.stack(wrong)
        share = each.mean(dim=0)
        error = float(share.mean())
        half = NORMAL * float(share.std()) / math.sqrt(examples) if examples > 1 else math.nan
        errors = each.mean(dim=1)
        low, high = max(0.0, error - half), min(1.0, error + half)
        ends = (float(errors.min()), float(errors.max()))
        found.append(OfMembers(size, len(wrong), error, low, high, *ends, float(torch.stack(losses).mean())))
    return found


def _choices(count: int, size: int, most: int, seed: int) -> Iterator[tuple[int, ...]]:
    """Subsets of 0..count-1: all of them, or `most` that are drawn."""
    if math.comb(count, size) <= most:
        yield from combinations(range(count), size)
        return
    random = generator(seed, "ensembles", size)
    for _ in range(most):
        yield tuple(torch.randperm(count, generator=random)[:size].tolist())
