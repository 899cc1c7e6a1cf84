"""Gated recurrent cells: one matrix for all gates and all time steps, from drawn units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fanin.theory.bands import MEAN_FIELD, weakest
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.signals import Flow, Signal, Strays
from fanin.theory.stages.base import NoRule, Place, Stage, field_of_all
from fanin.theory.stages.recurrent import STRAYS
from fanin.theory.weights import Weights

UNITS = 600
"""Units that are drawn, in pairs of opposite sign."""

STEP = 0.05
"""By which U h is changed to see how a state follows the one before."""

State = tuple[FloatArray, ...]
Cell = Callable[[FloatArray, FloatArray, State], State]
"""The state after a step, the hidden one first, from W x + b and U h of each gate, [gates, B, units]."""


@dataclass(frozen=True)
class Gated(Stage):
    """Of one unit all gates' W x + b and U h are independent normal sequences, and its states are what the cell makes.

    E of these over times and examples is v_W K_x + s and v_U K_h, and K_h that of drawn units, time by time. What units
    add to ln ||h_t||^2 has the covariance (E h^2 h^2/(K K) - 1)/n, and it follows the state before as far as U h moves
    it. Source: Gilboa et al. 2019.

    Args:
        width: n.
        gates: rows of W and U for each unit.
        memories: of the state's parts.
        weights, recurrent: W and b, U.
        cell: what is done with them.
    """

    width: int
    gates: int
    memories: int
    weights: Weights
    recurrent: Weights
    cell: Cell

    most_examples: ClassVar[int] = 20

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        (x,) = inputs
        times, examples = x.gram.shape[:2]
        field = field_of_all(x, "vectors of the sequence")
        order = np.arange(times * examples).reshape(examples, times).T.ravel()  # time by time
        driven = self.weights.variance * field[np.ix_(order, order)] + self.weights.bias_variance
        h, kept = self._states(driven, times, examples, np.random.default_rng([at.index, 9]))
        longer, _ = self._states(driven * (1 + STEP), times, examples, np.random.default_rng([at.index, 9]))
        follows = np.log((longer**2).mean(2) / np.maximum((h**2).mean(2), 1e-300)) / np.log1p(STEP) * x.elasticity[0]
        flat = h.reshape(times * examples, -1)
        gram = flat @ flat.T / flat.shape[1]
        squares = flat**2 / np.maximum(np.diagonal(gram), 1e-300)[:, None]
        noise = (squares @ squares.T / flat.shape[1] - 1) / self.width
        carried = np.zeros((times, examples, times, examples))
        for t in range(times):
            carried[t, :, t] = np.eye(examples)
            if t:
                carried[t] += kept[t][:, None, None] * carried[t - 1]
        across = carried.reshape(times * examples, -1)
        total = across @ noise @ across.T
        if float(np.diagonal(total).max()) > STRAYS:
            raise NoRule("one matrix for all times has norms stray further than a law of first order reaches")
        nothing = np.zeros((times, times))
        strays = Strays(total, follows, nothing, nothing, at.index)
        own = np.diagonal(gram).reshape(times, examples)
        share = own / np.maximum(own.sum(0), 1e-300)
        at.noises.forward[at.index] = strays.of(share)
        elasticity = np.zeros_like(x.elasticity)
        elasticity[0] = (strays.follows * share).sum(0)
        elasticity[at.index] = 1.0
        back = np.argsort(order)
        return Signal(
            np.einsum("tatb->tab", gram.reshape(times, examples, times, examples)),
            self.width,
            elasticity,
            -np.diagonal(at.noises.forward[at.index]) / 2,
            h.mean(2),
            (squares.reshape(times, examples, -1) ** 2).mean((0, 2)),
            field=gram[np.ix_(back, back)] if times > 1 else None,
            strays=strays,
            source=weakest([x.source, MEAN_FIELD]),
        )

    def _states(
        self, driven: FloatArray, times: int, examples: int, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Drawn units of all times, [T, B, units], and how the squares follow those of the time before, [T, B]."""
        sites = times * examples
        normals = rng.standard_normal((2, self.gates, sites, UNITS // 2))
        normals = np.concatenate([normals, -normals], axis=3)
        lower = _root(driven)
        recurrent = np.zeros_like(driven)  # of U h
        h = np.zeros((times, examples, UNITS))
        kept = np.zeros((times, examples))
        state: State = tuple(np.zeros((examples, UNITS)) for _ in range(self.memories))
        for t in range(times):
            here, until = slice(t * examples, (t + 1) * examples), (t + 1) * examples
            z = lower[here, :until] @ normals[0, :, :until]
            u = np.zeros_like(z)
            if t:
                new = self.recurrent.variance * np.einsum("ai,sbi->asb", h[t - 1], h[:t]) / UNITS
                recurrent[here, examples:until] = new.reshape(examples, -1)
                recurrent[examples:until, here] = recurrent[here, examples:until].T
                u = _root(recurrent[examples:until, examples:until])[-examples:] @ normals[1, :, examples:until]
            before, state = state, self.cell(z, u, state)
            h[t] = state[0]
            if t:
                more = self.cell(z, u * (1 + STEP), before)[0]
                change = np.log((more**2).mean(1) / np.maximum((h[t] ** 2).mean(1), 1e-300))
                kept[t] = change / (2 * np.log1p(STEP))
        return h, kept

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        raise NoRule("theory has no law for the gradients of gated cells")


def lstm(phi: Callable[[FloatArray], FloatArray]) -> Cell:
    """c = s(f) c + s(i) phi(g), h = s(o) tanh(c)."""

    def cell(driven: FloatArray, recurrent: FloatArray, state: State) -> State:
        i, f, o = _logistic(driven[:3] + recurrent[:3])
        c = f * state[1] + i * phi(driven[3] + recurrent[3])
        return o * np.tanh(c), c

    return cell


def gru(phi: Callable[[FloatArray], FloatArray]) -> Cell:
    """h = (1 - z) phi(a + r u) + z h."""

    def cell(driven: FloatArray, recurrent: FloatArray, state: State) -> State:
        r, z = _logistic(driven[:2] + recurrent[:2])
        n = phi(driven[2] + r * recurrent[2])
        return (n + z * (state[0] - n),)

    return cell


def _logistic(z: FloatArray) -> FloatArray:
    return np.asarray(0.5 + 0.5 * np.tanh(z / 2))


def _root(gram: FloatArray) -> FloatArray:
    """Lower triangular; that of the first places stays as it is when others are added."""
    lift = 1e-9 * max(float(np.trace(gram)), 1e-300) / len(gram)
    return np.asarray(np.linalg.cholesky(gram + lift * np.eye(len(gram))))
