"""loss=distillation against numpy and scipy, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax
from torch import Tensor

from fanin.errors import OptionError
from fanin.parts.losses import CrossEntropy, Distillation

K, SHAPE = 5, (2, 3)
WEIGHT = torch.randn(K, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def taught(**keys: float) -> Distillation:
    """A loss whose teacher is a linear map."""
    loss = Distillation(teacher="RUN", **keys)
    loss.taught.network = lambda inputs: inputs.flatten(1) @ WEIGHT.T
    return loss


def drawn(*leading: int) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs, targets and inputs of seven examples."""
    outputs = 3 * torch.randn(*leading, 7, K, dtype=torch.float64)
    return outputs, torch.randint(K, (*leading, 7)), torch.randn(*leading, 7, *SHAPE, dtype=torch.float64)


@pytest.mark.parametrize(
    ("temperature", "alpha", "eps"), [(1.0, 0.5, 0.0), (4.0, 0.9, 0.0), (0.5, 1.0, 0.0), (3, 0.2, 0.1)]
)
def test_equals_a_computation_by_hand(temperature: float, alpha: float, eps: float) -> None:
    outputs, targets, inputs = drawn()
    loss = taught(temperature=temperature, alpha=alpha).smoothed(eps)
    z, s = inputs.flatten(1).numpy() @ WEIGHT.numpy().T, outputs.numpy()
    soft = rel_entr(softmax(z / temperature, 1), softmax(s / temperature, 1)).sum(1).mean()
    wanted = (1 - eps) * np.eye(K)[targets.numpy()] + eps / K
    hard = -(wanted * np.log(softmax(s, 1))).sum(1).mean()
    expected = alpha * temperature**2 * soft + (1 - alpha) * hard
    assert loss(outputs, targets, inputs).item() == pytest.approx(expected, rel=1e-12)


def test_its_gradient_is_that_of_hintons_cross_entropy() -> None:
    """alpha T (q - p)/B + (1 - alpha) (softmax(s) - onehot)/B, equation 2 of the paper times T^2."""
    outputs, targets, inputs = drawn()
    outputs.requires_grad_()
    temperature, alpha = 3.0, 0.7
    taught(temperature=temperature, alpha=alpha)(outputs, targets, inputs).backward()  # type: ignore[no-untyped-call]
    z, s = inputs.flatten(1).numpy() @ WEIGHT.numpy().T, outputs.detach().numpy()
    soft = temperature * (softmax(s / temperature, 1) - softmax(z / temperature, 1))
    hard = softmax(s, 1) - np.eye(K)[targets.numpy()]
    assert outputs.grad is not None
    np.testing.assert_allclose(outputs.grad.numpy(), (alpha * soft + (1 - alpha) * hard) / 7, rtol=1e-11, atol=1e-14)


def test_a_student_that_answers_as_its_teacher_loses_nothing() -> None:
    _, targets, inputs = drawn()
    found = taught(alpha=1.0)(inputs.flatten(1) @ WEIGHT.T, targets, inputs)
    assert abs(found.item()) < 1e-14  # T^2 = 16 times some roundings


def test_without_the_teachers_share_it_is_cross_entropy() -> None:
    outputs, targets, inputs = drawn()
    assert torch.equal(taught(alpha=0.0)(outputs, targets, inputs), CrossEntropy()(outputs, targets, inputs))
    assert taught(alpha=0.0).guess(10) == pytest.approx(np.log(10))
    assert taught(alpha=0.5).guess(10) is None


def test_of_hot_temperatures_it_matches_scores() -> None:
    """T -> infinity: (1/(2 K)) sum_k ((s - mean s) - (z - mean z))_k^2, section 2.1 of the paper."""
    outputs, targets, inputs = drawn()
    z = inputs.flatten(1) @ WEIGHT.T
    apart = (outputs - outputs.mean(1, keepdim=True)) - (z - z.mean(1, keepdim=True))
    hot = 1e4  # the next term of the expansion is smaller by some (s/T)
    found = taught(temperature=hot, alpha=1.0)(outputs, targets, inputs).item()
    assert found == pytest.approx((apart.square().sum(1) / (2 * K)).mean().item(), rel=50 / hot)


@pytest.mark.parametrize("alike", [False, True])
def test_of_stacked_runs_each_is_as_alone(alike: bool) -> None:
    outputs, targets, inputs = drawn(3)
    if alike:  # as an evaluation has them
        targets, inputs = targets[0].expand(3, -1), inputs[0].expand(3, *inputs.shape[1:])
    loss = taught(temperature=2.0, alpha=0.4)
    alone = torch.stack([loss(outputs[run], targets[run], inputs[run]) for run in range(3)])
    torch.testing.assert_close(loss(outputs, targets, inputs), alone, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"temperature": 0}, "temperature=0: must be a finite number > 0"),
        ({"alpha": 1.5}, "alpha=1.5: must be a finite number >= 0 and <= 1"),
        ({"teacher": 3}, "teacher=3: must be the folder of a finished run"),
    ],
)
def test_what_is_out_of_range_is_told(keys: dict[str, float], told: str) -> None:
    with pytest.raises(OptionError) as error:
        Distillation(**keys)  # type: ignore[arg-type]
    assert str(error.value) == told


def test_without_a_teacher_there_is_no_answer() -> None:
    with pytest.raises(OptionError, match="the folder of a finished run"):
        Distillation()(*drawn())
