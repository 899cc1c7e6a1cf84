"""Mini-batches as a pure function of seed and step."""

from __future__ import annotations

import pytest
import torch

from fanin.batches import Batches, probe_batch


def make(examples: int, size: int, seeds: list[int]) -> Batches:
    """Data whose entries tell which example they are of: x = (number, 1000 + number), y = number % 7."""
    number = torch.arange(examples)
    return Batches(torch.stack([number, 1000 + number], dim=1).float(), number % 7, size, seeds)


def chosen(batches: Batches, step: int, run: int = 0) -> list[int]:
    """The numbers of the examples in a batch."""
    return batches(step)[0][run, :, 0].int().tolist()


@pytest.mark.parametrize(("examples", "size"), [(20, 5), (23, 5), (7, 7), (9, 8), (5, 1)])
@pytest.mark.parametrize("seed", [0, 1, 17])
def test_an_epoch_takes_every_example_at_most_once(examples: int, size: int, seed: int) -> None:
    batches = make(examples, size, [seed])
    assert batches.steps_per_epoch == examples // size
    for epoch in range(4):
        steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
        taken = [number for step in steps for number in chosen(batches, step)]
        assert len(taken) == size * (examples // size)
        assert len(set(taken)) == len(taken)
        assert set(taken) <= set(range(examples))


def test_what_one_epoch_leaves_out_comes_back_in_another() -> None:
    batches = make(23, 5, [0])
    left_out = [set(range(23)) - {n for step in range(4) for n in chosen(batches, 4 * e + step)} for e in range(10)]
    assert all(len(missing) == 3 for missing in left_out)
    assert set.intersection(*left_out) == set(), "an example left out every time has probability (3/23)^10"


def test_the_order_is_another_in_every_epoch_and_for_every_seed() -> None:
    orders = [
        tuple(n for step in range(4) for n in chosen(make(20, 5, [seed]), 4 * epoch + step))
        for seed in range(5)
        for epoch in range(5)
    ]
    assert len(set(orders)) == 25


def test_every_place_of_the_order_is_as_likely() -> None:
    """Which example comes first, over many seeds."""
    examples, seeds = 5, 1000
    first = [chosen(make(examples, 1, [seed]), 0)[0] for seed in range(seeds)]
    counts = torch.bincount(torch.tensor(first), minlength=examples).double()
    statistic = float(((counts - seeds / examples) ** 2 / (seeds / examples)).sum())
    assert statistic < 18.5, "chi-square with 4 degrees of freedom lies below 18.5 with probability 0.999"


@pytest.mark.parametrize("steps", [[11, 3, 11, 0, 26, 3], [8], [7, 8, 7]])
def test_a_step_needs_none_of_those_before_it(steps: list[int]) -> None:
    in_order, jumping = make(23, 5, [3]), make(23, 5, [3])
    expected = [chosen(in_order, step) for step in range(27)]
    assert [chosen(jumping, step) for step in steps] == [expected[step] for step in steps]


def test_inputs_and_targets_belong_together() -> None:
    inputs, targets = make(30, 6, [2, 5])(3)
    assert inputs.shape == (2, 6, 2)
    assert targets.shape == (2, 6)
    assert torch.equal(inputs[..., 0] + 1000, inputs[..., 1])
    assert torch.equal(inputs[..., 0].long() % 7, targets)


def test_many_runs_see_what_each_would_see_alone() -> None:
    seeds = [4, 0, 9, 4]
    together = make(23, 5, seeds)
    for step in (0, 3, 4, 13):
        inputs, targets = together(step)
        for run, seed in enumerate(seeds):
            alone = make(23, 5, [seed])(step)
            assert torch.equal(inputs[run], alone[0][0])
            assert torch.equal(targets[run], alone[1][0])


def test_inputs_keep_their_shape() -> None:
    images = torch.arange(10 * 3 * 2 * 2).reshape(10, 3, 2, 2).float()
    assert Batches(images, torch.zeros(10).long(), 4, [0, 1])(1)[0].shape == (2, 4, 3, 2, 2)
    assert probe_batch(images, torch.zeros(10).long(), 6, [0, 1, 2])[0].shape == (3, 6, 3, 2, 2)


def test_the_fixed_batch_is_a_draw_of_its_own() -> None:
    number = torch.arange(50)
    inputs, targets = probe_batch(number[:, None].float(), number, 20, [0, 1])
    assert torch.equal(inputs[..., 0].long(), targets)
    for run in range(2):
        assert len(set(targets[run].tolist())) == 20
    again, _ = probe_batch(number[:, None].float(), number, 20, [1])
    assert torch.equal(inputs[1], again[0])
    assert not torch.equal(inputs[0], inputs[1])
    training = Batches(number[:, None].float(), number, 20, [0])
    assert not torch.equal(training(0)[1][0], targets[0]), "the stream of the probes is not that of the data order"
    smaller, _ = probe_batch(number[:, None].float(), number, 5, [0])
    assert torch.equal(smaller[0], inputs[0, :5])
