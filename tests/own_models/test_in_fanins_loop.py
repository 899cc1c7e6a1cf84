"""Networks as people bring them, in fanin's own loop: what it writes and trains is what a plain loop gives."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import fanin
from networks_in_runs import MODELS, SLOW, TORCHVISION, TRAINED, Drawn
from own_loops import norm


def recipe(folder: Path, target: str, kind: str, loss: str) -> list[str]:
    """A user's option files, and the words that name them: two steps of gradient descent on all examples."""
    for file, content in {
        "data/drawn.yaml": f"_target_: networks_in_runs.Drawn\nkind: {kind}\n",
        "loss/own.yaml": "_target_: networks_in_runs.OwnLoss\n",
        "model/mine.yaml": f"_target_: {target}\n",
    }.items():
        (folder / "own" / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / "own" / file).write_text(content)
    return ["data=drawn", "model=mine", f"loss={loss}", "initializer=torch_default", "optimizer.lr=0.05",
            f"trainer.batch_size={TRAINED}", f"probe.batch_size={TRAINED}", "probe.band=off"]  # fmt: skip


def check(folder: Path, words: list[str], kind: str, loss: str, close: float) -> tuple[fanin.Run, fanin.Run]:
    """Norms before training against hooks and gradients of the test's own, and the weights after two steps; both runs.

    Args:
        folder: to run in.
        words: the recipe.
        kind: of the data.
        loss: own, or cross_entropy.
        close: relative error of float32 that is allowed, for the examples come in another order.
    """
    start, end = (fanin.run([*words, f"trainer.steps={steps}"], folder=folder / str(steps),
                            config_dir=folder / "own", check=True) for steps in (0, 2))  # fmt: skip
    data = Drawn(kind=kind).load()

    def minimized(outputs: Tensor) -> Tensor:
        return outputs if loss == "own" else functional.cross_entropy(outputs, data.train_y)

    plain = copy.deepcopy(start.model).train()
    outputs: dict[str, list[float]] = defaultdict(list)

    def keep(name: str) -> Any:
        return lambda module, given, output: outputs[name].append(
            norm(output) if isinstance(output, Tensor) else math.nan
        )

    hooks = [module.register_forward_hook(keep(name)) for name, module in plain.named_modules()]
    optimizer = torch.optim.SGD([one for one in plain.parameters() if one.requires_grad], lr=0.05)
    for step in range(2):
        optimizer.zero_grad()
        minimized(plain(data.train_x)).backward()
        if step == 0:
            for hook in hooks:
                hook.remove()
            compare_init(start, plain, outputs, close)
        optimizer.step()
    trained = end.model.state_dict()
    for name, one in plain.named_parameters():
        most = float(one.detach().abs().max())
        # Rounding is all there is of the gradient of a bias below a batch normalization.
        torch.testing.assert_close(trained[name], one.detach(), rtol=close, atol=close * most + 2.0**-24)
    assert (end.status, end.result["steps"]) == ("done", 2)
    return start, end


def compare_init(run: fanin.Run, plain: nn.Module, outputs: dict[str, list[float]], close: float) -> None:
    """The profile at init: each weight layer that ran, its gradient, and its outputs where it ran once."""
    table = run.profiles.query("snapshot == 'init'")

    def found(axis: str, quantity: str) -> dict[str, float]:
        rows = table[(table["axis"] == axis) & (table["quantity"] == quantity)]
        return dict(zip(rows["layer"], rows["value"], strict=True))

    weights = {name: weight for name, module in plain.named_modules() if name in outputs
               and isinstance(weight := getattr(module, "weight", None), nn.Parameter) and weight.ndim > 1}  # fmt: skip
    gradients = found("weight", "gradient_norm")
    assert gradients.keys() == weights.keys()
    for name, weight in weights.items():
        wanted = 0.0 if weight.grad is None else norm(weight.grad)
        assert gradients[name] == pytest.approx(wanted, rel=close, abs=1e-9), name
    activations = found("module", "activation_norm")
    once = {name for name in weights if len(outputs[name]) == 1 and not math.isnan(outputs[name][0])}
    assert once
    for name in once:
        assert activations[name] == pytest.approx(outputs[name][0], rel=close), name


@pytest.mark.parametrize("name", [pytest.param(one, marks=pytest.mark.slow if one in SLOW else ()) for one in MODELS])
def test_networks(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made, kind, loss = MODELS[name]
    words = recipe(tmp_path, f"{made.__module__}.{made.__qualname__}", kind, loss)
    start, end = check(tmp_path, words, kind, loss, close=5e-3 if name in TORCHVISION else 1e-4)
    if name == "experts":  # the last one gets no token: it is in no profile, and stays where it is
        assert set(end.profiles.query("axis == 'weight'")["layer"]) == {*(f"experts.{n}" for n in range(3)), "head"}
        stays = [torch.equal(*(run.model.experts[n].weight for run in (start, end))) for n in range(4)]
        assert stays == [False, False, False, True]
