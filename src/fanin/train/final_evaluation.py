"""The evaluation of the networks that runs end with: the last row of metrics.csv, and a run's final numbers.

All of them are of one network, whatever ended the run: of the best weights under early stopping, of the average where
iterates are averaged, else of the last weights. What a training batch gave is of another one, before its update.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from fanin.train.classifier_metrics import evaluate
from fanin.train.generalization import generalization
from fanin.train.learner import Culprit, Learner
from fanin.train.run_state import Run

Part = tuple[Tensor, Tensor]  # inputs [N, ...], targets [N]
Row = Mapping[str, float | None]
PLACE = ("step", "epoch", "examples", "gradients", "flops", "seconds")


def add_evaluation(learner: Learner, runs: Sequence[Run], name: str, part: Part, outputs: Tensor | None = None) -> None:
    """Add loss and error on a part of the data, such as "val", to the rows of all runs; nothing of an empty part.

    `outputs` are the learner's for the part, where they are known.
    """
    if len(part[0]):
        losses, errors = (values.tolist() for values in learner.evaluate(*part, outputs))
        for run, loss, error in zip(runs, losses, errors, strict=True):
            run.row |= {f"{name}_loss": loss, f"{name}_error": error}


def evaluate_finally(
    learner: Learner,
    runs: Sequence[Run],
    parts: Mapping[str, Part],
    rows: Sequence[Row],
    in_training: Sequence[str],
    *,
    classifies: bool,
) -> None:
    """Evaluate the weights that runs end with, once each, and write their last rows without what is told already.

    Args:
        learner: of the runs, with the weights that they end with.
        runs: their rows have the place of the last step.
        parts: of the data, by name.
        rows: the runs' rows of the last step, as written.
        in_training: names of the parts that each evaluation in training was of.
        classifies: whether answers to the test part are held against the truth: precision, recall, confusion, ...
    """
    known_outputs = {name: learner.predict(parts[name][0]) for name in ("train", "test") if classifies}
    inputs, targets = parts["test"]
    outputs = known_outputs.get("test") if len(inputs) else None
    for name, part in parts.items():
        known = (f"{name}_loss", f"{name}_error")
        if all(known[0] in row and not run.ends_with_best for run, row in zip(runs, rows, strict=True)):
            for run, row in zip(runs, rows, strict=True):
                run.row |= {column: row[column] for column in known}
        else:
            add_evaluation(learner, runs, name, part, known_outputs.get(name))
    evaluated = {f"{name}_{what}" for name in in_training for what in ("loss", "error")}
    for run, row in zip(runs, rows, strict=True):
        told = evaluated if run.ends_with_best else row.keys()  # the best weights have a row, maybe an earlier one
        run.final = run.row
        run.recorder.metrics({key: value for key, value in run.final.items() if key in PLACE or key not in told})
        losses = [value for key, value in run.final.items() if key.endswith("_loss") and value is not None]
        if not all(map(math.isfinite, losses)) and run.diverged is None:  # the very last update broke it
            run.state, run.diverged = "diverged", (run.step, Culprit("the evaluation", "loss"))
    for index, run in enumerate(runs if outputs is not None else ()):
        if outputs is not None and run.state == "done":
            run.evaluation = evaluate(outputs[index], targets)
            train = known_outputs["train"][index], parts["train"][1]
            test = outputs[index], targets, inputs
            run.generalization = generalization(learner.networks[index], run.final, train, test)
