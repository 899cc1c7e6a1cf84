"""Plain recurrent cells: one matrix for all time steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from fanin.theory.bands import MEAN_FIELD, weakest
from fanin.theory.drawn_maps import entries, gram_at, handed_down, products, scaled, single
from fanin.theory.gaussian_maps import Activation, FloatArray
from fanin.theory.pairs import PairMaps
from fanin.theory.signals import Base, Flow, Signal, Strays, correlation
from fanin.theory.stages.base import NoRule, Place, Shared, Stage, drawn_of_field, field_of_all, lazy
from fanin.theory.weights import Weights

STRAYS = 1.0
"""The variance of ln ||h||^2 up to which a law of first order is told: it grows with the square of the times."""

GRADIENTS_STRAY = 0.2
"""The same for the law of gradients, which go through the same matrix twice as often."""


@dataclass(frozen=True)
class Recurrent(Stage):
    """h_t = phi(W x_t + U h_(t-1) + b):  K_z(t, t') = v_W K_x(t, t') + s + v_U K_h(t - 1, t' - 1), K_h = E phi phi.

    The matrices are the same at all times, so that states of different times are correlated; given those before, the
    units of a state are independent. An example's ln ||h_t||^2 follows that of h_(t-1) by e w, e = d ln V / d ln q and
    w = v_U K_h / K_z, and what its units add has the covariance (E phi^2 phi^2/(V V) - 1)/n with that of any other
    time. Backwards G_z(t) = E phi' phi' (G_h(t) + v_U G_z(t + 1)), of different times independent where those of h are;
    ||dL/dU||_F^2 = sum_t,t' G_z(t, t') n K_h(t - 1, t' - 1). Source: Chen, Pennington & Schoenholz 2018.

    Args:
        width: n.
        weights: W and b.
        recurrent: U.
        activation: phi.
    """

    width: int
    weights: Weights
    recurrent: Weights
    activation: Activation
    maps: PairMaps = field(init=False, compare=False)

    most_examples: ClassVar[int] = 20
    shifts: ClassVar[tuple[int, ...]] = (-2, -1)

    def __post_init__(self) -> None:
        known = vars(self.activation).setdefault("pair_maps", PairMaps(self.activation))
        object.__setattr__(self, "maps", known)

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        (x,) = inputs
        times, examples = x.gram.shape[:2]
        field = field_of_all(x, "vectors of the sequence")
        z, h = self._fields(field.reshape(examples, times, examples, times))
        sites = times * examples
        places = h.reshape(examples, times, examples, times)
        gram = np.einsum("atbt->tab", places)
        strays = self._strays(x, z.reshape(sites, sites), h)
        share = np.diagonal(h.reshape(sites, sites)).reshape(examples, times).T
        share = share / np.maximum(share.sum(0), 1e-300)
        noise = strays.of(share)
        if float(np.diagonal(strays.covariance).max()) > STRAYS:
            raise NoRule("one matrix for all times has norms stray further than a law of first order reaches")
        at.noises.forward[at.index] = noise
        elasticity = np.zeros_like(x.elasticity)
        elasticity[0] = (strays.follows * share).sum(0)
        elasticity[at.index] = 1.0
        squares = np.diagonal(gram, axis1=1, axis2=2)
        lengths = np.diagonal(z.reshape(sites, sites)).reshape(examples, times).T
        before = lazy(lambda: scaled(drawn_of_field(z.reshape(sites, sites), times, at), lengths))
        return Signal(
            gram,
            self.width,
            elasticity,
            -np.diagonal(noise) / 2,
            self.maps.lengths(lengths).mean,
            np.full(examples, 3.0),
            field=h.reshape(sites, sites),
            maps=lazy(lambda: scaled(entries(self.activation.phi, before()), squares)),
            under=before,
            strays=replace(strays, index=at.index),
            source=weakest([x.source, MEAN_FIELD]),
        )

    def _fields(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What pre-activations and states of any two times and examples have in common, [B, T, B, T]."""
        v, u, s = self.weights.variance, self.recurrent.variance, self.weights.bias_variance
        times = x.shape[1]
        z, h = np.zeros_like(x), np.zeros_like(x)
        for t in range(times):
            new = v * x[:, t, :, : t + 1] + s
            if t:
                new[:, :, 1:] += u * h[:, t - 1, :, :t]
            z[:, t, :, : t + 1] = new
            z[:, : t + 1, :, t] = new.transpose(1, 2, 0)
            own = np.einsum("aa->a", new[:, :, t])
            all_before = np.einsum("atat->at", z)[:, : t + 1]
            state = self.maps.between(own, all_before.ravel(), new.reshape(len(new), -1)).reshape(new.shape)
            h[:, t, :, : t + 1] = state
            h[:, : t + 1, :, t] = state.transpose(1, 2, 0)
        return z, h

    def _rates(self, x: Signal, h: Signal) -> tuple[FloatArray, FloatArray]:
        """How ln ||h_t||^2 follows that of h_(t-1) and of x_t, [T, B]."""
        driven = self.weights.variance * x.squares
        remembered = np.zeros_like(driven)
        remembered[1:] = self.recurrent.variance * h.squares[:-1]
        q = np.maximum(driven + remembered + self.weights.bias_variance, 1e-300)
        rate = self.maps.lengths(q).square_rate
        return rate * remembered / q, rate * driven / q

    def _strays(self, x: Signal, z: FloatArray, h: FloatArray) -> Strays:
        times, examples = x.gram.shape[:2]
        own = np.diagonal(h.reshape(len(z), -1)).reshape(examples, times).T
        state = replace(x, gram=own[:, :, None] * np.eye(examples))
        kept, taken = self._rates(x, state)
        length = np.diagonal(z)
        noise = (self.maps.between(length, length, z, of="squares") - 1) / self.width
        carried = np.zeros((times, examples, times, examples))  # what each time's state has of each time's noise
        follows = np.zeros((times, examples))
        below = x.strays.follows if x.strays is not None else np.ones_like(follows) * x.elasticity[0]
        for t in range(times):
            carried[t, :, t] = np.eye(examples)
            follows[t] = taken[t] * below[t]
            if t:
                carried[t] += kept[t][:, None, None] * carried[t - 1]
                follows[t] += kept[t] * follows[t - 1]
        across = carried.reshape(times * examples, -1)
        noise = noise.reshape(examples, times, examples, times).transpose(1, 0, 3, 2).reshape(across.shape)
        if x.strays is not None:
            noise = noise + np.outer(taken.ravel(), taken.ravel()) * x.strays.covariance
        slopes = self.maps.between(length, length, z, of="slopes").reshape(examples, times, examples, times)
        tails = self.maps.between(length, length, z, of="slope_squares").reshape(slopes.shape)
        return Strays(across @ noise @ across.T, follows, correlation(slopes.mean((0, 2))), tails.mean((0, 2)))

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        (x,) = inputs
        through = self.before(x, output, flow, at)
        assert through.maps is not None
        v = self.weights.variance
        deltas = through.maps() * np.float32(np.sqrt(self.width / x.units))
        below = handed_down(deltas, v, np.random.default_rng([at.index, 6]))
        return [replace(through, gram=v * through.gram, maps=lambda: below)]

    def before(self, x: Signal, h: Signal, flow: Flow, at: Place) -> Flow:
        """The gradient with respect to the pre-activations, from that with respect to the states.

        Raises:
            NoRule: nothing knows the gradients of different times.
        """
        base, above, under, states = flow.base, flow.maps, h.under, h.maps
        if base is None or above is None or under is None or states is None:
            raise NoRule("theory has no law for the gradients of such a sequence")
        kept, taken = self._rates(x, h)
        slopes, given = entries(self.activation.derivative, under()), above()
        follows = flow.follows
        if follows is None or at.noises.along is None:
            deltas, _ = self._through_time(given, slopes, np.random.default_rng([at.index, 5]))
        else:
            if not base.tied:  # what lies along the states is made here, for all times together
                base, given = replace(base, grams=base.grams[:1]), given[:1]
            deltas, arrived = self._through_time(given, slopes, np.random.default_rng([at.index, 5]))
            reach = follows.copy()
            for t in range(len(reach) - 2, -1, -1):
                reach[t] += kept[t + 1] * reach[t + 1]
            free = np.zeros((len(given), *h.gram.shape[1:]))
            for t in range(len(reach)):
                one = np.ascontiguousarray(arrived[:, t])
                free += (one @ one.transpose(0, 2, 1)).astype(float) * (h.gram[t] * self.width / one.shape[2])
            free /= np.maximum(np.einsum("ta,tb->ab", reach, reach), 1e-300)
            more = at.noises.along - (free * base.grams).sum(0)
            base = Base(base.place, np.concatenate([base.grams, more[None]]), (*base.tied, (np.ones_like(more), free)))
            births = states() * single(reach / np.maximum(h.squares * self.width, 1e-300))[..., None]
            tied, _ = self._through_time(births[None], slopes, np.random.default_rng([at.index, 7]))
            deltas = np.concatenate([deltas, tied])
            follows = taken * reach
        return replace(
            flow,
            gram=gram_at(deltas, base.grams) * self.width,
            factor=None,
            along=None,
            draw=None,
            maps=lambda: deltas,
            base=base,
            follows=follows,
            source=weakest([flow.source, MEAN_FIELD]),
        )

    def _through_time(
        self, given: FloatArray, slopes: FloatArray, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Gradients of the pre-activations and of the states, [k, T, B, draws], from what comes to the states."""
        deltas, arrived = np.zeros_like(given), np.zeros_like(given)
        back = single(np.zeros_like(given[:, 0]))
        for t in range(given.shape[1] - 1, -1, -1):
            arrived[:, t] = given[:, t] + back
            deltas[:, t] = slopes[t] * arrived[:, t]
            back = handed_down(deltas[:, t : t + 1], self.recurrent.variance, rng)[:, 0]
        return deltas, arrived

    def gradients(self, x: Signal, h: Signal, flow: Flow, at: Place) -> list[Shared]:
        """Of W and of U: how they follow the gradient above, and how their squared norms stray."""
        through = self.before(x, h, flow, at)
        assert through.maps is not None
        assert through.base is not None
        if x.maps is None or h.maps is None or h.strays is None:
            raise NoRule("theory has no law for the gradients of such a sequence")
        found = []
        for signal, units, late in ((x, x.maps(), 0), (h, h.maps(), 1)):
            deltas = through.maps()[:, late:]
            units = units[: len(units) - late]
            if not len(units):  # of a single time U takes nothing
                found.append(Shared(signal, through, np.zeros_like(through.base.grams), 0.0))
                continue
            follows, _ = products(units, deltas, np.arange(len(units))[:, None], through.base.grams)
            alike = _alike(signal)[: len(units), : len(units)]
            noise = self._noise(units, deltas, through.base.grams, alike, h.strays)
            if max(noise / 2, float(np.diagonal(h.strays.covariance).max())) > GRADIENTS_STRAY:
                raise NoRule("one matrix for all times has gradients stray further than a law of first order reaches")
            found.append(Shared(signal, through, follows * self.width * signal.units, noise))
        return found

    def _noise(
        self, units: FloatArray, deltas: FloatArray, grams: FloatArray, alike: FloatArray, strays: Strays
    ) -> float:
        """Of the units of each time, through which goes what the gradient has of earlier times.

        What two times have in common by chance adds 4 g/n, g = E phi'^2 phi'^2/(D D), and is handed down, too.
        """
        here = np.zeros((1, 1), int)
        parts, each_time = [], []
        for t in range(len(units)):
            pairs, stray = products(units[t : t + 1], deltas[:, t : t + 1], here, grams)
            parts.append(max(float((pairs * grams).sum()), 0.0))
            each_time.append(stray)
        total, each = max(sum(parts), 1e-300), np.array(each_time)
        shares = np.cumsum(parts) / total
        own = np.sqrt(np.outer(parts, parts)) * alike
        slopes, tails = (one[len(one) - len(own) :, len(one) - len(own) :] for one in (strays.slopes, strays.tails))
        common = own.copy()
        for t in range(1, len(own)):
            common[t, 1:] += slopes[t - 1, : len(own) - 1] * common[t - 1, :-1]
        pairs_of_times = tails * (common / total) ** 2
        return float((each * shares**2).sum() + 2 * (pairs_of_times.sum() - np.trace(pairs_of_times))) / self.width


def _alike(x: Signal) -> FloatArray:
    """How alike the examples' mean is at two times, [T, T]."""
    times, examples = x.gram.shape[:2]
    field = x.gram[0] if times == 1 else x.field
    assert field is not None
    common = np.einsum("atbs->ts", field.reshape(examples, times, examples, times))
    return np.asarray(correlation(common))
