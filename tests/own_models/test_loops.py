"""Every way in which a loop may treat its gradients, its modules and its model."""

from __future__ import annotations

import copy
import gc
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_modules
from torch.utils.checkpoint import checkpoint

import fanin
from own_loops import ALL, approx, curve, layers, norm, rows, scalars, train


def chain(seed: int = 0, inplace: bool = False) -> nn.Sequential:
    """5 -> 6 -> 3."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(inplace=inplace), nn.Linear(6, 3))


def batch(seed: int) -> Tensor:
    """[8, 5]."""
    return torch.randn(8, 5, generator=torch.Generator().manual_seed(seed))


def hooks_left() -> int:
    """Torch's hooks on all modules."""
    return len(torch_modules._global_forward_hooks) + len(torch_modules._global_forward_pre_hooks)


def square(outputs: Tensor) -> Tensor:
    """A loss."""
    return outputs.square().mean()


def test_accumulated_gradients(tmp_path: Path) -> None:
    """The gradient is the sum of all parts; activations are those of the last one."""
    model = chain()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sums, last = [], []
    with fanin.watch(model, tmp_path, every=1) as watch:
        for step in range(3):
            optimizer.zero_grad()
            for part in range(4):
                outputs = model(batch(4 * step + part))
                (square(outputs) / 4).backward()
            with torch.no_grad():
                model(torch.full((2, 5), 1e6))  # an evaluation is no part of it
            sums.append(norm(model[2].weight.grad))
            last.append(norm(outputs))
            watch.step()
            optimizer.step()
    assert curve(tmp_path, "gradient_norm", "2") == approx(sums)
    assert curve(tmp_path, "activation_norm", "2") == approx(last)
    assert not layers(tmp_path, "update_ratio")


@pytest.mark.parametrize("clipped", ["before", "after", "kept"])
def test_clipping(tmp_path: Path, clipped: str) -> None:
    """The gradient is that of the call; `gradients` keeps it for a call after the update."""
    model = chain()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wanted = []
    with fanin.watch(model, tmp_path, every=1, curves=ALL) as watch:
        for step in range(2):
            optimizer.zero_grad()
            square(model(batch(step))).mul(100).backward()
            whole = norm(model[0].weight.grad)
            if clipped == "after":
                watch.step()
            if clipped == "kept":
                watch.gradients()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            wanted.append(norm(model[0].weight.grad) if clipped == "before" else whole)
            assert norm(model[0].weight.grad) < 0.5 < whole
            optimizer.step()
            if clipped != "after":
                watch.step(optimizer)
    assert curve(tmp_path, "gradient_norm", "0") == approx(wanted)
    assert bool(layers(tmp_path, "update_ratio")) == (clipped != "after")


@pytest.mark.parametrize("when", ["scaled", "unscaled", "after"])
def test_a_scaler_leaves_no_trace(tmp_path: Path, when: str) -> None:
    """A factor of 2^10 is exact: values are those of the same loop without it."""
    plain = train(chain(), tmp_path / "plain", batch(0), lr=0.1)
    model, scaler = chain(), torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with fanin.watch(model, tmp_path / "scaled", every=1, curves=ALL, scaler=scaler) as watch:
        for _ in range(len(plain)):
            optimizer.zero_grad()
            scaler.scale(square(model(batch(0)))).backward()
            if when == "unscaled":
                scaler.unscale_(optimizer)
            if when != "after":
                watch.step()
            scaler.step(optimizer)
            scaler.update()
            if when == "after":
                watch.step(optimizer)
    mine, its = (scalars(tmp_path / one, "layers/") for one in ("scaled", "plain"))
    assert mine == {tag: values for tag, values in its.items() if when == "after" or "update_ratio" not in tag}
    assert scaler.get_scale() > 2.0**10  # it grew meanwhile


def test_a_step_that_a_scaler_skips(tmp_path: Path) -> None:
    """Its gradients are not finite, its weights stay, and the next step is seen as any other."""
    model, scaler = chain(), torch.amp.GradScaler("cpu", init_scale=2.0**8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with fanin.watch(model, tmp_path, every=1, curves=ALL, scaler=scaler) as watch:
        for step in range(3):
            optimizer.zero_grad()
            scaler.scale(square(model(batch(step))) * (torch.inf if step == 1 else 1.0)).backward()
            whole = norm(model[0].weight.grad) / scaler.get_scale()
            scaler.step(optimizer)
            scaler.update()
            watch.step(optimizer)
    assert scaler.get_scale() == 2.0**7
    assert [torch.tensor(value).isfinite().item() for value in curve(tmp_path, "gradient_norm", "0")] == [1, 0, 1]
    assert curve(tmp_path, "gradient_norm", "0")[-1:] == approx([whole])
    assert [value > 0 for value in curve(tmp_path, "update_ratio", "0")] == [True, False, True]


def test_a_step_that_overflows_is_told_as_it_is(tmp_path: Path) -> None:
    model = chain()
    with fanin.watch(model, tmp_path, every=1) as watch:
        (square(model(batch(0))) * torch.inf).backward()
        watch.step(loss=torch.tensor(torch.inf))
    assert not any(map(torch.isfinite, torch.tensor(curve(tmp_path, "gradient_norm", "0"))))
    assert rows(tmp_path, "metrics")[0]["batch_loss"] == "inf"


def test_bfloat16(tmp_path: Path) -> None:
    """Activations of autocast are taken as they are: norms of bfloat16 numbers, summed in float64."""
    model = chain()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with fanin.watch(model, tmp_path, every=1) as watch:
        with torch.autocast("cpu", torch.bfloat16):
            outputs = model(batch(0))
            loss = square(outputs.float())
        loss.backward()
        watch.step(optimizer, updated=False)
    assert outputs.dtype == torch.bfloat16
    assert curve(tmp_path, "activation_norm", "2") == approx([norm(outputs)])
    whole = chain().bfloat16()
    train(whole, tmp_path / "whole", batch(0).bfloat16())
    assert curve(tmp_path / "whole", "gradient_norm", "2")[-1:] == approx([norm(whole[2].weight.grad)])


def test_frozen_and_later_unfrozen(tmp_path: Path) -> None:
    """A frozen layer has a gradient of 0 and no movement, and both once it is trained."""
    model = chain()
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with fanin.watch(model, tmp_path, every=1, curves=(*ALL, "weight_movement")) as watch:
        for step in range(4):
            model[0].requires_grad_(step >= 2)
            optimizer.zero_grad()
            square(model(batch(step))).backward()
            optimizer.step()
            watch.step(optimizer)
    for quantity in ("gradient_norm", "update_ratio"):
        assert [value > 0 for value in curve(tmp_path, quantity, "0")] == [False, False, True, True]
    assert [value > 0 for value in curve(tmp_path, "weight_movement", "0")] == [False, False, False, True]
    assert all(value > 0 for value in curve(tmp_path, "gradient_norm", "2"))


def test_gradients_that_are_none(tmp_path: Path) -> None:
    """A layer that the loss does not depend on has a gradient of 0."""
    model = nn.ModuleDict({"used": nn.Linear(5, 3), "unused": nn.Linear(5, 3)})
    with fanin.watch(model, tmp_path, every=1) as watch:
        model["unused"](batch(0))
        square(model["used"](batch(0))).backward()
        assert model["unused"].weight.grad is None
        watch.step()
    assert curve(tmp_path, "gradient_norm", "unused") == [0.0]
    assert curve(tmp_path, "gradient_norm", "used") == approx([norm(model["used"].weight.grad)])


def test_in_place(tmp_path: Path) -> None:
    """The same numbers as with nothing in place."""
    for inplace in (True, False):
        train(chain(inplace=inplace), tmp_path / str(inplace), batch(0), curves=ALL)
    assert scalars(tmp_path / "True", "layers/") == scalars(tmp_path / "False", "layers/")


class Shared(nn.Module):
    """One layer twice, and a head with the weight of the embedding; gives a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.layer, self.head = nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight
        self.outputs: list[Tensor] = []

    def forward(self, tokens: Tensor) -> dict[str, Any]:
        x = self.embedding(tokens)
        for _ in range(2):
            x = self.layer(x).tanh()
        logits = self.head(x)
        self.outputs.append(logits.detach())
        return {"count": 3, "logits": (logits, x)}


def test_called_twice_shared_tokens_and_dictionaries(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = Shared()
    tokens = torch.randint(7, (3, 5))
    found = train(model, tmp_path, tokens, minimized=lambda outputs: square(outputs["logits"][0]), inputs=tokens,
                  modules=["layer", "head"])  # fmt: skip
    assert layers(tmp_path, "gradient_norm") == ["layer", "head"]
    assert list(scalars(tmp_path, "layers/gradient_norm")) == [
        "layers/gradient_norm/2_layer", "layers/gradient_norm/3_head",
    ]  # fmt: skip
    grads = [norm(one["embedding.weight"]) for one in found]
    assert curve(tmp_path, "gradient_norm", "head") == approx(grads)
    modules = [row["layer"] for row in rows(tmp_path) if (row["snapshot"], row["axis"], row["quantity"]) ==
               ("init", "module", "activation_norm")]  # fmt: skip
    assert modules == ["input", "layer", "layer.2", "head"]


class Deep(nn.Module):
    """Two blocks, recomputed in the backward pass."""

    def __init__(self, *, reentrant: bool | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(chain(seed)[:2] for seed in range(2))
        self.fit, self.head, self.reentrant = nn.Linear(6, 5), nn.Linear(6, 3), reentrant

    def forward(self, x: Tensor) -> Tensor:
        for place, block in enumerate(self.blocks):
            x = block(x) if self.reentrant is None else checkpoint(block, x, use_reentrant=self.reentrant)
            x = self.fit(x) if place == 0 else x
        result: Tensor = self.head(x)
        return result


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_activations(tmp_path: Path, reentrant: bool) -> None:
    """What is computed again is not seen again: the numbers are those without it."""
    for name, kind in (("plain", None), ("again", reentrant)):
        torch.manual_seed(0)
        train(Deep(reentrant=kind), tmp_path / name, batch(0).requires_grad_())
    mine, its = (scalars(tmp_path / name, "layers/") for name in ("again", "plain"))
    if reentrant:  # its first pass is without gradients
        its = {tag: values for tag, values in its.items() if tag in mine or "activation_gradient" not in tag}
    assert mine == its
    with pytest.raises(fanin.UserError, match="use_reentrant=False") if reentrant else torch.enable_grad():
        train(Deep(reentrant=reentrant), tmp_path / "profile", {"x": batch(0).requires_grad_()},
              inputs=batch(0).requires_grad_(), loss=square)  # fmt: skip


def test_data_parallel(tmp_path: Path) -> None:
    train(chain(), tmp_path / "plain", batch(0))
    train(nn.DataParallel(chain()), tmp_path / "parallel", batch(0))
    assert scalars(tmp_path / "parallel") == scalars(tmp_path / "plain")


@pytest.mark.filterwarnings("ignore:Using `torch.compile:UserWarning")
@pytest.mark.parametrize("place", ["wrapped", "in place", "unknown"])
@pytest.mark.parametrize("fixed", [True, False])
def test_compiled(tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str, fixed: bool) -> None:
    """Activations are those of the fixed batch, in an eager pass, or a line says that there are none."""
    model = chain()
    watched: Any = model
    if place == "wrapped":
        watched = torch.compile(model, backend="eager")
    elif place == "in place":
        model.compile(backend="eager")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    settings = {"inputs": batch(9), "loss": square} if fixed else {}
    wanted, grads = [], []
    with fanin.watch(watched, tmp_path, every=1, **settings) as watch:
        runs = torch.compile(model, backend="eager", fullgraph=True) if place == "unknown" else watched
        for step in range(3):
            with torch.no_grad():
                wanted.append(norm(chain_of(model)(batch(9))))
            optimizer.zero_grad()
            square(runs(batch(step))).backward()
            grads.append(norm(model[0].weight.grad))
            watch.step()
            optimizer.step()
    assert curve(tmp_path, "gradient_norm", "0") == approx(grads)
    if fixed:
        assert curve(tmp_path, "activation_norm", "2") == approx(wanted)
    else:
        assert not layers(tmp_path, "activation_norm")
    assert len([one for one in caplog.messages if "activations are" in one]) == 1
    assert not hooks_left()


def chain_of(model: nn.Module) -> nn.Module:
    """A copy that nobody has compiled."""
    plain = chain()
    plain.load_state_dict(model.state_dict())
    return plain


def test_a_watched_model_is_copied_and_pickled_as_any_other(tmp_path: Path) -> None:
    """Armed or not: nothing is on the model, and a copy is not watched."""
    model = chain()
    plain = pickle.dumps(chain())
    with fanin.watch(model, tmp_path, every=1) as watch:
        for step in range(2):
            twin = copy.deepcopy(model)
            assert len(pickle.dumps(model)) == len(plain)
            outputs = model(batch(step))
            twin(batch(5)).sum().backward()
            model.zero_grad()
            square(outputs).backward()
            assert not any(one._forward_hooks or one._forward_pre_hooks or one._backward_hooks
                           for one in (*model.modules(), *twin.modules()))  # fmt: skip
            watch.step()
    assert curve(tmp_path, "activation_norm", "2") == approx([norm(model(batch(step))) for step in range(2)])


def test_exceptions_leave_nothing(tmp_path: Path) -> None:
    """Of the forward pass, of the loop, and of a loop that goes on."""
    model = chain()
    with fanin.watch(model, tmp_path / "a", every=1) as watch:
        for wrong in (torch.ones(2, 4), None):
            with pytest.raises((RuntimeError, TypeError)):
                model(wrong)
        square(outputs := model(batch(0))).backward()
        watch.step()
    assert curve(tmp_path / "a", "activation_norm", "2") == approx([norm(outputs)])

    def breaks() -> None:
        with fanin.watch(model, tmp_path / "b", every=1):
            model(batch(0))
            _ = 1 / 0

    def forgets() -> None:
        watch = fanin.watch(model, tmp_path / "c", every=1)
        model(batch(0))
        assert hooks_left() == 2
        _ = 1 / watch.steps

    with pytest.raises(ZeroDivisionError):
        breaks()
    assert not hooks_left()
    with pytest.raises(ZeroDivisionError):
        forgets()
    gc.collect()
    assert not hooks_left()


def test_nothing_is_seen_between_points(tmp_path: Path) -> None:
    model = chain()
    watch = fanin.watch(model, tmp_path, every=3)
    there = []
    for step in range(6):
        there.append(hooks_left())
        model.zero_grad()
        square(model(batch(step))).backward()
        watch.step()
    watch.close()
    assert there == [2, 0, 0, 2, 0, 0]
    assert [step for step, _ in scalars(tmp_path)["layers/gradient_norm/1_0"]] == [0, 3]


def test_a_generator_of_ones_own_draws_nothing_for_a_look(tmp_path: Path) -> None:
    """Python's and numpy's streams, too."""
    import random

    import numpy as np

    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.linear(x) * random.random() * float(np.random.rand()) * torch.rand(1)
            return result

    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    model = Noisy()
    expected = random.getstate(), np.random.get_state()[2], torch.get_rng_state()
    with fanin.watch(model.eval(), tmp_path, every=0, inputs=batch(0), loss=square):
        assert not model.training
    assert (random.getstate(), np.random.get_state()[2]) == expected[:2]
    assert torch.equal(torch.get_rng_state(), expected[2])
