"""The averages against torch's AveragedModel and against explicit sums over the iterates."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fanin.errors import OptionError
from fanin.parts.averaging import Averaging, Ema, NoAveraging, Polyak, Swa

SEEDS = st.integers(0, 2**31)


def iterates(steps: int, seed: int) -> Tensor:
    """The weights after each update of a random walk: [steps, 4]."""
    random = torch.Generator().manual_seed(seed)
    return torch.randn(steps, 4, generator=random, dtype=torch.float64).cumsum(0)


def averages(option: Averaging, path: Tensor) -> list[Tensor | None]:
    """The average after each update; None before any weight."""
    kept: list[Tensor | None] = []
    average = None
    for step, theta in enumerate(path):
        weight = option.weight(step)
        if weight is not None:
            average = theta if average is None else average + weight * (theta - average)
        kept.append(average)
    return kept


def torchs(path: Tensor, counted: range, decay: float | None = None) -> Tensor:
    """What torch has averaged at the end, of the iterates that are counted."""
    model = torch.nn.Linear(4, 1, bias=False).double()
    averaged = AveragedModel(model, multi_avg_fn=None if decay is None else get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
    for step in counted:
        with torch.no_grad():
            model.weight[0] = path[step]
        averaged.update_parameters(model)
    return averaged.module.weight.detach()[0]  # type: ignore[operator]


def close(one: Tensor | None, other: Tensor) -> None:
    assert one is not None
    # up to 60 roundings of values up to 60
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(start=st.integers(0, 20), steps=st.integers(21, 60), seed=SEEDS)
def test_polyak_is_the_mean_and_torchs(start: int, steps: int, seed: int) -> None:
    path = iterates(steps, seed)
    found = averages(Polyak(start=start), path)
    assert [average is None for average in found] == [step < start for step in range(steps)]
    close(found[-1], torchs(path, range(start, steps)))
    for step in range(start, steps):
        close(found[step], path[start : step + 1].mean(0))


@settings(max_examples=15, deadline=None)
@given(decay=st.floats(0, 0.9999), steps=st.integers(1, 60), seed=SEEDS)
def test_ema_is_the_decaying_sum_and_torchs(decay: float, steps: int, seed: int) -> None:
    path = iterates(steps, seed)
    found = averages(Ema(decay=decay), path)
    close(found[-1], torchs(path, range(steps), decay))
    parts = [
        decay ** (steps - 1) * path[0],
        *((1 - decay) * decay ** (steps - 1 - i) * path[i] for i in range(1, steps)),
    ]
    close(found[-1], torch.stack(parts).sum(0))


@settings(max_examples=20, deadline=None)
@given(start=st.none() | st.integers(0, 59), every=st.integers(1, 70), steps=st.integers(1, 60), seed=SEEDS)
def test_swa_is_the_mean_of_every_so_manieth_and_torchs(start: int | None, every: int, steps: int, seed: int) -> None:
    path, option = iterates(steps, seed), Swa(start=start, every=every)
    option.set_length(steps)
    first = start if start is not None else int(0.75 * steps)
    found = averages(option, path)
    counted = range(first, steps, every)
    if counted:
        close(found[-1], torchs(path, counted))
        close(found[-1], path[list(counted)].mean(0))
        assert all(average is None for average in found[:first])
    else:
        assert found == [None] * steps


def test_the_first_weight_takes_the_iterate_whole() -> None:
    """So that nothing of the weights before is in the average: not those that a run starts with."""
    swa = Swa(start=5, every=3)
    assert [option.weight(step) for option, step in ((Polyak(start=5), 5), (Ema(), 0), (swa, 5))] == [1.0] * 3
    assert [swa.weight(step) for step in range(4, 10)] == [None, 1.0, None, None, 0.5, None]
    assert [NoAveraging().weight(step) for step in (0, 7)] == [None, None]
    assert (NoAveraging.neutral, Polyak.neutral) == (True, False)


def test_swa_must_know_its_start() -> None:
    with pytest.raises(OptionError, match="start=null: must be an integer >= 0"):
        Swa().weight(3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Polyak(start=-1), "start=-1: must be an integer >= 0"),
        (lambda: Polyak(start=None), "start=null: must be an integer >= 0"),  # type: ignore[arg-type]
        (lambda: Ema(decay=1), "decay=1: must be a finite number >= 0 and < 1"),
        (lambda: Swa(start=0.75), "start=0.75: must be an integer >= 0"),  # type: ignore[arg-type]
        (lambda: Swa(every=0), "every=0: must be an integer >= 1"),
    ],
)
def test_bad_values_give_one_line(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OptionError) as caught:
        make()
    assert str(caught.value) == message
