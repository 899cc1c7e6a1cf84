"""Fresh draws of a recipe: each is a run's first look, together they make a band that covers further runs."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from fanin.catalogue import config_folder
from fanin.cli.resolvers import register_resolvers
from fanin.parts.data import Dataset
from fanin.run import redraws
from fanin.run.build import load_data, recipe
from fanin.run.recipe import Recipe
from fanin.run.redraws import Drawing, Redraws, bands_of, redraw_seed, redrawn

SMALL = ("data.image_size=8", "data.limit=300", "probe.batch_size=20")
ARCHITECTURES = {
    "cnn": ("model=cnn", "model.channels=[4,4]", "model.width=16"),
    "resnet": ("model=resnet", "model.channels=[4,4]"),
    "lstm": ("model=lstm", "model.width=8"),
    "attention": ("model=attention", "model.width=8", "model.heads=2", "model.hidden=8"),
    "own": ("model._target_=own_parts.Wide",),
}


def drawn_from(*words: str) -> tuple[Recipe, Dataset]:
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        cfg = compose("config", [*SMALL, *words])
    return recipe(cfg), load_data(cfg, torch.device("cpu"), torch.float32)


def looks(made: Recipe, data: Dataset, places: Any, *, together: int) -> tuple[list[Any], np.ndarray]:
    """The labels and the norms [R, n] of some redraws, so many at a time."""
    drawing = Drawing(made, data)
    places = list(places)
    found = [drawing.look(drawing.draw(places[at : at + together])) for at in range(0, len(places), together)]
    return drawing.labels, torch.cat(found).numpy()
