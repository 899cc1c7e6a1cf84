"""The sharpness-aware displacement on a quadratic by hand, and as the worst place at its distance."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fanin.errors import OptionError
from fanin.parts.regularizers import SAM, LabelSmoothing


def test_on_a_quadratic_by_hand() -> None:
    """f = (3 x^2 + 4 y^2) / 2 at (1, 1): g = (3, 4), e = rho (0.6, 0.8), gradient there (3 + 1.8 rho, 4 + 3.2 rho)."""
    curvature = torch.tensor([3.0, 4.0], dtype=torch.float64)
    x, y = torch.ones(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)  # one run, two parameters
    rho = 0.25
    e_x, e_y = SAM.displacement([curvature[:1] * x, curvature[1:] * y], rho)
    there = curvature * torch.cat([x + e_x, y + e_y], dim=1)
    torch.testing.assert_close(there, torch.tensor([[3.45, 4.8]], dtype=torch.float64), rtol=1e-15, atol=0)


@settings(max_examples=20, deadline=None)
@given(
    rhos=st.lists(st.floats(0.01, 2), min_size=1, max_size=3),
    shapes=st.lists(st.lists(st.integers(1, 3), max_size=3).map(tuple), min_size=1, max_size=3),
    seed=st.integers(0, 2**31),
)
def test_no_place_at_that_distance_is_higher_to_first_order(
    rhos: list[float], shapes: list[tuple[int, ...]], seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    gradients = [torch.randn(len(rhos), *shape, generator=random, dtype=torch.float64) for shape in shapes]
    moves = SAM.displacement(gradients, torch.tensor(rhos, dtype=torch.float64) if len(rhos) > 1 else rhos[0])
    for run, rho in enumerate(rhos):
        g, e = (torch.cat([part[run].flatten() for part in parts]) for parts in (gradients, moves))
        assert e.norm().item() == pytest.approx(rho, rel=1e-12)
        others = torch.randn(100, len(g), generator=random, dtype=torch.float64)
        others *= rho / others.norm(dim=1, keepdim=True)
        # the slope along e is rho ||g||, which by Cauchy and Schwarz is the most
        assert torch.dot(g, e).item() == pytest.approx(rho * g.norm().item(), rel=1e-12)
        assert (others @ g).max().item() <= torch.dot(g, e).item() * (1 + 1e-12)


def test_nowhere_to_go_and_not_finite() -> None:
    gradients = [torch.tensor([[0.0, 0.0], [3.0, 4.0], [torch.nan, 1.0], [3e-30, 4e-30]])]
    (moves,) = SAM.displacement(gradients, 1.0)
    assert torch.equal(moves[0], torch.zeros(2))
    torch.testing.assert_close(moves[1], torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(moves[3], torch.tensor([0.6, 0.8]))  # its squares are 0 in float32
    assert moves.dtype == torch.float32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SAM(rho=-1), "rho=-1: must be a finite number >= 0"),
        (lambda: LabelSmoothing(eps=1), "eps=1: must be a finite number >= 0 and < 1"),
        (lambda: LabelSmoothing(eps=-0.1), "eps=-0.1: must be a finite number >= 0 and < 1"),
    ],
)
def test_bad_values_give_one_line(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OptionError) as caught:
        make()
    assert str(caught.value) == message
