"""A checkpoint is used only if every byte of it is as it was written."""

from __future__ import annotations

import io
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch

from fanin.record.checkpoint_file import damage, sealed

STATE = {"step": 3, "model": {"weight": torch.arange(12.0).reshape(3, 4), "bias": torch.ones(3)}, "best": float("inf")}


def saved() -> bytes:
    """What torch writes."""
    file = io.BytesIO()
    torch.save(STATE, file)
    return file.getvalue()


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


@pytest.mark.parametrize("mmap", [False, True])
def test_torch_loads_a_sealed_checkpoint(tmp_path: Path, mmap: bool) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(sealed(saved()))
    assert damage(path) is None
    assert equal(torch.load(path, weights_only=True, mmap=mmap), STATE)


def test_the_seal_is_the_crc_of_all_that_comes_before_it() -> None:
    """The comment of a zip archive: its length in the two bytes before it."""
    whole = sealed(saved())
    assert whole[:-16] == saved()[:-2]
    assert whole[-16:-14] == struct.pack("<H", 14)
    assert whole[-14:] == b"crc32=%08x" % zlib.crc32(whole[:-14])
    assert sealed(b"no archive") == b"no archive"


def test_no_flipped_bit_is_taken(tmp_path: Path) -> None:
    """A bit of every byte, of the archive's directory, too: the file is refused, or holds what it held."""
    path, whole, dice = tmp_path / "last.pt", sealed(saved()), random.Random(0)
    taken = 0
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << dice.randrange(8)
        path.write_bytes(flipped)
        if damage(path) is None:
            taken += 1
            assert equal(torch.load(path, weights_only=True), STATE)
    assert taken <= 14, "only where the seal itself is broken are the parts' own checksums asked"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("seal", [True, False])
def test_a_part_of_a_file_is_damaged(tmp_path: Path, share: float, seal: bool) -> None:
    whole = sealed(saved()) if seal else saved()
    (tmp_path / "last.pt").write_bytes(whole[: int(share * len(whole))])
    assert damage(tmp_path / "last.pt") is not None


def test_an_older_checkpoint_is_judged_by_the_checksums_of_its_parts(tmp_path: Path) -> None:
    path, plain = tmp_path / "last.pt", saved()
    path.write_bytes(plain)
    assert damage(path) is None
    place = plain.index(struct.pack("<4f", 0, 1, 2, 3))  # in the weights
    path.write_bytes(plain[:place] + b"\x01" + plain[place + 1 :])
    assert "CRC-32" in str(damage(path))
