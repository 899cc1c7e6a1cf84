"""fanin.audit: every parameter of a model against the law that it is declared to be drawn from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from fanin.errors import UserError, counted, number
from fanin.own_models.examined import Fault, Row, examined, fault_of
from fanin.own_models.rules import Parameter, Rules, laws_of, parameters_of
from fanin.own_models.twins import twins
from fanin.own_models.unwrapped import checked

if TYPE_CHECKING:
    import pandas as pd

TESTS = ("mean", "variance", "tails", "shape")


@dataclass(frozen=True)
class Audit:
    """What an audit has found; it is true where nothing is wrong.

    Attributes:
        table: a row a parameter: its law, the standard deviation that law has and the measured one, and the p values.
        faults: what is wrong, empty where all is right.
        level: the probability that a right model has any fault.
    """

    table: pd.DataFrame
    faults: list[Fault]
    level: float

    def __bool__(self) -> bool:
        return not self.faults

    @property
    def exit_code(self) -> int:
        """Of a command: 0 where nothing is wrong, else 1."""
        return 1 if self.faults else 0

    def __str__(self) -> str:
        audited = counted(len(self.table), "parameter")
        if not self.faults:
            return f"{audited}: all as declared"
        lines = [f"{one.parameter}: {one.said}" for one in self.faults]
        return "\n".join([f"{audited}: {counted(len(self.faults), 'fault')}", *lines])

    __repr__ = __str__


def audit(
    model: nn.Module,
    rules: Rules = "torch_default",
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | None = None,
    *,
    level: float = 0.01,
    gradients: bool = False,
) -> Audit:
    """Hold every parameter of a fresh model against its law, and its optimizers against its parameters.

    Of independent draws the mean, the variance (chi-square), the largest entry and the whole distribution are tested;
    of orthogonal matrices W W^T, of constants every entry. Draws of any two layers are held against each other, for a
    seed that was used twice. The level is divided by the number of tests (Bonferroni): half of it is for pairs.

    Args:
        model: fresh, before its first step.
        rules: a law by its name in torch.nn.init, with its settings ("kaiming_normal(mode='fan_out')"), "std 0.02",
            "torch_default" (what torch draws each of its layers from) or "gpt2": of every matrix and kernel but
            embeddings, which follow torch's default, as vectors do (biases may be 0). Or {pattern: law}: the first
            pattern that matches a parameter's name counts, and where none does nothing is declared.
        optimizer: one or several; every trained parameter has to be in exactly one place of them.
        level: the probability that a right model has any fault at all.
        gradients: whether every trained parameter has to have a gradient by now.

    Raises:
        UserError: a rule that is not known, or a pattern that matches nothing.

    Source: Bonferroni 1936; Lugannani & Rice 1980 for the variance of bounded draws.

    >>> generator = torch.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(100, 200), nn.ReLU(), nn.Linear(200, 10))
    >>> bool(audit(model)), audit(model, "kaiming_normal").faults[0]
    (True, Fault(parameter='0.weight', said='follows torch_default: nobody has drawn it from kaiming_normal', p=0.0))
    """
    level = number("level", level, 0, 1, open_low=True, open_high=True)
    parameters = parameters_of(checked(model))
    rows = [examined(one, laws) for one, laws in zip(parameters, laws_of(parameters, rules), strict=True)]
    tests = sum(len(row.p) * len(row.laws) for row in rows)
    faults = [fault for row in rows if (fault := fault_of(row, level / 2 / max(tests, 1))) is not None]
    drawn = {row.parameter.names[0]: row.sample for row in rows if len(row.sample) > 1 and row.sample.std() > 0}
    found, pairs = twins(drawn)
    faults += [
        Fault(other, f"its first entries are those of {one} (correlation {r:.3f}): both were drawn from one seed", p)
        for one, other, r, p in found
        if p < level / 2 / pairs
    ]
    if optimizer is not None:
        faults += _optimized(parameters, [optimizer] if isinstance(optimizer, torch.optim.Optimizer) else optimizer)
    if gradients:
        faults += [
            Fault(one.names[0], "has no gradient")
            for one in parameters
            if one.tensor.requires_grad and one.tensor.grad is None
        ]
    return Audit(_table(rows, faults), faults, level)


def _optimized(parameters: Sequence[Parameter], optimizers: Sequence[torch.optim.Optimizer]) -> list[Fault]:
    """Trained parameters that are in no optimizer, or in several places."""
    for each in optimizers:
        if not isinstance(each, torch.optim.Optimizer):
            raise UserError(f"optimizer: an audit takes torch optimizers, not {type(each).__name__}")
    held = Counter(id(tensor) for each in optimizers for group in each.param_groups for tensor in group["params"])
    faults = []
    for one in parameters:
        count = held[id(one.tensor)]
        if one.tensor.requires_grad and count == 0:
            faults.append(Fault(one.names[0], "is trained, and in no optimizer"))
        elif count > 1:
            faults.append(Fault(one.names[0], f"is in {count} places of the optimizers"))
    return faults


def _table(rows: Sequence[Row], faults: Sequence[Fault]) -> pd.DataFrame:
    import pandas as pd

    said: dict[str, list[str]] = {}
    for fault in faults:
        said.setdefault(fault.parameter, []).append(fault.said)
    return pd.DataFrame(
        [
            {
                "parameter": row.parameter.names[0],
                "shape": tuple(row.parameter.tensor.shape),
                "law": row.law.name if row.law else "",
                "declared_std": row.law.std if row.law and row.law.drawn else math.nan,
                "std": float(row.sample.std()) if len(row.sample) else math.nan,
                "mean": float(row.sample.mean()) if len(row.sample) else math.nan,
                **{f"p_{test}": row.p.get(test, math.nan) for test in TESTS},
                "fault": "; ".join(said.get(row.parameter.names[0], [])),
            }
            for row in rows
        ]
    )
