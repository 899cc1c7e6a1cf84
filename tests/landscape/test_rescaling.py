"""A layer times a and the next divided by it: against the dense Hessian of the function that stays the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fanin as of_python
from command_line import end, fanin, read, runs, start, table
from fanin.errors import UserError
from fanin.landscape.directions import names_of, parts_of, vector_of
from fanin.landscape.rescaling import rescale
from fanin.record.landscape_files import Asked
from networks import normal


def hessian(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Of the cross-entropy, dense."""

    def loss(vector: torch.Tensor) -> torch.Tensor:
        parts = parts_of(vector, names_of(model))
        return F.cross_entropy(torch.func.functional_call(model, parts, (inputs,)), targets)

    found: torch.Tensor = torch.func.hessian(loss)(vector_of(model))
    return found


def scales(model: nn.Module, factor: float) -> torch.Tensor:
    """The diagonal of D: 1/a for the first layer, a for the weights of the second, else 1."""
    names = [name.rpartition(".")[0] for name, one in model.named_parameters() if one.ndim == 2]
    by_name = {f"{names[0]}.weight": 1 / factor, f"{names[0]}.bias": 1 / factor, f"{names[1]}.weight": factor}
    pieces = [one.new_full((one.numel(),), by_name.get(name, 1.0)) for name, one in model.named_parameters()]
    return torch.cat(pieces).detach().double()


@pytest.mark.parametrize(("seed", "factor", "bias"), [(0, 0.3, True), (1, 2.5, True), (2, 0.1, False)])
def test_the_function_stays_and_the_hessian_is_scaled_from_both_sides(seed: int, factor: float, *, bias: bool) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(3, 5, bias), nn.ReLU(), nn.Linear(5, 4, bias), nn.ReLU(), nn.Linear(4, 2, bias)
    ).double()  # fmt: skip
    inputs, targets = normal(seed, 20, 3), torch.randint(2, (20,))
    before, outputs = hessian(model, inputs, targets), model(inputs)
    rescale(model, factor, inputs)
    after, d = hessian(model, inputs, targets), scales(model, factor)
    assert torch.allclose(model(inputs), outputs, rtol=1e-12, atol=1e-13)
    assert torch.allclose(after, d[:, None] * before * d, rtol=1e-9, atol=1e-12)
    sharp, was = (torch.linalg.eigvalsh(one)[-1].item() for one in (after, before))
    first = d == 1 / factor
    block = before[first][:, first]
    assert torch.linalg.eigvalsh(block)[-1].item() / factor**2 <= sharp * (1 + 1e-9)
    assert sharp <= max(factor, 1 / factor) ** 2 * was * (1 + 1e-9)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)), "--rescale 3: the network's outputs change"),
        (nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 2)), "--rescale: needs chains of fully"),
        (nn.Sequential(nn.Linear(3, 2)), "--rescale: needs chains of fully"),
    ],
)
def test_another_function_is_refused(model: nn.Module, told: str) -> None:
    with pytest.raises(UserError, match=told):
        rescale(model, 3.0, normal(1, 7, 3).float())


def test_what_was_asked_for_before_keeps_its_name() -> None:
    assert Asked(runs=("a",), line=True).name == "line-7b888fa4b6"
    assert Asked(runs=("a",), line=True, rescale=1.0).name.startswith("line-rescaled-")


@pytest.mark.slow
def test_the_command_tells_the_loss_and_the_sharpness_of_the_rescaled_network(tmp_path: Path) -> None:
    recipe = ("model.depth=3", "model.width=8", "activation=relu", "data.image_size=4", "data.limit=200")
    assert fanin(tmp_path, *recipe, "trainer.steps=60", "optimizer.lr=0.1", "probe=off", "seed=6").code == 0
    (run,) = runs(tmp_path / "outputs" / "runs").values()
    typed = ("--line", "--directions", "eigenvectors", "--points", "3", "--span", "1e-4", "--rescale", "0.2")
    said = end(start(tmp_path, str(run), *typed, "--out", "made", module="fanin.cli.landscape"))
    assert said.code == 0, said
    (about,) = [read(path) for path in (tmp_path / "made").glob("line-rescaled-*.json")]
    assert about["rescaled_loss"] == pytest.approx(about["unscaled_loss"], rel=1e-12)
    assert f"{about['rescaled_loss']:.12g}" in said.out[1]
    (rows,) = [table(path) for path in (tmp_path / "made").glob("line-rescaled-*.csv")]
    assert float(rows[1]["loss"]) == about["rescaled_loss"]
    from omegaconf import OmegaConf

    from fanin.run.build import load_data, options_of

    cfg = OmegaConf.create({**read(run / "result.json")["config"], "force": False})
    data = load_data(options_of(cfg), torch.device("cpu"), torch.float64)
    model = of_python.Run(run).model.double()
    dense, d = hessian(model, data.train_x, data.train_y), scales(model, 0.2)
    wanted = torch.linalg.eigvalsh(d[:, None] * dense * d)[-1].item()
    assert about["eigenvalues"][0] == pytest.approx(wanted, rel=1e-3)
    assert said.out[2] == f"largest eigenvalues {about['eigenvalues'][0]:.4g}"
