"""Networks in training of a small recipe of every kind, and what they minimize written down with torch.func."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from torch import Tensor
from torch.autograd.functional import hessian as by_rows
from torch.func import functional_call
from torch.func import hessian as at_once

from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.run.build import load_data, options_of, recipe
from fanin.run.execute import batches_of
from fanin.run.networks import initialized, trained_model
from fanin.streams import drawing_from
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

FURTHER = {
    "autoencoder": (
        "model=autoencoder", "loss=reconstruction", "loss.reconstruction=gaussian", *CLOUDS, "model.width=3",
        "model.latent=2",
    ),
    "mamba": ("model=mamba", *IMAGES, "model.width=2", "model.layers=1", "model.expand=1", "model.states=2"),
    **{
        name: (
            "model=attention", *IMAGES, "model.width=4", "model.heads=2", "model.layers=1", "model.hidden=3",
            f"model.kind={kind}", "model.rank=2", "model.features=6",
        )
        for name, kind in (("low_rank", "low_rank"), ("linear_attention", "linear"), ("favor", "random_features"))
    },
}  # fmt: skip
"""What takes longer: the other kinds of attention, FAVOR+ among them, and what is stepped through."""

DRAWS = ("residual_mlp", "attention", "vae", "mamba", "low_rank", "linear_attention", "favor")
"""Those whose dense Hessian is made row by row."""


def near(found: Tensor, expected: Tensor, matrix: Tensor) -> None:
    """Equal up to the rounding of sums of P products of entries of a matrix [P, P], whatever their order."""
    bound = 100 * len(matrix) * torch.finfo(torch.float64).eps * float(matrix.abs().max()) * 4
    torch.testing.assert_close(found, expected, rtol=0.0, atol=bound)
