"""What of the curvature is looked at, when, and how closely."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from fanin.errors import OptionError, choice, did_you_mean, flag, integer, number

QUANTITIES = {
    "sharpness": "the largest eigenvalue",
    "eigenvalues": "the k largest and the k smallest",
    "trace": "the sum of all eigenvalues, with its standard error",
    "density": "the spectrum as a curve, the share of negative eigenvalues, the condition number of the positive ones",
    "verdict": "the kind of the point: minimum, saddle, plateau, not stationary",
    "critical_sharpness": "2 over the smallest step along the update that raises the batch's loss",
    "sam_sharpness": "how much the loss rises within a ball",
    "noise_scale": "of the gradient, with its signal-to-noise ratio",
    "alignment": "the share of the squared gradient in the span of the k top eigenvectors",
}
"""What can be asked for."""

MATRICES = ("hessian", "gauss_newton")


@dataclass(kw_only=True)
class Curvature:
    """A look at the curvature of what is minimized: at init, at the end, at the profiles' steps, and at a cadence.

    Args:
        quantities: keys of QUANTITIES; none: no look.
        every: steps between two looks, beside those of the profiles; 0: none.
        data: "probe", the profiles' fixed batch, or "train", the whole training part.
        mode: of the network: "evaluation" or "training".
        matrices: "hessian", "gauss_newton", or both.
        layers: whether sharpness, eigenvalues and trace are taken of every layer's block as well.
        k: eigenvalues of each end, >= 1.
        tolerance: relative, of eigenvalues, > 0.
        products: of one matrix with vectors for its eigenvalues, at most, >= 3.
        vectors: products for a trace, >= 6.
        bins: points of the density's curve, >= 10.
        rho: radius of the ball of sam_sharpness, > 0.
        stationary: the largest norm of a gradient that counts as 0, > 0.

    Raises:
        OptionError: a value that is not allowed.
    """

    quantities: Collection[str] = ()
    every: int = 0
    data: str = "probe"
    mode: str = "evaluation"
    matrices: Collection[str] = ("hessian",)
    layers: bool = False
    k: int = 1
    tolerance: float = 0.01
    products: int = 100
    vectors: int = 30
    bins: int = 100
    rho: float = 0.05
    stationary: float = 1e-3

    def __post_init__(self) -> None:
        for name, known in (("quantities", tuple(QUANTITIES)), ("matrices", MATRICES)):
            given = getattr(self, name)
            if isinstance(given, str) or not isinstance(given, Collection):
                fix = f"type {name}=[{'' if given is None else given}]"
                raise OptionError(name, given, f"a list out of {', '.join(known)}", fix)
            setattr(self, name, tuple(choice(name, one, known) for one in given))
        if self.wants("verdict", "alignment") and "hessian" not in self.matrices:
            raise OptionError("matrices", list(self.matrices), "with hessian, which verdict and alignment are of")
        integer("every", self.every, 0)
        choice("data", self.data, ("probe", "train"))
        choice("mode", self.mode, ("evaluation", "training"))
        flag("layers", self.layers)
        integer("k", self.k, 1)
        number("tolerance", self.tolerance, 0, 1, open_low=True)
        integer("products", self.products, 3)
        integer("vectors", self.vectors, 6)
        integer("bins", self.bins, 10)
        number("rho", self.rho, 0, open_low=True)
        number("stationary", self.stationary, 0, open_low=True)

    @classmethod
    def of(cls, keys: Mapping[str, Any] | None) -> Curvature:
        """The settings under a key `curvature`, checked.

        >>> Curvature.of({"qantities": []})
        Traceback (most recent call last):
        fanin.errors.OptionError: curvature.qantities=[]: must be no key of it; did you mean quantities?
        """
        known = [one.name for one in fields(cls)]
        if keys is not None and not isinstance(keys, Mapping):
            raise OptionError("curvature", keys, f"a mapping of {', '.join(known)}")
        for name, value in (keys or {}).items():
            if name not in known:
                raise OptionError(f"curvature.{name}", value, "no key of it", did_you_mean(name, known))
        try:
            return cls(**(keys or {}))
        except OptionError as error:
            raise error.within("curvature") from None

    def due(self, step: int) -> bool:
        """Whether the cadence asks for a look at a step."""
        return bool(self.quantities) and self.every > 0 and step % self.every == 0

    def wants(self, *quantities: str) -> bool:
        """Whether one of some quantities is asked for."""
        return not set(quantities).isdisjoint(self.quantities)
