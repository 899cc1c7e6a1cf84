"""Densities of a spectrum over the looks of a run as a picture, written without a drawing library."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, LEAST = 400, 300, 6
"""Pixels of the whole picture; of a look's column at least."""

DECADES = 4.0
"""Below the highest density of a look, down to white."""


class Picture(NamedTuple):
    """A PNG file, and its size in pixels."""

    png: bytes
    width: int
    height: int


class Densities:
    """The densities that a run's looks have seen so far, by the matrix that they are of."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[int, dict[str, dict[int, float]]]] = {}

    def add(self, step: int, numbers: Iterable[tuple[str, int | None, float]]) -> list[str]:
        """Add a look's numbers as (quantity, index, value); returns the densities among them, by their names."""
        found: dict[str, None] = {}
        for quantity, index, value in numbers:
            if quantity.endswith(("density", "density_at")) and index is not None:
                name = quantity.removesuffix("_at")
                found[name] = None
                self._seen.setdefault(name, {}).setdefault(step, {}).setdefault(quantity, {})[index] = value
        return list(found)

    def image(self, name: str) -> Picture | None:
        """The picture of a density over the steps so far."""
        curves = []
        for _, curve in sorted(self._seen.get(name, {}).items()):
            at, density = curve.get(f"{name}_at", {}), curve.get(name, {})
            places = sorted(at.keys() & density.keys())
            if places:
                curves.append(([at[place] for place in places], [density[place] for place in places]))
        return density_image(curves)


def density_image(curves: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Picture | None:
    """A column for each look, or for some of many; eigenvalues rise upwards, and the denser they are the darker it is.

    Args:
        curves: eigenvalues, rising, and the density there, of each look in the order of steps.

    Returns:
        None where no curve is finite.
    """
    found = [np.array(one, dtype=float) for one in curves]
    found = [one for one in found if np.isfinite(one).all()]
    if not found:
        return None
    most = WIDTH // LEAST
    if len(found) > most:
        found = [found[place] for place in np.linspace(0, len(found) - 1, most).round().astype(int)]
    at = np.linspace(min(one[0, 0] for one in found), max(one[0, -1] for one in found), HEIGHT)
    columns = []
    for eigenvalues, density in found:
        heights = np.interp(at, eigenvalues, density, left=0.0, right=0.0) / max(float(density.max()), 1e-300)
        columns.append(-np.log10(np.clip(heights, 10.0**-DECADES, 1.0)) / DECADES)
    shades = (255 * np.stack(columns, 1)[::-1]).round().astype(np.uint8)
    picture = np.repeat(shades, WIDTH // len(found), axis=1)
    return Picture(png(picture), picture.shape[1], HEIGHT)


def png(picture: NDArray[np.uint8]) -> bytes:
    """A picture [height, width] of grey levels, 0 black, as a PNG file."""
    height, width = picture.shape
    rows = b"".join(b"\0" + row.tobytes() for row in picture)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), b"IDAT": zlib.compress(rows), b"IEND": b"",
    }  # fmt: skip
    made = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks.items():
        made += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return made
