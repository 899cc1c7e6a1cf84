"""Augmentation against torchvision, one example at a time, with the parameters read off the images themselves."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as theirs

from fanin.errors import OptionError, UserError
from fanin.parts.augmentations import (
    Augmentation,
    Crop,
    Flip,
    Noise,
    Rotate,
    Scale,
    Translate,
    cropped,
    rotated,
    scaled,
    translated,
    warped,
)

SEEDS = st.integers(0, 2**31)
SIDES = st.tuples(st.integers(4, 12), st.integers(4, 12))  # height, width
BILINEAR = InterpolationMode.BILINEAR


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def close(one: Tensor, other: Tensor) -> None:
    """Equal but for rounding: float64, places up to 20 pixels, with some roundings of 1e-16 each."""
    torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def noise(batch: int, sides: tuple[int, int], seed: int, channels: int = 3) -> Tensor:
    return torch.rand(batch, channels, *sides, generator=stream(seed), dtype=torch.float64)


def rulers(batch: int, sides: tuple[int, int], seed: int) -> Tensor:
    """Images that tell their pixels' places: x from the centre, y from the centre, and noise."""
    height, width = sides
    images = noise(batch, sides, seed)
    images[:, 0] = torch.arange(width) - (width - 1) / 2
    images[:, 1] = (torch.arange(height) - (height - 1) / 2).unsqueeze(1)
    return images


def maps_of(images: Tensor) -> Tensor:
    """Where the pixels of resampled rulers come from: [B, 2, 3], as a map of places from the centre.

    Bilinear interpolation of something linear is exact, so the four pixels at the centre tell all.
    """
    height, width = images.shape[-2:]
    top, left = height // 2 - 1, width // 2 - 1
    at, right, below = (images[:, :2, top + dy, left + dx] for dy, dx in ((0, 0), (0, 1), (1, 0)))
    x, y = left - (width - 1) / 2, top - (height - 1) / 2
    linear = torch.stack([right - at, below - at], dim=-1)
    return torch.cat([linear, (at - linear @ torch.tensor([x, y], dtype=at.dtype)).unsqueeze(-1)], dim=-1)


@settings(max_examples=15, deadline=None)
@given(sides=SIDES, seed=SEEDS, degrees=st.lists(st.floats(-360, 360), min_size=1, max_size=4))
def test_rotation_is_torchvisions(sides: tuple[int, int], seed: int, degrees: list[float]) -> None:
    images = noise(len(degrees), sides, seed)
    found = rotated(images, torch.tensor(degrees, dtype=torch.float64))
    for image, new, angle in zip(images, found, degrees, strict=True):
        close(new, theirs.rotate(image, angle, BILINEAR))


@settings(max_examples=15, deadline=None)
@given(
    sides=SIDES,
    seed=SEEDS,
    factors=st.lists(st.floats(0.3, 3), min_size=1, max_size=4),
    move=st.tuples(st.floats(-5, 5), st.floats(-5, 5)),
)
def test_scaling_and_translation_are_torchvisions(
    sides: tuple[int, int], seed: int, factors: list[float], move: tuple[float, float]
) -> None:
    images = noise(len(factors), sides, seed)
    larger = scaled(images, torch.tensor(factors, dtype=torch.float64))
    moved = translated(images, torch.tensor([move], dtype=torch.float64).repeat(len(factors), 1))
    for image, new, other, factor in zip(images, larger, moved, factors, strict=True):
        expected = theirs.affine(image, 0.0, [0, 0], factor, [0.0, 0.0], BILINEAR)
        close(new, expected)
        expected = theirs.affine(image, 0.0, [*move], 1.0, [0.0, 0.0], BILINEAR)
        close(other, expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize("turns", [1, 2, 3, -1])
def test_right_angles_are_rot90(turns: int, dtype: torch.dtype, tolerance: float) -> None:
    images = noise(2, (28, 28), 4).to(dtype)
    found = rotated(images, torch.full((2,), 90.0 * turns))
    # places up to 28 with some roundings of 2^-24 each, times differences of up to 1 from pixel to pixel, both ways
    torch.testing.assert_close(found, torch.rot90(images, turns, (-2, -1)), rtol=0, atol=tolerance)


@settings(max_examples=10, deadline=None)
@given(sides=SIDES, seed=SEEDS)
def test_parameters_that_change_nothing_keep_every_bit(sides: tuple[int, int], seed: int) -> None:
    images = noise(3, sides, seed).float()
    some = torch.tensor([0.0, 10.0, 0.0])
    ones = torch.tensor([1.0, 1.2, 1.0])
    moves = torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.0, 0.0]])
    for made in (rotated(images, some), scaled(images, ones), translated(images, moves)):
        assert torch.equal(made[::2], images[::2])
        assert not torch.equal(made[1], images[1])
    neutral = (
        Rotate(degrees=0), Scale(low=1, high=1), Translate(share=0), Flip(p=0), Noise(std=0), Crop(padding=0),
    )  # fmt: skip
    for option in neutral:
        assert torch.equal(option(images, stream(seed)), images)


@settings(max_examples=10, deadline=None)
@given(sides=SIDES, seed=SEEDS, padding=st.integers(0, 5))
def test_cropping_is_torchvisions_padding_and_crop(sides: tuple[int, int], seed: int, padding: int) -> None:
    images = noise(5, sides, seed)
    corners = torch.randint(2 * padding + 1, (5, 2), generator=stream(seed))
    for image, new, (top, left) in zip(images, cropped(images, padding, corners), corners.tolist(), strict=True):
        assert torch.equal(new, theirs.crop(theirs.pad(image, [padding]), top, left, *sides))


def test_a_map_of_places() -> None:
    """Each pixel takes the value from where the map points to; between pixels the mean, outside 0."""
    images = torch.tensor([[[[1.0, 2.0, 4.0, 8.0]]]], dtype=torch.float64)
    half_a_pixel = torch.tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]], dtype=torch.float64)
    torch.testing.assert_close(warped(images, half_a_pixel), torch.tensor([[[[1.5, 3.0, 6.0, 4.0]]]]).double())


def test_angles_are_uniform_and_one_for_each_image() -> None:
    images = rulers(2000, (6, 8), 1)
    made = Rotate(degrees=40)(images, stream(1))
    maps = maps_of(made)
    angles = torch.rad2deg(torch.atan2(maps[:, 1, 0], maps[:, 0, 0]))
    assert scipy.stats.kstest(angles.numpy(), scipy.stats.uniform(-40, 80).cdf).pvalue > 1e-4
    for image, new, angle in zip(images[:20], made, angles.tolist(), strict=False):
        close(new, theirs.rotate(image, angle, BILINEAR))


def test_factors_are_uniform_and_one_for_each_image() -> None:
    images = rulers(2000, (8, 6), 2)
    made = Scale(low=0.7, high=1.5)(images, stream(2))
    factors = 1 / maps_of(made)[:, 0, 0]
    assert scipy.stats.kstest(factors.numpy(), scipy.stats.uniform(0.7, 0.8).cdf).pvalue > 1e-4
    for image, new, factor in zip(images[:20], made, factors.tolist(), strict=False):
        close(new, theirs.affine(image, 0.0, [0, 0], factor, [0.0, 0.0], BILINEAR))


def test_moves_are_uniform_in_both_directions() -> None:
    images = rulers(2000, (10, 20), 3)
    made = Translate(share=0.2)(images, stream(3))
    right, down = (-maps_of(made)[:, :, 2]).unbind(1)
    assert scipy.stats.kstest(right.numpy(), scipy.stats.uniform(-4, 8).cdf).pvalue > 1e-4
    assert scipy.stats.kstest(down.numpy(), scipy.stats.uniform(-2, 4).cdf).pvalue > 1e-4
    assert abs(float(torch.corrcoef(torch.stack([right, down]))[0, 1])) < 5 / math.sqrt(2000)
    for image, new, x, y in zip(images[:20], made, right.tolist(), down.tolist(), strict=False):
        expected = theirs.affine(image, 0.0, [x, y], 1.0, [0.0, 0.0], BILINEAR)
        close(new, expected)


@pytest.mark.parametrize(("direction", "flip"), [("horizontal", theirs.hflip), ("vertical", theirs.vflip)])
@pytest.mark.parametrize("p", [0.2, 1.0])
def test_a_share_p_is_flipped(direction: str, flip, p: float) -> None:  # type: ignore[no-untyped-def]
    images = noise(2000, (3, 4), 5)
    made = Flip(p=p, direction=direction)(images, stream(5))
    mirrored = (made == flip(images)).flatten(1).all(1)
    assert ((made == images).flatten(1).all(1) ^ mirrored).all()
    assert abs(float(mirrored.double().mean()) - p) <= 5 * math.sqrt(p * (1 - p) / 2000)


def test_every_window_is_as_likely() -> None:
    images = noise(1, (4, 5), 6).repeat(3000, 1, 1, 1)
    made = Crop(padding=1)(images, stream(6))
    windows = [theirs.crop(theirs.pad(images[0], [1]), top, left, 4, 5) for top in range(3) for left in range(3)]
    counts = [int((made == window).flatten(1).all(1).sum()) for window in windows]
    assert sum(counts) == 3000
    assert scipy.stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("shape", [(200, 1, 10, 5), (200, 50)])
def test_noise_is_normal_on_images_and_vectors(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape, generator=stream(7))
    added = Noise(std=0.3)(x, stream(8)).double() - x.double()
    assert scipy.stats.kstest(added.flatten().numpy(), scipy.stats.norm(scale=0.3).cdf).pvalue > 1e-4
    assert (Noise.needs_image, Rotate.needs_image) == (False, True)


OPTIONS: list[Augmentation] = [Rotate(), Flip(), Scale(), Translate(), Noise(), Crop()]
EACH = pytest.mark.parametrize("option", OPTIONS, ids=lambda option: type(option).__name__)


@EACH
def test_the_generator_decides_and_the_images_stay(option: Augmentation) -> None:
    images = noise(20, (8, 8), 9).float()
    before, random = images.clone(), stream(10)
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first, second = option(images, random), option(images, random)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(option(images, stream(10)), first)
    assert not torch.equal(first, second)
    assert torch.equal(images, before)
    assert (first.dtype, first.shape) == (images.dtype, images.shape)
    # the same parameters whatever the precision: places up to 8, roundings of 2^-24
    torch.testing.assert_close(option(images.double(), stream(10)), first.double(), rtol=0, atol=1e-5)


@EACH
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_same_on_cuda_with_a_generator_of_the_cpu(option: Augmentation) -> None:
    images = noise(20, (8, 8), 9).float()
    made = option(images.cuda(), stream(10))
    assert made.is_cuda
    torch.testing.assert_close(made.cpu(), option(images, stream(10)), rtol=0, atol=1e-5)
    assert option(images.cuda(), torch.Generator("cuda").manual_seed(1)).is_cuda


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rotate(degrees=181), "degrees=181: must be a finite number >= 0 and <= 180"),
        (lambda: Flip(p=1.5), "p=1.5: must be a finite number >= 0 and <= 1"),
        (
            lambda: Flip(direction="sideways"),
            "direction=sideways: must be one of horizontal, vertical",
        ),
        (lambda: Scale(low=0), "low=0: must be a finite number > 0"),
        (lambda: Scale(low=1, high=0.9), "high=0.9: must be a finite number >= 1"),
        (lambda: Translate(share=-0.1), "share=-0.1: must be a finite number >= 0 and <= 1"),
        (lambda: Noise(std=-1), "std=-1: must be a finite number >= 0"),
        (lambda: Crop(padding=1.5), "padding=1.5: must be an integer >= 0"),  # type: ignore[arg-type]
    ],
)
def test_bad_values_give_one_line(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OptionError) as caught:
        make()
    assert str(caught.value) == message


def test_no_more_padding_than_an_image_has_pixels() -> None:
    Crop(padding=8).check((1, 8, 6))
    with pytest.raises(OptionError, match=r"padding=9: must be at most the 8 pixels of an image's side"):
        Crop(padding=9).check((1, 8, 6))
    with pytest.raises(UserError, match=r"needs images \[C, H, W\]; an example here has shape 30"):
        Crop().check((30,))
    Noise().check((30,))
