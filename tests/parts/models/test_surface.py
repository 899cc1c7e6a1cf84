"""A surface as a model, with its loss: heights and derivatives against the formula, alone and stacked."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fanin.errors import OptionError
from fanin.parts.losses.value import Value
from fanin.parts.models import Surface, weight_layers
from fanin.parts.per_run import is_stackable
from fanin.theory.surfaces import KINDS, surface
from stacking import assert_stacked_equals_single

places = st.lists(st.floats(-2, 2), min_size=2, max_size=2)


@pytest.mark.parametrize("kind", KINDS)
@given(start=places, batch=st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_it_is_the_surface(kind: str, start: list[float], batch: int) -> None:
    model, on = Surface(kind=kind, start=start), surface(kind)
    outputs = model(torch.randn(batch, 3))
    targets, inputs = torch.zeros(batch, dtype=torch.int64), torch.zeros(batch, 1)
    loss = Value()(outputs, targets, inputs)
    assert loss.item() == pytest.approx(on.value(*start), rel=1e-14, abs=1e-14)
    share = Value().error(outputs, targets, inputs)
    assert share.dtype == torch.float64
    assert share.item() == pytest.approx(1 if on.value(*start) > on.lowest else 0, rel=1e-9)
    # The same polynomials, summed in another order: some eps of the largest term, 100 x^4 y.
    (gradient,) = torch.autograd.grad(loss, [model.point], create_graph=True)
    assert gradient.tolist() == pytest.approx(on.gradient(*start), rel=1e-12, abs=1e-10)
    rows = [torch.autograd.grad(one, [model.point], retain_graph=True)[0].tolist() for one in gradient]
    xx, xy, yy = on.hessian(*start)
    assert [*rows[0], *rows[1]] == pytest.approx([xx, xy, xy, yy], rel=1e-12, abs=1e-10)


def test_the_share_that_is_left_is_of_the_way_down() -> None:
    model = Surface(kind="saddle", start=[1, 0])  # 1/2 above the saddle, 3/4 above the minima
    with torch.no_grad():
        for place, share in (((0, 0), 1 / 3), ((0, -1), 0), ((2, 0), 1)):
            model.point.copy_(torch.tensor(place))
            assert Value().error(model(torch.zeros(2, 1)), torch.zeros(2), torch.zeros(2, 1)).item() == share


def test_its_own_start_and_no_weights() -> None:
    model = Surface(kind="rosenbrock")
    assert model.point.tolist() == [-1.2, 1.0]
    assert weight_layers(model) == []
    assert [name for name, _ in model.named_parameters()] == ["point"]


def test_stacked_equals_single() -> None:
    models: list[nn.Module] = [Surface(kind="valley") for _ in range(3)]
    with torch.no_grad():
        for model, x in zip(models, (-1.5, 0.3, 2.2), strict=True):
            model.get_parameter("point")[0] = x
    assert is_stackable(Surface)
    assert_stacked_equals_single(models, torch.zeros(3, 2, 1))


@pytest.mark.parametrize("start", [[1], 3, "12", [1, 2, 3], [1, "a"], [0, float("inf")]])
def test_a_start_is_two_numbers(start: object) -> None:
    with pytest.raises(OptionError, match="start="):
        Surface(start=start)  # type: ignore[arg-type]


def test_stacked_losses_are_those_of_each_run() -> None:
    outputs = torch.arange(12.0).view(3, 2, 2)
    targets, inputs = torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3, 2, 1)
    assert Value()(outputs, targets, inputs).tolist() == [1, 5, 9]
    assert Value().error(outputs, targets, inputs).tolist() == [2, 6, 10]


def test_no_labels_to_smooth_and_nothing_to_guess() -> None:
    loss = Value()
    assert (loss.smoothed(0), loss.guess(1), loss.out_features(1), loss.classification) == (loss, None, 2, False)
    with pytest.raises(OptionError, match="a height has no labels"):
        loss.smoothed(0.1)
