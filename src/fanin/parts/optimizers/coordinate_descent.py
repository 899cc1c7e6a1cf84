"""Coordinate descent: a few parameters at a time, each time to the minimum along them."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.devices import widened
from fanin.errors import OptionError, choice, integer, number
from fanin.parts.optimizers.objective import Objective, ObjectiveOptimizer
from fanin.streams import generator

SWEEPS = 1000
"""Over the coordinates of a block, at most."""


class CoordinateDescent(ObjectiveOptimizer):
    """Each step changes one block of coordinates, by a Newton step within the block.

    $theta_C <- theta_C - a 2^-k H_CC^-1 g_C$ for a block C of consecutive parameters, with the gradient g and the
    Hessian H of the batch's objective. On a quadratic, a = 1 is the exact minimum along the block; in cyclic order,
    with blocks of one, that is the method of Gauss and Seidel. Where H_CC is not positive definite its eigenvalues
    are replaced by their absolute values, or by 1 where they vanish; k is the number of halvings, at most 30, until
    the objective does not rise. With regularizer.l1.proximal=true the block goes to the minimum of its quadratic model
    with the penalty in it, by soft thresholds within the block (Friedman, Hastie & Tibshirani 2010): on a linear model
    with squared loss and the whole training set in each step, to the lasso's optimum with its exact zeros, whatever the
    size of the blocks. Source: Wright 2015; for random order Nesterov 2012.

    Args:
        params: what to optimize.
        lr: a, >= 0.
        order: cyclic: the blocks in turn; random: at each step any of them, all equally likely.
        block_size: parameters in a block, the last block may have fewer; >= 1, at most P.
        seed: of the random order, >= 0.

    Raises:
        OptionError: a value is out of range.
    """

    thresholds_itself: ClassVar[bool] = True

    def __init__(
        self, params: ParamsT, lr: float = 1.0, order: str = "cyclic", block_size: int = 32, seed: int = 0
    ) -> None:
        defaults = {
            "lr": number("lr", lr, 0),
            "order": choice("order", order, ("cyclic", "random")),
            "block_size": integer("block_size", block_size, 1),
            "seed": integer("seed", seed, 0),
        }
        super().__init__(params, defaults)

    def check(self, parameters: int, examples: int, batch_size: int) -> None:
        """Refuse blocks of more parameters than the model has."""
        size = self.param_groups[0]["block_size"]
        if size > parameters:
            raise OptionError("block_size", size, f"at most the model's {parameters} parameters")

    def update(self, group: dict[str, Any], objective: Objective) -> None:
        """One block."""
        theta, size = objective.vector(), group["block_size"]
        first = size * self._block(group, -(-len(theta) // size))
        block = slice(first, first + size)
        value, bend = objective.slope_and_block(block)
        gradient, thresholds = objective.pass_gradient()[block], objective.thresholds
        if thresholds is None:
            step = group["lr"] * newton_step(bend, gradient)
        else:
            step = group["lr"] * lasso_step(bend, gradient, theta[block], thresholds[block])
        start = value + _penalty(thresholds, theta)
        most = start + 10 * torch.finfo(theta.dtype).eps * abs(start)
        with torch.no_grad():
            for halvings in range(31):
                new = theta.clone()
                new[block] += step * 0.5**halvings
                objective.place(new)
                if objective.value().item() + _penalty(thresholds, new) <= most:
                    return
        objective.place(theta)

    def _block(self, group: dict[str, Any], blocks: int) -> int:
        """The index of the current block; the next call returns the next one."""
        if group["order"] == "cyclic":
            turn: int = self.memory.get("turn", 0)
            self.memory["turn"] = (turn + 1) % blocks
            return turn
        random = generator(group["seed"], "coordinates")
        if "random" in self.memory:
            random.set_state(self.memory["random"])
        drawn = int(torch.randint(blocks, (), generator=random))
        self.memory["random"] = random.get_state()
        return drawn


def _penalty(thresholds: Tensor | None, theta: Tensor) -> float:
    return 0.0 if thresholds is None else float((thresholds * theta.abs()).sum())


def lasso_step(hessian: Tensor, gradient: Tensor, theta: Tensor, thresholds: Tensor) -> Tensor:
    """The d of least $g . d + 1/2 d . |H| d + sum_i s_i |theta_i + d_i|$, coordinate by coordinate to rounding.

    Args:
        hessian: H [b, b], symmetric; see `newton_step` for |H|.
        gradient: g [b].
        theta: where the block is, [b].
        thresholds: s [b], >= 0.

    >>> import torch
    >>> one, two = torch.eye(2), torch.tensor([1.0, -3.0])
    >>> lasso_step(one, two, torch.zeros(2), torch.tensor([2.0, 2.0]))
    tensor([0., 1.])
    """
    values, vectors = _bent(hessian)
    matrix = ((vectors * values) @ vectors.T).cpu().double().numpy()
    start, slope, strength = (one.detach().cpu().double().numpy() for one in (theta, gradient, thresholds))
    now, rest = start.copy(), slope.copy()  # rest: the model's gradient at now
    for _ in range(SWEEPS):
        before = now.copy()
        for place, bend in enumerate(matrix.diagonal()):
            free = now[place] - rest[place] / bend
            new = np.sign(free) * max(abs(free) - strength[place] / bend, 0.0)
            if new != now[place]:
                rest += matrix[:, place] * (new - now[place])
                now[place] = new
        if np.abs(now - before).max() <= 1e-15 * np.abs(now).max():
            break
    return torch.from_numpy(now - start).to(theta.device, theta.dtype)


def _bent(hessian: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, absolute or 1 where they vanish, and eigenvectors of a symmetric matrix."""
    values, vectors = torch.linalg.eigh(widened(hessian))
    size = values.abs()
    rounding = 10 * len(size) * torch.finfo(hessian.dtype).eps * size.max()
    return torch.where(size > rounding, size, 1.0), vectors


def newton_step(hessian: Tensor, gradient: Tensor) -> Tensor:
    """-|H|^-1 g for a symmetric H [b, b]: eigenvalues by their absolute values, 1 for those that vanish.

    >>> import torch
    >>> newton_step(torch.diag(torch.tensor([2.0, -4.0])), torch.tensor([2.0, 4.0]))
    tensor([-1., -1.])
    """
    size, vectors = _bent(hessian)
    step: Tensor = -vectors @ (vectors.T @ widened(gradient) / size)
    return step.to(gradient.device, gradient.dtype)
