"""The contract of the files: every column, key and state that a run or a grid writes down, each said once.

Training writes by these names, reports and notebooks read by them, and nothing else passes between the two. A number
that does not apply is an empty cell in a CSV file and null in JSON; one that is not finite is "nan", "inf" or "-inf".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a CSV file or a key of a JSON file.

    Args:
        name: as it stands in the file.
        meaning: what it holds, a phrase to follow "is".
        unit: of a number that has one.
    """

    name: str
    meaning: str
    unit: str = ""


def names(columns: Sequence[Column]) -> tuple[str, ...]:
    """The names of some columns, in order."""
    return tuple(column.name for column in columns)


def ends(prefix: str, of: str, upper: str = "the upper end") -> tuple[Column, Column]:
    """The columns of the ends of an interval."""
    return Column(f"{prefix}low", f"the lower end of {of}"), Column(f"{prefix}high", upper)


STATES = {
    "done": "trained to its end",
    "diverged": "ended by the first loss that was not finite, which is a result, too",
    "failed": "ended by an error; run.log has the traceback",
    "interrupted": "stopped by the user; the same command resumes from the last checkpoint",
    "running": "in training, or its machine died before the state could be written",
    "paused": "stopped by a search, which may resume it",
    "pruned": "ended by a search because other runs were better",
    "unknown": "no file says",
}
"""status.json's `state`, and what it means."""

FINISHED = ("done", "diverged", "pruned")
"""The states of runs that are complete: they have a result.json, and the same command does not run them again."""

STATUS = (
    Column("state", "one of the states above"),
    Column("step", "updates made so far"),
    Column("steps", "updates of the whole run"),
    Column("epoch", "passes over the training part so far"),
    Column("seconds", "training time so far, without evaluation and probes", "s"),
    Column("started", "when this attempt began", "UTC"),
    Column("updated", "when this file was written", "UTC"),
    Column("error", "the line that says what ended a failed or interrupted run"),
    Column("pid", "the process that ran it"),
)
"""status.json."""


def loss_and_error(part: str, of: str) -> tuple[Column, Column]:
    """The two columns of a part of the data."""
    return Column(f"{part}_loss", f"the mean loss {of}"), Column(f"{part}_error", f"the share of wrong answers {of}")


PARTS = (
    *loss_and_error("batch", "of the training batches since the last row, each before its update, in training mode"),
    *loss_and_error("train", "on the whole training part; in the last row, with trainer.eval_train in others too"),
    *loss_and_error("val", "on the validation part"),
    *loss_and_error("test", "on the test part; in the last row only"),
)
"""What is measured in training, and by the evaluations of the weights after a row's last update."""

EARLIER = {
    "train_loss": "batch_loss",
    "train_error": "batch_error",
    "full_loss": "train_loss",
    "full_error": "train_error",
}
"""Today's names of the columns of a metrics.csv of an earlier version, which has no batch_loss."""

SPENT = (
    Column("examples", "training examples taken in batches, each as often as it was"),
    Column(
        "gradients",
        "examples whose gradient was taken, in further passes of an optimizer too; a product with a matrix of second "
        "derivatives counts as one for each example of its batch",
    ),
    Column("flops", "floating point operations of matrix products and convolutions in all passes of the training"),
)
"""What a training has taken so far."""

METRICS = (
    Column("step", "updates made"),
    Column("epoch", "passes over the training part made"),
    Column("lr", "the learning rate of the last update"),
    *PARTS,
    *SPENT,
    Column(
        "seconds", "training time so far, without evaluation and probes; of runs trained together an equal share", "s"
    ),
)
"""metrics.csv, a row per logged step, and a last one of the weights that the run ends with."""

MONITORS = ("val_loss", "val_error", "batch_loss", "batch_error", "train_loss", "train_error")
"""Those that early stopping and schedules may follow; of the whole training part they need `trainer.eval_train`."""

PROFILES = (
    Column("snapshot", "when: init, final or the number of a step"),
    Column("axis", "what the index counts: module (every layer) or weight (layers with a weight matrix)"),
    Column("index", "the position over depth, from 1"),
    Column("layer", "the layer's name in the model"),
    Column("quantity", "what is measured, such as activation_norm or gradient_norm"),
    Column("value", "the measured number"),
    Column("theory", "the median of a fresh draw of the recipe at initialization"),
    Column("band_low", "the 16 % quantile of fresh draws"),
    Column("band_high", "their 84 % quantile"),
    Column("source", "where these three come from: exact law, first order in 1/n, mean field, or redraw of a number"),
    Column("redraw_median", "with `probe.band=both` the median of the redraws, beside a law"),
    Column("redraw_low", "their 16 % quantile"),
    Column("redraw_high", "their 84 % quantile"),
)
"""profiles.csv, a row per snapshot, layer and quantity."""

LATER = ("source", "redraw_median", "redraw_low", "redraw_high")
"""Columns of profiles.csv that files of an earlier version do not have."""

TEXT = ("snapshot", "axis", "layer", "quantity", "source")
"""Columns that are no numbers."""

TRAJECTORY = (Column("step", "updates made before the point"), Column("theta_1", "the first parameter; theta_2, ..."))
"""trajectory.csv, with `probe.trajectory=true`: the parameters before every step, and at the end."""

GRADIENT_CHECK = (
    Column("block", "the name of the parameter"),
    Column("entry", "which entry of it, or direction: a random unit vector over the whole block"),
    Column("gradient", "the derivative by backpropagation of what is minimized, penalties included"),
    Column("central", "the central difference, of the error h^2"),
    Column("forward", "the forward difference, of the error h"),
    Column("h", "the step of the differences"),
    Column("error", "|gradient - central| over the larger of both or, if larger, the block's root mean square"),
    Column("verdict", "agrees, differs, kink (no derivative there, not judged) or too small (below rounding)"),
)
"""gradient_check.csv, with `debug=gradient_check`: a row for each derivative that was checked."""

RESIDUALS = (
    Column("target", "the number of a test example, in its own unit"),
    Column("estimate", "what the network says"),
)
"""residuals.csv, where numbers are estimated: a row for each test example."""

HISTOGRAMS = (
    Column("step", "updates made before the look"),
    Column("of", "activations (of a weight layer's block), weights or gradients (of the loss for them)"),
    Column("index", "the weight layer's position over depth, from 1"),
    Column("layer", "its name in the model"),
    Column("low", "the smallest finite value; half a unit below where all are one"),
    Column("high", "the largest finite value; half a unit above where all are one"),
    Column("nonfinite", "how many values are not finite"),
    Column("count_1", "how many lie in the first of 30 bins of equal width from low to high; count_2, ..., count_30"),
)
"""histograms.csv, with `probe.histograms`: a row for each look, layer and what it is of, on the fixed batch."""

ENSEMBLE = (
    Column("members", "how many members an ensemble has"),
    Column("ensembles", "over how many ensembles of that size the numbers are means"),
    Column("error", "the share of wrong answers"),
    *ends("", "its 95 % interval over examples"),
    Column("least", "the error of the best of these ensembles"),
    Column("most", "that of the worst"),
    Column("loss", "minus the logarithm of the mean probability of the true class"),
)
"""ensemble/ensemble.csv, of fanin-ensemble: a row for each number of members."""

IN_USE_FILE = "in_use.csv"

IN_USE = (
    Column("form", "of the trained network: trained, round_N of a pruning, its quantized or exported form"),
    Column("run", "the folder of the run that it is of"),
    Column("error", "the share of wrong answers on the test part"),
    *ends("", "its 95 % interval over examples (Wilson)"),
    Column("examples", "of the test part"),
    Column("agreement", "the share of these examples that it answers as the first form does"),
    Column("bytes", "that have to be stored: of pruned weights what is left, and a bit for each entry", "bytes"),
    Column("zeros", "the share of zeros among the entries of weight matrices and kernels"),
    Column("latency_1", "of an answer to one example, the median, on one thread of the CPU: a benchmark", "s"),
    Column("latency_100", "of an answer to a hundred of them", "s"),
)
"""in_use.csv, of fanin-prune, fanin-quantize and fanin-export: a row for each form of a trained network."""

CURVATURE = (
    Column("step", "updates made before the look"),
    Column("layer", "the layer whose block of the matrix it is of; empty for the whole model"),
    Column("quantity", "what is measured, such as sharpness or trace; gauss_newton_* of that matrix"),
    Column("index", "of the k-th eigenvalue from its end, or of a point of the density's curve; empty elsewhere"),
    Column("value", "the measured number"),
)
"""curvature.csv, with `probe.curvature.quantities`: a row per look and number."""

FINAL = (
    *loss_and_error("train", "of the weights that the run ends with, on the whole training part, in evaluation mode"),
    *loss_and_error("val", "of the weights that the run ends with, on the validation part"),
    *loss_and_error("test", "of the weights that the run ends with, on the test part"),
)
"""result.json's `metrics`, all of one network, and their columns of summary.csv."""

INIT = (
    Column("factor_per_layer", "what one layer does to the norm of the activations"),
    Column("theory_factor", "the same by its law, of the mean square"),
    Column("expected_factor", "the same of the median of fresh draws, at this width"),
    Column("z", "how far the last hidden norm lies from the mean of fresh draws, in logarithms", "standard deviations"),
    Column("quantile", "the share of fresh draws whose last hidden norm is smaller"),
    Column("backward_z", "how far the first layer's gradient lies from the mean of fresh draws", "standard deviations"),
    Column("backward_quantile", "the share of fresh draws whose first layer's gradient is smaller"),
    Column("gradient_first", "the norm of the loss's gradient for the first layer's weights"),
    Column("gradient_last", "the same for the last weight layer"),
    Column("gradient_smallest", "the smallest of these norms over all layers that are trained"),
    Column("backward_factor_per_layer", "what one layer does to the norm of the outputs' gradients, towards the input"),
    Column("activation_first", "the norm of the first weight layer's activations"),
    Column("activation_last", "the same for the last weight layer"),
)
"""result.json's `init`, and their columns of summary.csv."""

INIT_WORDS = (
    Column("forward", "the verdict on the forward pass: critical, stable, vanishing or exploding"),
    Column("backward", "the verdict on the backward pass: the same words, or blocked, by weights of 0"),
    Column("source", "where z and the quantile come from, as in profiles.csv: a law or redraws"),
)
"""Words in result.json's `init`, and their columns of summary.csv."""

INIT_MORE = (
    Column("verdict", "the worse one of these two; that of the forward pass if neither is bad"),
    Column("z_critical", "how far the last hidden norm lies from the mean at the critical variance", "sd"),
    Column("backward_z_critical", "the same for the gradients' change from the last layer to the first", "sd"),
    Column("gradient_smallest_layer", "where the smallest gradient is"),
    Column("layers_without_gradient", "how many of the layers that are trained have a gradient of exactly 0"),
    Column("backward_source", "where backward_z and its quantile come from"),
    Column(
        "law",
        "the activation whose critical variance the verdicts go by: relu, identity or two slopes; null without one",
    ),
    Column("no_law", "why the law does not reach every norm, in words; null where it does"),
    Column("stopped_at", "the part at which the law ends"),
    Column("no_redraw", "why there are no redraws although some were wanted"),
    Column("unseen", "parameters of two axes or more that no profile shows"),
    Column(
        "point_variance",
        "v, the variance of the inner layers' weights times fan-in; null unless it is the same for all",
    ),
    Column("point_bias_variance", "s, the variance of their biases"),
    Column("point_q", "q*, the variance of pre-activations that lengths of order 1 go to at infinite width"),
    Column("point_chi_par", "what a layer does to a small change of the length there"),
    Column("point_chi_perp", "what a layer does to a small angle and to a squared gradient there"),
    Column("point_spread", "the variance of ln of what a layer of n units does to a squared gradient there, times n"),
    Column("critical_variance", "the v at which point_chi_perp is 1; null where there is none"),
    Column("spectrum_mean", "the mean squared singular value of d output / d input; null without probe.spectrum"),
    Column("spectrum_max", "the largest squared one"),
    Column("spectrum_variance", "the variance of the squared ones"),
)
"""What else result.json's `init` has."""

GENERALIZATION = (
    *ends("test_error_", "the 95 % interval of the true error, by the test part: Wilson's", "its upper end"),
    *ends("test_loss_", "the 95 % interval of the true loss: t over the test part's examples", "its upper end"),
    *ends("gap_", "the generalization gap's 95 % interval by Hoeffding's inequality", "its upper end"),
    Column(
        "vc_bound",
        "what the gap is at most, with 95 % probability, for a Vapnik-Chervonenkis dimension equal to the number of "
        "trained parameters; above 1 it says nothing",
    ),
    Column(
        "spectral_norm_product",
        "the product of the largest singular values of the weight matrices; of a convolution that of its kernel as a "
        "matrix of outputs and all the rest",
    ),
    Column("margin_mean", "the mean over the training part of the true class's score minus the largest other one"),
    Column("normalized_margin_mean", "margin_mean over spectral_norm_product"),
    Column("margin_decile", "the 10 % quantile of these margins"),
    Column("normalized_margin_decile", "margin_decile over spectral_norm_product"),
)
"""result.json's `generalization`, of a classifier that was trained to its end, and their columns of summary.csv."""

EVALUATION = (
    Column("accuracy", "the share of right answers on the test part"),
    Column("f1", "F1 on the test part, the mean over classes"),
    Column("roc_auc", "the area under the ROC curve on the test part, each class against the rest, the mean over them"),
    Column("r2", "of estimates of a number, the share of the test part's variance that they explain"),
    Column("generalization_gap", "test_error minus train_error"),
    *GENERALIZATION,
    Column("parameters", "the number of parameters"),
    Column("flops_per_step", "floating point operations of an update's first pass, forward and backward"),
)
"""Further columns of summary.csv."""

SUMMARY_FIRST = (
    Column("run", "the run's folder below the grid's"),
    Column("state", "one of the states above"),
    Column("outcome", "the outcome of the training, in words"),
    Column("verdict", "what the profile at init says of the initialization"),
)
"""summary.csv begins with these; a column for every key that varies in the grid follows, the seed the last of them."""

SUMMARY_LAST = (
    *FINAL,
    Column("steps", "updates made"),
    Column("epochs", "passes over the training part made"),
    Column("seconds", "training time, without evaluation and probes; of runs trained together an equal share", "s"),
    *INIT,
    *INIT_WORDS,
    Column("diverged_step", "the step of the first value that was not finite"),
    Column("diverged_layer", "where it was"),
    Column("error", "the line that says what ended a failed or interrupted run"),
    *EVALUATION,
)
"""summary.csv ends with these."""

RESULT = (
    Column("run", "the run's name, which is its folder's"),
    Column("experiment", "its experiment, runs where there is none"),
    Column("state", "done, diverged or pruned"),
    Column("outcome", "the outcome of the training, in words"),
    Column(
        "overfits_from",
        "the step of the lowest validation loss, where it ends 10 % higher and the training loss lower; else null",
    ),
    Column("task", "the kind of loss, which decides the words for the outcome: classification, descent, ..."),
    Column("chance_loss", "the loss of the best constant answer, ln K for cross-entropy; null where it is unknown"),
    Column("chance_error", "the error of the best constant answer; null where the targets are no classes"),
    Column("first_loss", "the training loss of the first batch"),
    Column("verdict", "what the profile at init says of the initialization; null without a probe"),
    Column("stopped_by", "what ended it before its last step: target_error or early_stopping, else null"),
    Column("steps", "updates made"),
    Column("epochs", "passes over the training part made"),
    Column("seconds", "training time, without evaluation and probes; of runs trained together an equal share", "s"),
    Column("metrics", "the final losses and errors by name"),
    Column(
        "evaluation",
        "of the test part: precision, recall, F1, ROC AUC and the confusion matrix of a classifier; R^2 and errors of "
        "estimates of a number; of a variational autoencoder, on the probe's batch, the total variance of both "
        "estimates of its encoder's gradient as reparameterization_variance and score_function_variance; with "
        "evaluation.samples calibration_error, and loss, error, entropy, information and calibration error "
        "of the mean probabilities as sampled_loss, ...",
    ),
    Column(
        "generalization",
        "of a classifier: intervals of the true risk, bounds of the gap, norms and margins by name, else null",
    ),
    Column("init", "what the profile at init says, by name; null without a probe"),
    Column(
        "curvature", "of the last look: numbers of curvature.csv by quantity, and verdict in words; null without one"
    ),
    Column("diverged", "step, layer and quantity of the first value that was not finite, else null"),
    Column("overrides", "what makes this run differ from the base of its experiment, its seed included"),
    Column("choices", 'the chosen option of every group, "a+b" where several are taken'),
    Column("config", "the configuration, nested, every interpolation resolved, without force and pause_at"),
    Column("config_hash", "16 hex digits of SHA-256 over the configuration, the run's identity"),
    Column("classes", "K, the number of classes, or of outputs where there are none"),
    Column("seeds", "the run's seed, and that of each stream made of it"),
    Column("versions", "versions of Python, fanin, torch, hydra-core, omegaconf and numpy"),
    Column("code", "the user's own files that the configuration names parts of: 16 hex digits of SHA-256 of each"),
    Column("git", "commit of the folder in which the command was typed, and whether it had changes; null outside one"),
    Column("device", "the device it was trained on"),
    Column("parameters", "the number of parameters"),
    Column("flops_per_step", "floating point operations of an update's first pass, forward and backward"),
    Column("gradient_bytes", "the gradients of all that is trained take so many bytes"),
    Column("optimizer_bytes", "what the optimizer remembers between steps takes so many"),
    Column(
        "peak_memory",
        "the most that its process held on the device, on a CPU in main memory, with all that it trained together",
        "bytes",
    ),
    *SPENT,
)
"""result.json, written last: a folder that has it is complete."""

RUN_FILES = (
    "status.json", "result.json", "metrics.csv", "profiles.csv", "curvature.csv", "trajectory.csv", "histograms.csv",
    "gradient_check.csv", "scores.npz", "residuals.csv", "run.log", ".lock", ".hydra", "checkpoints",
)  # fmt: skip
"""The files of a run's folder, beside TensorBoard's events.out.tfevents.*."""

SNAPSHOT = re.compile(r"step_\d+\.pt")
"""Names of the files in checkpoints/ that `trainer.snapshots` keeps: weights after so many steps."""

CHECKPOINTS = ("last.pt", "best.pt")
"""The files in its checkpoints/: where the same command resumes, and the weights with the best validation."""
