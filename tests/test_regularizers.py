"""The L2 penalty, dropout's law and its generator, early stopping on sequences worked out by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from fanin.errors import OptionError
from fanin.regularizers import L2, Dropout, DropoutModule, EarlyStopping, Patience

NAN = math.nan


def dropout(p: float, seed: int) -> DropoutModule:
    module = Dropout().make(p)
    module.generator = torch.Generator().manual_seed(seed)
    return module


def test_penalty_by_hand() -> None:
    weights = [torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0], [0.5]])]
    assert L2(strength=0.1).penalty(weights).item() == pytest.approx(0.05 * (1 + 4 + 9 + 0.25))


def test_gradient_of_the_penalty_is_strength_times_the_weight() -> None:
    weights = [torch.randn(3, 4, requires_grad=True), torch.randn(2, 3, requires_grad=True)]
    L2(strength=0.3).penalty(weights).backward()  # type: ignore[no-untyped-call]
    for weight in weights:
        torch.testing.assert_close(weight.grad, 0.3 * weight.detach())


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("seed", [0, 7])
def test_dropout_keeps_the_mean_and_scales_what_is_left(p: float, seed: int) -> None:
    count = 200_000
    y = dropout(p, seed)(torch.full((count,), 3.0))
    kept = y[y != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 3 / (1 - p)), rtol=2e-7, atol=0)
    # y is 3/(1-p) times a Bernoulli(1-p): standard deviation of the mean 3 sqrt(p/(1-p)/count)
    assert abs(y.double().mean().item() - 3) < 5 * 3 * math.sqrt(p / (1 - p) / count)


def test_dropout_passes_gradients_only_where_it_passed_values() -> None:
    x = torch.ones(1000, requires_grad=True)
    y = dropout(0.25, 1)(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach())


def test_dropout_draws_from_its_own_generator_alone() -> None:
    x = torch.ones(64, 32)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first = [dropout(0.5, 5)(x) for _ in range(2)]
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(1)
    again = dropout(0.5, 5)(x)
    assert torch.equal(first[0], first[1])
    assert torch.equal(first[0], again)
    assert not torch.equal(first[0], dropout(0.5, 6)(x))


def test_two_masks_in_a_row_differ() -> None:
    module = dropout(0.5, 5)
    assert not torch.equal(module(torch.ones(100)), module(torch.ones(100)))


def test_dropout_is_the_identity_at_evaluation_and_at_zero() -> None:
    x = torch.randn(8, 3)
    assert torch.equal(dropout(0.9, 0).eval()(x), x)
    assert torch.equal(dropout(0.0, 0)(x), x)


def test_a_copied_model_drops_alike_and_apart() -> None:
    module = dropout(0.5, 5)
    twin = copy.deepcopy(module)
    x = torch.ones(100)
    assert torch.equal(module(x), twin(x))


def stops(patience: Patience, values: list[float]) -> list[bool]:
    return [patience.update(value) for value in values]


def test_stops_after_patience_evaluations_without_improvement() -> None:
    patience = EarlyStopping(patience=2).new()
    assert stops(patience, [3.0, 2.0, 2.5, 1.0, 1.0, 1.2]) == [False, False, False, False, False, True]
    assert patience.best == 1.0


def test_a_fall_of_min_delta_is_no_improvement() -> None:
    patience = EarlyStopping(patience=2, min_delta=0.5).new()
    # 1.5 falls by exactly min_delta, 1.6 by less; both are measured from the best, 2
    assert stops(patience, [2.0, 1.5, 1.6]) == [False, False, True]
    assert patience.best == 2.0


def test_small_falls_add_up_to_an_improvement() -> None:
    patience = EarlyStopping(patience=3, min_delta=0.5).new()
    assert stops(patience, [2.0, 1.75, 1.25, 1.25, 1.25, 1.25]) == [False] * 5 + [True]


def test_nan_and_infinity_are_no_improvement() -> None:
    patience = EarlyStopping(patience=3).new()
    assert stops(patience, [NAN, math.inf, 1.0, NAN, 0.5, NAN, math.inf, NAN]) == [False] * 7 + [True]
    assert patience.best == 0.5


def test_nan_from_the_start_stops_too() -> None:
    assert stops(EarlyStopping(patience=2).new(), [NAN, NAN]) == [False, True]


def test_patience_resumes_where_it_was() -> None:
    settings = EarlyStopping(patience=3)
    first, second = settings.new(), settings.new()
    stops(first, [1.0, 2.0, 2.0])
    second.load_state_dict(first.state_dict())
    assert second.best == 1.0
    assert second.update(2.0)


def test_each_run_counts_for_itself() -> None:
    settings = EarlyStopping(patience=2)
    stops(settings.new(), [1.0, 1.0])
    assert stops(settings.new(), [1.0, 1.0]) == [False, False]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L2(strength=-1), "strength=-1: must be a finite number >= 0"),
        (lambda: L2(strength=NAN), "strength=nan: must be a finite number >= 0"),
        (lambda: Dropout(p=1), "p=1: must be a finite number >= 0 and < 1"),
        (lambda: Dropout(input_p=-0.1), "input_p=-0.1: must be a finite number >= 0 and < 1"),
        (lambda: EarlyStopping(patience=0), "patience=0: must be an integer >= 1"),
        (lambda: EarlyStopping(min_delta=-1), "min_delta=-1: must be a finite number >= 0"),
        (
            lambda: EarlyStopping(monitor="val_los"),
            "monitor=val_los: must be one of val_loss, val_error, train_loss, train_error; did you mean val_loss?",
        ),
    ],
)
def test_bad_values_give_one_line(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OptionError) as caught:
        make()
    assert str(caught.value) == message
