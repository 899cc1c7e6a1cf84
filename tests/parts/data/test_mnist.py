"""MNIST's files on a tiny set: where they are looked for, unpacked and downloaded, and the errors."""

from __future__ import annotations

import functools
import gzip
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_mnist import Tiny, slow  # type: ignore[import-not-found]
from torchvision import datasets

from fanin.errors import OptionError, UserError
from fanin.parts.data import Dataset, FashionMnist, Mnist

Tree = Callable[[Path], dict[str, tuple[int, int]]]


def load(root: Path, **settings: int) -> Dataset:
    return Mnist(root=str(root), **{"val_size": 10, **settings}).load()


def is_tiny(data: Dataset, tiny: Tiny) -> bool:
    """Whether every image is there once, divided by 255, with the label that its first pixel carries."""
    train = torch.cat([data.train_x, data.val_x]), torch.cat([data.train_y, data.val_y])
    for (x, y), part in ((train, "train"), ((data.test_x, data.test_y), "t10k")):
        pixels = (x * 255).round().numpy().astype(np.uint8)[:, 0]
        order = pixels[:, 0, 1].argsort()
        if not np.array_equal(pixels[order], tiny.arrays[part]) or y.tolist() != pixels[:, 0, 0].tolist():
            return False
    return True


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def message(root: Path) -> str:
    """The one line that loading from root ends with."""
    with pytest.raises(UserError) as caught:
        load(root)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_unpacked_files_are_used_and_nothing_is_written(tiny: Tiny, tmp_path: Path, cache: Path, tree: Tree) -> None:
    tiny.write(tmp_path / "root", unpacked=True)
    before = tree(tmp_path)
    data = load(tmp_path / "root")
    assert is_tiny(data, tiny)
    assert [len(y) for y in (data.train_y, data.val_y, data.test_y)] == [30, 10, 12]
    assert data.input_shape == (1, 28, 28)
    assert (data.train_x.dtype, data.train_y.dtype) == (torch.float32, torch.int64)
    assert data.train_x.max() == 1  # 255 occurs, and is exactly one
    assert tree(tmp_path) == before


def test_archives_are_unpacked_beside_them(tiny: Tiny, tmp_path: Path, cache: Path) -> None:
    raw = tiny.write(tmp_path / "root")
    assert is_tiny(load(tmp_path / "root"), tiny)
    assert names(raw) == {*tiny.files, *tiny.archives}
    assert all((raw / name).read_bytes() == data for name, data in {**tiny.files, **tiny.archives}.items())
    assert not cache.exists()


def test_read_only_archives_are_unpacked_in_the_cache_once(
    tiny: Tiny,
    tmp_path: Path,
    cache: Path,
    tree: Tree,
    read_only: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = tmp_path / "root"
    tiny.write(root)
    read_only(root)
    before = tree(root)
    assert is_tiny(load(root), tiny)
    assert tree(root) == before
    assert names(cache / "fanin" / "data" / "MNIST" / "raw") == {*tiny.files}

    copies: list[object] = []
    monkeypatch.setattr(shutil, "copyfile", lambda *args: copies.append(args))
    cached = tree(cache)
    assert is_tiny(load(root), tiny)
    assert copies == []
    assert tree(cache) == cached


def test_what_an_interrupted_process_left_is_made_good(tiny: Tiny, tmp_path: Path) -> None:
    raw = tiny.write(tmp_path / "root")
    (raw / "train-images-idx3-ubyte").write_bytes(tiny.files["train-images-idx3-ubyte"][:1000])
    (raw / ".fanin-old" / "MNIST").mkdir(parents=True)
    (raw / ".fanin.lock").touch()  # of a killed process: held by nobody
    assert is_tiny(load(tmp_path / "root"), tiny)
    assert names(raw) == {*tiny.files, *tiny.archives}


@pytest.mark.parametrize("existing", [True, False])
def test_missing_files_without_a_network_are_one_line(
    existing: bool, tiny: Tiny, tmp_path: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "some" / "root"
    if existing:
        root.mkdir(parents=True)
    assert message(root) == (
        f"data=mnist: cannot be read from root {root} (no files there; download failed: Name or service not "
        f"known); put the four .gz files in {root}/MNIST/raw, or set data.root=... or FANIN_DATA, or use "
        "data=digits, which needs no files"
    )
    assert capfd.readouterr() == ("", "")
    assert [*tmp_path.rglob("*")] == ([root.parent, root] if existing else [])  # nothing is left behind


def test_a_read_only_root_without_files_leaves_no_cache_behind(
    tiny: Tiny, tmp_path: Path, cache: Path, read_only: Callable[[Path], None]
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    read_only(root)
    assert f"root {root} (no files there; download failed" in message(root)
    assert not cache.exists()


def test_fashion_mnist_names_its_own_folder(offline: None, tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UserError, match=r"data=fashion_mnist: .*FashionMNIST/raw, or set data.root"):
        FashionMnist(root=str(tmp_path)).load()


def test_a_missing_archive_is_named(tiny: Tiny, tmp_path: Path) -> None:
    raw = tiny.write(tmp_path)
    (raw / "t10k-labels-idx1-ubyte.gz").unlink()
    assert "(no t10k-labels-idx1-ubyte.gz; download failed: Name or service" in message(tmp_path)
    assert names(raw) == {*tiny.archives} - {"t10k-labels-idx1-ubyte.gz"}


@pytest.mark.parametrize("part", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: data[:30] + b"?" + data[31:], gzip.compress])
def test_a_corrupt_archive_is_named_and_kept(
    damage: Callable[[bytes], bytes], part: str, tiny: Tiny, tmp_path: Path
) -> None:
    raw = tiny.write(tmp_path)
    bad = raw / f"{part}.gz"
    bad.write_bytes(damage(bad.read_bytes()))
    kept = bad.read_bytes()
    assert f"data=mnist: {bad} is corrupt (its MD5 is not " in message(tmp_path)
    assert bad.read_bytes() == kept
    assert names(raw) == {*tiny.archives}


@pytest.mark.parametrize(
    ("part", "damage"),
    [
        ("train-images-idx3-ubyte", lambda data: data[:-1]),
        ("train-images-idx3-ubyte", lambda data: b""),
        ("t10k-images-idx3-ubyte", lambda data: data[:6]),
        ("t10k-images-idx3-ubyte", lambda data: b"\x1f\x8b" + data[2:]),
        ("t10k-images-idx3-ubyte", lambda data: data + b"\0"),
        ("train-labels-idx1-ubyte", lambda data: data[:20]),
        ("t10k-labels-idx1-ubyte", lambda data: data[:-1] + b"\x0a"),  # the label 10
        ("t10k-labels-idx1-ubyte", lambda data: data[:7] + bytes([data[7] - 1]) + data[8:-1]),  # one too few
    ],
)
def test_a_corrupt_unpacked_file_is_named(
    part: str, damage: Callable[[bytes], bytes], tiny: Tiny, tmp_path: Path
) -> None:
    raw = tiny.write(tmp_path, unpacked=True)
    (raw / part).write_bytes(damage(tiny.files[part]))
    assert f"data=mnist: {raw / part} is corrupt" in message(tmp_path)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A server on this machine that torchvision downloads from; the folder that it serves."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        yield folder
        server.shutdown()


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Gives back urllib's own urlopen, which `tiny` has taken away."""
    original = urllib.request.urlopen
    return lambda: monkeypatch.setattr(urllib.request, "urlopen", original)


def test_missing_files_are_downloaded_in_silence(
    network: Callable[[], None], tiny: Tiny, mirror: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    network()
    for name, data in tiny.archives.items():
        (mirror / name).write_bytes(data)
    root = tmp_path / "new" / "root"
    assert is_tiny(load(root), tiny)
    assert names(root / "MNIST" / "raw") == {*tiny.files, *tiny.archives}
    assert capfd.readouterr() == ("", "")
    assert socket.getdefaulttimeout() is None


def test_a_download_that_is_not_the_archive_leaves_nothing(
    network: Callable[[], None], tiny: Tiny, mirror: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    network()
    for name in tiny.archives:
        (mirror / name).write_bytes(b"<html>please log in</html>")
    assert "download failed: File not found or corrupted." in message(tmp_path / "root")
    assert not (tmp_path / "root").exists()
    assert capfd.readouterr() == ("", "")


def test_a_silent_server_is_not_waited_for(
    network: Callable[[], None], tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(Mnist, "patience", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and never says a word
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"
        monkeypatch.setattr(datasets.MNIST, "mirrors", [address])
        assert "download failed: timed out" in message(tmp_path / "root")


PROCESS = """
import json, sys
from tiny_mnist import slow
from torchvision import datasets
from fanin.parts.data import Mnist

root, log, resources = sys.argv[1], sys.argv[2], [tuple(pair) for pair in json.loads(sys.argv[3])]
datasets.MNIST = slow(datasets.MNIST, resources, log)
print("ready", flush=True)
sys.stdin.readline()
print(Mnist(root=root, val_size=10).load().train_x.sum().item())
"""


@pytest.mark.slow
def test_two_processes_at_once_unpack_once(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, log = str(tmp_path / "root"), str(tmp_path / "log")
    raw = tiny.write(tmp_path / "root")
    monkeypatch.setattr(datasets, "MNIST", slow(datasets.MNIST, tiny.resources, log))
    other = subprocess.Popen(
        [sys.executable, "-c", PROCESS, root, log, json.dumps(tiny.resources)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    other.stdin.write("go\n")
    other.stdin.flush()
    own = load(tmp_path / "root")
    output, _ = other.communicate(timeout=120)
    assert other.returncode == 0
    assert float(output) == own.train_x.sum().item()
    assert Path(log).read_text() == "x"  # one of the two unpacked, the other waited
    assert names(raw) == {*tiny.files, *tiny.archives}


def test_the_split_is_the_same_for_every_root_and_seed(tiny: Tiny, tmp_path: Path) -> None:
    for place in ("a", "b"):
        tiny.write(tmp_path / place, unpacked=True)
    torch.manual_seed(1)
    first = load(tmp_path / "a")
    torch.manual_seed(2)
    second, unsplit = load(tmp_path / "b"), load(tmp_path / "b", val_size=0, limit=7)
    assert torch.equal(first.train_x, second.train_x)
    assert torch.equal(first.val_y, second.val_y)
    assert torch.equal(unsplit.train_x, first.train_x[:7])
    assert unsplit.val_x.shape == (0, 1, 28, 28)


def test_val_size_of_the_whole_training_set_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    tiny.write(tmp_path, unpacked=True)
    assert len(load(tmp_path, val_size=39).train_y) == 1
    with pytest.raises(OptionError, match=r"val_size=40: must be smaller than mnist's 40 training examples"):
        load(tmp_path, val_size=40)


def test_a_root_that_is_a_file_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match=r"root=.*/file: must be a folder"):
        load(tmp_path / "file")


def test_where_root_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("FANIN_DATA", "/elsewhere")
    assert Mnist(root=None).root == Path("/elsewhere")
    assert Mnist(root="here").root == tmp_path / "here"
    assert Mnist(root="~/sets").root == Path("/home/someone/sets")
    monkeypatch.delenv("FANIN_DATA")
    assert Mnist(root=None).root == tmp_path / "data"
    with pytest.raises(OptionError, match="root=3: must be a folder's path or null"):
        Mnist(root=3)  # type: ignore[arg-type]
