"""Mini-batches as a pure function of seed and step: those of one size, those that grow, augmented ones."""

from __future__ import annotations

import random
from itertools import accumulate, count, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine import clouds, loop, losses_of, metrics, recipe, rows, same, trained
from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.parts.augmentations import Augmentation, Crop, Flip, Noise, Rotate, Scale
from fanin.parts.batch_schedules import Growing
from fanin.parts.data import Digits
from fanin.parts.lr_scaling import Linear, Sqrt
from fanin.parts.schedules import Step
from fanin.probes import Probe
from fanin.run.build import recipe as built
from fanin.run.identity import identify, without_hydra
from fanin.streams import generator
from fanin.train.batches import Batches, probe_batch
from fanin.train.loop import Interrupted


def make(examples: int, size: int, seeds: list[int], schedule: Growing | None = None) -> Batches:
    """Data whose entries tell which example they are of: x = (number, 1000 + number), y = number % 7."""
    number = torch.arange(examples)
    return Batches(torch.stack([number, 1000 + number], dim=1).float(), number % 7, size, seeds, schedule)


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


# ---- batches that grow


@st.composite
def growing(draw: st.DrawFn) -> tuple[int, int, Growing]:
    """Examples, the first batch's size, and how it grows."""
    examples = draw(st.integers(1, 60))
    most = draw(st.one_of(st.none(), st.integers(1, 80)))
    schedule = Growing(factor=draw(st.floats(1, 3)), every=draw(st.integers(1, 5)), max=most)
    return examples, draw(st.integers(1, examples)), schedule


def sizes(schedule: Growing, examples: int, base: int, steps: int) -> list[int]:
    """min(cap, floor(base factor^floor(t / every))); a product that is a whole number but for its rounding is one."""
    cap = examples if schedule.max is None else min(schedule.max, examples)
    return [min(cap, int(base * schedule.factor ** (step // schedule.every) + 1e-9)) for step in range(steps)]


@settings(max_examples=25, deadline=None)
@given(case=growing(), seed=st.integers(0, 2**31))
def test_growing_batches_are_cut_from_an_endless_row_of_epochs(case: tuple[int, int, Growing], seed: int) -> None:
    """Every epoch has each example once, in an order of its own, however the batches lie over its ends.

    A batch as large as an epoch is one: it would else hold some examples twice.
    """
    examples, base, schedule = case
    batches = make(examples, base, [seed], schedule)
    expected, taken = sizes(schedule, examples, base, 30), [chosen(batches, step) for step in range(30)]
    assert [len(one) for one in taken] == expected == [batches.size(step) for step in range(30)]
    streams = [generator(seed, "data", epoch) for epoch in range(sum(expected) // examples + 1)]
    row = [number for stream in streams for number in torch.randperm(examples, generator=stream).tolist()]
    for one, end in zip(taken, accumulate(expected), strict=True):
        if len(one) == examples:
            assert sorted(one) == list(range(examples))
        else:
            assert one == row[end - len(one) : end]
    jumping = make(examples, base, [seed], schedule)
    for step in random.Random(seed).sample(range(30), 30):
        assert chosen(jumping, step) == taken[step], "a step's batch needs none before it"


@settings(max_examples=25, deadline=None)
@given(case=growing(), epochs=st.one_of(st.floats(0.01, 5), st.integers(1, 5)))
def test_epochs_and_steps_of_growing_batches_are_sums_of_sizes(case: tuple[int, int, Growing], epochs: float) -> None:
    examples, base, schedule = case
    batches = make(examples, base, [0], schedule)
    seen = [0, *accumulate(sizes(schedule, examples, base, 400))]  # 5 epochs of 60 in batches of 1
    for step in (0, 1, 2, 3, 7, 20, 111):
        assert batches.epoch(step) == seen[step] / examples
    assert batches.steps(epochs) == next(step for step in count(1) if seen[step] >= epochs * examples)


def test_a_run_of_some_epochs_with_growing_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes 20, 20, 40, 40, 80, 80, 160 of 200 examples: 2.1 epochs take 420, which 7 steps reach.

    The validation part is evaluated, and a checkpoint written, where an epoch is full: after 200 and 440 examples.
    """
    monkeypatch.setattr("fanin.train.checkpoints.LEAST_SECONDS", 0.0)
    made = recipe(batch=Growing(factor=2, every=2), trainer={"steps": None, "epochs": 2.1, "log_every": 1})
    one, _ = loop(tmp_path, made)
    steps, checkpoint, saved = losses_of(one), one.checkpoint, []
    one.checkpoint = lambda done: (saved.append(done), checkpoint(done))  # type: ignore[assignment, method-assign]
    one.train()
    one.first.recorder.close()
    assert len(steps) == one.steps == 7
    table = metrics(tmp_path)[:-1]
    assert [row["epoch"] for row in table] == [total / 200 for total in (20, 40, 80, 120, 200, 280, 440)]
    assert [row["step"] for row in table if row["val_loss"] is not None] == [5, 7]
    assert saved == [5, None]


@settings(max_examples=25, deadline=None)
@given(case=growing(), constant=st.booleans())
def test_an_epoch_ends_where_its_last_example_is_taken(case: tuple[int, int, Growing], constant: bool) -> None:
    examples, base, schedule = case
    batches = make(examples, base, [0], None if constant else schedule)
    length = examples // base * base if constant else examples
    seen = [0, *accumulate([base] * 40 if constant else sizes(schedule, examples, base, 40))]
    ends = [any(total % length == 0 for total in range(seen[step] + 1, seen[step + 1] + 1)) for step in range(40)]
    assert [batches.ends_epoch(step) for step in range(40)] == ends


@pytest.mark.parametrize(("kind", "power"), [(Linear, 1.0), (Sqrt, 0.5)])
@pytest.mark.parametrize("schedule", [None, Step(size=3, gamma=0.5)])
def test_the_learning_rate_follows_the_batch(tmp_path: Path, kind: Any, power: float, schedule: Any) -> None:
    """lr schedule(t) (B_t / 20)^power in metrics.csv, and in the update."""
    made = recipe(
        batch=Growing(factor=1.5, every=2),
        lr_scaling=kind(base_batch_size=20),
        lr=0.04,
        trainer={"steps": 11, "log_every": 1, "batch_size": 30},
        **({"schedule": schedule} if schedule else {}),
    )
    one, _ = loop(tmp_path, made)
    step, given_rates = one.learner.step, []

    def spy(batch: Any, rates: Any, *rest: Any) -> Any:
        given_rates.append((batch[1].shape[1], *rates))
        return step(batch, rates, *rest)

    one.learner.step = spy  # type: ignore[method-assign]
    one.train()
    one.first.recorder.close()
    counts = [30, 30, 45, 45, 67, 67, 101, 101, 151, 151, 200]
    decay = [0.5 ** (at // 3) if schedule else 1.0 for at in range(11)]
    expected = [0.04 * factor * (size / 20) ** power for factor, size in zip(decay, counts, strict=True)]
    assert [size for size, _ in given_rates] == counts
    assert [rate for _, rate in given_rates] == pytest.approx(expected, rel=1e-14)
    assert [row["lr"] for row in metrics(tmp_path)[:-1]] == pytest.approx(expected, rel=1e-14)


# ---- the whole training set


def composed(*typed: str) -> Any:
    """A configuration as the command line makes it."""
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return compose("config", list(typed), return_hydra_config=True)


def test_gradient_descent_takes_the_whole_training_set(tmp_path: Path) -> None:
    """By optimizer=gd, whatever the batch size, and by batch_size=all; the loss of a step is the full loss."""
    cfg = composed("optimizer=gd", "trainer.batch_size=7", "trainer.device=cpu")
    assert built(without_hydra(cfg)).trainer.batch_size == "all"
    data, steps = clouds(), 4
    one, _ = loop(tmp_path, recipe(trainer={"steps": steps, "batch_size": "all", "log_every": 1}), data)
    step, model, errors = one.learner.step, one.learner.model, []  # type: ignore[attr-defined]

    def spy(batch: Any, *rest: Any) -> Any:
        assert torch.equal(batch[0][0].sort(dim=0).values, data.train_x.sort(dim=0).values)
        outputs = model(data.train_x)
        result = step(batch, *rest)
        # float32 sums in another order
        assert result.loss.item() == pytest.approx(F.cross_entropy(outputs, data.train_y).item(), rel=1e-5)
        errors.append((result.error.item(), (outputs.argmax(1) != data.train_y).double().mean().item()))
        return result

    one.learner.step = spy  # type: ignore[method-assign]
    one.train()
    one.first.recorder.close()
    assert [row["epoch"] for row in metrics(tmp_path)] == [1, 2, 3, 4, 4]
    assert [row["val_loss"] is not None for row in metrics(tmp_path)] == [True] * 4 + [False], "each step is an epoch"
    for found, expected in errors:
        assert found == pytest.approx(expected, abs=1.5 / 200)  # one example on the border of two classes


# ---- augmentation


IMAGES = torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(3))
SOME: list[Augmentation] = [Rotate(degrees=40), Noise(std=0.2)]


def augmented(seeds: list[int], augmentations: list[Augmentation], schedule: Growing | None = None) -> Batches:
    return Batches(IMAGES, torch.arange(30), 10, seeds, schedule, augmentations)


@pytest.mark.parametrize("schedule", [None, Growing(factor=2, every=1)])
def test_augmentation_is_a_function_of_seed_and_step(schedule: Growing | None) -> None:
    batches = augmented([4, 5, 4], SOME, schedule)
    in_order = [batches(step) for step in range(8)]
    for step in (6, 2, 7, 2, 0):
        assert same(augmented([4, 5, 4], SOME, schedule)(step), in_order[step])
        inputs, targets = in_order[step]
        assert torch.equal(inputs[0], inputs[2]), "the same seed"
        plain = augmented([4, 5, 4], [], schedule)(step)
        assert torch.equal(plain[1], targets), "the order of the data is another stream"
        # by definition: from the stream of (seed, "augment", step), one augmentation after the other
        for run, seed in enumerate([4, 5, 4]):
            stream = generator(seed, "augment", step)
            expected = SOME[1](SOME[0](plain[0][run], stream), stream)
            assert torch.equal(inputs[run], expected)
    changes = [(batch[0] - IMAGES[batch[1]]).abs().amax(dim=(2, 3, 4)).flatten().tolist() for batch in in_order]
    assert all(min(change) > 0 for change in changes), "every image is changed"
    noises = [augmented([seed], [SOME[1]])(step)[0][0] for seed in (4, 5) for step in (0, 1)]
    plains = [augmented([seed], [])(step)[0][0] for seed in (4, 5) for step in (0, 1)]
    drawn = [noise - plain for noise, plain in zip(noises, plains, strict=True)]
    assert all((one - other).abs().max() > 0.1 for one, other in pairwise(drawn)), (
        "other numbers at every seed and step"
    )


def images_recipe(**changes: Any) -> Any:
    trainer = {"steps": 9, "batch_size": 20, "log_every": 1, "eval_every": 3, **changes.pop("trainer", {})}
    probe = Probe(batch_size=30, every=2, steps=[4], curve_batch=changes.pop("curve_batch", "train"))
    return recipe(trainer=trainer, probe=probe, **{"augmentations": SOME, **changes})


DIGITS = Digits(image_size=12, limit=60, val_size=30)


def test_a_resumed_run_sees_the_same_augmented_batches(tmp_path: Path) -> None:
    data = DIGITS.load()
    whole = trained(tmp_path / "whole", images_recipe(), data)
    asked = iter(range(20))
    part, _ = loop(tmp_path / "part", images_recipe(), data, stop_requested=lambda: next(asked) == 5)
    with pytest.raises(Interrupted):
        part.train()
    part.first.recorder.close()
    state = torch.load(tmp_path / "part" / "checkpoints" / "last.pt", weights_only=True)
    again, _ = loop(tmp_path / "part", images_recipe(), data, resume_step=5)
    again.train(again.resume([state]))
    again.first.recorder.close()
    assert same(again.learner.state(0), whole.learner.state(0))
    first, second = ([row | {"seconds": None} for row in metrics(tmp_path / name)] for name in ("whole", "part"))
    assert first == second
    other = trained(tmp_path / "other", images_recipe(augmentations=[]), data)
    assert not same(other.learner.state(0), whole.learner.state(0))


def test_probes_and_evaluation_see_the_data_as_they_are(tmp_path: Path) -> None:
    """At a learning rate of 0 only the training rows tell that there is augmentation."""
    data, found = DIGITS.load(), {}
    for name, augmentations in (("with", SOME), ("without", [])):
        made = images_recipe(augmentations=augmentations, lr=0.0, trainer={"eval_train": True})
        trained(tmp_path / name, made, data)
        found[name] = metrics(tmp_path / name)
    for parts in zip(found["with"], found["without"], strict=True):
        for key in ("val_loss", "val_error", "test_loss", "test_error", "train_loss", "train_error"):
            assert parts[0][key] == parts[1][key]
        if parts[0]["batch_loss"] is not None:
            assert parts[0]["batch_loss"] != parts[1]["batch_loss"]
    profiles = [rows(tmp_path / name / "profiles.csv") for name in ("with", "without")]
    assert profiles[0] == profiles[1]
    assert {row["snapshot"] for row in profiles[0]} == {"init", "4", "final"}


def test_the_order_typed_is_not_the_order_of_augmentations() -> None:
    """Noise comes last, so that no rotation smooths it; what is typed in another order is the same run."""
    typed = ["noise,rotate,crop,flip", "crop,flip,noise,rotate", "flip,noise,crop,rotate"]
    cfgs = [composed(f"augment=[{names}]", "data.limit=100", "data.image_size=12") for names in typed]
    for cfg in cfgs:
        made = built(without_hydra(cfg))
        assert [type(one) for one in made.augmentations] == [Crop, Flip, Rotate, Noise]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        identities = [identify(without_hydra(cfg), cfg.hydra) for cfg in cfgs]
    assert len({(one.name, one.config_hash) for one in identities}) == 1


def test_an_augmentation_of_ones_own_keeps_its_place() -> None:
    """Between those of images and the noise there is no other order than that of their names."""

    class Brighter(Augmentation):
        def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
            return images + 1

    seen = augmented([0], [Brighter(), Scale(low=1.0, high=1.0)])(2)
    assert torch.equal(seen[0][0], IMAGES[seen[1][0]] + 1)


@pytest.mark.parametrize("schedule", [Growing(factor=2, every=3), Growing(factor=1.5, every=2)])
def test_the_window_holds_the_last_epoch_of_examples(schedule: Growing) -> None:
    """So many batches back that an epoch's examples are in them, whatever size the first batches had."""
    batches = Batches(IMAGES, torch.arange(30), 4, [0], schedule)
    sizes = [batches.size(step) for step in range(30)]
    assert Batches(IMAGES, torch.arange(30), 4, [0]).window(9) == 30 // 4
    for step in range(30):
        held = [sum(sizes[step - count : step]) for count in range(step + 1)]
        enough = [count for count, examples in enumerate(held) if examples >= 30]
        assert batches.window(step) == (enough[0] if enough else step + 1)
