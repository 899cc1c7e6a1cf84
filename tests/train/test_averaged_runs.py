"""Runs that average their iterates: what is evaluated, kept as the best and gone on with."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

import engine
from engine import batch, learner, loop, metrics, network, perturbed, recipe, same
from fanin.parts.averaging import Averaging, Ema, Polyak, Swa
from fanin.parts.normalization import BatchNorm
from fanin.parts.optimizers import Momentum
from fanin.parts.regularizers import Dropout, EarlyStopping
from fanin.streams import generator
from fanin.train.batches import Batches
from fanin.train.further_passes import STATISTICS_CHUNK
from fanin.train.fused_learner import FusedLearner
from fanin.train.loop import Interrupted
from fanin.train.single_learner import SingleLearner
from fanin.train.step import Method
from fanin.train.trained_model import TrainedModel
from steps_by_hand import EXACT

AVERAGES = [Polyak(start=2), Ema(decay=0.8), Swa(start=3, every=2)]


def averages(kind: Averaging, iterates: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Of the states 0 (the start), 1, ..., T after each update, by the definition of the kind; counts are the last."""
    last = len(iterates) - 1
    if isinstance(kind, Polyak):
        weights = dict.fromkeys(range(3, last + 1), 1.0)  # of updates 2, 3, ..., counted from 0
    elif isinstance(kind, Swa):
        weights = dict.fromkeys(range(4, last + 1, 2), 1.0)  # of updates 3, 5, ...
    else:
        weights = {1: 0.8 ** (last - 1)} | {at: 0.2 * 0.8 ** (last - at) for at in range(2, last + 1)}
    weights = weights or {last: 1.0}
    total, newest = sum(weights.values()), iterates[max(weights)]
    return {
        name: sum(w / total * iterates[at][name].double() for at, w in weights.items())  # type: ignore[misc]
        if newest[name].is_floating_point()
        else newest[name]
        for name in newest
    }


def dropping(seed: int, **changes: Any) -> SingleLearner:
    """A float64 learner with running statistics, masks and momentum."""
    model = perturbed(network(seed, normalization=BatchNorm(), dropout=Dropout(p=0.4), bias=True, dtype=torch.float64))
    return learner(model, Momentum, dropout=generator(seed, "dropout"), **changes)


@pytest.mark.parametrize("kind", AVERAGES, ids=lambda kind: type(kind).__name__)
@pytest.mark.parametrize("seed", [0, 3])
def test_evaluation_is_of_the_average_and_training_of_the_iterates(kind: Averaging, seed: int) -> None:
    one, plain = dropping(seed, method=Method(averaging=kind)), dropping(seed)
    iterates = [copy.deepcopy(plain.model.state_dict())]
    inputs, targets = (part[0] for part in batch(77, 30, dtype=torch.float64))
    other = copy.deepcopy(plain.model)
    for step in range(9):
        data = batch(step, dtype=torch.float64)
        assert torch.equal(one.step(data, [0.1]).loss, plain.step(data, [0.1]).loss)
        iterates.append(copy.deepcopy(plain.model.state_dict()))
        assert same(dict(one.model.state_dict()), dict(iterates[-1])), "the average takes no part in training"
        wanted = averages(kind, iterates)
        other.load_state_dict(wanted)
        outputs = other.eval()(inputs).detach()
        torch.testing.assert_close(one.predict(inputs)[0], outputs, **EXACT)
        loss, error = one.evaluate(inputs, targets)
        assert loss.item() == pytest.approx(F.cross_entropy(outputs, targets).item(), rel=1e-10)
        assert error.item() == (outputs.argmax(1) != targets).double().mean().item()
        best = one.best_weights(0)
        assert best.keys() == wanted.keys()
        for name, value in best.items():
            assert value.dtype == iterates[0][name].dtype
            torch.testing.assert_close(value.double(), wanted[name].double(), **EXACT)
        assert same(dict(one.model.state_dict()), dict(iterates[-1])), "evaluation puts the iterate back"


@pytest.mark.parametrize("kind", AVERAGES, ids=lambda kind: type(kind).__name__)
@pytest.mark.parametrize("stop", [1, 4, 9])
def test_a_resumed_run_goes_on_with_its_average(tmp_path: Path, kind: Averaging, stop: int) -> None:
    made: dict[str, Any] = {
        "method": Method(averaging=kind),
        "model": {"normalization": BatchNorm()},
        "trainer": {"steps": 12, "eval_every": 2, "log_every": 1},
    }
    whole, _ = loop(tmp_path / "whole", recipe(**copy.deepcopy(made)))
    whole.train()
    whole.first.recorder.close()
    asked = iter(range(20))
    part, _ = loop(tmp_path / "part", recipe(**copy.deepcopy(made)), stop_requested=lambda: next(asked) == stop)
    with pytest.raises(Interrupted):
        part.train()
    part.first.recorder.close()
    state = torch.load(tmp_path / "part" / "checkpoints" / "last.pt", weights_only=True)
    again, _ = loop(tmp_path / "part", recipe(**copy.deepcopy(made)), resume_step=stop)
    again.train(again.resume([state]))
    again.first.recorder.close()
    assert same(again.learner.state(0), whole.learner.state(0))
    assert same(again.learner.best_weights(0), whole.learner.best_weights(0))
    tables = [[row | {"seconds": None} for row in metrics(tmp_path / name)] for name in ("whole", "part")]
    assert tables[0] == tables[1]


def test_the_best_weights_of_a_run_are_those_of_the_average_that_was_best(tmp_path: Path) -> None:
    """Early stopping ends with them; metrics.csv and best.pt tell the same ones."""
    made = recipe(
        method=Method(averaging=Ema(decay=0.6)),
        early_stopping=EarlyStopping(monitor="val_loss", patience=2),
        trainer={"steps": 300, "eval_every": 3},
        lr=0.5,
    )
    one, _ = loop(tmp_path, made, engine.clouds(separation=1.5))
    evaluate, during = one.learner.evaluate, list[tuple[float, dict[str, Tensor]]]()

    def spy(inputs: Tensor, targets: Tensor, *known: Tensor | None) -> Any:
        found = evaluate(inputs, targets, *known)
        if inputs is one.data.val_x:
            during.append((found[0].item(), engine.weights(one)))
        return found

    one.learner.evaluate = spy  # type: ignore[method-assign]
    one.train()
    one.first.recorder.close()
    assert one.first.stopped_by == "early_stopping"
    best = min(during[:-1], key=lambda pair: pair[0])
    saved = torch.load(tmp_path / "checkpoints" / "best.pt", weights_only=True)["model"]
    assert same(saved, best[1])
    assert same(engine.weights(one), best[1])
    assert one.first.final["val_loss"] == best[0]
    with torch.no_grad():
        outputs = functional_call(one.learner.model, saved, (one.data.val_x,))  # type: ignore[attr-defined]
    # float32 outputs, whose mean is taken in another order
    assert F.cross_entropy(outputs, one.data.val_y).item() == pytest.approx(best[0], rel=1e-5)
    assert not same(dict(one.learner.model.state_dict()), during[-2][1]), "an average is no iterate"  # type: ignore[attr-defined]


@pytest.mark.parametrize("examples", [230, 777])
def test_running_statistics_are_those_of_the_averaged_weights(examples: int) -> None:
    """As torch's update_bn estimates them, over batches that make up the training part; of one run and of several."""
    data, method = engine.clouds(examples=examples), Method(averaging=Ema(decay=0.8))

    def own(seed: int) -> TrainedModel:
        net = {"normalization": BatchNorm(), "in_features": 12, "dtype": torch.float64}
        model = perturbed(network(seed, **net))
        batches = Batches(data.train_x.double(), data.train_y, 20, [seed])
        return TrainedModel(model, Momentum(list(model.parameters()), lr=0.0), method, batches=batches)

    alone, fused = [SingleLearner(own(seed)) for seed in range(3)], FusedLearner([own(seed) for seed in range(3)])
    for step in range(5):
        given = [(x.double(), y) for x, y in (Batches(data.train_x, data.train_y, 20, [s])(step) for s in range(3))]
        for one, own_batch in zip(alone, given, strict=True):
            one.step(own_batch, [0.3])
        fused.step((torch.cat([x for x, _ in given]), torch.cat([y for _, y in given])), [0.3] * 3)
    together = fused.predict(data.val_x.double())
    for run, one in enumerate(alone):
        other = copy.deepcopy(one.model)
        assert one.own.average is not None
        other.load_state_dict({name: value.clone() for name, value in one.own.average.tensors.items()})
        parts = data.train_x.double().tensor_split(math.ceil(len(data.train_x) / STATISTICS_CHUNK))
        torch.optim.swa_utils.update_bn(parts, other)
        wanted = other.eval()(data.val_x.double()).detach()
        torch.testing.assert_close(one.predict(data.val_x.double())[0], wanted, **EXACT)
        torch.testing.assert_close(together[run], wanted, **EXACT)
        saved = fused.best_weights(run)
        for name, module in other.named_modules():
            if isinstance(module, nn.BatchNorm1d):
                torch.testing.assert_close(saved[f"{name}.running_var"], module.running_var, **EXACT)
                assert not torch.allclose(saved[f"{name}.running_var"], one.model.get_buffer(f"{name}.running_var"))
