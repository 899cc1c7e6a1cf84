"""SVRG: the batch's gradient, corrected by what it was worth at a snapshot."""

from __future__ import annotations

from typing import Any, ClassVar

from torch.optim.optimizer import ParamsT

from fanin.errors import integer, number
from fanin.parts.optimizers.inner_step import VarianceReduced
from fanin.parts.optimizers.objective import Objective


class SVRG(VarianceReduced):
    """Stochastic variance reduced gradient: noise that vanishes as theta and a snapshot s of it near the minimum.

    $v = g_B(theta) - g_B(s) + g(s)$;  $theta <- theta - a v$;  $s <- theta$ every so many steps, beginning with the
    first. g_B is the gradient of the batch's objective and g that of the whole training set's, so that E v = g(theta),
    and on a strongly convex problem a constant a leads to the minimum itself, by a constant factor each snapshot. A
    step costs two batch gradients; a snapshot costs a pass over the training set. Source: Johnson & Zhang 2013, with
    the last step of each round as the next snapshot (their option I).
    Args:
        params: what to optimize.
        lr: a, >= 0.
        every: steps from a snapshot to the next, >= 1; None: an epoch, the floor(N/B) whole batches of the
            training set.
        inner: whose step is made of v, with that optimizer's own defaults: sgd, which is $theta <- theta - a v$,
            momentum, nesterov, adam, rmsprop or adagrad, whose scales then see less noise (Dubois-Taine et al. 2022).

    Raises:
        OptionError: a value is out of range.
    """

    remembers_examples: ClassVar[bool] = True

    def __init__(self, params: ParamsT, lr: float, every: int | None = None, inner: str = "sgd") -> None:
        defaults = {"lr": number("lr", lr, 0), "every": every if every is None else integer("every", every, 1)}
        super().__init__(params, defaults, inner)

    def update(self, group: dict[str, Any], objective: Objective) -> None:
        """A new snapshot if it is time, then the corrected step."""
        every = group["every"] or max(1, len(objective.train_inputs) // len(objective.inputs))
        theta, memory = objective.vector(), self.memory
        age = memory.get("age", every)
        if age >= every:
            memory["snapshot"], memory["mean"] = theta, objective.full_gradient()
            age, estimate = 0, memory["mean"]
        else:
            objective.place(memory["snapshot"])
            estimate = objective.pass_gradient() - objective.gradient() + memory["mean"]
        memory["age"] = age + 1
        self.take(group, objective, theta, estimate)
