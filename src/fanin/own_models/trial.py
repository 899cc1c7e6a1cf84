"""The weight variance that holds a pass, found by trying it: for models that do more than theory has rules for."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import nn

from fanin.own_models.advice import SIGNS, Advice, sizes_of
from fanin.own_models.layer_states import LayerState

ROUNDS = 6
"""Looks at most; a model whose blocks answer in proportion to their weights takes two."""

HELD = 2.0
"""The largest change of a root mean square over all layers to blame that counts as held."""

Look = Callable[[nn.Module], Sequence[LayerState]]


def with_trial(advice: Advice, model: nn.Module, look: Look) -> Advice:
    """Advice with the variances that hold its pass on a copy of the model, if scaling its layers can do that.

    The weights of each layer are multiplied by what the layer before it has given over what it gives itself, until all
    of them give the same. Where that does not come about, as behind a normalization or beside a shortcut, the advice
    stays as it is. The model's first layer, which answers to the data's size, is left alone.

    Args:
        advice: without variances.
        model: left as it is.
        look: at a copy.
    """
    if advice.variances or advice.word not in SIGNS:
        return advice
    try:
        tried = copy.deepcopy(model)
    except Exception:  # of the user's code
        return advice
    states: Sequence[LayerState] = look(tried)
    names = [one.name for one in states]
    places = [place for place in range(1, len(names)) if names[place] in advice.layers]
    for _ in range(ROUNDS if places else 0):
        sizes = sizes_of(advice.passes[0], states)
        if _is_held([sizes[places[0]], *(sizes[place + 1] for place in places)]):
            return _told(advice, states, places)
        with torch.no_grad():
            for place in places:
                factor = sizes[place] / sizes[place + 1] if sizes[place + 1] else math.inf
                if not math.isfinite(factor) or factor == 0:
                    break  # what lies above is not seen yet
                tried.get_parameter(f"{names[place]}.weight").mul_(factor)
        states = look(tried)
        if [one.name for one in states] != names:
            break
    return advice


def _is_held(sizes: Sequence[float]) -> bool:
    there = all(size > 0 and math.isfinite(size) for size in sizes)
    return there and max(sizes) < HELD * sizes[0] and min(sizes) > sizes[0] / HELD


def _told(advice: Advice, states: Sequence[LayerState], places: Sequence[int]) -> Advice:
    held = [states[place] for place in places]
    variances = {one.name: one.variance / one.fan_in for one in held}
    return replace(
        advice, variances=variances, scaled=(advice.scaled[0], tuple(one.variance for one in held)), tried=True
    )
