"""Measures on arrays whose answers are known, and with any number of leading axes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from engine import EPSILON
from fanin.probes import measures
from oracles import by_hand

MEASURES: dict[Callable[[Tensor], Tensor], Callable[[by_hand.Array], float]] = {
    measures.norm: by_hand.norm,
    measures.dead_units: by_hand.dead_units,
    measures.cosine: by_hand.cosine,
    measures.nonfinite: by_hand.nonfinite,
    measures.zeros: by_hand.zeros,
    measures.scaled_variance: by_hand.scaled_variance,
}


def sparse(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Normal entries, a third of them 0, and whole columns of 0."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=random, dtype=torch.float64)
    x[torch.rand(shape, generator=random) < 1 / 3] = 0
    x[..., torch.rand(shape[-1], generator=random) < 1 / 4] = 0
    return x


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.__name__)
@pytest.mark.parametrize("seed", range(5))
def test_equals_the_loop_for_every_item_of_the_leading_axes(measure: Callable[[Tensor], Tensor], seed: int) -> None:
    x = sparse(seed, (3, 2, 5, 7))
    values = measure(x)
    assert values.shape == (3, 2)
    assert values.dtype == torch.float64
    expected = [[MEASURES[measure](x[i, j].numpy()) for j in range(2)] for i in range(3)]
    # sums of 35 products in float64 in another order
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-12, atol=1e-14)
    for i in range(3):
        torch.testing.assert_close(measure(x[i]), values[i], rtol=1e-14, atol=0)
        for j in range(2):
            torch.testing.assert_close(measure(x[i, j]), values[i, j], rtol=1e-14, atol=0)


@pytest.mark.parametrize("runs", [1, 3])
def test_norms_of_tensors_of_many_shapes(runs: int) -> None:
    tensors = [sparse(place, (runs, *shape)).float() for place, shape in enumerate([(4, 3), (5, 2, 2), (1, 6), (4, 3)])]
    values = measures.norms(tensors)
    assert values.shape == (4, runs)
    expected = [[by_hand.norm(tensor[run].double().numpy()) for run in range(runs)] for tensor in tensors]
    # float32 entries, but squares and sums in float64
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-14)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("runs", [1, 2])
def test_a_norm_survives_squares_beyond_float32(scale: float, runs: int) -> None:
    x = torch.full((runs, 2, 2), scale, dtype=torch.float32)
    entry = float(x[0, 0, 0])
    for values in (measures.norm(x), measures.norms([x])[0]):
        assert values.tolist() == pytest.approx([2 * entry] * runs, rel=1e-15)


@pytest.mark.parametrize("entries", [1, 30, 10_000])
@pytest.mark.parametrize("low", [1e-20, 1e-14, 1.0, 1e15, 1e20])
def test_quick_norms_of_any_size(entries: int, low: float) -> None:
    """Sums in float32 only where they are safe: the relative error stays below that of one sum, whatever the size."""
    tensors = [scale * low * sparse(place, (1, entries, 3)).float() for place, scale in enumerate([1, 3e3, 1e-3])]
    exact = [by_hand.norm(tensor.double().numpy()) for tensor in tensors]
    # Each of n squares and partial sums is off by 2^-24 at worst, the root halves that.
    assert measures.quick_norms(tensors)[:, 0].tolist() == pytest.approx(exact, rel=(3 * entries + 1) * EPSILON / 2)
    assert measures.quick_norms(tensors).dtype == torch.float64


def test_quick_norms_of_several_runs_and_of_nothing_finite() -> None:
    tensors = [torch.stack([sparse(run, (4, 3)), sparse(run + 9, (4, 3))]) for run in range(3)]
    torch.testing.assert_close(measures.quick_norms(tensors), measures.norms(tensors), rtol=0, atol=0)
    values = measures.quick_norms([torch.tensor([[[x]]]) for x in (math.nan, math.inf, 0.0, 2.0)])[:, 0].tolist()
    assert values == pytest.approx([math.nan, math.inf, 0, 2], nan_ok=True)


def test_quick_norms_of_tensors_of_lower_precision_are_not_rounded_to_it() -> None:
    tensors = [sparse(0, (1, 9, 3)).float(), sparse(1, (1, 9, 3)).bfloat16()]
    expected = [by_hand.norm(tensor.double().numpy()) for tensor in tensors]
    assert measures.quick_norms(tensors)[:, 0].tolist() == pytest.approx(expected, rel=1e-14)


def test_cosines_that_are_known() -> None:
    def cosine(*examples: list[float]) -> float:
        return float(measures.cosine(torch.tensor(examples, dtype=torch.float32)))

    assert cosine([1, 0], [0, 5]) == 0
    assert cosine([1, 0], [3, 0], [2, 0]) == 1
    assert cosine([1, 0], [-2, 0]) == -1
    assert cosine([1, 0], [3, 3]) == pytest.approx(math.sqrt(0.5), rel=1e-15)
    # 0 degrees once, 60 degrees twice
    assert cosine([1, 0], [2, 0], [1, math.sqrt(3)]) == pytest.approx((1 + 0.5 + 0.5) / 3, rel=1e-7)
    assert cosine([1, 0], [0, 0], [3, 3]) == pytest.approx(math.sqrt(0.5), rel=1e-15), "a zero has no direction"
    assert math.isnan(cosine([1, 2], [0, 0]))
    assert math.isnan(cosine([1, 2]))
    assert math.isnan(cosine([1, 2], [math.nan, 1]))


def test_what_is_not_finite_shows() -> None:
    x = torch.tensor([[1.0, math.nan, math.inf], [-math.inf, 0.0, 2.0]])
    assert measures.nonfinite(x) == 3
    assert math.isnan(measures.norm(x))
    x[0, 1] = 0
    assert measures.nonfinite(x) == 2
    assert measures.norm(x) == math.inf
    assert measures.dead_units(x) == pytest.approx(1 / 3)
    assert measures.dead_units(torch.tensor([[math.nan, 0.0]])) == 0.5


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan, None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_not_finite_is_counted_by_norms_first(bad: float | None, dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(3)
    # Entries whose squares leave the range of float64 give an infinite norm over finite numbers.
    largest = 1e30 if dtype is torch.float32 else 1e200
    tensors = [largest * torch.randn(3, 4, 5, 2, generator=random, dtype=dtype) for _ in range(4)]
    if bad is not None:
        tensors[2][1, 3, 0] = bad
    found = measures.nonfinites(tensors, measures.norms(tensors))
    expected = [[0, 0, 0], [0, 0, 0], [0, 0 if bad is None else 2, 0], [0, 0, 0]]
    assert found.tolist() == expected


def test_distances_are_those_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is looked at together."""
    random = torch.Generator().manual_seed(0)
    shapes = ((1, 7, 5), (1, 30), (1, 2), (1, 90), (1, 3, 3))
    after, before = ([torch.randn(shape, generator=random) for shape in shapes] for _ in range(2))
    whole = measures.norms(measures.differences(after, before))
    for group in (1, 35, 100, 10_000):
        monkeypatch.setattr(measures, "GROUP", group)
        assert torch.equal(measures.distances(measures.norms, after, before), whole)
