"""Pictures in few colours: in a repository they should weigh little."""

from __future__ import annotations

from PIL import Image


def few_colours(image: Image.Image, count: int) -> Image.Image:
    """A picture in the colours that lie furthest apart: the most frequent ones would make one of two lines' hues."""
    return image.quantize(count, Image.Quantize.MAXCOVERAGE, 2)
