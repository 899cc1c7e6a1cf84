"""Weights at the edge of chaos of the activation that they stand between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from torch import nn

from fanin.errors import UserError, choice
from fanin.parts.activation_maps import activation_map
from fanin.parts.initializers.draws import DISTRIBUTIONS
from fanin.parts.initializers.independent import Independent
from fanin.parts.normalization import NoNorm, Normalization
from fanin.parts.regularizers import Dropout
from fanin.theory.gaussian_maps import Activation
from fanin.theory.normalized_phase import normalized_critical_point
from fanin.theory.phase import FixedPoint, NoCriticalPoint, critical_point

BESIDE = 0.1
"""How far above the critical point's q it is looked whether lengths leave it."""


@dataclass(kw_only=True)
class Critical(Independent):
    """$Var = v / fan_in$ at the edge of chaos, $chi_perp = 1$: small angles and gradients neither vanish nor explode.

    $v = 1 / D(q*)$ with $q* = V(q*) / D(q*) + s$; V and D are the means of $phi^2$ and $phi'^2$ under a normal of
    variance $q*$ and come from the activation itself by quadrature, a user's own too: $v = 2$ for ReLU, 1 for tanh,
    and 1.76 for tanh with $s = 0.05$. Dropout that keeps a share k takes $v k$. A normalization between the layers
    restores the lengths, and v is where gradients keep theirs with it. It is the rule of a chain: shortcuts and gates
    add to it.

    Some activations have no such v (softplus; ReLU with biases), which is told; at those of others (SiLU, GELU) the
    lengths leave $q*$ by a factor $chi_par > 1$ a layer, which is told as a remark. Source: Poole et al. 2016;
    Schoenholz et al. 2017; for dropout Schoenholz et al. 2017; for normalizations Doshi, He & Gromov 2023.
    Args:
        bias_variance: s, variance of a bias, >= 0; above 0 only for models with biases.
        bias, forget_bias: means of the biases, see `ConstantBiases`; v does not know of them.
        distribution: normal, uniform or truncated_normal.
        activation: makes the model's activation.
        normalization: of the model; None for none.
        dropout: of the model; None for none.

    Raises:
        OptionError: a value is out of range.
        UserError: no weight variance is critical.

    >>> from fanin.parts.regularizers import Dropout
    >>> Critical(activation=nn.ReLU).variance(fan_in=100, fan_out=50)
    0.02
    >>> Critical(activation=nn.ReLU, dropout=Dropout(p=0.2)).variance(fan_in=100, fan_out=50)
    0.016
    >>> round(100 * Critical(activation=nn.Tanh, bias_variance=0.05).variance(fan_in=100, fan_out=50), 5)
    1.76095
    """

    distribution: str = "normal"
    activation: Callable[[], nn.Module] | None = None
    normalization: Normalization | None = None
    dropout: Dropout | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("distribution", self.distribution, DISTRIBUTIONS)
        if self.activation is not None:
            self._point()

    def variance(self, fan_in: int, fan_out: int) -> float:
        """v k / fan_in."""
        keep = 1.0 if self.dropout is None else 1 - self.dropout.p
        return self._point().variance * keep / fan_in

    def remarks(self) -> Sequence[str]:
        """That lengths leave the critical point, where they do."""
        point, phi = self._found
        q = point.q + BESIDE
        normalized = point.chi_par == 0
        if normalized or point.variance * phi.mean_square(q) + point.bias_variance < q * (1 + 1e-9):
            return ()
        more = f" and {point.variance * phi.mean_square_slope(1.0):.3f} at q = 1" if point.q == 0 else ""
        return (
            f"initializer=critical: lengths leave the critical point of this activation, chi_par = {point.chi_par:.3f} "
            f"at q* = {point.q:.3g}{more}; a deep network does not stay critical",
        )

    def _point(self) -> FixedPoint:
        return self._found[0]

    @cached_property
    def _found(self) -> tuple[FixedPoint, Activation]:
        """The critical point, and the activation as theory sees it.

        Raises:
            UserError: there is none.
        """
        if self.activation is None:
            raise UserError("initializer=critical: needs the activation whose edge of chaos is meant")
        module, norm = self.activation(), self.normalization or NoNorm()
        name = type(module).__name__
        phi = activation_map(module)
        if phi is None:
            raise UserError(
                f"initializer=critical: {name} is no fixed function of each entry, and of no other is a critical "
                "weight variance known; take another activation or initializer"
            )
        if not norm.restores:
            raise UserError(
                f"initializer=critical: no critical weight variance is known with {type(norm).__name__}; take another "
                "normalization or initializer"
            )
        found = critical_weights(phi, self.bias_variance, norm)
        if isinstance(found, NoCriticalPoint):
            raise UserError(
                f"initializer=critical: there is no critical weight variance for {name}: {found.why}; take another "
                "bias_variance, activation or initializer"
            )
        return found, phi


def critical_weights(
    phi: Activation, bias_variance: float, normalization: Normalization
) -> FixedPoint | NoCriticalPoint:
    """The critical point of an activation with a normalization whose `restores` is known, before any dropout."""
    return _critical(phi, bias_variance, normalization.restores, normalization.placement)


@lru_cache(maxsize=256)
def _critical(phi: Activation, bias_variance: float, restores: str, placement: str) -> FixedPoint | NoCriticalPoint:
    if restores == "nothing":
        return critical_point(phi, bias_variance)
    after, centred = placement == "post_activation", restores == "variance"
    return normalized_critical_point(phi, bias_variance, after=after, centred=centred)
