"""SAGA: the batch's gradient, corrected by the last gradient of each of its examples."""

from __future__ import annotations

from typing import Any, ClassVar

from torch.optim.optimizer import ParamsT

from fanin.devices import widest
from fanin.errors import OptionError, integer, number
from fanin.parts.optimizers.inner_step import VarianceReduced
from fanin.parts.optimizers.objective import Objective


class SAGA(VarianceReduced):
    """Noise reduced by a table with one gradient for each training example, as of the last time it was seen.

    $v = mean_B (g_i(theta) - T_i) + mean_N T_i$ + gradient of the penalty;  $theta <- theta - a v$;  $T_i <- g_i$ for
    i in B. g_i is the gradient of one example's loss; T starts with the gradients at the starting point, as the paper
    has it, which costs a pass over the training set. E v is the full gradient, and on a strongly convex problem a
    constant a leads to the minimum itself. The penalty, known exactly, needs no table. The table has the parameters'
    precision and goes into every checkpoint. Source: Defazio, Bach & Lacoste-Julien 2014.
    Args:
        params: what to optimize.
        lr: a, >= 0.
        max_table_entries: refuse a training set and a model whose table has more, >= 1; 1e8 are 400 MB in float32.
        inner: whose step is made of v, with that optimizer's own defaults: sgd, which is $theta <- theta - a v$,
            momentum, nesterov, adam, rmsprop or adagrad, whose scales then see less noise (Dubois-Taine et al. 2022).

    Raises:
        OptionError: a value is out of range.
    """

    separates_examples: ClassVar[bool] = True
    remembers_examples: ClassVar[bool] = True

    def __init__(self, params: ParamsT, lr: float, max_table_entries: int = 100_000_000, inner: str = "sgd") -> None:
        limit = integer("max_table_entries", max_table_entries, 1)
        super().__init__(params, {"lr": number("lr", lr, 0), "max_table_entries": limit}, inner)

    def check(self, parameters: int, examples: int, batch_size: int) -> None:
        """The table must fit."""
        most = self.param_groups[0]["max_table_entries"]
        if parameters * examples > most:
            needed = f"at least {parameters * examples}: {examples} examples times {parameters} parameters"
            raise OptionError("max_table_entries", most, needed, "or take optimizer=svrg, which keeps no table")

    def update(self, group: dict[str, Any], objective: Objective) -> None:
        """The corrected step, and the new rows of the table."""
        if objective.rows is None:
            raise ValueError("SAGA needs the rows of the batch's examples in the training set")
        theta, rows = objective.vector(), objective.rows
        if "table" not in self.memory:
            self._start(objective)
        table, mean = self.memory["table"], self.memory["mean"]
        old = table[rows]
        new = objective.example_gradients(objective.inputs, objective.targets)
        step = objective.pass_gradient() - old.mean(0) + mean.to(theta.dtype)
        table[rows] = new
        mean += (new - old).to(mean.dtype).sum(0) / len(table)  # float64: its roundings add up over the whole training
        self.take(group, objective, theta, step)

    def _start(self, objective: Objective) -> None:
        x, y = objective.train_inputs, objective.train_targets
        table = objective.vector().new_empty(len(x), len(objective.vector()))
        for first in range(0, len(x), objective.chunk):
            some = slice(first, first + objective.chunk)
            table[some] = objective.example_gradients(x[some], y[some])
        self.memory |= {"table": table, "mean": table.mean(0, dtype=widest(table.device))}
