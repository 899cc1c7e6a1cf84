"""What a trained classifier's risk on new examples is known to be, and what may explain it: norms and margins."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from fanin.devices import widened
from fanin.parts.losses import Loss
from fanin.parts.normalization.reparametrized import Reparametrized
from fanin.parts.per_run import is_stackable
from fanin.theory.generalization import hoeffding_half, t_interval, vc_bound, wilson_interval
from fanin.train.classifier_metrics import LARGE, two_scores
from fanin.train.trained_model import TrainedModel

Part = tuple[Tensor, Tensor]  # inputs [N, ...], targets [N]

DECILE = 0.1


def generalization(
    network: TrainedModel,
    metrics: Mapping[str, float | None],
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor, Tensor],
) -> dict[str, float | None]:
    """The numbers of `columns.GENERALIZATION` of one network; None where something for them is missing.

    Args:
        network: in evaluation mode.
        metrics: its final errors and losses.
        train: outputs [N, K] and targets [N] of the whole training part.
        test: outputs [M, K], targets [M] and inputs [M, ...] of the test part.
    """
    train_error, test_error, examples = metrics.get("train_error"), metrics.get("test_error"), len(test[1])
    found: dict[str, float | None] = dict.fromkeys(
        ("test_error_low", "test_error_high", "test_loss_low", "test_loss_high", "gap_low", "gap_high")
    )
    if examples and test_error is not None and math.isfinite(test_error):
        low, high = wilson_interval(round(test_error * examples), examples)
        found |= {"test_error_low": low, "test_error_high": high}
        if train_error is not None:
            gap, half = test_error - train_error, hoeffding_half(examples)
            found |= {"gap_low": gap - half, "gap_high": gap + half}
    each = losses_of_examples(network.method.loss, *test) if examples > 1 else None
    if each is not None:
        low, high = t_interval(float(each.mean()), float(each.std()), examples)
        found |= {"test_loss_low": low, "test_loss_high": high}
    found["vc_bound"] = vc_bound(max(1, sum(one.numel() for one in network.parameters)), max(1, len(train[1])))
    product = spectral_norm_product(network)
    found["spectral_norm_product"] = product
    margins = margins_of(*train)
    known = len(margins) > 0 and bool(torch.isfinite(margins).all())
    summaries = {"mean": float(margins.mean()), "decile": float(quantile(margins, DECILE))} if known else {}
    for name in ("mean", "decile"):
        value = summaries.get(name)
        found[f"margin_{name}"] = value
        bounded = product if product is not None and 0 < product < math.inf else None
        found[f"normalized_margin_{name}"] = None if value is None or bounded is None else value / bounded
    return found


def losses_of_examples(loss: Loss, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor | None:
    """The loss of each example alone, [N]: every example is a run of its own; None for a loss that takes no stacks."""
    if not is_stackable(type(loss)):
        return None
    return widened(loss(outputs.unsqueeze(1), targets.unsqueeze(1), inputs.unsqueeze(1)))


def margins_of(outputs: Tensor, targets: Tensor) -> Tensor:
    """How far the true class is ahead, of each example: $s_y - max_(k != y) s_k$, negative where the answer is wrong.

    Args:
        outputs: s [N, K], or logits [N, 1] of class 1 against class 0.
        targets: y [N].

    Returns:
        [N] float64, on the CPU.

    >>> margins_of(torch.tensor([[3.0, 1.0, 2.5], [0.0, 4.0, 1.0]]), torch.tensor([0, 2]))
    tensor([ 0.5000, -3.0000], dtype=torch.float64)
    """
    scores, true = two_scores(outputs.detach().cpu().double().clamp(-LARGE, LARGE)), targets.cpu().unsqueeze(1)
    return (scores.gather(1, true) - scores.scatter(1, true, -torch.inf).amax(1, keepdim=True)).squeeze(1)


def quantile(values: Tensor, share: float) -> Tensor:
    """The quantile of any number of values [N], linear between two of them; torch's own refuses more than 2^24."""
    ordered = values.sort().values
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return torch.lerp(ordered[below], ordered[above], place - below)


@torch.no_grad()
def spectral_norm_product(network: TrainedModel) -> float | None:
    """The product of the largest singular values of all weight matrices, of those weights that are evaluated.

    With 1-Lipschitz activations, as relu and tanh are, and neither normalization nor branches it bounds how much
    outputs change with inputs. A convolution counts by its kernel as a matrix [out, in * height * width]: the norm of
    the operator on images is at most sqrt(height * width) times as large. Biases do not count. Source: Bartlett,
    Foster & Telgarsky 2017, whose bound divides margins by this product.

    Returns:
        nan where weights are not finite; None where weights are a function of an averaged parameter.
    """
    averaged = {} if network.average is None else network.average.tensors
    product = 1.0
    for name in network.weights:
        layer = network.model.get_submodule(name)
        weight = averaged.get(f"{name}.weight", network.weights[name])
        if isinstance(layer, Reparametrized):
            if averaged:
                return None
            weight = layer.effective()
        product *= spectral_norm(weight)
    return product


def spectral_norm(weight: Tensor) -> float:
    """The largest singular value of a weight as a matrix [out, the rest], by the Gram matrix of its shorter side.

    >>> round(spectral_norm(torch.tensor([[3.0, 0.0], [0.0, -5.0]])), 12)
    5.0
    """
    matrix = weight.detach().flatten(1).cpu().double()
    if not torch.isfinite(matrix).all():
        return math.nan
    gram = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
    return math.sqrt(max(0.0, float(torch.linalg.eigvalsh(gram)[-1])))
