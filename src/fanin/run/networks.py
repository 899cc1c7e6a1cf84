"""The network of a recipe: its weights drawn, with its optimizer and its streams."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from fanin.parts.data import Dataset
from fanin.parts.noise import noise_modules
from fanin.parts.optimizers.parameter_groups import spread_decays
from fanin.run.recipe import Recipe
from fanin.streams import generator, stream_seed, torch_stream
from fanin.train.batches import Batches
from fanin.train.parameter_checks import check_initialized, check_optimizer
from fanin.train.trained_model import TrainedModel


def initialized(made: Recipe, data: Dataset, inputs: Tensor) -> nn.Module:
    """The model of a recipe on its device, its weights drawn; `inputs` are a batch to calibrate them on."""
    with torch.random.fork_rng(devices=[]):  # a user's model may draw from it, while it is made and after
        torch.default_generator.manual_seed(stream_seed(made.seed, "init"))
        model = made.make_model(data.input_shape, made.method.loss.out_features(data.classes))
        model = model.to(made.dtype).to(made.device)
        again = made.mask.redraw if made.mask is not None else 0
        purpose = ("init", "redraw", again) if again else ("init",)
        made.initializer(model, lambda name: generator(made.seed, *purpose, name))
        made.initializer.calibrate(model, inputs)
        if made.mask is not None:
            made.mask.apply(model)
    check_initialized(model)
    return model


def trained_model(made: Recipe, model: nn.Module, batches: Batches) -> TrainedModel:
    """The network of one run with its optimizer and its streams."""
    draws = bool(noise_modules(model))
    dropout = generator(made.seed, "dropout", device=made.device) if draws else None
    if not made.stackable:  # it may hold anything, draws from torch's own stream among it
        draws, dropout = True, torch_stream(made.device).manual_seed(stream_seed(made.seed, "dropout"))
    optimizer = made.make_optimizer(
        made.factors.groups((name, one) for name, one in model.named_parameters() if one.requires_grad)
    )
    spread_decays(optimizer)
    check_optimizer(model, optimizer)
    return TrainedModel(
        model=model,
        optimizer=optimizer,
        seed=made.seed,
        method=made.method,
        dropout=dropout,
        probe_dropout=partial(generator, made.seed, "probe", "dropout", device=made.device) if draws else None,
        autocast=made.autocast,
        stop_when_diverged=made.trainer.stop_when_diverged,
        batches=batches,
        accumulate=made.trainer.accumulate,
        compile=made.trainer.compile,
        masks=made.mask.masks() if made.mask is not None else {},
    )
