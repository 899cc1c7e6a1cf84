"""Activations: functions applied to each pre-activation z on its own; each call returns a fresh module.

The modules compute out of place: a probe that looks at z after the forward pass still sees z. At a kink the derivative
is that of one side, which the formula's inequality tells. S(z) is the logistic sigmoid throughout.
"""

from __future__ import annotations

from torch import nn

from fanin.errors import number
from fanin.parts.per_run import stackable


@stackable
def identity() -> nn.Module:
    """No nonlinearity: deep linear networks.

    $f(z) = z$, $f'(z) = 1$. Source: Saxe et al. 2014.

    >>> import torch
    >>> identity()(torch.tensor([-1.0, 2.0]))
    tensor([-1.,  2.])
    """
    return nn.Identity()


@stackable
def sigmoid() -> nn.Module:
    """Logistic sigmoid, between 0 and 1.

    $f(z) = S(z) = 1 / (1 + e^-z)$, $f'(z) = f(z) (1 - f(z))$, at most 1/4. Source: Rumelhart, Hinton & Williams 1986.

    >>> import math, torch
    >>> sigmoid()(torch.tensor([0.0, math.log(3)]))
    tensor([0.5000, 0.7500])
    """
    return nn.Sigmoid()


@stackable
def tanh() -> nn.Module:
    """Hyperbolic tangent.

    $f(z) = (e^z - e^-z) / (e^z + e^-z)$, $f'(z) = 1 - f(z)^2$. Source: LeCun et al. 1998.

    >>> import math, torch
    >>> tanh()(torch.tensor([math.log(2)]))
    tensor([0.6000])
    """
    return nn.Tanh()


@stackable
def hardtanh() -> nn.Module:
    """Piecewise linear hyperbolic tangent.

    $f(z) = max(-1, min(1, z))$, $f'(z) = 1$ for $|z| < 1$ and 0 elsewhere. Source: Collobert 2004.

    >>> import torch
    >>> hardtanh()(torch.tensor([-3.0, 0.5]))
    tensor([-1.0000,  0.5000])
    """
    return nn.Hardtanh()


@stackable
def softsign() -> nn.Module:
    """A sigmoid that approaches its bounds -1 and 1 polynomially, not exponentially.

    $f(z) = z / (1 + |z|)$, $f'(z) = 1 / (1 + |z|)^2$. Source: Bergstra et al. 2009; Glorot & Bengio 2010.

    >>> import torch
    >>> softsign()(torch.tensor([-1.0, 3.0]))
    tensor([-0.5000,  0.7500])
    """
    return nn.Softsign()


@stackable
def relu() -> nn.Module:
    """Rectified linear unit.

    $f(z) = max(0, z)$, $f'(z) = 1$ for $z > 0$ and 0 for $z <= 0$. Source: Nair & Hinton 2010.

    >>> import torch
    >>> relu()(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return nn.ReLU()


@stackable
def leaky_relu(*, slope: float = 0.01) -> nn.Module:
    """Rectified linear unit that lets some of the negative side through.

    $f(z) = z$ for $z > 0$ and $slope z$ for $z <= 0$, $f'(z) = 1$ and slope. Source: Maas, Hannun & Ng 2013.

    Args:
        slope: for z <= 0; 0 is relu, 1 identity.

    Raises:
        OptionError: slope is not finite.

    >>> import torch
    >>> leaky_relu(slope=0.5)(torch.tensor([-2.0, 3.0]))
    tensor([-1.,  3.])
    """
    return nn.LeakyReLU(number("slope", slope))


@stackable
def elu(*, alpha: float = 1.0) -> nn.Module:
    """Exponential linear unit: saturates at -alpha, so that means come nearer to 0 than with relu.

    $f(z) = z$ for $z > 0$ and $alpha (e^z - 1)$ for $z <= 0$, $f'(z) = 1$ and $alpha e^z$.
    Source: Clevert, Unterthiner & Hochreiter 2016.

    Args:
        alpha: > 0; the derivative is continuous for 1.

    Raises:
        OptionError: alpha is out of range.

    >>> import math, torch
    >>> elu(alpha=2.0)(torch.tensor([-math.log(2), 3.0]))
    tensor([-1.,  3.])
    """
    return nn.ELU(number("alpha", alpha, 0, open_low=True))


@stackable
def selu() -> nn.Module:
    """Scaled elu, under which mean 0 and variance 1 reproduce themselves with weights of variance 1/fan_in.

    $f(z) = l z$ for $z > 0$ and $l a (e^z - 1)$ for $z <= 0$, $f'(z) = l$ and $l a e^z$, with $l = 1.0507009873554805$,
    $a = 1.6732632423543772$. Source: Klambauer et al. 2017.

    >>> import torch
    >>> selu()(torch.tensor([1.0]))
    tensor([1.0507])
    """
    return nn.SELU()


@stackable
def gelu() -> nn.Module:
    """Gaussian error linear unit: z times the probability that a standard normal is below z.

    $f(z) = z P(z)$, $f'(z) = P(z) + z p(z)$, $P(z) = (1 + erf(z / sqrt 2)) / 2$, $p(z) = e^(-z^2/2) / sqrt(2 pi)$;
    exact, not the paper's approximation by tanh. Source: Hendrycks & Gimpel 2016.
    >>> import torch
    >>> gelu()(torch.tensor([2.0])) - gelu()(torch.tensor([-2.0]))
    tensor([2.])
    """
    return nn.GELU()


@stackable
def silu() -> nn.Module:
    """Sigmoid linear unit, also swish.

    $f(z) = z S(z)$, $f'(z) = S(z) (1 + z (1 - S(z)))$. Source: Elfwing, Uchibe & Doya 2018; Ramachandran et al. 2017.

    >>> import math, torch
    >>> silu()(torch.tensor([math.log(3)])) / math.log(3)
    tensor([0.7500])
    """
    return nn.SiLU()


@stackable
def mish() -> nn.Module:
    """A smooth unit close to silu.

    $f(z) = z tanh(q)$, $f'(z) = tanh(q) + z S(z) (1 - tanh(q)^2)$, $q = ln(1 + e^z)$. Source: Misra 2019.

    >>> import math, torch
    >>> mish()(torch.tensor([math.log(3)])) / math.log(3)  # tanh(ln 4) = 15/17
    tensor([0.8824])
    """
    return nn.Mish()


@stackable
def softplus(*, beta: float = 1.0) -> nn.Module:
    """Smooth rectified linear unit, always positive.

    $f(z) = ln(1 + e^(beta z)) / beta$, $f'(z) = S(beta z)$. Source: Dugas et al. 2001.
    From $beta z = 40$ on $f(z) = z$, which there is the same to the last bit of float64 (the library's own 20 is not).

    Args:
        beta: sharpness, > 0; relu is its limit.

    Raises:
        OptionError: beta is out of range.

    >>> import torch
    >>> softplus()(torch.tensor([0.0]))
    tensor([0.6931])
    """
    return nn.Softplus(number("beta", beta, 0, open_low=True), threshold=40)
