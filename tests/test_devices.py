"""Where a run computes: which device is meant, which GPU a worker sees, and what is done without float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

from engine import recipe
from fanin import devices
from fanin.devices import visible_device
from fanin.errors import OptionError
from fanin.parts.augmentations import rotated, scaled, translated
from fanin.parts.optimizers import SGD, Adam, Momentum
from fanin.run.compatibility import _check_device
from fanin.sweep.pool import pool_size
from fanin.torch_internals import dispatch_mode
from together import batches, different, joined, pair, rates


@pytest.mark.parametrize(
    ("visible", "seen"),
    [(None, ["0", "1"]), ("", ["0", "1"]), ("4, 6", ["4", "6"]), ("GPU-8932f937,MIG-1", ["GPU-8932f937", "MIG-1"])],
)
def test_devices_are_counted_among_those_that_the_user_left_visible(visible: str | None, seen: list[str]) -> None:
    """A scheduler hands out GPUs by this variable; a worker that took its number for a device would take another's."""
    assert [visible_device(number, visible) for number in range(2)] == seen


@pytest.mark.parametrize(
    ("found", "auto"), [(None, "cpu"), ("cuda", "cuda"), ("xpu", "xpu"), ("mps", "cpu"), ("hpu", "cpu")]
)
def test_auto_is_an_accelerator_with_float64(found: str | None, auto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "accelerator", lambda: found)
    assert recipe(trainer={"device": "auto"}).device.type == auto
    assert [recipe(trainer={"device": kind}).device.type for kind in ("cpu", "mps")] == ["cpu", "mps"]


@pytest.mark.parametrize(
    ("found", "settings", "line"),
    [
        ("cuda", {"device": "mps"}, "device=mps: must be cuda, cpu or auto; torch finds no MPS device here"),
        (None, {"device": "xpu"}, "device=xpu: must be cpu or auto; torch finds no XPU device here"),
        (
            "mps",
            {"device": "mps", "precision": "float64"},
            "precision=float64: must be float32 or bfloat16 on mps, which has no float64; or take trainer.device=cpu",
        ),
    ],
)
def test_what_a_device_lacks_is_one_line(
    found: str | None, settings: dict[str, Any], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "accelerator", lambda: found)
    with pytest.raises(OptionError) as caught:
        _check_device(recipe(trainer=settings))
    assert str(caught.value) == f"trainer.{line}"


def test_the_pool_has_places_on_the_devices_of_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "accelerator", lambda: "xpu")
    monkeypatch.setattr(torch.xpu, "device_count", lambda: 3)
    assert pool_size(None, 2, ["auto", "cpu"]) == (6, [0, 1, 2])
    assert pool_size(None, 2, ["cpu"])[1] == [None]
    assert pool_size(5, 1, ["xpu"]) == (5, [0, 1, 2])
    monkeypatch.setattr(devices, "accelerator", lambda: "mps")
    assert pool_size(None, 1, ["mps"]) == (1, [0])
    assert pool_size(3, 1, ["auto"]) == (3, [None])


Base: Any = dispatch_mode()


class Wide(Base):  # type: ignore[misc]
    """Counts the tensors of float64 that torch makes."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if any(isinstance(one, torch.Tensor) and one.dtype == torch.float64 for one in tree_leaves(result)):
            self.made.append(str(function))
        return result


def of_a_step(runs: list[dict[str, Any]]) -> list[str]:
    """The operations that make tensors of float64 in two steps of runs alone, then of the same runs fused."""
    alone, together = pair(runs)
    wide = Wide()
    for step in range(2):
        own, lrs = batches(len(runs), step), rates(len(runs), step)
        for learner, given, rate in [(one, *rest) for one, *rest in zip(alone, own, lrs, strict=True)]:
            with wide:
                result = learner.step(given, [rate])
            assert result.error.dtype == devices.widest(torch.device("cpu"))
        with wide:
            together.step(joined(own), lrs)
    return wide.made


@pytest.mark.parametrize("optimizer", [SGD, Adam, Momentum])
def test_a_step_needs_no_float64(optimizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = different(optimizer, 2, dropout=True, l2=True)
    assert of_a_step(runs) != []  # shares of errors, and rates and numbers of a run's own
    monkeypatch.setattr(devices, "has_float64", lambda device: False)
    assert of_a_step(runs) == []


@pytest.mark.parametrize("turned", [rotated, scaled, translated])
def test_images_are_warped_without_float64(turned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The grid that they are resampled at is float32 in the end: coordinates of a few pixels move by roundings."""
    random = torch.Generator().manual_seed(0)
    images, by = torch.rand(4, 1, 9, 9, generator=random), 1 + torch.rand(4, generator=random)
    by = by.unsqueeze(1).expand(4, 2) if turned is translated else by
    exact = turned(images, by)
    monkeypatch.setattr(devices, "has_float64", lambda device: False)
    wide = Wide()
    with wide:
        rounded = turned(images, by)
    assert wide.made == []
    torch.testing.assert_close(rounded, exact, rtol=0, atol=9 * 16 * 2**-24)  # a value moves by at most 1 a pixel
