"""What a classifier with noise inside answers when the noise stays on: means over masks, and how they disagree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from fanin.parts.models.passes import copied_buffers, forward
from fanin.parts.noise import NoiseModule, noise_modules, undisturbed
from fanin.streams import generator
from fanin.train.classifier_metrics import two_scores
from fanin.train.trained_model import TrainedModel


class Sampled(NamedTuple):
    """Means over T passes with masks of their own, for N examples and K classes; entropies in nats.

    Attributes:
        log_p: $ln (1/T) sum_t p_t$, [N, K] float64: scores whose softmax is the mean probability.
        entropy: of the mean, $H[p]$, [N].
        information: what the masks disagree about, $H[p] - (1/T) sum_t H[p_t] >= 0$, [N].
    """

    log_p: Tensor
    entropy: Tensor
    information: Tensor


def draws_noise(model: nn.Module) -> bool:
    """Whether a model has anything that draws in the forward pass, fanin's or torch's dropout."""
    return any(isinstance(module, (NoiseModule, _DropoutNd)) for module in model.modules())


@torch.no_grad()
def sampled(own: TrainedModel, inputs: Tensor, samples: int, chunk: int) -> Sampled:
    """Monte Carlo dropout: probabilities averaged over masks that are drawn as in training.

    $p(y | x) = (1/T) sum_t softmax(f(x; m_t))$. All else is as at evaluation: weights (the average of iterates where
    there is one), running statistics. Masks are drawn from a stream of their own, (seed, "evaluation"), and training's
    stays where it is.

    Args:
        own: the network; its weights are those to be evaluated.
        inputs: [N, ...].
        samples: T, at least 1.
        chunk: examples of a pass.

    Source: Gal & Ghahramani, Dropout as a Bayesian approximation (2016); Houlsby et al. 2011 for the information.
    """
    averaged = {} if own.average is None else {name: one.clone() for name, one in own.average.tensors.items()}
    tensors = copied_buffers(own.model) | averaged
    stream = generator(own.seed, "evaluation", device=inputs.device)
    mean: Tensor | float = 0.0
    entropies: Tensor | float = 0.0
    with _noisy(own.model, stream):
        for _ in range(samples):
            outputs = [forward(own.model, x, own.autocast, tensors) for x in torch.split(inputs, chunk)]
            log_p = two_scores(torch.cat(outputs).cpu().double()).log_softmax(dim=1)
            mean, entropies = mean + log_p.exp() / samples, entropies + _entropy(log_p) / samples
    assert isinstance(mean, Tensor)
    log_mean = mean.log()
    entropy = _entropy(log_mean)
    return Sampled(log_mean, entropy, (entropy - entropies).clamp(min=0))


def sampled_scores(found: Sampled, scores: NDArray[Any], targets: Tensor, samples: int) -> dict[str, float]:
    """What a run's result says of it: error and loss of the mean probabilities, mean entropy and information, ECE.

    Args:
        found: of N examples.
        scores: those of the pass without masks, [N, K], whose calibration error stands beside.
        targets: [N] classes.
        samples: T.
    """
    from fanin.report.class_curves import as_classes, calibration_error, reliability  # scipy

    true = targets.cpu()

    def ece(of: NDArray[Any]) -> float:
        return calibration_error(reliability(as_classes(of), true.numpy()))

    return {
        "calibration_error": ece(scores),
        "samples": samples,
        "sampled_loss": float(-found.log_p.gather(1, true.unsqueeze(1)).mean()),
        "sampled_error": float((found.log_p.argmax(dim=1) != true).double().mean()),
        "sampled_entropy": float(found.entropy.mean()),
        "sampled_information": float(found.information.mean()),
        "sampled_calibration_error": ece(finite(found.log_p).numpy()),
    }


def finite(log_p: Tensor) -> Tensor:
    """Log-probabilities with a very low number in the place of those of probability 0, as scores are kept."""
    return log_p.clamp(min=LOWEST)


LOWEST = -1e4
"""exp of it is 0 in float64."""


def _entropy(log_p: Tensor) -> Tensor:
    """-sum p ln p over the last axis; 0 ln 0 = 0."""
    p = log_p.exp()
    return -(p * log_p).where(p > 0, 0.0).sum(dim=-1)


@contextmanager
def _noisy(model: nn.Module, stream: torch.Generator) -> Iterator[None]:
    """In evaluation mode, but for what draws, which draws from the stream; then in evaluation mode again."""
    noises = noise_modules(model)
    own = [module for module in model.modules() if isinstance(module, _DropoutNd)]
    model.eval()
    with undisturbed(model), torch.random.fork_rng(devices=[] if stream.device.type == "cpu" else [stream.device]):
        torch.manual_seed(stream.initial_seed())  # of torch's own dropout
        for module in noises:
            module.generator = stream
        for one in (*noises, *own):
            one.training = True
        try:
            yield
        finally:
            model.eval()
