"""Fused runs stay runs of their own: one that breaks, one that leaves, one that goes on from a checkpoint."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from engine import same
from fanin.parts.averaging import Ema
from fanin.parts.normalization import BatchNorm
from fanin.parts.optimizers import SGD, Adam, Momentum
from fanin.probes.probe import QUANTITIES
from fanin.train.fused_learner import FusedLearner
from fanin.train.learner import Batch, Culprit, Learner
from fanin.train.single_learner import SingleLearner
from together import batches, close, fuse, joined, pair, rates, single, train

OPTIMIZERS = pytest.mark.parametrize("optimizer", [Momentum, Adam])
STOPS = pytest.mark.parametrize("stops", [True, False], ids=["stops", "goes on"])


def four(optimizer: Any = Momentum, *, stops: bool = True, plain: bool = False, **common: Any) -> list[dict[str, Any]]:
    """Runs that depend on running statistics, masks, a penalty, an average and the past; or, where `plain`, on none."""
    # No biases: before batch normalization their gradient is a rounding error, which Adam makes a step of.
    noise = {} if plain else {"normalization": BatchNorm(), "method": {"averaging": Ema(decay=0.5)}}
    return [
        {"seed": run, "c": 1 + run / 3, "optimizer": optimizer, "learning": {"stop_when_diverged": stops}}
        | ({} if plain else {"p": 0.1 * (1 + run), "strength": 0.01 * run})
        | noise | common
        for run in range(4)
    ]  # fmt: skip


def states(learner: Learner, runs: Sequence[int]) -> list[dict[str, Any]]:
    return [copy.deepcopy(learner.state(run)) for run in runs]


def spoiled(own: list[Batch], run: int, value: float) -> list[Batch]:
    """The batches with one entry of a run's inputs set to a value."""
    inputs = own[run][0].clone()
    inputs[0, 3, 5] = value
    return [*own[:run], (inputs, own[run][1]), *own[run + 1 :]]


# ---- runs that break


@STOPS
@OPTIMIZERS
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_run_that_breaks_touches_no_other(optimizer: Any, stops: bool, value: float) -> None:
    """Bit by bit: losses, states, looks and evaluations of the others, beside a run that broke and one that did not."""
    groups = [fuse([single(**run) for run in four(optimizer, stops=stops)]) for _ in range(2)]
    for step in range(6):
        own, curves = batches(4, step), QUANTITIES if step % 2 else ()
        ill = spoiled(own, 1, value) if step == 2 else own
        results = [
            group.step(joined(data), rates(4, step), curves) for group, data in zip(groups, (own, ill), strict=True)
        ]
        assert same(results[0].loss[[0, 2, 3]], results[1].loss[[0, 2, 3]])
        assert math.isfinite(results[1].loss[1]) == (step < 2)
        if curves:
            (_, values), (_, beside) = results[0].curves, results[1].curves  # type: ignore[misc]
            assert same(values[[0, 2, 3]], beside[[0, 2, 3]])
    assert same(*[states(group, [0, 2, 3]) for group in groups])
    looks = [group.observe(joined(batches(4, 60))) for group in groups]
    for first, second in zip(
        looks[0].activations + looks[0].gradients, looks[1].activations + looks[1].gradients, strict=True
    ):
        assert same(first[[0, 2, 3]], second[[0, 2, 3]])
    evaluated = [group.evaluate(*[part[0] for part in batches(1, 61)[0]]) for group in groups]
    assert same(evaluated[0][0][[0, 2, 3]], evaluated[1][0][[0, 2, 3]])
    assert groups[1].culprit(1) == Culprit("input", "activation")
    assert [groups[1].culprit(run) for run in (0, 2, 3)] == [None] * 3


@STOPS
@OPTIMIZERS
def test_a_run_that_breaks_is_what_it_is_alone(optimizer: Any, stops: bool) -> None:
    """Losses, culprits and states: run 1 breaks in step 0, run 3 in step 2, run 0 in step 4, run 2 never does."""
    alone, fused = pair(four(optimizer, stops=stops, dtype=torch.float64))
    for step in range(6):
        own, each = batches(4, step, dtype=torch.float64), rates(4, step)
        for run, at in ((1, 0), (3, 2), (0, 4)):
            own = spoiled(own, run, math.inf) if step == at else own
        results = [one.step(data, [rate]) for one, data, rate in zip(alone, own, each, strict=True)]
        together = fused.step(joined(own), each)
        for name in ("loss", "error"):
            expected = torch.cat([getattr(result, name) for result in results])
            torch.testing.assert_close(getattr(together, name), expected, rtol=1e-10, atol=0, equal_nan=True)
        assert [fused.culprit(run) for run in range(4)] == [one.culprit(0) for one in alone]
        for run, one in enumerate(alone):
            assert close(fused.state(run), one.state(0), 1e-9, 1e-12)
    assert [fused.culprit(run) is None for run in range(4)] == [False, False, True, False]


def test_variances_that_explode_break_at_the_step_and_the_layer_where_they_do_alone() -> None:
    """c = 30 in 40 layers: norms grow by sqrt(15) a layer, beyond float32 once the first updates have been made."""
    runs = [{**run, "c": c, "depth": 40} for run, c in zip(four(SGD, plain=True), (2.0, 30.0, 1.0, 300.0), strict=True)]
    alone, fused = pair(runs)
    expected, losses = train(alone, fused, range(8), curves=["activation_norm"], tolerance={"rtol": 1e-4, "atol": 0})
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=0, equal_nan=True)
    assert [fused.culprit(run) for run in range(4)] == [one.culprit(0) for one in alone]
    assert [fused.culprit(run) is None for run in range(4)] == [True, False, True, False]
    others = fuse([single(**run | {"c": 2.0} if run["c"] > 2 else run) for run in runs])
    for step in range(8):
        others.step(joined(batches(4, step)), rates(4, step))
    assert same(states(fused, [0, 2]), states(others, [0, 2])), "no bit of the others depends on them"


def test_when_all_are_broken_nothing_moves() -> None:
    fused = fuse([single(**run) for run in four()])
    ill = batches(4, 0)
    for run in range(4):
        ill = spoiled(ill, run, math.nan)
    result = fused.step(joined(ill), [0.1] * 4, QUANTITIES)
    assert result.loss.isnan().all()
    assert result.curves is None
    before = states(fused, range(4))
    again = fused.step(joined(batches(4, 1)), [0.1] * 4, QUANTITIES)
    assert (again.loss.isnan().all(), again.error.isnan().all(), again.curves) == (True, True, None)
    assert same(states(fused, range(4)), before)


# ---- checkpoints


def through_a_file(state: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """What a checkpoint's reader gets, and the size of the file."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True), file.getbuffer().nbytes


@OPTIMIZERS
@pytest.mark.parametrize("steps", [0, 5])
def test_a_run_goes_on_alone_and_back(optimizer: Any, steps: int) -> None:
    """Checkpoints of either learner have one form; whoever goes on from one makes the same steps."""
    runs = four(optimizer, dtype=torch.float64)
    alone, fused = pair(runs)
    if steps:
        train(alone, fused, range(steps), dtype=torch.float64)
    # Learners of other seeds that have been elsewhere take over.
    elsewhere, together = pair([{**run, "seed": 50 + run["seed"]} for run in runs])
    train(elsewhere, together, range(90, 90 + steps + 1), dtype=torch.float64)
    for run in range(4):
        (mine, size), (its, expected_size) = through_a_file(fused.state(run)), through_a_file(alone[run].state(0))
        assert close(mine, its, 1e-9, 1e-12)
        assert list(mine) == list(its)
        assert size < 1.05 * expected_size, "one run's part of the stack, not the stack"
        elsewhere[run].load_state(0, mine)
        together.load_state(run, its)
    # All four go on: alone and fused as before, those from the fused checkpoints alone, those from the others' fused.
    expected, losses = train(alone, fused, range(steps, steps + 6), dtype=torch.float64)
    exchanged = train(elsewhere, together, range(steps, steps + 6), dtype=torch.float64)
    for found in (losses, *exchanged):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    for run in range(4):
        assert close(together.state(run), alone[run].state(0), 1e-9, 1e-12)
        assert close(elsewhere[run].state(0), fused.state(run), 1e-9, 1e-12)


@STOPS
def test_a_broken_run_is_broken_in_its_checkpoint_too(stops: bool) -> None:
    """Told to stop it moves no more, whoever takes it over; told to go on it does, and keeps its culprit."""
    fused, again = (fuse([single(**run) for run in four(Adam, stops=stops)]) for _ in range(2))
    fused.step(joined(batches(4, 0)), rates(4, 0))
    fused.step(joined(spoiled(batches(4, 1), 2, math.inf)), rates(4, 1))
    fused.step(joined(batches(4, 2)), rates(4, 2))
    for run in range(4):
        again.load_state(run, through_a_file(fused.state(run))[0])
    assert same(states(again, range(4)), states(fused, range(4)))
    for step in (3, 4):
        first, second = (one.step(joined(batches(4, step)), rates(4, step)) for one in (fused, again))
        assert same(first.loss, second.loss)
    assert again.culprit(2) == fused.culprit(2) == Culprit("input", "activation")
    assert same(states(again, range(4)), states(fused, range(4)))


def test_a_state_is_a_copy() -> None:
    fused = fuse([single(**run) for run in four()])
    fused.step(joined(batches(4, 0)), rates(4, 0))
    kept = [fused.state(run) for run in range(4)], [fused.best_weights(run) for run in range(4)]
    before = copy.deepcopy(kept)
    fused.step(joined(batches(4, 1)), rates(4, 1))
    assert same(kept, before)


def test_best_weights_can_be_put_back_into_one_run() -> None:
    fused = fuse([single(**run) for run in four()])
    best = fused.best_weights(1)
    assert same(best, single(**four()[1]).best_weights(0))
    fused.step(joined(batches(4, 0)), rates(4, 0))
    others = [fused.best_weights(run) for run in (0, 2, 3)]
    assert not same(fused.best_weights(1), best)
    fused.load_weights(1, best)
    assert same(fused.best_weights(1), best)
    assert same([fused.best_weights(run) for run in (0, 2, 3)], others)


# ---- runs that leave


@OPTIMIZERS
@pytest.mark.parametrize("chosen", [[0, 2, 3], [3, 1], [2]], ids=str)
def test_chosen_runs_go_on_where_they_are(optimizer: Any, chosen: list[int]) -> None:
    alone, fused = pair(four(optimizer, dtype=torch.float64))
    train(alone, fused, range(4), dtype=torch.float64)
    look = fused.observe(joined(batches(4, 70, dtype=torch.float64)))
    left = fused.select(chosen)
    assert left.runs == len(chosen)
    assert isinstance(left, SingleLearner if len(chosen) == 1 else FusedLearner)
    again = left.observe(joined([batches(4, 70, dtype=torch.float64)[run] for run in chosen]))
    for whole, part in zip(
        look.weights + look.initial + look.gradients, again.weights + again.initial + again.gradients, strict=True
    ):
        torch.testing.assert_close(part, whole[chosen], rtol=1e-9, atol=1e-12)
    for step in range(4, 8):
        own, each = batches(4, step, dtype=torch.float64), rates(4, step)
        results = [alone[run].step(own[run], [each[run]], QUANTITIES) for run in chosen]
        result = left.step(joined([own[run] for run in chosen]), [each[run] for run in chosen], QUANTITIES)
        for place, expected in enumerate(results):
            torch.testing.assert_close(result.loss[place], expected.loss[0], rtol=1e-10, atol=0)
            torch.testing.assert_close(
                result.curves[1][place], expected.curves[1][0], rtol=1e-9, atol=1e-12, equal_nan=True
            )  # type: ignore[index]
    for place, run in enumerate(chosen):
        assert close(left.state(place), alone[run].state(0), 1e-9, 1e-12)


def test_those_that_stay_are_not_touched() -> None:
    """Two halves that part: each trains, and then is what it would be without the other."""
    fused = fuse([single(**run) for run in four()])
    whole = fuse([single(**run) for run in four()])
    for one in (fused, whole):
        one.step(joined(batches(4, 0)), rates(4, 0))
    halves = [fused.select([0, 3]), fused.select([1, 2])]
    for step in (1, 2):
        own, each = batches(4, step), rates(4, step)
        whole.step(joined(own), each)
        for half, runs in zip(halves, ([0, 3], [1, 2]), strict=True):
            half.step(joined([own[run] for run in runs]), [each[run] for run in runs])
    for half, runs in zip(halves, ([0, 3], [1, 2]), strict=True):
        # the same products in groups of another size: float32 roundings
        assert close(states(half, range(2)), states(whole, runs), 1e-3, 1e-5)


@pytest.mark.parametrize("chosen", [[1], [1, 2], [1, 0, 3]], ids=str)
def test_a_broken_run_leaves_as_it_broke(chosen: list[int]) -> None:
    """With the optimizer's count of steps that it had, though the others went on."""
    fused = fuse([single(**run) for run in four(Adam)])
    fused.step(joined(batches(4, 0)), rates(4, 0))
    fused.step(joined(spoiled(batches(4, 1), 1, math.nan)), rates(4, 1))
    broken = states(fused, [1])
    fused.step(joined(batches(4, 2)), rates(4, 2))
    others = states(fused, chosen[1:])
    left = fused.select(chosen)
    assert same(states(left, [0]), broken)
    assert same(states(left, range(1, len(chosen))), others)
    assert {slot["step"] for slot in left.state(0)["optimizer"]["state"].values()} == {1}
    result = left.step(joined([batches(4, 3)[run] for run in chosen]), [0.1] * len(chosen))
    assert result.loss.isfinite().tolist() == [False] + [True] * (len(chosen) - 1)
    assert same(states(left, [0]), broken)
