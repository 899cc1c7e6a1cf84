"""Weight layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fanin.theory.bands import EXACT, FIRST_ORDER, MEAN_FIELD, weakest
from fanin.theory.drawn_maps import root
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.signals import Flow, Signal
from fanin.theory.stages.base import NoRule, Place, Stage, lazy
from fanin.theory.weights import Weights


@dataclass(frozen=True)
class Linear(Stage):
    """z = W x + b:  K' = v K + s,  G = v G'.

    Noise of ln ||z_a||^2: 2 r^2 / n. An orthogonal W keeps ||W x_a||^2 up to what it leaves out: of the part of r^2
    that is W's alone, (v K_ab)^2, only 1 - n/n_in is left.

    Args:
        fan_in, fan_out: n_in and n.
        weights: W and b.
    """

    fan_in: int
    fan_out: int
    weights: Weights

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        (x,) = inputs
        v, s = self.weights.variance, self.weights.bias_variance
        gram = v * x.gram + s
        before, after = x.squares.mean(0), np.diagonal(gram, axis1=1, axis2=2).mean(0)
        share = np.divide(v * before, after, out=np.ones_like(after), where=after > 0)
        kept = self._rotation(self.fan_out, self.fan_in) * mean_square(v * x.gram, gram)
        common = mean_square(gram)
        if x.field is not None and len(x.field) == gram.shape[0] * gram.shape[1]:  # one W for all places
            kept = self._rotation(self.fan_out, self.fan_in) * _over_places(v * x.field, gram)
            common = _over_places(v * x.field + s, gram)
        turned = np.zeros_like(common)
        if x.turned is not None:
            turned = x.turned * np.outer(share, share)
        elif x.source != EXACT:  # units of a layer below, whose number is finite: their correlations stray, too
            turned = (1 - np.minimum(common, 1)) ** 2 / x.units
        after_all = turned + (1 - np.minimum(common, 1)) ** 2 / self.fan_out * (1 - self.rotation_up)
        common = np.minimum(common + turned, 1.0)
        noise = 2 * (common - kept) / self.fan_out
        at.noises.forward[at.index] = noise
        spread = at.noises.variances(x.elasticity)
        elasticity, shift = share * x.elasticity, share * x.shift + share * (1 - share) * spread / 2
        source = MEAN_FIELD if self.weights.calibrated is not None else FIRST_ORDER
        if self.weights.calibrated is not None:
            mean = float(after.mean())
            if mean > 0 and abs(mean - 1) > self.weights.calibrated:
                gram = gram / mean
            # The batch's norm is set, whatever the weights: what all examples have in common is taken out.
            part = after / after.sum()
            elasticity = elasticity - (elasticity * part).sum(1, keepdims=True)
            shift = shift - shift @ part
            at.noises.forward[at.index] = 0.0
        elasticity[at.index] = 1.0
        return Signal(
            gram,
            self.fan_out,
            elasticity,
            shift - np.diagonal(at.noises.forward[at.index]) / 2,
            np.zeros(gram.shape[:2]),
            np.full(gram.shape[1], 3.0),
            normal=True,
            fresh=True,
            draw=lazy(lambda: at.normals() @ root(gram[0]).T),
            size=x.size,
            field=None if x.field is None else v * x.field + s,
            turned=after_all if len(gram) == 1 else None,
            source=weakest([x.source, source]),
        )

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        v = self.weights.variance
        if self.weights.calibrated is not None:
            raise NoRule("its weights are set by the batch's own outputs")
        noise = 2 * mean_square(flow.gram) / self.fan_in * (1 - self._rotation(self.fan_in, self.fan_out))
        below = from_weights(v * flow.gram, v, noise, flow, at, self.fan_in)
        more = self.along(inputs[0], output, at)
        if more is None or at.noises.along is None:
            return [below]
        more = more * (at.noises.along - self.free(output, at) * flow.gram[0])
        gram = below.gram + more
        draw = lazy(lambda: at.normals() @ root(gram[0] / self.fan_in).T)
        return [replace(below, gram=gram, along=more, draw=draw)]

    def along(self, x: Signal, z: Signal, at: Place) -> FloatArray | None:
        """What the gradient has along x because the loss's answers follow from this W, too, [1, B, B].

        Given z = W x it is x_a (x_a delta_a)/||x_a||^2, and by Euler's rule z_a delta_a is o_a R_a times
        d ln ||o_a|| / d ln ||z_a||; this is for o_a R_a = 1.
        """
        if at.noises.follows is None or len(x.gram) > 1 or self.weights.variance <= 0:
            return None
        share = np.divide(
            self.weights.variance * x.squares, z.squares, out=np.zeros_like(x.squares), where=z.squares > 0
        )
        follows = share[0] * at.noises.follows[at.index] / np.maximum(x.squares[0], 1e-300)
        return np.asarray(x.gram * np.outer(follows, follows) / self.fan_in)

    def free(self, z: Signal, at: Place) -> FloatArray:
        """E o_a R_a o_b R_b, by Euler's rule, of gradients that do not depend on this W and have G = 1, [B, B]."""
        assert at.noises.follows is not None
        follows = np.maximum(at.noises.follows[at.index], 1e-12)
        return np.asarray(z.gram[0] / np.outer(follows, follows))

    @property
    def rotation_up(self) -> float:
        """Which part of a signal's length the matrix keeps for certain."""
        return self._rotation(self.fan_out, self.fan_in)

    @property
    def rotation_down(self) -> float:
        """Which part of a gradient's length the matrix keeps for certain."""
        return self._rotation(self.fan_in, self.fan_out)

    def _rotation(self, outputs: int, inputs: int) -> float:
        """Which part of a vector's length an orthogonal matrix keeps for certain."""
        return min(1.0, outputs / inputs) if self.weights.kind == "orthogonal" else 0.0


def _over_places(field: FloatArray, whole: FloatArray) -> FloatArray:
    """The squared correlation of any two places of two examples, weighted by their squares, [B, B].

    Args:
        field: of any two places and examples, [B P, B P].
        whole: of which it is a part, [P, B, B].
    """
    places, examples = whole.shape[:2]
    total = np.diagonal(whole, axis1=1, axis2=2).sum(0)
    product = np.outer(total, total)
    squares = (field**2).reshape(examples, places, examples, places).sum((1, 3))
    return np.asarray(np.divide(squares, product, out=np.zeros_like(product), where=product > 0))


def from_weights(gram: FloatArray, factor: float, noise: FloatArray, flow: Flow, at: Place, units: int) -> Flow:
    """The gradient below a weight layer: normal over the weights."""
    at.noises.backward[at.index] = noise
    elasticity = flow.elasticity.copy()
    elasticity[at.above] = 1.0
    shift = flow.shift - np.diagonal(noise) / 2
    draw = lazy(lambda: at.normals() @ root(gram[0] / units).T)
    return Flow(gram, elasticity, shift, np.full((1, 1, 1), factor), np.ones_like(shift), draw=draw, source=flow.source)


def mean_square(gram: FloatArray, whole: FloatArray | None = None) -> FloatArray:
    """The squared correlation of two examples, over the places; a weight per place by its square, [B, B].

    Args:
        gram: [P, B, B].
        whole: of which gram is a part, where it is one: correlations are then shares of its squares.
    """
    total = np.diagonal(gram if whole is None else whole, axis1=1, axis2=2).sum(0)
    product = np.outer(total, total)
    return np.asarray(np.divide((gram**2).sum(0), product, out=np.zeros_like(product), where=product > 0))
