"""Networks as people bring them, watched: what is measured is what hooks of the test's own see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import fanin
from other_networks import WORDS, Experts, Gan, Gpt, LstmModel
from own_loops import ALL, approx, copied, curve, layers, norm, rows, said, scalars, train


def tokens(seed: int = 0) -> Tensor:
    """[4, 6]."""
    return torch.randint(WORDS, (4, 6), generator=torch.Generator().manual_seed(seed))


def images() -> Tensor:
    """[2, 3, 32, 32]."""
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def vision(name: str) -> Callable[[], nn.Module]:
    """A model of torchvision."""

    def make() -> nn.Module:
        import torchvision

        model: nn.Module = getattr(torchvision.models, name)(
            num_classes=4, **({"image_size": 32} if "vit" in name else {})
        )
        return model

    return make


MODELS: dict[str, Any] = {
    "gpt": (Gpt, {"input_ids": tokens(), "labels": tokens()}, lambda outputs: outputs["loss"]),
    "lstm": (LstmModel, tokens(), lambda outputs: outputs),
    "experts": (Experts, torch.eye(5)[:3].repeat(4, 1), lambda outputs: outputs.square().mean()),
    "resnet18": (vision("resnet18"), images(), lambda outputs: (outputs - 1).square().mean()),
    "mobilenet_v3_small": (vision("mobilenet_v3_small"), images(), lambda outputs: (outputs - 1).square().mean()),
    "vit_b_16": (vision("vit_b_16"), images(), lambda outputs: (outputs - 1).square().mean()),
}
SLOW = ("resnet18", "mobilenet_v3_small", "vit_b_16")


@pytest.mark.parametrize("name", [pytest.param(one, marks=pytest.mark.slow if one in SLOW else ()) for one in MODELS])
def test_models(tmp_path: Path, name: str) -> None:
    """Gradients of each weight layer that ran, its outputs, and the same training with nobody watching."""
    make, data, minimized = MODELS[name]
    torch.manual_seed(0)
    model = make()
    plain = make()
    plain.load_state_dict(model.state_dict())
    own_loss = None if name in ("gpt", "lstm") else minimized
    torch.manual_seed(1)
    found = train(model, tmp_path / "own", data, steps=2, minimized=minimized, inputs=data, loss=own_loss)

    torch.manual_seed(1)
    outputs: dict[str, list[float]] = defaultdict(list)
    for layer, module in plain.named_modules():
        module.register_forward_hook(
            lambda module, inputs, output, layer=layer: (
                outputs[layer].append(norm(output)) if isinstance(output, Tensor) else None
            )
        )
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05)
    for _ in range(2):
        optimizer.zero_grad()
        minimized(plain(**data) if isinstance(data, dict) else plain(data)).backward()
        optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), plain.parameters(), strict=True))

    weights = [layer for layer, module in plain.named_modules() if outputs[layer] and not list(module.children())
               and getattr(module, "weight", torch.ones(1)).ndim > 1]  # fmt: skip
    assert sorted(layers(tmp_path / "own", "gradient_norm")) == sorted(weights)
    assert "experts.3" not in weights
    names = dict(plain.named_modules())
    for layer in weights:
        mine = [norm(step[f"{layer}.weight"] if f"{layer}.weight" in step else step["wte.weight"]) for step in found]
        entries = names[layer].get_parameter("weight").numel()
        assert curve(tmp_path / "own", "gradient_norm", layer) == approx(mine, entries)
        moved = [value > 0 for value in curve(tmp_path / "own", "update_ratio", layer)]
        # The head of a vision transformer starts at 0: below it there is no gradient at first, and then a tiny one.
        assert all(value != 0 for value, moves in zip(mine, moved, strict=True) if moves)
        assert all(moved) or name == "vit_b_16"
    last = weights[-1]
    assert isinstance(names[last], nn.Linear)
    assert curve(tmp_path / "own", "activation_norm", last) == approx(outputs[last])
    assert said(tmp_path / "own")["state"] == "done"
    kinds = {(row["snapshot"], row["quantity"]) for row in rows(tmp_path / "own")}
    first = {row["layer"]: float(row["value"]) for row in rows(tmp_path / "own")
             if (row["snapshot"], row["quantity"]) == ("init", "gradient_norm")}  # fmt: skip
    if name in ("gpt", "lstm", "experts"):  # no draws and no running statistics: the same pass as the first step
        assert [first[layer] for layer in weights] == approx(
            [norm(found[0].get(f"{layer}.weight", found[0].get("wte.weight"))) for layer in weights]  # type: ignore[arg-type]
        )
    assert {(when, what) for when in ("init", "final") for what in ("gradient_norm", "activation_norm")} <= kinds


def played(folder: Path | None) -> tuple[Gan, list[list[Tensor | None]]]:
    """A GAN after three rounds, watched or not, and the gradients of both first layers in each."""
    torch.manual_seed(0)
    gan = Gan()
    optimizers = [torch.optim.SGD(part.parameters(), lr=0.1) for part in (gan.discriminator, gan.generator)]
    grads = []
    watch = None if folder is None else fanin.watch(gan, folder, every=1, curves=ALL)
    for _ in range(3):
        real, noise = torch.randn(5, 4), torch.randn(5, 3)
        gan.zero_grad()
        loss = functional.softplus(-gan.discriminator(real)) + functional.softplus(
            gan.discriminator(gan.generator(noise).detach())
        )
        loss.mean().backward()
        optimizers[0].step()
        optimizers[1].zero_grad()
        functional.softplus(-gan.discriminator(gan.generator(noise))).mean().backward()
        grads.append([copied(one.grad) for one in (gan.generator[0].weight, gan.discriminator[0].weight)])
        optimizers[1].step()
        if watch is not None:
            watch.step(optimizers[1])
    if watch is not None:
        watch.close()
    return gan, grads


def test_a_gan(tmp_path: Path) -> None:
    """No call of the whole: each network has its own gradient, and both are trained as with nobody watching."""
    gan, grads = played(tmp_path)
    plain, _ = played(None)
    assert all(torch.equal(one, other) for one, other in zip(gan.parameters(), plain.parameters(), strict=True))
    for place, layer in enumerate(("generator.0", "discriminator.0")):
        mine = [norm(pair[place]) for pair in grads if (pair[place]) is not None]  # type: ignore[arg-type]
        assert len(mine) == 3
        assert curve(tmp_path, "gradient_norm", layer) == approx(mine)
    assert set(layers(tmp_path, "gradient_norm")) == {
        f"{part}.{n}" for part in ("generator", "discriminator") for n in (0, 2)
    }


def test_experts_that_get_no_token_at_times(tmp_path: Path) -> None:
    """An expert has points where it ran, always under its number, and a gradient of 0 at no place where it did."""
    torch.manual_seed(0)
    model = Experts()
    seen = [(0, 1), (2,), (0, 1, 2, 3), (3,)]
    with fanin.watch(model, tmp_path, every=1) as watch:
        for chosen in seen:
            model.zero_grad()
            model(torch.eye(5)[list(chosen)]).square().mean().backward()
            watch.step()
    found = scalars(tmp_path, "layers/gradient_norm/")
    points = {tag.rpartition("_")[2]: [step for step, _ in values] for tag, values in found.items()}
    assert points == {f"experts.{n}": [step for step, chosen in enumerate(seen) if n in chosen] for n in range(4)} | {
        "head": [0, 1, 2, 3]
    }
    numbers = [tag.rpartition("/")[2].partition("_")[0] for tag in found]
    assert len(set(numbers)) == 5
    assert all(value > 0 for values in found.values() for _, value in values)
