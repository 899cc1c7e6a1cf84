"""How fast optimizers approach the minimum of a quadratic, in closed form; no torch, so that a report can compare."""

from __future__ import annotations

import cmath
import math
from collections.abc import Mapping
from dataclasses import dataclass


def factor(optimizer: str, numbers: Mapping[str, float], condition: float) -> float | None:
    """The factor by which the distance to a quadratic's minimum shrinks a step in the long run.

    Along an eigenvector of curvature l the distance e follows a linear recursion; the factor is the largest modulus of
    the roots z of its polynomial, over the curvatures l = 1 and l = kappa:
        gd, sgd:                    z = 1 - a l
        momentum:                   z^2 - (1 + rho - a l) z + rho = 0
        ema_, unbiased_momentum:    the same with a (1 - beta) for a, beta for rho
        nesterov:                   z^2 - (1 + rho)(1 - a l) z + rho (1 - a l) = 0
        newton, saddle_free_newton: z = 1 - a l/(l + damping)
    Between the two curvatures no modulus is larger: it is convex or constant in l. Source: Polyak 1964; Lessard, Recht
    & Packard 2016.

    Args:
        optimizer: the option's name.
        numbers: its keys: lr, momentum, beta, damping.
        condition: kappa.

    Returns:
        the factor; None for other optimizers, whose steps no linear recursion tells.

    >>> factor("gd", {"lr": 0.5}, condition=3.0), factor("adam", {"lr": 0.5}, condition=3.0)
    (0.5, None)
    """
    lr = numbers["lr"]
    if optimizer in ("gd", "sgd"):
        return max(abs(1 - lr * bend) for bend in (1.0, condition))
    if optimizer in ("newton", "saddle_free_newton"):
        return max(abs(1 - lr * bend / (bend + numbers["damping"])) for bend in (1.0, condition))
    if optimizer == "nesterov":
        rho = numbers["momentum"]
        return max(_radius((1 + rho) * (1 - lr * bend), rho * (1 - lr * bend)) for bend in (1.0, condition))
    if optimizer in ("momentum", "ema_momentum", "unbiased_momentum"):
        averages = optimizer != "momentum"
        rho = numbers["beta" if averages else "momentum"]
        length = lr * (1 - rho) if averages else lr
        return max(_radius(1 + rho - length * bend, rho) for bend in (1.0, condition))
    return None


@dataclass(frozen=True)
class Best:
    """The numbers of an optimizer with the least factor there is for a quadratic's curvatures from 1 to kappa.

    Attributes:
        numbers: by key.
        factor: r, by which the distance shrinks a step in the long run.
        formula: of r.
        growth: the least and the largest s with which, along an eigenvector, |e_t| = |e_0| (1 + s t) r^t; what else
            there is dies out faster.
    """

    numbers: Mapping[str, float]
    factor: float
    formula: str
    growth: tuple[float, float]

    def between(self, first: int, last: int) -> tuple[float, float]:
        """The least and the largest mean factor a step from one step to a later one: with s > 0 r is reached slowly."""
        least, most = (((1 + s * last) / (1 + s * first)) ** (1 / (last - first)) for s in self.growth)
        return self.factor * least, self.factor * most


def best(optimizer: str, condition: float) -> Best | None:
    """The best fixed numbers of an optimizer.

    gd:         a = 2/(1 + kappa); r = 1 - 2/(kappa + 1), met in every step
    momentum:   a = 4/(sqrt kappa + 1)^2, rho = r^2; r = (sqrt kappa - 1)/(sqrt kappa + 1). At both ends of the
                curvatures the root is double, r at 1 and -r at kappa; from a start at rest s = 1 - r and 1 + r
    nesterov:   with s = sqrt(3 kappa + 1): a = 4/s^2, rho = (s - 2)/(s + 2); r = 1 - 2/s, double at curvature 1, where
                e_t grows by 2/(s + 2), and single, -r, at kappa
    Source: Polyak 1964; Lessard, Recht & Packard 2016.

    Args:
        optimizer: the option's name.
        condition: kappa, > 1.

    Returns:
        None for other optimizers.

    >>> known = best("gd", condition=3.0)
    >>> dict(known.numbers), known.factor, known.between(10, 20)
    ({'lr': 0.5}, 0.5, (0.5, 0.5))
    """
    root, third = math.sqrt(condition), math.sqrt(3 * condition + 1)
    if optimizer == "gd":
        return Best({"lr": 2 / (1 + condition)}, 1 - 2 / (condition + 1), "1 - 2/(kappa + 1)", (0.0, 0.0))
    if optimizer == "momentum":
        r = (root - 1) / (root + 1)
        numbers = {"lr": 4 / (root + 1) ** 2, "momentum": r**2}
        return Best(numbers, r, "(sqrt kappa - 1)/(sqrt kappa + 1)", (1 - r, 1 + r))
    if optimizer == "nesterov":
        numbers = {"lr": 4 / third**2, "momentum": (third - 2) / (third + 2)}
        return Best(numbers, 1 - 2 / third, "1 - 2/sqrt(3 kappa + 1)", (0.0, 2 / (third + 2)))
    return None


def setting(optimizer: str, key: str, condition: float) -> float:
    """The number that an optimizer is set to on a quadratic: its best where `best` knows it, the like of it for others.

    ema_momentum:       momentum's, whose step is a (1 - beta): a = 1/sqrt kappa, beta = r^2
    unbiased_momentum:  beta = r^2 and, by trial, a = 3/kappa: its first steps are the full a g

    Args:
        optimizer: the option's name.
        key: lr, momentum or beta.
        condition: kappa, > 1.

    Raises:
        ValueError: nothing is known of that optimizer or key, or kappa is not above 1.

    >>> setting("gd", "lr", 49.0), setting("momentum", "momentum", 9.0), setting("ema_momentum", "lr", 100.0)
    (0.04, 0.25, 0.1)
    """
    if not condition > 1:
        raise ValueError(f"a condition number of {condition}: must be > 1")
    if (known := best(optimizer, condition)) is not None:
        numbers = dict(known.numbers)
    elif optimizer in ("ema_momentum", "unbiased_momentum"):
        root = math.sqrt(condition)
        lr = 1 / root if optimizer == "ema_momentum" else 3 / condition
        numbers = {"lr": lr, "beta": ((root - 1) / (root + 1)) ** 2}
    else:
        numbers = {}
    if key not in numbers:
        raise ValueError(f"no best {key} of {optimizer} on a quadratic is known")
    return numbers[key]


def _radius(total: float, product: float) -> float:
    """The larger modulus of the roots of z^2 - total z + product."""
    root = cmath.sqrt(total * total - 4 * product)
    return max(abs(total + root), abs(total - root)) / 2
