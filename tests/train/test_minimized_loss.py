"""Products with the Hessian and the Gauss-Newton matrix of what runs minimize, against dense matrices of torch.func."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from torch import Tensor
from torch.autograd.functional import hessian as by_rows
from torch.func import functional_call, jacrev
from torch.func import hessian as at_once

from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.probes.curvature.lanczos import lanczos
from fanin.run.build import load_data, options_of, recipe
from fanin.run.execute import batches_of
from fanin.run.networks import initialized, trained_model
from fanin.streams import drawing_from
from fanin.train.minimized_loss import MinimizedLosses
from fanin.train.trained_model import TrainedModel

SMALL = ("trainer.precision=float64", "trainer.device=cpu", "activation=tanh", "probe.batch_size=1")
CLOUDS = ("data=gaussian", "data.features=4", "data.classes=3", "data.examples=60", "data.val_size=6",
          "data.test_size=6", "trainer.batch_size=8")  # fmt: skip
IMAGES = ("data=digits", "data.limit=40", "trainer.batch_size=8")


@cache
def made(words: tuple[str, ...], seeds: tuple[int, ...] = (0,)) -> tuple[list[TrainedModel], Tensor, Tensor]:
    """Networks in training of a typed recipe, and six examples."""
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        options = options_of(compose("config", [*SMALL, *words]))
    members = []
    for seed in seeds:
        one = recipe(options)
        one.seed = seed
        data = load_data(options, one.device, one.dtype, indices=one.takes_indices)
        model = initialized(one, data, data.train_x[:8])
        random = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in (p for p in model.parameters() if p.ndim == 1):
                parameter += 0.3 * torch.randn(parameter.shape, generator=random, dtype=parameter.dtype)
        members.append(trained_model(one, model, batches_of([one], data)))
    return members, data.train_x[:6], data.train_y[:6]


def plain(own: TrainedModel, x: Tensor, y: Tensor, mode: str) -> tuple[Callable[..., Any], Callable[..., Any], Tensor]:
    """(theta -> outputs, theta -> what is minimized, theta), written down once more with torch.func."""
    named = [(name, one) for name, one in own.model.named_parameters() if one.requires_grad]
    theta = torch.cat([one.detach().flatten() for _, one in named])
    own.model.train(mode == "training")

    def tensors(theta: Tensor) -> dict[str, Tensor]:
        parts = theta.split([one.numel() for _, one in named])
        return {name: part.view(one.shape) for part, (name, one) in zip(parts, named, strict=True)}

    def outputs(theta: Tensor) -> Tensor:
        buffers = {name: one.clone() for name, one in own.model.named_buffers()}
        masks = own.probe_dropout().get_state() if own.probe_dropout else None
        with drawing_from(masks, own.dropout):
            return functional_call(own.model, tensors(theta) | buffers, (x,))

    def minimized(theta: Tensor) -> Tensor:
        loss = own.method.minimized(outputs(theta), y, x)
        weights = [p for name, p in tensors(theta).items() if p.ndim >= 2]
        return loss + sum(one.penalty(weights) for one in own.method.penalties)

    return outputs, minimized, theta


def hessian(function: Callable[..., Any], *, draws: bool = False) -> Callable[[Tensor], Tensor]:
    """The dense Hessian by torch.func or, of what draws and of layer normalization, row by row.

    torch 2.15's vmap differentiates layer and batch normalization twice into something else.
    """
    return (lambda at: by_rows(function, at)) if draws else at_once(function)


GROUPS = {
    "mlp": (
        *CLOUDS,
        "model.depth=3",
        "model.width=4",
        "regularizer=[l2,label_smoothing]",
        "regularizer.l2.strength=0.3",
    ),
    "linear": (*CLOUDS, "model=linear", "loss=hinge"),
    "residual_mlp": (*CLOUDS, "model=residual_mlp", "model.depth=4", "model.width=3", "normalization=layer"),
    "cnn": ("model=cnn", *IMAGES, "model.channels=[2,2]", "model.width=3", "loss=squared"),
    "resnet": ("model=resnet", *IMAGES, "model.channels=[2]", "normalization=batch"),
    "rnn": ("model=rnn", *IMAGES, "model.width=3"),
    "lstm": ("model=lstm", *IMAGES, "model.width=2"),
    "gru": ("model=gru", *IMAGES, "model.width=2"),
    "attention": ("model=attention", *IMAGES, "model.width=4", "model.heads=2", "model.layers=1", "model.hidden=3"),
    "vae": ("model=vae", "loss=elbo", *CLOUDS, "model.width=3", "model.latent=1", "loss.reconstruction=gaussian"),
    "surface": (
        "model=surface",
        "loss=value",
        "data=point",
        "trainer.batch_size=1",
        "model.kind=rosenbrock",
        "initializer=torch_default",
    ),
}


CASES = [*((name, "evaluation") for name in GROUPS), ("resnet", "training"), ("vae", "training")]


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_products_are_those_of_the_dense_matrix(name: str, mode: str) -> None:
    """Of every kind of model: f, H v, G v and the largest eigenvalue."""
    words = GROUPS[name]
    members, x, y = made(words)
    outputs, minimized, theta = plain(members[0], x, y, mode)
    exact = hessian(minimized, draws=name in ("residual_mlp", "attention", "vae") or mode == "training")(theta)
    assert len(theta) < 700
    losses = MinimizedLosses(members).at(x, y, mode=mode)
    v = torch.randn(len(theta), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(losses.losses()[0], minimized(theta), rtol=1e-12, atol=1e-12)
    near(losses.hessian().matvec(v), exact @ v, exact)
    top = lanczos(losses.hessian(), v[None], tolerance=1e-9, most=len(v)).largest[0, 0]
    torch.testing.assert_close(top, torch.linalg.eigvalsh(exact)[-1], rtol=1e-8, atol=0.0)

    jacobian = jacrev(outputs)(theta).flatten(0, 1)
    out = outputs(theta)
    bent = hessian(lambda flat: members[0].method.minimized(flat.view_as(out), y, x))(out.flatten())
    penalties = 0.3 * torch.diag(weighs(members[0])) if name == "mlp" else 0.0
    gauss_newton = jacobian.mT @ bent @ jacobian + penalties
    near(losses.gauss_newton().matvec(v), gauss_newton @ v, gauss_newton)


def weighs(own: TrainedModel) -> Tensor:
    """1 for each coordinate of a weight matrix, which is penalized, 0 for biases."""
    return torch.cat([torch.full((p.numel(),), float(p.ndim >= 2), dtype=p.dtype) for p in own.parameters])


def near(found: Tensor, expected: Tensor, matrix: Tensor) -> None:
    """Equal up to the rounding of sums of P products of entries of a matrix [P, P], whatever their order."""
    bound = 100 * len(matrix) * torch.finfo(torch.float64).eps * float(matrix.abs().max()) * 4
    torch.testing.assert_close(found, expected, rtol=0.0, atol=bound)


@pytest.mark.parametrize("mode", ["evaluation", "training"])
def test_many_runs_and_pieces_at_once(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three runs stacked, in two pieces of the data, are each as alone in one; with dropout's masks of each."""
    words = (*CLOUDS, "model.depth=3", "model.width=4", "normalization=layer", "regularizer=[l2,dropout]")
    members, x, y = made(words, (0, 1, 2))
    alone = [MinimizedLosses([one]).at(x, y, mode=mode) for one in members]
    together = MinimizedLosses(members).at(x, y, mode=mode)
    v = torch.randn(3, together.theta.shape[1], generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    pairs = list(zip(alone, v, strict=True))
    torch.testing.assert_close(together.losses(), torch.cat([one.losses() for one in alone]))
    torch.testing.assert_close(together.hessian().matvec(v), torch.stack([a.hessian().matvec(u) for a, u in pairs]))
    products = torch.stack([a.gauss_newton().matvec(u) for a, u in pairs])
    torch.testing.assert_close(together.gauss_newton().matvec(v), products)
    monkeypatch.setattr("fanin.train.minimized_loss.CHUNK", 9)
    pieces = MinimizedLosses(members).at(x, y, mode=mode)
    assert len(pieces.pieces) == 2
    if mode == "evaluation":
        torch.testing.assert_close(pieces.hessian().matvec(v), together.hessian().matvec(v))
        torch.testing.assert_close(pieces.gradient(), together.gradient())
