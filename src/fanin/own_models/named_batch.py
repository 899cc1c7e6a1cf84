"""A batch and a loss as a command takes them: a shape, tokens or a file of arrays; a loss by its name."""

from __future__ import annotations

import inspect
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fanin.errors import UserError, did_you_mean
from fanin.own_models.named_model import named
from fanin.own_models.probe_pass import Loss, ProbePass, tensors_in
from fanin.own_models.unwrapped import checked
from fanin.probes.capture import Capture

TARGETS = ("targets", "target", "labels", "y")
"""The array of a file that is no input."""


def normal_batch(text: str, seed: int) -> Tensor:
    """Standard normal numbers of a shape.

    >>> tuple(normal_batch("32,3,8,8", 0).shape)
    (32, 3, 8, 8)
    """
    return torch.randn(_sizes("--input", text, "32,3,224,224", 2), generator=torch.Generator().manual_seed(seed))


def token_batch(text: str, seed: int) -> Tensor:
    """Tokens, [B, T], of V kinds, all alike probable; the text is B,T,V.

    >>> tuple(token_batch("8,128,50257", 0).shape)
    (8, 128)
    """
    *shape, kinds = _sizes("--tokens", text, "8,128,50257", 3, 3)
    return torch.randint(kinds, tuple(shape), generator=torch.Generator().manual_seed(seed))


def _sizes(option: str, text: str, example: str, fewest: int, most: int = 9) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not fewest <= len(parts) <= most or not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise UserError(f"{option} {text}: must be whole numbers > 0, such as {example}")
    return tuple(map(int, parts))


def arrays_in(path: Path) -> dict[str, Tensor]:
    """The arrays of a .npz or .npy file by name, numbers in float32 and whole ones in 64 bits.

    Raises:
        UserError: it cannot be read, or has none.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = {"inputs": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise UserError(f"--data {path}: is no .npz or .npy file of arrays of numbers") from None
    except OSError as error:
        raise UserError(f"--data {path}: {error.strerror or error}") from None
    if not arrays:
        raise UserError(
            f"--data {path}: has no arrays; numpy.savez({str(path)!r}, inputs=..., targets=...) writes some"
        )
    return {name: _tensor(path, name, array) for name, array in arrays.items()}


def batch_of_arrays(path: Path, arrays: Mapping[str, Tensor], model: nn.Module) -> tuple[Any, Tensor | None]:
    """The inputs and the targets among the arrays of a file.

    The array called targets, target, labels or y is the targets, unless the model's forward takes one of that name.
    One other array is the input; several are arguments of the model by their names.

    Raises:
        UserError: there are targets alone.
    """
    taken = inspect.signature(checked(model).forward).parameters
    inputs = {name: one for name, one in arrays.items() if name not in TARGETS or name in taken}
    targets = next((one for name, one in arrays.items() if name not in inputs), None)
    if not inputs:
        raise UserError(f"--data {path}: has targets and no inputs")
    return next(iter(inputs.values())) if len(inputs) == 1 else inputs, targets


def _tensor(path: Path, name: str, array: np.ndarray[Any, Any]) -> Tensor:
    if array.dtype.kind not in "fiub":
        raise UserError(f"--data {path}: {name} is an array of {array.dtype}, and no numbers")
    return torch.from_numpy(array.astype(np.float32 if array.dtype.kind == "f" else np.int64))


def _class_axis(outputs: Tensor) -> Tensor:
    """Outputs with classes on axis 1, as torch's cross entropy has them; those of tokens have them last."""
    return outputs.flatten(0, -2) if outputs.ndim == 3 else outputs


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(_class_axis(outputs), targets.flatten() if outputs.ndim == 3 else targets)


def _classes(outputs: Tensor, generator: torch.Generator) -> Tensor:
    shape = (*outputs.shape[:2], *outputs.shape[3:]) if outputs.ndim == 3 else (len(outputs), *outputs.shape[2:])
    return torch.randint(outputs.shape[2 if outputs.ndim == 3 else 1], shape, generator=generator)


LOSSES: Mapping[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, torch.Generator], Tensor]]] = {
    "cross_entropy": (_cross_entropy, _classes),
    "mse": (functional.mse_loss, lambda outputs, generator: torch.randn(outputs.shape, generator=generator)),
}
"""Losses by name, and what their targets are drawn from where no file has some."""


def named_loss(text: str, model: nn.Module, inputs: Any, targets: Tensor | None, seed: int) -> tuple[Loss, Any]:
    """A loss and its targets.

    Args:
        text: a name of LOSSES, or module:function of the outputs and, where a file has targets, of these.
        model, inputs: whose outputs tell how many targets are drawn.
        targets: of a file.
        seed: of the draw.

    Raises:
        UserError: no such loss.
    """
    if ":" in text:
        own = named(text, "my_module:my_loss")
        if not callable(own):
            raise UserError(f"--loss {text}: is no function, but a {type(own).__name__}")
        return own, targets
    if text not in LOSSES:
        hint = did_you_mean(text, LOSSES)
        raise UserError(f"--loss {text}: must be {', '.join(LOSSES)} or module:function" + (hint and f"; {hint}"))
    loss, draw = LOSSES[text]
    if targets is None:
        outputs = _outputs(model, inputs)
        if outputs.ndim < 2:
            raise UserError(f"--loss {text}: wants outputs [B, ...], and the model gives {list(outputs.shape)}")
        targets = draw(outputs, torch.Generator().manual_seed(seed))
    return lambda outputs, wanted: loss(_first(outputs), wanted), targets


def _first(outputs: Any) -> Tensor:
    """The tensor of logits among what a model gives."""
    if isinstance(outputs, Mapping) and isinstance(outputs.get("logits"), Tensor):
        outputs = outputs["logits"]
    found = next(tensors_in(getattr(outputs, "logits", outputs)), None)
    if found is None:
        raise UserError(f"--loss: the model gives no tensor, but a {type(outputs).__name__}")
    return found


def _outputs(model: nn.Module, inputs: Any) -> Tensor:
    """What the model gives, seen without a trace."""
    seen: list[Tensor] = []

    def look(outputs: Any) -> Tensor:
        seen.append(_first(outputs).detach())
        return _first(outputs).float().sum()

    inner = checked(model)
    ProbePass(inner, Capture(inner), inputs, loss=look).observe()
    return seen[0]
