"""The tiny MNIST in torchvision's place, a cache folder of the test's own, and no network."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_mnist import Tiny  # type: ignore[import-not-found]
from torchvision import datasets


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, an empty one; not created."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, cache: Path, offline: None) -> Tiny:
    """torchvision's MNIST with the tiny set's MD5 sums; no network, and a cache folder of the test's own."""
    made = Tiny()
    patched = type("MNIST", (datasets.MNIST,), {"resources": made.resources})
    monkeypatch.setattr(datasets, "MNIST", patched)
    return made


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """What urllib says on a machine without a network, wherever the test runs."""

    def fail(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr(urllib.request, "urlopen", fail)


@pytest.fixture
def read_only() -> Callable[[Path], None]:
    """Take the write permission from a folder and all that is in it."""

    def lock(root: Path) -> None:
        for path in [root, *root.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)

    return lock


@pytest.fixture
def tree() -> Callable[[Path], dict[str, tuple[int, int]]]:
    """Every path under a folder, with size and time of modification: in equal trees nothing was written."""

    def walk(root: Path) -> dict[str, tuple[int, int]]:
        paths = [root, *root.rglob("*")]
        return {str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}

    return walk
