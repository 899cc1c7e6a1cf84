"""A user's network that draws from torch's global stream: its runs are as much a function of the seed as any."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine import loop, metrics, recipe, rows, same
from fanin.parts.initializers import Lsuv, VarianceScaling
from fanin.parts.regularizers import SAM, Dropout
from fanin.probes import NoProbe, Probe
from fanin.run.execute import RequestedRun
from fanin.streams import stream_seed
from fanin.train.loop import Interrupted, Loop
from fanin.train.step import Method


class Noisy(nn.Module):
    """Draws parameters as it is made, and has torch's dropout, a functional one, and noise in both modes."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(12, 16), nn.Linear(16, outputs)
        self.shift = nn.Parameter(torch.randn(16))
        self.drop = nn.Dropout(0.3)

    def forward(self, inputs: Tensor) -> Tensor:
        h = self.drop(torch.relu(self.first(inputs) + self.shift))
        h = F.dropout(h, 0.2, self.training)
        scores: Tensor = self.last(h + 0.01 * torch.randn_like(h))
        return scores


@pytest.fixture(autouse=True)
def kept() -> Iterator[None]:
    """The stream as it was before the test."""
    with torch.random.fork_rng(devices=[]):
        yield


def noisy(**changes: Any) -> Any:
    trainer = {"steps": 16, "log_every": 1, "eval_every": 5, **changes.pop("trainer", {})}
    own = {"make_model": lambda shape, outputs: Noisy(outputs), "stackable": False}
    return recipe(**{**own, "trainer": trainer, **changes})


def done(folder: Path, made: Any, disturb: int = 0) -> Loop[RequestedRun]:
    """A run in a process in which others have drawn before it."""
    torch.manual_seed(disturb)
    one, _ = loop(folder, made)
    one.train()
    one.first.recorder.close()
    return one


def table(folder: Path) -> list[dict[str, Any]]:
    return [row | {"seconds": None} for row in metrics(folder)]


@pytest.mark.parametrize(
    "changes", [{}, {"method": Method(sam=SAM(rho=0.1))}, {"initializer": Lsuv()}], ids=["plain", "sam", "lsuv"]
)
def test_the_same_seed_is_the_same_run_whatever_was_drawn_before(tmp_path: Path, changes: dict[str, Any]) -> None:
    runs = [done(tmp_path / str(disturb), noisy(**changes), disturb) for disturb in (1, 2)]
    assert same(runs[0].learner.state(0), runs[1].learner.state(0))
    assert table(tmp_path / "1") == table(tmp_path / "2")
    other = done(tmp_path / "other", noisy(seed=1, **changes))
    assert not torch.equal(other.learner.model.shift, runs[0].learner.model.shift)  # type: ignore[attr-defined]


def test_probes_change_nothing(tmp_path: Path) -> None:
    probes = {"seen": Probe(every=1, steps=[3], batch_size=40), "unseen": NoProbe()}
    runs = [done(tmp_path / name, noisy(probe=probe)) for name, probe in probes.items()]
    assert same(runs[0].learner.state(0), runs[1].learner.state(0))
    assert table(tmp_path / "seen") == table(tmp_path / "unseen")
    again = done(tmp_path / "again", noisy(probe=probes["seen"]))
    assert rows(tmp_path / "seen" / "profiles.csv") == rows(tmp_path / "again" / "profiles.csv")
    first, second = (again.learner.observe(again.probe_data) for _ in range(2))
    assert all(map(torch.equal, first.activations, second.activations)), "the same masks at every look"


@pytest.mark.parametrize("stop", [1, 5, 8])
def test_a_resumed_run_draws_on(tmp_path: Path, stop: int) -> None:
    whole = done(tmp_path / "whole", noisy())
    asked = iter(range(20))
    part, _ = loop(tmp_path / "part", noisy(), stop_requested=lambda: next(asked) == stop)
    with pytest.raises(Interrupted):
        part.train()
    part.first.recorder.close()
    torch.manual_seed(99)
    state = torch.load(tmp_path / "part" / "checkpoints" / "last.pt", weights_only=True)
    again, _ = loop(tmp_path / "part", noisy(), resume_step=stop)
    again.train(again.resume([state]))
    again.first.recorder.close()
    assert same(again.learner.state(0), whole.learner.state(0))
    assert table(tmp_path / "part") == table(tmp_path / "whole")


def test_sam_climbs_and_steps_through_the_same_masks(tmp_path: Path) -> None:
    """Masks are seen at the dropout layer: two passes a step, with equal zeros."""
    one, _ = loop(tmp_path, noisy(method=Method(sam=SAM(rho=1e-6))))
    zeros: list[Tensor] = []
    one.learner.model.drop.register_forward_hook(  # type: ignore[attr-defined]
        lambda module, inputs, output: zeros.append((output == 0) & (inputs[0] != 0)) if module.training else None
    )
    one.train()
    one.first.recorder.close()
    assert len(zeros) == 32
    assert all(torch.equal(first, second) for first, second in zip(zeros[::2], zeros[1::2], strict=True))
    assert not torch.equal(zeros[0], zeros[2])


def test_fanins_own_parts_leave_the_stream_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, _ = loop(tmp_path, recipe(dropout=Dropout(p=0.3), probe=Probe(batch_size=40), trainer={"steps": 3}))
    one.train()
    one.first.recorder.close()
    assert torch.equal(torch.get_rng_state(), before)


def test_parameters_of_ones_own_follow_the_init_stream(tmp_path: Path) -> None:
    """What no initializer knows of is drawn from the stream (seed, "init"), in the order of the constructor."""
    made = noisy(seed=3, trainer={"steps": 0}, initializer=VarianceScaling(c=1.0))
    one = done(tmp_path, made)
    torch.manual_seed(stream_seed(3, "init"))
    assert torch.equal(one.learner.model.shift, Noisy(4).shift)  # type: ignore[attr-defined]
