"""What trained networks answer: to a part of their own data, and to examples from a file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fanin.errors import UserError, counted
from fanin.parts.data import Dataset
from fanin.run.build import load_inputs
from fanin.run.trained import Trained

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Examples:
    """Examples from a file: the name of each, and what it consists of, [N, ...], as the file has it."""

    names: list[str]
    inputs: Tensor


@torch.no_grad()
def outputs_of(trained: Trained, inputs: Tensor, batch: int = 1000) -> Tensor:
    """Outputs [N, K] of a network in evaluation mode for inputs [N, ...] as it takes them, so many at a time."""
    return torch.cat([trained.model(some) for some in torch.split(inputs, batch)])


def probabilities(outputs: Tensor) -> Tensor:
    """Of the classes, [N, K] float64: softmax of scores [N, K], or of one logit [N, 1] against 0."""
    scores = outputs.double()
    if scores.shape[1] == 1:
        scores = torch.cat([torch.zeros_like(scores), scores], dim=1)
    return scores.softmax(dim=1)


def prepared(trained: Trained, examples: Examples) -> Tensor:
    """Examples as the network takes them: by the preprocessing that was fitted to its training part.

    Raises:
        UserError: they are of another shape.
    """
    made = trained.recipe
    return load_inputs(trained.options, examples.inputs, made.device, made.dtype, indices=made.takes_indices)


def part_of(data: Dataset, part: str) -> tuple[Tensor, Tensor]:
    """Inputs and targets of a part.

    Raises:
        UserError: it is empty.
    """
    x, y = getattr(data, f"{part}_x"), getattr(data, f"{part}_y")
    if not len(x):
        raise UserError(f"--part {part}: this data set has no example in it")
    return x, y


def read_examples(path: Path, shape: Sequence[int]) -> Examples:
    """The examples in a file: .npy, the first array of an .npz or that called x, .csv, or a folder of images.

    Args:
        path: an array is [N, *shape], or [N, features]; a table has a line for each example, its features side by
            side, below a line of names or not; images are of the data set's size, their pixels from 0 to 1.
        shape: of an example of the data set that the network was trained on.

    Raises:
        UserError: it cannot be read, there is nothing in it, or entries are not finite.
        OSError: it is not there.
    """
    if path.is_dir():
        found = _images(path, shape)
    elif path.suffix in (".npy", ".npz"):
        found = _arrays(path)
    elif path.suffix == ".csv":
        found = _table(path)
    else:
        raise UserError(f"{path}: must end in .npy, .npz or .csv, or be a folder of images")
    if not len(found.inputs):
        raise UserError(f"{path}: there is no example in it")
    features = int(np.prod(shape))
    if found.inputs.ndim < 2 or found.inputs[0].numel() != features:
        each = " x ".join(map(str, found.inputs.shape[1:])) or "one number"
        wanted = " x ".join(map(str, shape))
        raise UserError(f"{path}: an example in it is {each}; the network takes {wanted}, or {features} in a row")
    broken = ~found.inputs.reshape(len(found.inputs), -1).isfinite().all(dim=1)
    if bool(broken.any()):
        first = found.names[int(broken.nonzero()[0])]
        what = f"{counted(int(broken.sum()), 'example')}, first of all {first}"
        raise UserError(f"{path}: {what}, with an entry that is not finite; fill in what is missing, or leave it out")
    return replace(found, inputs=found.inputs.reshape(-1, *shape))


def _arrays(path: Path) -> Examples:
    try:
        loaded = np.load(path, allow_pickle=False)
        array = loaded if isinstance(loaded, np.ndarray) else loaded["x" if "x" in loaded else loaded.files[0]]
        inputs = torch.from_numpy(np.ascontiguousarray(array))
    except (ValueError, TypeError, KeyError, IndexError, EOFError) as error:
        raise UserError(f"{path}: holds no array of numbers ({error})") from None
    if inputs.is_complex():
        raise UserError(f"{path}: holds complex numbers; the network takes real ones")
    return Examples([str(place) for place in range(len(inputs) if inputs.ndim else 0)], inputs)


def _table(path: Path) -> Examples:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is no table of text in UTF-8 ({error})") from None
    numbers: list[list[float]] = []
    for place, line in enumerate(lines):
        try:
            numbers.append([float(cell) for cell in line])
        except ValueError as error:
            if place:  # the first has the names
                raise UserError(f"{path}: line {place + 1}: {error}; every cell below the names is a number") from None
    if len({len(line) for line in numbers}) > 1:
        raise UserError(f"{path}: lines of different lengths; each example has all features")
    return Examples([str(place) for place in range(len(numbers))], torch.tensor(numbers, dtype=torch.float32))


def _images(path: Path, shape: Sequence[int]) -> Examples:
    try:
        from PIL import Image
    except ImportError:
        raise UserError(f"{path}: images need Pillow: pip install pillow") from None
    files = sorted(one for one in path.rglob("*") if one.suffix.lower() in IMAGES)
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise UserError(
            f"{path}: the network takes {' x '.join(map(str, shape))} and no images of one or three channels"
        )
    channels, height, width = shape
    found = []
    for file in files:
        try:
            with Image.open(file) as image:
                size = image.size
                pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"), dtype=np.float32) / 255
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow raises
            said = " ".join(str(error).split())
            raise UserError(f"{file}: cannot be read as an image ({said}); repair or remove it") from None
        if size != (width, height):
            raise UserError(f"{file}: is {size[0]} x {size[1]}; the network takes {width} x {height}")
        found.append(torch.from_numpy(pixels.reshape(height, width, channels)).permute(2, 0, 1))
    names = [file.relative_to(path).as_posix() for file in files]
    return Examples(names, torch.stack(found) if found else torch.zeros(0))
