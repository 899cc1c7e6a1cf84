"""Losses and errors against hand computations, torch's functions and finite differences."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from scipy.optimize import minimize
from scipy.special import logsumexp
from torch import Tensor

from fanin.errors import OptionError
from fanin.parts.losses import BinaryCrossEntropy, CrossEntropy, Hinge, Loss, Squared, cross_entropy, error
from fanin.parts.losses.elbo import Elbo

NO_INPUTS = torch.empty(0)
drawn = settings(max_examples=20, deadline=None)
sizes = st.tuples(st.integers(2, 6), st.integers(1, 7), st.integers(0, 10**6))  # K, B, seed


def batch(classes: int, count: int, seed: int, *leading: int, outputs: int | None = None) -> tuple[Tensor, Tensor]:
    """Outputs [*leading, B, K] of either sign, in float64, and targets [*leading, B]."""
    stream = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(*leading, count, outputs or classes, generator=stream, dtype=torch.float64)
    return scores, torch.randint(classes, (*leading, count), generator=stream)


def every_loss() -> list[Loss]:
    return [
        CrossEntropy(),
        CrossEntropy().smoothed(0.1),
        Hinge(margin=0.7),
        Squared(),
        Squared().smoothed(0.2),
        BinaryCrossEntropy(),
        BinaryCrossEntropy().smoothed(0.3),
    ]


def close(ours: Tensor, theirs: Tensor) -> None:
    # float64: some ten roundings of 1e-16 relative to terms of up to 100
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 10])
def test_equal_logits_lose_ln_k(classes: int) -> None:
    loss = cross_entropy(torch.full((4, classes), 3.0, dtype=torch.float64), torch.tensor([0, 1, 0, 1]))
    assert loss.item() == pytest.approx(math.log(classes), rel=1e-14)


def test_equals_the_log_softmax_of_scipy() -> None:
    rng = np.random.default_rng(3)
    logits, targets = rng.normal(0, 5, (50, 7)), rng.integers(0, 7, 50)
    expected = np.mean(logsumexp(logits, axis=1) - logits[np.arange(50), targets])
    loss = cross_entropy(torch.tensor(logits), torch.tensor(targets))
    assert loss.item() == pytest.approx(float(expected), rel=1e-13)


def test_gradient_is_softmax_minus_one_hot_over_the_batch_size() -> None:
    logits = torch.tensor([[1.0, 2.0, 4.0], [0.0, -1.0, 3.0]], dtype=torch.float64, requires_grad=True)
    cross_entropy(logits, torch.tensor([2, 0])).backward()  # type: ignore[no-untyped-call]
    powers = np.exp(logits.detach().numpy())
    expected = (powers / powers.sum(axis=1, keepdims=True) - np.array([[0, 0, 1], [1, 0, 0]])) / 2
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), expected, rtol=0, atol=1e-15)


def test_large_logits_stay_finite() -> None:
    loss = cross_entropy(torch.tensor([[1e4, 0.0]]), torch.tensor([1]))
    assert loss.item() == pytest.approx(1e4)


def test_error_counts_wrong_answers() -> None:
    logits = torch.tensor([[0.1, 0.2, 0.0], [5.0, 4.0, 3.0], [0.0, 0.0, 1.0], [-1.0, -3.0, -2.0]])
    assert error(logits, torch.tensor([1, 1, 2, 2])).item() == 0.5
    assert error(logits, torch.tensor([1, 0, 2, 0])).item() == 0.0


def test_vanished_logits_answer_class_zero() -> None:
    assert error(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])).item() == 0.5


@drawn
@given(sizes, st.floats(0, 0.9))
def test_smoothed_cross_entropy_is_torchs(size: tuple[int, int, int], eps: float) -> None:
    scores, y = batch(*size)
    close(CrossEntropy().smoothed(eps)(scores, y, NO_INPUTS), F.cross_entropy(scores, y, label_smoothing=eps))


@drawn
@given(sizes, st.floats(0.01, 5))
def test_hinge_is_torchs_times_k(size: tuple[int, int, int], margin: float) -> None:
    scores, y = batch(*size)
    expected = F.multi_margin_loss(scores, y, margin=margin) * size[0]
    close(Hinge(margin=margin)(scores, y, NO_INPUTS), expected)


def test_hinge_by_hand() -> None:
    # the right score 2: 1 and 2.5 lack 0.5 and 2 of a margin of 1.5; then the right one is ahead of both by the margin
    scores = torch.tensor([[1.0, 2.0, 2.5], [4.0, 2.5, -1.0]])
    assert Hinge(margin=1.5)(scores, torch.tensor([1, 0]), NO_INPUTS).item() == 2.5 / 2


@drawn
@given(sizes)
def test_squared_is_torchs_times_k(size: tuple[int, int, int]) -> None:
    scores, y = batch(*size)
    close(Squared()(scores, y, NO_INPUTS), F.mse_loss(scores, F.one_hot(y, size[0]).double()) * size[0])


def test_squared_against_smoothed_targets_by_hand() -> None:
    # K = 2, eps = 0.2: targets 0.9 and 0.1
    loss = Squared().smoothed(0.2)(torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.tensor([1]), NO_INPUTS)
    assert loss.item() == pytest.approx(0.9**2 + 0.9**2, rel=1e-15)


@drawn
@given(sizes, st.sampled_from([0.0, 0.25]))
def test_one_against_the_rest_is_torchs_times_k(size: tuple[int, int, int], eps: float) -> None:
    scores, y = batch(*size)
    wanted = (1 - eps) * F.one_hot(y, size[0]).double() + eps / size[0]
    expected = F.binary_cross_entropy_with_logits(scores, wanted) * size[0]
    close(BinaryCrossEntropy().smoothed(eps)(scores, y, NO_INPUTS), expected)


@drawn
@given(st.integers(1, 9), st.integers(0, 10**6), st.floats(0, 0.9))
def test_one_output_is_softmax_with_the_other_score_zero(count: int, seed: int, eps: float) -> None:
    scores, y = batch(2, count, seed, outputs=1)
    both = torch.cat([torch.zeros_like(scores), scores], dim=-1)
    ours, softmax = BinaryCrossEntropy().smoothed(eps), CrossEntropy().smoothed(eps)
    close(ours(scores, y, NO_INPUTS), softmax(both, y, NO_INPUTS))
    assert ours.error(scores, y, NO_INPUTS).item() == error(both, y).item()


def test_one_output_answers_by_its_sign() -> None:
    scores = torch.tensor([[0.1], [-0.1], [0.0], [3.0]])
    assert BinaryCrossEntropy().error(scores, torch.tensor([1, 1, 0, 0]), NO_INPUTS).item() == 0.5


@pytest.mark.parametrize("loss", [CrossEntropy(), Hinge(), Squared(), BinaryCrossEntropy()])
def test_other_errors_are_those_of_the_largest_output(loss: Loss) -> None:
    scores = torch.tensor([[0.1, 0.2, 0.0], [5.0, 4.0, 3.0], [0.0, 0.0, 1.0], [-1.0, -3.0, -2.0]])
    assert loss.error(scores, torch.tensor([1, 1, 2, 2]), NO_INPUTS).item() == 0.5


def test_out_features() -> None:
    assert [loss.out_features(2) for loss in (CrossEntropy(), Hinge(), Squared(), BinaryCrossEntropy())] == [2, 2, 2, 1]
    assert {loss.out_features(10) for loss in every_loss()} == {10}


@pytest.mark.parametrize("loss", every_loss())
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_no_constant_answer_to_balanced_classes_beats_the_guess(loss: Loss, classes: int) -> None:
    y = torch.arange(classes)

    def of(constant: Any) -> float:
        scores = torch.tensor(constant, dtype=torch.float64).expand(classes, -1)
        return loss(scores, y, NO_INPUTS).item()

    start = np.random.default_rng(classes).normal(0, 0.3, loss.out_features(classes))
    # Nelder-Mead, for the hinge has corners; its tolerance leaves 1e-6 of a flat minimum.
    best = minimize(of, start, method="Nelder-Mead", options={"maxiter": 20000, "maxfev": 20000, "adaptive": True})
    guess = loss.guess(classes)
    assert guess is not None
    assert best.fun == pytest.approx(guess, abs=1e-3)
    assert best.fun >= guess - 1e-12


@drawn
@given(st.sampled_from(range(7)), st.integers(2, 5), st.integers(0, 10**6))
def test_gradients_are_those_of_finite_differences(which: int, classes: int, seed: int) -> None:
    loss = every_loss()[which]
    scores, y = batch(classes, 3, seed, outputs=loss.out_features(classes))
    scores.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(scores, y, NO_INPUTS), scores)
    step = 1e-6  # central: error of 1e-12 by the third derivative, 1e-9 by rounding; a corner is met once in 10^6
    for place in np.ndindex(*scores.shape):
        shift = torch.zeros_like(scores)
        shift[place] = step
        ahead, behind = (loss(scores.detach() + sign * shift, y, NO_INPUTS) for sign in (1, -1))
        assert gradient[place].item() == pytest.approx((ahead - behind).item() / (2 * step), abs=1e-7)


@drawn
@given(st.sampled_from(range(7)), st.lists(st.integers(1, 3), min_size=1, max_size=2), sizes)
def test_leading_axes_are_separate_calls(which: int, leading: list[int], size: tuple[int, int, int]) -> None:
    loss = every_loss()[which]
    scores, y = batch(*size, *leading, outputs=loss.out_features(size[0]))
    together, wrong = loss(scores, y, NO_INPUTS), loss.error(scores, y, NO_INPUTS)
    assert together.shape == wrong.shape == tuple(leading)
    assert wrong.dtype == torch.float64
    for run in np.ndindex(*leading):
        close(together[run], loss(scores[run], y[run], NO_INPUTS))
        assert wrong[run].item() == loss.error(scores[run], y[run], NO_INPUTS).item()


def test_smoothing_leaves_the_loss_itself_alone() -> None:
    plain = CrossEntropy()
    scores, y = batch(4, 6, 1)
    before = plain(scores, y, NO_INPUTS)
    assert plain.smoothed(0.3)(scores, y, NO_INPUTS).item() != before.item()
    assert plain(scores, y, NO_INPUTS).item() == before.item()


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        (Hinge(), "the hinge loss compares scores, not probabilities"),
        (Elbo(), "the elbo compares images, not labels"),
    ],
)
def test_smoothing_is_refused_where_there_are_no_probabilities(loss: Loss, why: str) -> None:
    assert loss.smoothed(0) is loss
    with pytest.raises(OptionError) as caught:
        loss.smoothed(0.1)
    assert str(caught.value) == f"label_smoothing.eps=0.1: must be 0 with this loss; {why}: leave label_smoothing out"


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "conf" / "loss").glob("*.yaml")), ids=lambda p: p.stem
)
def test_a_loss_bears_its_options_name(path: Path) -> None:
    loss: Loss = instantiate(OmegaConf.load(path))
    assert loss.name == path.stem


def test_bad_values_give_one_line() -> None:
    with pytest.raises(OptionError, match=r"^margin=0: must be a finite number > 0$"):
        Hinge(margin=0)
    with pytest.raises(OptionError, match=r"^label_smoothing.eps=1: must be a finite number >= 0 and < 1$"):
        CrossEntropy().smoothed(1)
