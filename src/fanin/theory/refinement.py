"""A plain chain's law: the composition's line and the batch's own spread, in the shape of one example's exact law.

The Markov chain of chain.py knows one example's law exactly, humps and all, the composition what a batch does to its
variance. So the chain's deviations from infinite width are taken over, and shrunk to the batch's spread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fanin.theory.bands import EXACT, FIRST_ORDER, SIGMA, Band
from fanin.theory.chain import chain_law
from fanin.theory.composition import Composition
from fanin.theory.log_law import LogLaw
from fanin.theory.logs import exp
from fanin.theory.norm_law import NormLaw
from fanin.theory.plain_chain import Chain

LONG = 1e-12
"""Variances below count as none."""


@dataclass(frozen=True)
class ChainBands:
    """The bands of a chain's steps, by place."""

    outputs: dict[int, Band]
    weight_gradients: dict[int, Band]


def refined(chain: Chain, found: Composition, singles: Composition, mean_square: float, *, single: bool) -> ChainBands:
    """The bands of a chain.

    Args:
        chain: of the composition's steps.
        found: the composition at the batch.
        singles: that of one example of the same steps.
        mean_square: of that example's entries.
        single: whether the batch is one example.
    """
    law = chain_law(chain.layers, mean_square, chain.activation, against_last=False)
    source = EXACT if single and chain.normal else FIRST_ORDER
    outputs, gradients = {}, {}
    exact = dict(zip(chain.linear, law.pre, strict=True)) | dict(zip(chain.activated, law.post, strict=False))
    for place, one in exact.items():
        batch, alone = found.outputs[place], singles.outputs[place]
        if batch is not None and alone is not None:
            outputs[place] = _band(batch, alone, one, source)
    for place, one in zip(chain.linear, law.from_output, strict=True):
        batch, alone = found.weight_gradients[place], singles.weight_gradients[place]
        if batch is not None and alone is not None:
            gradients[place] = _band(batch, alone, one, FIRST_ORDER)
    return ChainBands(outputs, gradients)


def _band(batch: NormLaw, single: NormLaw, exact: LogLaw, source: str) -> Band:
    """The exact deviations of one example, at the batch's line and spread."""
    ratio = batch.variance / single.variance if single.variance > LONG else 1.0
    mean = batch.mean + (exact.mean - single.mean) * min(ratio, 1.0)
    variance = exact.variance * ratio
    root = math.sqrt(ratio)
    low, middle, high = (mean + (one - exact.mean) * root for one in exact.quantiles[1:4])
    return Band(
        exp(middle / 2), exp(low / 2), exp(high / 2), exp(batch.log_level / 2), mean, math.sqrt(variance), source
    )


def plain(law: NormLaw) -> Band:
    """The band of a norm of which mean and variance are known."""
    sd = math.sqrt(law.variance)
    low, middle, high = (exp((law.mean + by * sd) / 2) for by in (-SIGMA, 0.0, SIGMA))
    return Band(middle, low, high, exp(law.log_level / 2), law.mean, sd, law.source)
