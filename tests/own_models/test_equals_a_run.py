"""What a watch writes is what a fanin run of the same network writes, bit for bit; and the training stays the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import fanin
from engine import loop, recipe
from fanin.probes import Probe
from fanin.probes.probe import QUANTITIES
from own_loops import rows, scalars


def mixed(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """In place, with running statistics and with draws from torch's stream."""
    hidden = [nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(inplace=True), nn.Dropout(0.3)]
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(inplace=True), *hidden, nn.Linear(16, outputs))


@pytest.mark.parametrize("after", [False, True], ids=["before the update", "after it"])
def test_values_are_those_of_a_run(tmp_path: Path, after: bool) -> None:
    made = recipe(
        make_model=mixed,
        probe=Probe(every=1, curves=QUANTITIES, steps=[3], band="off"),
        trainer={"steps": 8},
        stackable=False,
    )
    one, _ = loop(tmp_path / "run", made)
    ours, theirs = mixed((12,), 4), one.learner.model
    ours.load_state_dict(theirs.state_dict())
    stream = torch.get_rng_state()
    one.train()
    one.first.recorder.close("done")  # type: ignore[attr-defined]

    torch.set_rng_state(stream)
    optimizer, loss = torch.optim.SGD(ours.parameters(), lr=0.05), made.method.loss
    fixed, answers = one.probe_data[0][0], one.probe_data[1][0]
    batches = loop(tmp_path / "other", made)[0].batches
    torch.set_rng_state(stream)
    watch = fanin.watch(
        ours, tmp_path / "own", every=1, curves=QUANTITIES, steps=[3], log_every=4,
        inputs=fixed, targets=answers, loss=lambda outputs, targets: loss(outputs, targets, fixed), config={"seed": 0},
    )  # fmt: skip
    for step in range(8):
        inputs, targets = (tensor[0] for tensor in batches(step))
        optimizer.zero_grad()
        outputs = ours(inputs)
        value = loss(outputs, targets, inputs)
        value.backward()
        wrong = loss.error(outputs.detach(), targets, inputs)
        if not after:
            watch.step(loss=value, error=wrong, lr=0.05)
        optimizer.step()
        if after:
            watch.step(optimizer, loss=value, error=wrong)
    watch.close()

    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, ours.state_dict()[name]), name
    assert (tmp_path / "own" / "profiles.csv").read_text() == (tmp_path / "run" / "profiles.csv").read_text()
    mine, its = scalars(tmp_path / "own"), scalars(tmp_path / "run")
    expected = {tag: values for tag, values in its.items() if after or "update_ratio" not in tag}
    assert {tag for tag in expected if tag not in mine} == {
        f"{part}/{what}" for part in ("train", "val", "test") for what in ("loss", "error")
    }
    assert {tag: values for tag, values in mine.items() if tag not in expected} == {}
    assert {tag: values for tag, values in mine.items() if repr(values) != repr(expected[tag])} == {}
    columns = ("step", "lr", "batch_loss", "batch_error")
    told = [[row[name] for name in columns] for row in rows(tmp_path / "own", "metrics")]
    assert told == [[row[name] for name in columns] for row in rows(tmp_path / "run", "metrics") if row["batch_loss"]]


def trained(folder: Path | None, *, after: bool) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Weights, running statistics and torch's stream after a few steps, watched or not."""
    torch.manual_seed(7)
    model = mixed((12,), 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    watch = None
    if folder is not None:
        watch = fanin.watch(model, folder, every=1, curves=QUANTITIES, steps=[2], inputs=torch.ones(4, 12), redraws=8,
                            loss=lambda outputs: outputs.square().sum())  # fmt: skip
    for _ in range(4):
        optimizer.zero_grad()
        loss = model(torch.randn(8, 12)).square().mean()
        loss.backward()
        if watch is not None and not after:
            watch.step(loss=loss)
        optimizer.step()
        if watch is not None and after:
            watch.step(optimizer, loss=loss)
    if watch is not None:
        watch.close()
    return dict(model.state_dict()), torch.get_rng_state()


@pytest.mark.parametrize("after", [False, True], ids=["before the update", "after it"])
def test_training_is_the_same_to_the_bit(tmp_path: Path, after: bool) -> None:
    plain, stream = trained(None, after=after)
    watched, its = trained(tmp_path / "own", after=after)
    assert torch.equal(stream, its)
    assert plain.keys() == watched.keys()
    assert all(torch.equal(tensor, watched[name]) for name, tensor in plain.items())
