"""Weights of a finished run: to fine-tune all of them, some layers, or only what is not frozen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fanin.errors import OptionError, choice, flag
from fanin.parts.initializers.base import Initializer, Stream, settle
from fanin.parts.initializers.draws import write
from fanin.parts.initializers.fan_scaled import KaimingNormal
from fanin.parts.initializers.renaming import checked_renaming, renamed
from fanin.parts.models.layers import weight_layers
from fanin.process import typed_path
from fanin.record.atomic_files import read_json
from fanin.record.checkpoint_file import damage
from fanin.record.columns import FINISHED, SNAPSHOT
from fanin.theory.weights import Weights

CHECKPOINTS = ("last", "best")
SHOWN = 6
"""Misfits that an error lists before it counts."""


@dataclass(kw_only=True)
class Pretrained(Initializer):
    """Parameters from the checkpoint of a finished run; those that are not loaded are drawn as by KaimingNormal.

    Patterns are of the shell (fnmatch: * for anything, ? for one character, [12]) over the names of parameters
    ("linear_1.weight", "linear_1*"). Buffers (running statistics) come with their module: they are loaded where
    one of its parameters is; those of a module without parameters are selected by their own names.

    Where the checkpoint has other names than the model, `rename` says how they become the model's: the first pattern
    that matches a name decides, and what its * stands for goes to the * of the new one. So
    {encoder.linear_*: "linear_*"} has the encoder of a vae or an autoencoder start an mlp (with include or
    strict=false, for the rest is not there). Hinton & Salakhutdinov 2006 start deep networks in this way.

    Args:
        path: folder of the run that is loaded from.
        rename: {pattern: new name}, each with one * or none, or null; include and exclude are of the new names.
        checkpoint: last, or best, which early stopping leaves, or step_N, which trainer.snapshots does.
        include: patterns of what is loaded.
        exclude: patterns of what is not, whatever include says.
        freeze: patterns of loaded parameters that are not trained; frozen running statistics still follow the data.
        strict: whether every selected name has to be there on both sides; false: what both have is loaded.

    Raises:
        OptionError: a value is of a wrong kind.
    """

    trained: ClassVar[bool] = True

    path: str | None = None
    checkpoint: str = "last"
    rename: dict[str, str] | None = None
    include: list[str] = field(default_factory=lambda: ["*"])
    exclude: list[str] = field(default_factory=list)
    freeze: list[str] = field(default_factory=list)
    strict: bool = True

    def __post_init__(self) -> None:
        if self.path is not None and not isinstance(self.path, str):
            raise OptionError("path", self.path, "the folder of a finished run")
        if not (isinstance(self.checkpoint, str) and SNAPSHOT.fullmatch(f"{self.checkpoint}.pt")):
            choice("checkpoint", self.checkpoint, CHECKPOINTS)
        self.rename = None if self.rename is None else checked_renaming(self.rename)
        for key in ("include", "exclude", "freeze"):
            setattr(self, key, _patterns(key, getattr(self, key)))
        flag("strict", self.strict)

    @staticmethod
    def program_keys(keys: Mapping[str, Any]) -> object:
        """What says which parameters are not trained: nothing where all are."""
        if not keys.get("freeze"):
            return None
        selecting = ["rename", "include", "exclude", "freeze", "strict"]
        if not keys["strict"]:  # then what is loaded depends on what is there
            selecting += ["path", "checkpoint"]
        return {key: keys[key] for key in selecting}

    def variance(self, fan_in: int, fan_out: int) -> None:
        """None: weights that were trained have no law."""

    def weight_laws(self, model: nn.Module) -> dict[nn.Module, Weights | None]:
        """Of the layers of which nothing is loaded."""
        loaded = self._fitting(model)
        drawn = {layer: KaimingNormal().weight_law(layer) for _, layer in weight_layers(model)}
        return {
            layer: None if any(f"{name}.{key}".lstrip(".") in loaded for key, _ in layer.named_parameters()) else law
            for (name, layer), law in zip(weight_layers(model), drawn.values(), strict=True)
        }

    def check(self, model: nn.Module) -> None:
        """Refuse a checkpoint that is not there, cannot be read or does not fit the model.

        Raises:
            OptionError: every misfit, in one line.
        """
        self._fitting(model)

    def fill(self, weight: Tensor, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        """Overwrite a weight that is not loaded."""
        KaimingNormal().fill(weight, fan_in, fan_out, generator)

    @torch.no_grad()
    def __call__(self, model: nn.Module, stream: Stream) -> None:
        """Fill the model: draw all of it, then load what is selected and freeze what is to be frozen."""
        loaded = self._fitting(model)
        self.fill_model(model, stream)
        _load(model, loaded)
        settle(model)
        _load(model, loaded)  # what follows from a weight may be in the checkpoint as well, and then that counts
        for name in self._frozen(model, loaded):
            model.get_parameter(name).requires_grad_(False)

    def frozen(self, model: nn.Module) -> list[str]:
        """The loaded parameters that `freeze` names."""
        return self._frozen(model, self._fitting(model)) if self.freeze else []

    def _frozen(self, model: nn.Module, loaded: Collection[str]) -> list[str]:
        return [name for name, _ in model.named_parameters() if name in loaded and _matches(name, self.freeze)]

    def _fitting(self, model: nn.Module) -> dict[str, Tensor]:
        """What is loaded: values by the names of the model's parameters and buffers."""
        saved, state = renamed(self._read(), self.rename or {}), model.state_dict()
        parameters = dict(model.named_parameters())
        for key, patterns in (("include", self.include), ("exclude", self.exclude)):
            _check_patterns(key, patterns, [*parameters, *(name for name in saved if name not in parameters)])
        buffers = state.keys() - parameters.keys()
        ours, theirs = (self._selected(names, parameters, buffers) for names in (state, saved))
        misfits = [
            f"{name}: checkpoint {tuple(saved[name].shape)}, model {tuple(state[name].shape)}"
            for name in ours
            if name in theirs and saved[name].shape != state[name].shape
        ]
        if self.strict:
            misfits += [f"{name}: only in the model" for name in ours if name not in theirs]
            misfits += [f"{name}: only in the checkpoint" for name in theirs if name not in ours]
        if misfits:
            more = [f"and {len(misfits) - SHOWN} more"] if len(misfits) > SHOWN else []
            fix = "choose by include and exclude" + (", or strict=false" if self.strict else "")
            told = "; ".join([*misfits[:SHOWN], *more, fix])
            raise OptionError("path", self.path, "a run whose parameters fit the model", told)
        loaded = {name: saved[name] for name in ours if name in theirs}
        if not loaded:
            fix = f"exclude={self.exclude} leaves nothing" if self.exclude else "the two have no names in common"
            raise OptionError("include", self.include, "patterns that leave something to load", fix)
        _check_patterns("freeze", self.freeze, [name for name in parameters if name in loaded])
        if len(self._frozen(model, loaded)) == len(parameters):
            raise OptionError("freeze", self.freeze, "patterns that leave a parameter to train")
        return loaded

    def _selected(self, names: Iterable[str], parameters: Iterable[str], buffers: Collection[str]) -> list[str]:
        """The names that include and exclude select; a buffer's go by those of its module's parameters."""

        def selects(name: str) -> bool:
            return _matches(name, self.include) and not _matches(name, self.exclude)

        by_module: dict[str, list[str]] = {}
        for name in parameters:
            by_module.setdefault(name.rpartition(".")[0], []).append(name)
        owners = {name: by_module.get(name.rpartition(".")[0], [name]) for name in buffers}
        return [name for name in names if any(map(selects, owners.get(name, [name])))]

    def _read(self) -> dict[str, Tensor]:
        """The parameters and buffers in the checkpoint, by name."""
        kind = "the folder of a finished run"
        if self.path is None:
            raise OptionError("path", None, kind)
        folder = typed_path(Path(self.path).expanduser())
        if not folder.is_dir():
            raise OptionError("path", self.path, kind, "there is no such folder")
        state = (read_json(folder / "status.json") or {}).get("state")
        if state not in FINISHED:
            raise OptionError("path", self.path, kind, f"its state is {state}" if state else "it has no status.json")
        file = folder / "checkpoints" / f"{self.checkpoint}.pt"
        if not file.exists():
            there = sorted(path.stem for path in file.parent.glob("*.pt"))
            raise OptionError("checkpoint", self.checkpoint, f"one that {folder} has: {', '.join(there) or 'none'}")
        try:
            said = file.stat()
            if damaged := _damage(file, said.st_mtime_ns, said.st_size):
                reason = f"{file.name} cannot be read ({damaged})"
                raise OptionError("path", self.path, "a run with a readable checkpoint", reason)
            # Mapped: a check of the shapes reads little of it.
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
            return {str(name): value for name, value in content["model"].items() if isinstance(value, Tensor)}
        except OptionError:
            raise
        except Exception as error:
            reason = f"{file.name} cannot be read ({type(error).__name__})"
            raise OptionError("path", self.path, "a run with a readable checkpoint", reason) from None


@lru_cache(maxsize=16)
def _damage(file: Path, _written: int, _size: int) -> str | None:
    """What is wrong with a file's bytes; every job of a grid asks."""
    return damage(file)


def _load(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Copy values into the parameters and buffers that they are named after."""
    state = model.state_dict()  # of the model's own memory
    for name, value in values.items():
        write(state[name], value)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name matches one of the patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _patterns(key: str, value: object) -> list[str]:
    """The value if it is a list of patterns."""
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    if not listed or not all(isinstance(pattern, str) for pattern in value):  # type: ignore[attr-defined]
        fix = f"write {key}=[{value}]" if isinstance(value, str) else ""
        raise OptionError(key, value, 'a list of patterns, as ["linear_1*"]', fix)
    return list(value)  # type: ignore[call-overload,no-any-return]


def _check_patterns(key: str, patterns: Iterable[str], names: Sequence[str]) -> None:
    """Every pattern matches one of the names.

    Raises:
        OptionError: the first one that matches none.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            listed = ", ".join([*names[:SHOWN], *(["..."] if len(names) > SHOWN else [])])
            raise OptionError(key, pattern, "a pattern that matches a parameter", f"there are {listed}")
