"""Advice on a fresh model: which layers vanish or explode, from where on, and the variance that would hold the norm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from fanin.errors import counted
from fanin.own_models.layer_states import LayerState
from fanin.theory import InitAnalysis
from fanin.theory.logs import exp, log
from fanin.theory.verdict import STABLE_CHANGE

TOLERANCE = 0.05
"""Relative distance from the critical variance below which no layer is to blame."""

ERRORS = 4.0
"""The same in standard errors of the measured variance."""

SIGNS = {"vanishing": -1, "exploding": 1}


@dataclass(frozen=True)
class Advice:
    """One thing to mend.

    Attributes:
        passes: forward, backward, or both.
        word: vanishing, exploding or blocked.
        layers: that are to blame, in their order.
        factor: by which each of them multiplies the root mean square of what passes, on average.
        variances: of a weight, by layer, that would hold norms and gradients; empty where it is not known.
        scaled: fan_in times the variances of the layers' weights as they are, and as they should be.
        why: why that is not known.
        tried: whether the variances were found by trying them on a copy, and are no theory's.
    """

    passes: tuple[str, ...]
    word: str
    layers: tuple[str, ...]
    factor: float
    variances: Mapping[str, float] = field(default_factory=dict)
    scaled: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    why: str = ""
    tried: bool = False

    def __str__(self) -> str:
        span = self.layers[0] if len(self.layers) == 1 else f"{self.layers[0]} to {self.layers[-1]}"
        where = f"{' and '.join(self.passes)} {self.word} from {span} ({counted(len(self.layers), 'layer')}"
        if self.word == "blocked":
            return f"{where}): the weights are all 0, and no gradient passes until they have moved"
        now, wanted = (_range(one) for one in self.scaled)
        held = f"{wanted} / fan_in would hold the norms" if wanted else f"what would hold them is not known: {self.why}"
        if self.tried:
            mean = exp(sum(map(log, self.scaled[1])) / len(self.scaled[1]))
            held = f"on a copy about {mean:.2g} / fan_in held the norms"
        return f"{where}, each by {self.factor:.3g}): weights have a variance of {now} / fan_in, {held}"


def _range(values: Sequence[float]) -> str:
    told = list(dict.fromkeys(f"{one:.3g}" for one in sorted(values)))
    return told[0] if len(told) == 1 else f"{told[0]} to {told[-1]}" if told else ""


def advise(states: Sequence[LayerState], start: float, analysis: InitAnalysis | None) -> list[Advice]:
    """What to mend in a fresh model; nothing where both passes hold.

    Layers are to blame whose weight variance is not the critical one of their block, to the side on which the pass
    fails. Where none is, or none is known, it is the stretch of layers over which the pass changes most.

    Args:
        states: of the weight layers, in the order in which they ran.
        start: root mean square of the inputs; nan where they are no numbers.
        analysis: the verdict on the model's passes.
    """
    if analysis is None or not states:
        return []
    found: list[Advice] = []
    if analysis.forward in SIGNS:
        found += _of_pass("forward", analysis.forward, states, sizes_of("forward", states, start))
    if analysis.backward in SIGNS:
        found += _of_pass("backward", str(analysis.backward), states, sizes_of("backward", states))
    if analysis.backward == "blocked":
        dead = tuple(one.name for one in states if one.variance == 0)
        found += [Advice(("backward",), "blocked", dead, 0.0)] if dead else []
    return _joined(found)


def sizes_of(name: str, states: Sequence[LayerState], start: float = math.nan) -> list[float]:
    """What a pass shows before the first layer and after each; it grows where the pass explodes.

    Forward it is the root mean square of activations; backward one over that of gradients, for what a layer does to a
    gradient on its way down is seen from its block's end to that of the block below.
    """
    if name == "forward":
        return [start, *(one.size for one in states)]
    above = [1 / one.flow if one.flow > 0 else math.inf if one.flow == 0 else math.nan for one in states]
    return [above[0], *above]


def _joined(found: Sequence[Advice]) -> list[Advice]:
    """What both passes say of the same layers is said once."""
    kept: dict[tuple[str, tuple[str, ...]], Advice] = {}
    for one in found:
        same = kept.get((one.word, one.layers))
        kept[one.word, one.layers] = one if same is None else replace(same, passes=(*same.passes, *one.passes))
    return list(kept.values())


def _of_pass(name: str, word: str, states: Sequence[LayerState], sizes: Sequence[float]) -> list[Advice]:
    """Of one pass, from its sizes."""
    sign, logs = SIGNS[word], [_log(one) for one in sizes]
    hidden = max(1, len(states) - 1)  # the last layer gives answers, no signal for another layer
    blamed = [place for place in range(hidden) if _is_off(states[place], sign)]
    if not blamed:
        blamed = _stretch(logs[: hidden + 1], sign)
        change = sign * (logs[blamed[-1] + 1] - logs[blamed[0]]) if blamed else 0.0
        # A norm falls with the number of units, too, as where maps are pooled; their sizes are what layers see.
        blamed = blamed if change > math.log(STABLE_CHANGE) else []
    return [_advice(name, word, [states[place] for place in run], logs[run[0] : run[-1] + 2]) for run in _runs(blamed)]


def _log(size: float) -> float:
    if math.isnan(size):
        return math.nan
    return -math.inf if size == 0 else log(size) if math.isfinite(size) else math.inf


def _is_off(state: LayerState, sign: int) -> bool:
    """Whether a layer's weights are beside the critical variance on the side of a failing pass."""
    if state.critical is None or state.critical <= 0:
        return False
    if state.variance == 0:
        return sign < 0
    error = max(TOLERANCE, ERRORS * math.sqrt(2 / state.entries))
    return sign * math.log(state.variance / state.critical) > error


def _stretch(logs: Sequence[float], sign: int) -> list[int]:
    """The layers over which a logarithm changes to one side, and beside which it does not.

    Of independent changes of one variance, 0 in the mean but for one stretch, it is the most probable one: its sum
    squared over its length is the largest.
    """
    best, places = -math.inf, (0, len(logs) - 1)
    for low, one in enumerate(logs):
        for high in range(low + 1, len(logs)):
            change = sign * (logs[high] - one)
            if change > 0 and change**2 / (high - low) > best:
                best, places = change**2 / (high - low), (low, high)
    return list(range(*places))


def _runs(places: Sequence[int]) -> list[list[int]]:
    """Places that follow each other, together."""
    runs: list[list[int]] = []
    for place in places:
        if runs and runs[-1][-1] == place - 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    return runs


def _advice(name: str, word: str, blamed: Sequence[LayerState], logs: Sequence[float]) -> Advice:
    changes = [one for before, after in pairwise(logs) if not math.isnan(one := after - before)]
    mean = math.nan if not changes else sum(changes) / len(changes)  # infinite ones, too
    known = [one for one in blamed if one.critical is not None]
    wanted = {one.name: one.critical / one.fan_in for one in known if one.critical is not None}
    scaled = tuple(one.variance for one in blamed), tuple(one.critical for one in known if one.critical is not None)
    why = next((one.why for one in blamed if one.why), "")
    return Advice((name,), word, tuple(one.name for one in blamed), exp(mean), wanted, scaled, why)
