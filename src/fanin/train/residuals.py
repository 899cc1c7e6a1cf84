"""What estimates of a number are worth: R^2 and errors of the test part, and its residuals as a file."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fanin.record.columns import RESIDUALS, names
from fanin.record.csv_file import write_table
from fanin.train.learner import Learner
from fanin.train.run_state import Run

Part = tuple[Tensor, Tensor]


def evaluate_estimates(estimates: Tensor, targets: Tensor) -> dict[str, float | None]:
    """The usual measures of estimates s of numbers t.

    $R^2 = 1 - sum (s - t)^2 / sum (t - mean t)^2$: 1 where all are right, 0 for the mean of these targets, below 0 for
    what is worse than that. rmse is the root of the mean squared error, absolute_error the mean of abs(s - t), bias
    that of s - t.

    Args:
        estimates, targets: [N] each, in the unit of the target.

    Returns:
        r2, rmse, absolute_error and bias; r2 is None where all targets are equal, all are without examples.

    Source: Draper and Smith, Applied Regression Analysis (1998), section 1.3.

    >>> import torch
    >>> evaluate_estimates(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 2.0, 3.0]))["r2"]
    0.5
    """
    if not len(targets):
        return dict.fromkeys(("r2", "rmse", "absolute_error", "bias"))
    residuals = estimates.double() - targets.double()
    spread = (targets.double() - targets.double().mean()).square().sum()
    return {
        "r2": float(1 - residuals.square().sum() / spread) if spread > 0 else None,
        "rmse": float(residuals.square().mean().sqrt()),
        "absolute_error": float(residuals.abs().mean()),
        "bias": float(residuals.mean()),
    }


def keep_residuals(learner: Learner, runs: Sequence[Run], part: Part, scale: tuple[float, float]) -> None:
    """Give each run that is done its evaluation of a part, and its folder residuals.csv.

    Args:
        learner: of the runs.
        runs: those that end.
        part: inputs and targets.
        scale: mean and standard deviation that the targets were scaled by; the file and the evaluation have the
            target's own unit.
    """
    inputs, targets = part
    if not len(inputs):
        return
    mean, std = scale
    true = targets.cpu().double() * std + mean
    for outputs, run in zip(learner.predict(inputs), runs, strict=True):
        if run.state != "done":
            continue
        estimates = outputs.squeeze(-1).cpu().double() * std + mean
        run.evaluation = evaluate_estimates(estimates, true)
        rows = zip(true.tolist(), estimates.tolist(), strict=True)
        write_table(run.recorder.folder.path / "residuals.csv", names(RESIDUALS), list(rows))
