"""The loop: which rows it writes, with which numbers, when it stops, and what it leaves behind."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

import engine
from engine import loop, losses_of, metrics, recipe, rows, same, trained, weights
from fanin.parts.initializers import VarianceScaling
from fanin.parts.normalization import BatchNorm
from fanin.parts.optimizers import Momentum
from fanin.parts.regularizers import L2, Dropout, EarlyStopping
from fanin.parts.schedules import Cosine, Plateau, Step
from fanin.probes import NoProbe, Probe
from fanin.probes.probe import QUANTITIES
from fanin.run.execute import RequestedRun
from fanin.train.learner import Culprit
from fanin.train.loop import Loop


def spied(folder: Path, data: Any = None, **changes: Any) -> tuple[Loop[RequestedRun], list[tuple[float, float]]]:
    """A loop that has trained, and the (loss, error) of every step it took."""
    one, _ = loop(folder, recipe(**changes), data)
    seen = losses_of(one)
    one.train()
    one.first.recorder.close(one.first.state)
    return one, seen


# ---- rows


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({"steps": 12, "log_every": 4}, [1, 4, 8, 10, 12]),  # an epoch has 10 steps: evaluated at 10
        ({"steps": 12, "log_every": 5, "eval_every": 3}, [1, 3, 5, 6, 9, 10, 12]),
        ({"steps": 7, "log_every": 100}, [1, 7]),
        ({"steps": 1}, [1]),
        ({"steps": None, "epochs": 0.5, "log_every": 2}, [1, 2, 4, 5]),
        ({"steps": 3, "log_every": 1}, [1, 2, 3]),
        ({"steps": 25, "log_every": 10, "batch_size": 200}, [*range(1, 26)]),  # an epoch of one step
    ],
    ids=str,
)
def test_rows_at_the_first_step_at_the_cadence_at_evaluations_and_at_the_end(
    tmp_path: Path, trainer: dict[str, Any], expected: list[int]
) -> None:
    one, seen = spied(tmp_path, trainer=trainer)
    table = metrics(tmp_path)
    # The last line is of the weights that the run ends with, of no batch.
    assert [row["step"] for row in table] == [*expected, expected[-1]]
    assert table[-1]["batch_loss"] is None
    assert table[-1]["lr"] is None
    per_epoch = one.batches.steps_per_epoch
    assert [row["epoch"] for row in table] == pytest.approx([row["step"] / per_epoch for row in table])  # type: ignore[operator]
    every = trainer.get("eval_every") or per_epoch
    evaluated = [step for step in expected if step % every == 0 or step == expected[-1]]
    assert [row["step"] for row in table[:-1] if row["val_loss"] is not None] == evaluated
    assert [row["step"] for row in table if row["test_loss"] is not None] == [expected[-1]]
    assert len(seen) == expected[-1]
    seconds = [row["seconds"] for row in table]
    assert seconds == sorted(seconds)  # type: ignore[type-var]
    assert one.first.state == "done"


@pytest.mark.parametrize("seed", [0, 5])
def test_the_whole_training_part_is_evaluated_where_asked_for(tmp_path: Path, seed: int) -> None:
    """At each evaluation the loss of the weights that a run of just so many steps ends with, by numpy in float64."""
    settings = {"eval_every": 7, "log_every": 3, "eval_train": True}
    trained(tmp_path / "long", recipe(seed=seed, trainer={"steps": 16, **settings}))
    table = metrics(tmp_path / "long")
    evaluated = [row for row in table if row["train_loss"] is not None]
    assert [row["step"] for row in evaluated] == [7, 14, 16]  # the final weights are those of step 16
    data = engine.clouds()
    for row in evaluated:
        steps = int(row["step"])  # type: ignore[arg-type]
        state = weights(trained(tmp_path / str(steps), recipe(seed=seed, trainer={"steps": steps})))
        x = data.train_x.double().numpy()
        for i in (1, 2, 3):  # the engine's network has no biases
            x = x @ state[f"linear_{i}.weight"].numpy().T.astype(float)
            x = np.maximum(x, 0) if i < 3 else x
        answers = x[np.arange(len(x)), data.train_y.numpy()]
        loss = (np.log(np.exp(x).sum(axis=1)) - answers).mean()
        # float32 products over 12 and 16 terms, and their exponentials: some 100 roundings of 6e-8
        assert row["train_loss"] == pytest.approx(loss, rel=1e-5)
        assert row["train_error"] == pytest.approx((answers < x.max(axis=1)).mean(), abs=1e-12)
    assert [row["train_loss"] is None for row in metrics(tmp_path / "7")][-2:] == [True, False], "else in the end only"


@pytest.mark.parametrize("log_every", [1, 3, 7, 50])
@pytest.mark.parametrize("seed", [0, 5])
def test_a_row_is_the_mean_over_the_batches_since_the_last_one(tmp_path: Path, log_every: int, seed: int) -> None:
    _, seen = spied(tmp_path, seed=seed, trainer={"steps": 23, "log_every": log_every})
    before = 0
    for row in metrics(tmp_path)[:-1]:
        done = int(row["step"])  # type: ignore[arg-type]
        since = seen[before:done]
        losses, errors = zip(*since, strict=True)
        # means in float64, of up to 10 numbers
        assert row["batch_loss"] == pytest.approx(math.fsum(losses) / len(since), rel=1e-14)
        assert row["batch_error"] == pytest.approx(math.fsum(errors) / len(since), rel=1e-14, abs=1e-16)
        before = done
    assert before == 23


def test_losses_are_those_of_the_seeds_own_batches(tmp_path: Path) -> None:
    """Step by step again, by the learner alone: the loop adds nothing."""
    _, seen = spied(tmp_path / "a", seed=3)
    alone, _ = loop(tmp_path / "b", recipe(seed=3))
    again = [alone.learner.step(alone.batches(step), [0.05]) for step in range(30)]
    assert seen == [(float(result.loss), float(result.error)) for result in again]


@pytest.mark.parametrize("schedule", [Step(size=7, gamma=0.5), Cosine(warmup_steps=5)])
def test_the_learning_rate_of_a_row_is_that_of_its_last_update(tmp_path: Path, schedule: Any) -> None:
    spied(tmp_path, schedule=schedule, lr=0.2)
    for row in metrics(tmp_path)[:-1]:
        step = int(row["step"]) - 1  # type: ignore[arg-type]  # of the update, counted from 0
        if isinstance(schedule, Step):
            expected = 0.2 * 0.5 ** (step // 7)
        elif step < 5:
            expected = 0.2 * (step + 1) / 5
        else:
            expected = 0.1 * (1 + math.cos(math.pi * (step - 5) / 25))
        assert row["lr"] == pytest.approx(expected, rel=1e-13)


def test_the_learning_rate_is_what_the_update_takes(tmp_path: Path) -> None:
    """With the same batch at every step and one layer the change of the weights tells the rate."""
    made = recipe(model={"depth": 1}, schedule=Step(size=2, gamma=0.1), lr=0.5, trainer={"steps": 6, "batch_size": 200})
    one, _ = loop(tmp_path, made)
    step, moved = one.learner.step, []

    def spy(*arguments: Any) -> Any:
        before = weights(one)["linear_1.weight"]
        result = step(*arguments)
        gradient = one.learner.model.linear_1.weight.grad  # type: ignore[attr-defined]
        moved.append(float((before - weights(one)["linear_1.weight"]).norm() / gradient.norm()))
        return result

    one.learner.step = spy  # type: ignore[method-assign]
    one.train()
    assert moved == pytest.approx([0.5, 0.5, 0.05, 0.05, 0.005, 0.005], rel=1e-4)  # differences of float32 weights


def test_penalties_enter_the_update_and_not_the_row(tmp_path: Path) -> None:
    """The same first loss, smaller weights at the end."""
    for name, penalties in (("without", []), ("with", [L2(strength=0.5)])):
        trained(tmp_path / name, recipe(penalties=penalties))
    first, second = (metrics(tmp_path / name) for name in ("without", "with"))
    assert first[0]["batch_loss"] == second[0]["batch_loss"]
    assert first[1]["batch_loss"] != second[1]["batch_loss"]


# ---- looks leave training alone


@pytest.mark.parametrize("curve_batch", ["train", "fixed"])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": Momentum, "dropout": Dropout(p=0.3, input_p=0.1), "penalties": [L2(strength=0.01)]},
        {"optimizer": Momentum, "dropout": Dropout(p=0.2), "model": {"normalization": BatchNorm(), "bias": True}},
    ],
    ids=["plain", "dropout", "batch norm"],
)
def test_probes_change_no_bit_of_training(
    tmp_path: Path, curve_batch: str, seed: int, settings: dict[str, Any]
) -> None:
    probe = Probe(every=1, steps=[1, 2, 17], curves=QUANTITIES, curve_batch=curve_batch, batch_size=40)
    runs = [spied(tmp_path / type(p).__name__, seed=seed, probe=p, **dict(settings)) for p in (probe, NoProbe())]
    (looked_at, losses), (alone, same_losses) = runs
    assert losses == same_losses
    assert same(looked_at.learner.state(0), alone.learner.state(0))
    tables = [[row | {"seconds": None} for row in metrics(tmp_path / name)] for name in ("Probe", "NoProbe")]
    assert tables[0] == tables[1]
    assert len(tables[0]) > 2
    assert len(rows(tmp_path / "Probe" / "profiles.csv")) > 5 * 30
    assert rows(tmp_path / "NoProbe" / "profiles.csv") == []
    assert not any(module._forward_hooks for module in looked_at.learner.model.modules())  # type: ignore[attr-defined]


def test_hooks_exist_at_recorded_steps_only(tmp_path: Path) -> None:
    one, _ = loop(tmp_path, recipe(probe=Probe(every=7, steps=[12], batch_size=40, band="off")))
    model, hooked, current = one.learner.model, [], [-1]  # type: ignore[attr-defined]
    forward, step = model.forward, one.learner.step

    def counting(x: Tensor) -> Tensor:
        if any(module._forward_hooks for module in model.modules()):
            hooked.append((current[0], len(x)))
        return forward(x)

    def stepping(*arguments: Any) -> Any:
        current[0] += 1
        return step(*arguments)

    model.forward, one.learner.step = counting, stepping  # type: ignore[method-assign]
    one.train()
    # Profiles (40 examples) before steps 0 and 12 and at the end, curves (20 examples) at every seventh step.
    # Before the first step 2 examples show theory in which order the parts run.
    assert hooked == [(-1, 40), (-1, 2), (0, 20), (7, 20), (11, 40), (14, 20), (21, 20), (28, 20), (29, 40)]


# ---- randomness


def test_the_same_seed_is_the_same_run_and_another_seed_another(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"dropout": Dropout(p=0.3), "model": {"normalization": BatchNorm()}}
    runs = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1), ("d", 2)):
        runs[name] = spied(tmp_path / name, seed=seed, **dict(settings))
    assert runs["a"][1] == runs["b"][1]
    assert same(runs["a"][0].learner.state(0), runs["b"][0].learner.state(0))
    firsts = [runs[name][1][0][0] for name in "acd"]
    assert len(set(firsts)) == 3


def test_changing_the_initializer_leaves_batches_and_masks_alone(tmp_path: Path) -> None:
    """What the network is shown, and which of its units are dropped, is the seed's alone."""
    seen: dict[float, list[Tensor]] = {}
    masks: dict[float, list[Tensor]] = {}
    for c in (1.0, 3.0):
        made = recipe(seed=4, initializer=VarianceScaling(c=c), dropout=Dropout(p=0.5, input_p=0.5), lr=0.0)
        one, _ = loop(tmp_path / str(c), made)
        step, seen[c], masks[c] = one.learner.step, [], []

        def spy(batch: Any, *rest: Any, step: Any = step, c: float = c) -> Any:
            seen[c] += batch
            return step(batch, *rest)

        one.learner.step = spy  # type: ignore[method-assign]
        one.learner.model.dropout_0.register_forward_hook(  # type: ignore[attr-defined]
            lambda module, inputs, output, c=c: masks[c].append(output == 0) if module.training else None
        )
        one.train()
    assert len(seen[1.0]) == 60
    assert same(seen[1.0], seen[3.0])
    assert len(masks[1.0]) == 30
    assert same(masks[1.0], masks[3.0])


def test_the_data_order_is_no_function_of_the_weights_stream(tmp_path: Path) -> None:
    """Seeds of data and weights are independent draws: each epoch and each layer has its own."""
    one, _ = loop(tmp_path, recipe(seed=0, model={"width": 12, "depth": 4}))
    first, second = weights(one)["linear_2.weight"], weights(one)["linear_3.weight"]
    assert not torch.equal(first, second)
    epochs = [one.batches(step)[0] for step in (0, 10, 20)]
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[1], epochs[2])


# ---- stopping


@pytest.mark.parametrize(
    ("percent", "window", "log_every"), [(20, 5, 4), (30, 1, 1), (25, 12, 3), (50, 50, 10), (20, None, 1), (10, 7, 1)]
)
@pytest.mark.parametrize("seed", [0, 6])
def test_the_target_stops_at_the_first_logged_step_that_reaches_it(
    tmp_path: Path, percent: int, window: int | None, log_every: int, seed: int
) -> None:
    trainer = {"steps": 120, "log_every": log_every, "target_error": percent / 100, "target_window": window}
    one, seen = spied(tmp_path, engine.clouds(separation=6.0), seed=seed, trainer=trainer)
    window = window or 10  # an epoch
    wrong = [round(20 * error) for _, error in seen]  # of 20 examples: whole numbers, so that "at most" is exact
    logged = sorted({1, 120, *range(10, 121, 10), *range(log_every, 121, log_every)})
    # Until then every logged step had too few batches, or too many errors in the last `window` of them.
    for step in logged:
        reached = window <= step <= len(wrong) and 100 * sum(wrong[step - window : step]) <= 20 * percent * window
        if reached or step == len(wrong):
            break
    assert step == len(wrong) == one.first.step
    assert reached, "these settings do reach their target"
    assert (one.first.state, one.first.stopped_by) == ("done", "target_error")
    assert metrics(tmp_path)[-1]["step"] == step
    assert step < 120


def test_a_target_that_is_never_reached_stops_nothing(tmp_path: Path) -> None:
    one, seen = spied(tmp_path, trainer={"steps": 20, "target_error": 0.0, "target_window": 3}, lr=0.0)
    assert len(seen) == 20
    assert one.first.stopped_by == ""


def test_a_plateau_is_told_at_every_evaluation(tmp_path: Path) -> None:
    made = recipe(
        schedule=Plateau(monitor="val_loss", patience=1, factor=0.6, threshold=0.02),
        trainer={"steps": 80, "eval_every": 3, "log_every": 1},
        lr=0.5,
    )
    trained(tmp_path, made, engine.clouds(separation=1.5))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.6, patience=1, threshold=0.02)
    expected, found = [], metrics(tmp_path)[:-1]  # but the last, of the final weights
    for row in found:
        expected.append(optimizer.param_groups[0]["lr"])
        if row["val_loss"] is not None:
            torchs.step(row["val_loss"])
    assert [row["lr"] for row in found] == pytest.approx(expected, rel=1e-14)
    assert len(set(expected)) > 3
    assert made.schedule(0, 0.5) == 0.5, "a recipe stays as it is"


def evaluations_of(one: Loop[RequestedRun]) -> list[tuple[float, dict[str, Tensor]]]:
    """Fills with the validation loss and the weights of every evaluation on the validation part."""
    found: list[tuple[float, dict[str, Tensor]]] = []
    evaluate = one.learner.evaluate

    def spy(inputs: Tensor, targets: Tensor, *known: Tensor | None) -> Any:
        result = evaluate(inputs, targets, *known)
        if inputs is one.data.val_x:
            found.append((float(result[0]), weights(one)))
        return result

    one.learner.evaluate = spy  # type: ignore[method-assign]
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("patience", "min_delta"), [(1, 0.0), (3, 0.0), (2, 0.05)])
def test_early_stopping_ends_with_the_best_weights(tmp_path: Path, seed: int, patience: int, min_delta: float) -> None:
    """A large learning rate on few examples: the validation loss soon rises."""
    made = recipe(
        seed=seed,
        early_stopping=EarlyStopping(monitor="val_loss", patience=patience, min_delta=min_delta),
        trainer={"steps": 400, "eval_every": 5, "batch_size": 20},
        model={"normalization": BatchNorm()},
        lr=0.5,
    )
    one, _ = loop(tmp_path, made, engine.clouds(separation=1.5))
    found = evaluations_of(one)
    one.train()
    during, (final_loss, final_weights) = [loss for loss, _ in found[:-1]], found[-1]
    best, waits = math.inf, [0]
    for loss in during:
        improved = loss < best - min_delta
        best = loss if improved else best
        waits.append(0 if improved else waits[-1] + 1)
    assert waits.index(patience) == len(during), "it stops when the patience is at its end, not before, not after"
    assert (one.first.state, one.first.stopped_by, one.first.step) == ("done", "early_stopping", 5 * len(during))
    winner = int(np.argmin(during))
    assert same(final_weights, found[winner][1])
    assert same(weights(one), found[winner][1])
    assert final_loss == during[winner] == min(during)
    assert one.first.final["val_loss"] == min(during)
    table = metrics(tmp_path)
    assert [row["val_loss"] for row in table if row["val_loss"] is not None] == during, "each evaluation once"
    saved = torch.load(tmp_path / "checkpoints" / "best.pt", weights_only=True)
    assert same(saved["model"], found[winner][1])


@pytest.mark.parametrize("ended_by", ["", "target_error"])
def test_early_stopping_ends_with_the_best_weights_whatever_ended_the_run(tmp_path: Path, ended_by: str) -> None:
    """A large learning rate on few examples, and a patience that the run's end does not wait for."""
    target = {"target_error": 0.9, "target_window": 17} if ended_by else {}
    made = recipe(
        early_stopping=EarlyStopping(monitor="val_loss", patience=100),
        trainer={"steps": 34, "eval_every": 3, "log_every": 17, **target},
        model={"normalization": BatchNorm()},
        lr=2.0,
    )
    data = engine.clouds(separation=1.0)
    one, _ = loop(tmp_path, made, data)
    found = evaluations_of(one)
    one.train()
    during = [loss for loss, _ in found[:-1]]
    winner = int(np.argmin(during))
    assert winner < len(during) - 1, "the best are not the last"
    assert (one.first.state, one.first.stopped_by) == ("done", ended_by)
    assert same(weights(one), found[winner][1])
    model = one.learner.model.eval()
    for part, x, y in (("val", data.val_x, data.val_y), ("train", data.train_x, data.train_y)):
        outputs = model(x)
        wanted = {"loss": F.cross_entropy(outputs, y).item(), "error": (outputs.argmax(1) != y).double().mean().item()}
        for name, value in wanted.items():
            assert one.first.final[f"{part}_{name}"] == pytest.approx(value, rel=1e-5)
    told = [row["val_loss"] for row in metrics(tmp_path) if row["val_loss"] is not None]
    assert told == during, "each evaluation once"
    assert metrics(tmp_path)[-1]["test_loss"] == one.first.final["test_loss"] is not None


def test_without_early_stopping_the_last_weights_stay_and_the_best_are_kept_beside_them(tmp_path: Path) -> None:
    one, _ = loop(tmp_path, recipe(trainer={"steps": 60, "eval_every": 5}, lr=1.0), engine.clouds(separation=1.5))
    found = evaluations_of(one)
    one.train()
    winner = int(np.argmin([loss for loss, _ in found]))
    assert winner < len(found) - 1
    assert same(weights(one), found[-1][1])
    saved = torch.load(tmp_path / "checkpoints" / "best.pt", weights_only=True)
    assert same(saved["model"], found[winner][1])


# ---- divergence


@pytest.mark.parametrize("log_every", [1, 4, 100])
@pytest.mark.parametrize("schedule", [None, Step(size=1, gamma=0.5)])
def test_a_run_that_diverges_ends_where_it_broke(tmp_path: Path, log_every: int, schedule: Any) -> None:
    """A learning rate of 1e30: the first update makes weights whose products overflow in the second pass."""
    settings = {} if schedule is None else {"schedule": schedule}
    probe = Probe(every=1, batch_size=40)
    one, seen = spied(tmp_path, lr=1e30, trainer={"steps": 40, "log_every": log_every}, probe=probe, **settings)
    run = one.first
    assert math.isfinite(seen[0][0])
    assert not math.isfinite(seen[1][0])
    assert run.state == "diverged"
    assert run.step == 2
    assert run.diverged == (2, Culprit("linear_2", "activation"))
    table = metrics(tmp_path)
    assert [row["step"] for row in table] == [1, 2, 2]
    assert not math.isfinite(table[1]["batch_loss"])  # type: ignore[arg-type]
    assert table[1]["lr"] == (1e30 if schedule is None else 0.5e30), "of the step that broke"
    assert all(bool(weight.isfinite().all()) for weight in weights(one).values()), "the update was not made"
    assert float(weights(one)["linear_1.weight"].abs().max()) > 1e25
    snapshots = {row["snapshot"] for row in rows(tmp_path / "profiles.csv")}
    assert snapshots == {"init", "final"}
    final = {
        row["layer"]: float(row["value"])
        for row in rows(tmp_path / "profiles.csv")
        if (row["snapshot"], row["axis"], row["quantity"]) == ("final", "module", "activation_nonfinite")
    }
    assert final["relu_1"] == 0
    assert final["linear_2"] > 0, "the last profile shows where"


@pytest.mark.parametrize("curve_batch", ["train", "fixed"])
def test_nothing_is_told_of_steps_after_the_break(tmp_path: Path, curve_batch: str) -> None:
    """The row that says so comes later; until then no profile and no curve of steps that the run did not take."""
    probe = Probe(every=1, steps=[1, 2, 9], curve_batch=curve_batch, batch_size=40)
    spied(tmp_path, lr=1e30, trainer={"steps": 40, "log_every": 30, "eval_every": 40}, probe=probe)
    snapshots = dict.fromkeys(row["snapshot"] for row in rows(tmp_path / "profiles.csv"))
    assert list(snapshots) == ["init", "1", "final"]  # the pass of step 1, counted from 0, is the one that broke
    seen = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0}).Reload()
    curves = {event.step for tag in seen.Tags()["scalars"] if tag.startswith("layers") for event in seen.Scalars(tag)}
    assert curves <= {0, 1}
    assert 0 in curves


def test_the_loss_before_the_break_counts_in_the_row(tmp_path: Path) -> None:
    """Broken weights put in at a known step: the row's mean takes the steps up to it and no more."""
    one, _ = loop(tmp_path, recipe(trainer={"steps": 20, "log_every": 6}))
    seen = losses_of(one)
    step, steps = one.learner.step, iter(range(20))

    def breaking(*arguments: Any) -> Any:
        if next(steps) == 8:
            with torch.no_grad():
                one.learner.model.linear_2.weight[0, 0] = math.nan  # type: ignore[attr-defined]
        return step(*arguments)

    one.learner.step = breaking  # type: ignore[method-assign]
    one.train()
    table = metrics(tmp_path)
    assert [row["step"] for row in table] == [1, 6, 9, 9]
    assert one.first.diverged == (9, Culprit("linear_2", "weight"))
    assert table[1]["batch_loss"] == pytest.approx(np.mean([loss for loss, _ in seen[1:6]]), rel=1e-12)
    assert math.isnan(table[2]["batch_loss"])  # type: ignore[arg-type]
    assert table[2]["batch_error"] == pytest.approx(np.mean([error for _, error in seen[6:9]]), rel=1e-12)


@pytest.mark.parametrize("log_every", [1, 4, 100])
def test_a_run_told_to_go_on_does(tmp_path: Path, log_every: int) -> None:
    trainer = {"steps": 12, "log_every": log_every, "stop_when_diverged": False}
    one, seen = spied(tmp_path, lr=1e30, trainer=trainer, probe=Probe(every=2, batch_size=40))
    assert len(seen) == 12
    assert (one.first.state, one.first.step) == ("diverged", 12)
    assert one.first.diverged == (2, Culprit("linear_2", "activation"))
    expected = sorted({1, 10, 12, *range(log_every, 13, log_every)})
    assert [row["step"] for row in metrics(tmp_path)] == [*expected, 12]


# ---- no training


@pytest.mark.parametrize("probe", [Probe(batch_size=50, every=1), NoProbe()], ids=["norms", "off"])
def test_no_steps_means_a_profile_and_no_row(tmp_path: Path, probe: Probe) -> None:
    one, seen = spied(tmp_path, trainer={"steps": 0}, probe=probe)
    assert seen == []
    assert metrics(tmp_path) == []
    assert one.first.state == "done"
    snapshots = {row["snapshot"] for row in rows(tmp_path / "profiles.csv")}
    assert snapshots == (set() if isinstance(probe, NoProbe) else {"init"})
    fresh, _ = loop(tmp_path / "again", recipe(trainer={"steps": 0}))
    assert same(weights(one), weights(fresh))


# ---- profiles and curves


def test_profiles_at_the_chosen_steps_are_of_the_weights_before_the_update(tmp_path: Path) -> None:
    """The profile of step k is the final profile of a run of k steps."""
    probe = {"batch_size": 40, "every": 0, "curves": ()}
    trained(tmp_path / "long", recipe(seed=2, probe=Probe(steps=[3, 11], **probe), trainer={"steps": 15}))
    table = rows(tmp_path / "long" / "profiles.csv")
    assert list(dict.fromkeys(row["snapshot"] for row in table)) == ["init", "3", "11", "final"]

    def values(which: str, folder: str) -> dict[tuple[str, ...], str]:
        found = rows(tmp_path / folder / "profiles.csv")
        return {(r["axis"], r["index"], r["quantity"]): r["value"] for r in found if r["snapshot"] == which}

    for steps in (3, 11, 15):
        trained(tmp_path / str(steps), recipe(seed=2, probe=Probe(**probe), trainer={"steps": steps}))
        snapshot = "final" if steps == 15 else str(steps)
        assert values(snapshot, "long") == values("final", str(steps))
    initial = values("init", "15")
    assert values("init", "long") == initial
    assert {value for key, value in initial.items() if key[2] == "weight_movement"} == {"0"}
