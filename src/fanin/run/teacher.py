"""The teacher of a distilled run: a finished run's network, and whether it can answer what the student is given."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from fanin.errors import OptionError, UserError
from fanin.parts.data import Dataset
from fanin.parts.losses.distillation import KIND, Distillation
from fanin.process import typed_path
from fanin.record.columns import FINISHED
from fanin.record.run_files import RunFiles, read_run
from fanin.run.bounded_cache import BoundedCache
from fanin.run.make_option import Options, is_neutral, make
from fanin.run.recipe import Recipe
from fanin.run.weights import load_weights

TARGETS_ONLY = ("root", "random_labels", "label_noise")
"""Keys of data that change no input."""


class Answering:
    """A network in evaluation mode that answers on whatever device, and in whatever precision, it is asked."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network.eval().requires_grad_(False)
        self._moved: dict[tuple[torch.device, torch.dtype], nn.Module] = {}

    def __call__(self, inputs: Tensor) -> Tensor:
        """Scores [N, K] for inputs [N, *shape]."""
        kind = inputs.dtype if inputs.is_floating_point() else torch.get_default_dtype()
        place = (inputs.device, kind)
        if place not in self._moved:
            self._moved[place] = copy.deepcopy(self._network).to(*place)
        found: Tensor = self._moved[place](inputs)
        return found


_networks: BoundedCache[tuple[Answering, Recipe, Options]] = BoundedCache(most=8)
_asked: list[Path] = []
"""Teachers that are being looked at: of a chain of them, none may be in it twice."""


def attach_teacher(
    options: Options,
    made: Recipe,
    data: Callable[[bool], Dataset],
    recipe_of: Callable[[DictConfig], Recipe],
) -> None:
    """Give the loss of a recipe the network that it asks for, if it asks for one.

    Args:
        options: of the configuration.
        made: its recipe, checked.
        data: gives its preprocessed data on the CPU; told whether inputs that are integers are to stay so.
        recipe_of: makes the recipe of the teacher's configuration.

    Raises:
        OptionError: there is no such run, it is not finished, or it cannot answer what the student is given.
    """
    loss = made.method.loss
    if not isinstance(loss, Distillation):
        return
    if loss.teacher is None:
        raise OptionError("loss.teacher", None, KIND)
    folder = typed_path(Path(loss.teacher).expanduser())

    def refuse(allowed: str, fix: str = "") -> OptionError:
        return OptionError("loss.teacher", loss.teacher, allowed, fix)

    if not folder.is_dir():
        raise refuse(KIND, "there is no such folder")
    run = read_run(folder)
    if run.state not in FINISHED or not run.config.config:
        raise refuse(KIND, f"its state is {run.state}")
    if folder in _asked:
        raise refuse("another run than the one it is the teacher of")
    given = data(made.takes_indices)
    _asked.append(folder)
    try:
        network, own, theirs = _network(folder, run, given, recipe_of)
    except OptionError as error:
        raise refuse("a run that can be made anew", str(error)) from None
    except UserError as error:
        raise refuse("a run whose network can be read", str(error)) from None
    finally:
        _asked.pop()
    if not own.method.loss.classification:
        raise refuse("a run that tells classes apart", f"it has loss={own.method.loss.name}")
    outputs, wanted = own.method.loss.out_features(given.classes), made.method.loss.out_features(given.classes)
    if outputs != wanted or run.classes not in (None, given.classes):
        told = f"it has {run.classes or given.classes} classes and {outputs} of them"
        raise refuse(f"a run with {wanted} scores for {given.classes} classes", told)
    if own.takes_indices != made.takes_indices:
        raise refuse("a run that takes the inputs that the student does", "one of the two takes indices")
    if theirs["preprocess"] != options["preprocess"]:
        raise refuse("a run with the student's preprocess", "set both to the same")
    fitted = not is_neutral(make("preprocess", options["preprocess"]))
    if fitted and _inputs(theirs["data"]) != _inputs(options["data"]):
        raise refuse("a run on the student's data, to which preprocess was fitted", "or take preprocess=none for both")
    loss.taught.network = network


def _inputs(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in TARGETS_ONLY}


def _network(
    folder: Path, run: RunFiles, data: Dataset, recipe_of: Callable[[DictConfig], Recipe]
) -> tuple[Answering, Recipe, Options]:
    """The network in a folder, made once for all runs of this process."""
    file = folder / "checkpoints" / "last.pt"
    key = (folder, file.stat().st_mtime_ns if file.is_file() else None, data.input_shape, data.classes)

    def make() -> tuple[Answering, Recipe, Options]:
        plain: Any = OmegaConf.to_container(OmegaConf.create({"force": False, **run.config.config}), resolve=True)
        plain["trainer"] |= {"device": "cpu"}
        cfg = OmegaConf.create(plain)
        made = recipe_of(cfg)
        with torch.random.fork_rng(devices=[]):
            model = made.make_model(data.input_shape, made.method.loss.out_features(data.classes))
        load_weights(model, folder)
        return Answering(model), made, Options(cfg)

    return _networks.get(key, make)
