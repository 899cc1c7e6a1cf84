"""The settings of the loop and of the last evaluation, checked; no torch here, for they are read before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fanin.errors import OptionError, choice, flag, integer, number

PRECISIONS = ("float32", "float64", "bfloat16")

DEVICES = ("auto", "cpu", "cuda", "xpu", "mps")

MOST_THREADS = 1024
"""Of torch; systems end a process that asks for very many."""


@dataclass(frozen=True)
class Evaluation:
    """How a run's final weights are evaluated, beside one pass over the test part (group `evaluation`).

    Args:
        samples: passes with dropout as in training, each with masks of its own, whose probabilities are averaged:
            Monte Carlo dropout (Gal & Ghahramani 2016). result.json has error, loss, entropy, information and
            calibration error of the mean, scores.npz the probabilities, the run's page both reliability diagrams. 0
            makes none; above 0 only for classifiers with dropout.

    Raises:
        OptionError: samples is no integer, or below 0.
    """

    samples: int = 0

    def __post_init__(self) -> None:
        integer("samples", self.samples, 0)


@dataclass(frozen=True)
class Trainer:
    """How long, how often and on what to train.

    Args:
        epochs: passes over the training set; counts when `steps` is null.
        steps: updates; 0 trains nothing: profiles at init, and an evaluation of weights that were trained before.
        least_steps: updates at least, where `steps` is null: a length that follows the number of examples, but for few.
        batch_size: examples of a batch, or "all" for the whole training set.
        accumulate: batches whose gradients make one step: as a batch of all of their examples, in the memory of one,
            but for normalization by a batch's own statistics and for the draws of dropout. Batches that `batch` grows
            and the whole training set are taken in so many parts. What curves say of activations is of the first.
        compile: training passes by torch.compile, which wants a compiler, and pays where a step takes much longer
            than its products; losses are the same but for rounding. Steps at which curves are taken are not compiled,
            and runs with it are trained one by one.
        log_every: steps between two rows of metrics.csv.
        eval_every: steps between two evaluations on the validation part; null for once an epoch.
        eval_train: evaluate the whole training part as well, at the same steps: columns train_loss and train_error.
        checkpoint_every: steps between two checkpoints; null for once an epoch, but not within 10 s of the last; 0 for
            the end only.
        snapshots: keep the weights at the ends of so many parts of equal length, as checkpoints/step_N.pt, for
            `fanin-ensemble --snapshots`: with a schedule of warm restarts whose cycles are these parts, a snapshot
            ensemble (Huang et al. 2017); 0 keeps none.
        scores: keep the outputs for the validation and the test part in scores.npz, of which the run's page draws ROC,
            precision and recall, calibration and the first k answers.
        target_error: stop as soon as the error of training batches, mean over the last `target_window`, is at most
            this; looked at when a row is logged. null never stops.
        target_window: batches of that mean; null for an epoch.
        stop_when_diverged: end a run at the step whose loss is not finite, before the update.
        precision: of weights and computing; bfloat16 keeps float32 weights and runs the forward pass in autocast.
        device: auto (CUDA or XPU where there is one), cpu, cuda, xpu, or mps, which has no float64.
        threads: torch's threads on the CPU; null leaves torch's choice.
        progress: show progress on a terminal.
        gradient_check: before the first step, hold the gradient against differences: this many entries of each
            parameter, and a random direction; needs float64. 0 does not. See `debug=gradient_check`.
    """

    epochs: float = 5
    steps: int | None = None
    least_steps: int = 1
    batch_size: int | str = 100
    accumulate: int = 1
    compile: bool = False
    log_every: int = 10
    eval_every: int | None = None
    eval_train: bool = False
    checkpoint_every: int | None = None
    snapshots: int = 0
    scores: bool = False
    target_error: float | None = None
    target_window: int | None = None
    stop_when_diverged: bool = True
    precision: str = "float32"
    device: str = "auto"
    threads: int | None = 1
    progress: bool = True
    gradient_check: int = 0

    @staticmethod
    def trains_alone(keys: Mapping[str, Any]) -> bool:
        """Where training passes are compiled: the program is one network's."""
        return bool(keys.get("compile"))

    def __post_init__(self) -> None:
        number("epochs", self.epochs, 0, open_low=True)
        if self.steps is not None:
            integer("steps", self.steps, 0)
        integer("least_steps", self.least_steps, 1)
        integer("log_every", self.log_every, 1)
        integer("snapshots", self.snapshots, 0)
        if integer("gradient_check", self.gradient_check, 0) and self.precision != "float64":
            raise OptionError(
                "precision", self.precision, "float64 with trainer.gradient_check", "or debug=gradient_check"
            )
        if self.batch_size != "all":
            try:
                integer("batch_size", self.batch_size, 1)
            except OptionError as error:
                raise OptionError("batch_size", error.value, "an integer >= 1, or all") from None
        for name, low in (("eval_every", 1), ("checkpoint_every", 0), ("target_window", 1)):
            if getattr(self, name) is not None:
                integer(name, getattr(self, name), low)
        if self.threads is not None:
            integer("threads", self.threads, 1, MOST_THREADS)
        if self.target_error is not None:
            number("target_error", self.target_error, 0, 1)
        integer("accumulate", self.accumulate, 1)
        flag("compile", self.compile)
        flag("eval_train", self.eval_train)
        flag("scores", self.scores)
        flag("stop_when_diverged", self.stop_when_diverged)
        flag("progress", self.progress)
        choice("precision", self.precision, PRECISIONS)
        choice("device", self.device, DEVICES)

    def length(self, steps_of_epochs: Callable[[float], int]) -> int:
        """Updates of a whole run.

        Args:
            steps_of_epochs: from a number of epochs to that of updates.

        >>> Trainer(epochs=8, least_steps=1500).length(lambda epochs: int(epochs * 600))
        4800
        >>> Trainer(epochs=8, least_steps=1500).length(lambda epochs: int(epochs * 15))
        1500
        """
        return max(self.least_steps, steps_of_epochs(self.epochs)) if self.steps is None else self.steps

    def batch(self, examples: int) -> int:
        """Examples of a step from a training set of some size: of `accumulate` batches.

        Raises:
            OptionError: a batch is larger than the training set, with the largest batch allowed.
        """
        whole = isinstance(self.batch_size, str)
        step = examples if isinstance(self.batch_size, str) else self.batch_size * self.accumulate
        if step > examples or self.accumulate > step:
            if self.accumulate == 1:
                raise OptionError("batch_size", self.batch_size, f"at most the {examples} training examples")
            most = examples if whole else examples // int(self.batch_size)
            allowed = f"at most {most} for {examples} training examples with batch_size={self.batch_size}"
            raise OptionError("accumulate", self.accumulate, allowed)
        return step
