"""Small files, written so that a reader never sees half of one."""

from __future__ import annotations

import json
import math
import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from fanin.record.atomic_files import jsonable, read_json, write_atomically, write_json


def test_the_new_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for content in (b"first", b"second, longer", b""):
        write_atomically(path, lambda file, content=content: file.write(content))
        assert path.read_bytes() == content
        assert os.listdir(tmp_path) == ["a.txt"]  # noqa: PTH208 (hidden files too)


@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt(), ValueError()])
@pytest.mark.parametrize("existing", [True, False])
def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path, error: BaseException, existing: bool) -> None:
    path = tmp_path / "a.txt"
    if existing:
        path.write_text("old")

    def write(file: BinaryIO) -> None:
        file.write(b"half of it")
        file.flush()
        raise error

    with pytest.raises(type(error)):
        write_atomically(path, write)
    assert os.listdir(tmp_path) == (["a.txt"] if existing else [])  # noqa: PTH208
    assert not existing or path.read_text() == "old"


def test_readers_see_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    """A thread reads all the while; the file is longer than what one write hands over."""
    path, sizes, stop = tmp_path / "a.json", (10, 100_000), threading.Event()
    write_json(path, {"n": 10, "items": list(range(10))})
    broken: list[Any] = []

    def read() -> None:
        while not stop.is_set():
            content = read_json(path)
            if content is None or len(content["items"]) != content["n"]:
                broken.append(content)

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(30):
        write_json(path, {"n": sizes[turn % 2], "items": list(range(sizes[turn % 2]))})
    stop.set()
    reader.join()
    assert broken == []


def test_what_a_killed_writer_left_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    path, temporary = tmp_path / "a.json", r"\.a\.json\.\w{8}"
    killed = (
        "import os, sys; from pathlib import Path; from fanin.record.atomic_files import write_atomically\n"
        "write_atomically(Path(sys.argv[1]), lambda file: (file.write(b'one'), os.kill(os.getpid(), 9)))"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", killed, path], check=False)
    # The second one has removed what the first one had left.
    (left,) = (one.name for one in tmp_path.iterdir())
    assert re.fullmatch(temporary, left)
    kept = {".b.json.abcdefgh", ".a.json.lock", "a.json.abcdefgh", ".lock"}
    for name in kept:
        (tmp_path / name).touch()

    def among_others(file: BinaryIO) -> None:
        """Half of it is written when another writer comes and goes."""
        file.write(b"one")
        (ours,) = (one.name for one in tmp_path.iterdir() if one.name not in kept)
        assert re.fullmatch(temporary, ours)
        assert ours != left
        write_atomically(path, lambda file: file.write(b"another"))
        assert (tmp_path / ours).exists()
        file.write(b" and the other half")

    write_atomically(path, among_others)
    assert path.read_bytes() == b"one and the other half"
    assert {one.name for one in tmp_path.iterdir()} == {*kept, "a.json"}


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_file_has_the_permissions_of_any_new_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "atomic", lambda file: file.write(b""))
        (tmp_path / "plain").touch()
        assert os.umask(mask) == mask, "the mask is as it was"
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("atomic", "plain")]
    assert modes[0] == modes[1] == 0o666 & ~mask


def test_json_says_what_is_not_finite_in_words(tmp_path: Path) -> None:
    content = {
        "a": math.nan,
        "b": {"c": [1.5, math.inf, (-math.inf, "x")], 2: None},
        "d": True,
        "e": 0.1,
        "f": 1e-320,
    }
    write_json(tmp_path / "a.json", content)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    read = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    expected = {"a": "nan", "b": {"c": [1.5, "inf", ["-inf", "x"]], "2": None}, "d": True, "e": 0.1, "f": 1e-320}
    assert read == expected
    assert read_json(tmp_path / "a.json") == expected
    assert jsonable(content) == expected


@pytest.mark.parametrize("text", ["", "{", '{"a": 1', "[1, 2]", "null", "\x00\x00"])
def test_what_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert read_json(tmp_path / "a.json") is None
    assert read_json(tmp_path / "missing.json") is None
    assert read_json(tmp_path) is None
